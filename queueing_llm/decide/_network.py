"""The verdict on a network of engines: overload, theorems, Lyapunov functions, cycles."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from queueing_llm.certificates import (
    certify_feed_forward,
    certify_growth,
    certify_network_overload,
    certify_network_stability,
)
from queueing_llm.decide._network_advice import network_advice
from queueing_llm.decide._network_finding import Finding, as_read, numerical, undecided
from queueing_llm.decide._network_fluid import FluidReading, fluid_reading
from queueing_llm.decide._network_scalings import known_scalings
from queueing_llm.decide._network_verdict import NetworkVerdict
from queueing_llm.evidence import Evidence, Hypothesis, Status
from queueing_llm.model import MulticlassNetwork
from queueing_llm.model.agents import AgentNetwork
from queueing_llm.networks import (
    FluidClasses,
    GrowingCycle,
    NetworkLoad,
    Unmodelled,
    VirtualStation,
    applicable_theorems,
    cycle_attraction,
    feed_forward,
    growing_cycle,
    network_load,
    passages,
    stability_pieces,
    two_station_pieces,
    virtual_stations,
)

MOST_CLASSES, MOST_CYCLE_CLASSES = 256, 40


def check_network(network: AgentNetwork, *, find_scalings: bool = True) -> NetworkVerdict:
    r"""Decide whether a network of agents keeps its engines stable.

    Above a load of 1 no policy keeps up. Below, work-conserving engines are stable where
    sessions never turn back to an engine that they left (arXiv:2504.07347v3: DAG and
    fork-join workflows), and need not be where they do. Then the fluid model decides: by a
    theorem, by a Lyapunov function for every work-conserving policy or for the given
    priorities, or, for static priorities, by a backlog that returns larger than it was.

    Parameters
    ----------
    network : AgentNetwork
        Engines, agents and what moves between them.
    find_scalings : bool
        Whether to look for the multiples of the arrival rates at which the answer changes,
        and for advice, too.

    Returns
    -------
    NetworkVerdict
        Status, evidence, loads, critical scalings, advice. ``proved`` needs exact data
        (integers, Fractions, numbers from files) and, for less than an overload, steps that
        do not read the KV cache.

    Raises
    ------
    InvalidArgument
        If it is no network of agents, a number is symbolic, or mean contexts have no bound.

    Notes
    -----
    What a certificate proves is about the fluid model, except for an overload, which is about
    the engines. That this is the fluid model of the engines is our reading: under backlog a
    batch is full, and a rule that serves decodes first has started at most a budget of
    requests that have not finished. Where steps read the KV cache, that a request adds the
    mean of what it reads is our reading, too, as for one engine: ``numerical``. Stability is
    carried over to the engines by Dai (1995), for i.i.d. gaps and lengths. Not checked: that
    gaps have no bound and are spread out, which he needs for a steady state, and that lengths
    do not depend on each other; a context makes the work of later visits depend on earlier
    ones. Evenly spaced arrivals may keep clear of a growing cycle for ever.

    A growing cycle is carried over by our own argument: backlogs near the cycle are drawn to
    it (checked in exact numbers for a push of each class), so a large one follows it for ever
    with positive probability. That is ``numerical``. It is ``proved`` only where a second,
    independent argument holds, too: visits that the priorities keep from being served side by
    side need more than the time of one engine; ``queueing_llm.networks.virtual_stations`` has
    its conditions. In general, results are about classes of policies: Gamarnik and Hasenbein
    (2005).

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> import networkx as nx
    >>> import queueing_llm as ql
    >>> gpu = ql.Engine(ql.AffineStepTime(base=1, per_token=0), token_budget=768)
    >>> graph = nx.DiGraph(engines={"left": gpu, "right": gpu})
    >>> for name, engine, prompt, priority in (
    ...     ("plan a", "left", 32, 2), ("write a", "right", 512, 1),
    ...     ("plan b", "right", 32, 2), ("write b", "left", 512, 1),
    ... ):
    ...     graph.add_node(
    ...         name, engine=engine, prompt_tokens=prompt, output_tokens=32, priority=priority
    ...     )
    >>> for kind in "ab":
    ...     graph.nodes[f"plan {kind}"]["arrival_rate"] = F(7, 10) * F(768, 608)
    ...     graph.add_edge(f"plan {kind}", f"write {kind}")
    >>> verdict = ql.check_network(ql.AgentNetwork(graph))
    >>> verdict.status.name, verdict.evidence.name, verdict.engines[0].load
    ('UNSTABLE', 'PROVED', Fraction(7, 10))
    >>> verdict.virtual_stations
    ('write a + write b: load 1.2526',)
    """
    load = network_load(network)
    reading = fluid_reading(network)
    finding = _overload(load) or as_read(_finding(reading, load), reading)
    if finding.evidence is Evidence.PROVED and not load.is_exact:
        finding = numerical(finding, "some numbers are floats, so nothing is proved of them")
    verdict = NetworkVerdict(
        status=finding.status,
        evidence=finding.evidence,
        reason=finding.reason,
        arrival_rate=load.session_rate,
        engines=load.engines,
        bottleneck=load.bottleneck,
        nominal_scaling=load.largest_scaling,
        hypotheses=finding.hypotheses,
        virtual_stations=finding.virtual_stations,
        growth_factor=finding.growth_factor,
        certificate=finding.certificate,
    )
    if not find_scalings:
        return verdict
    holds = isinstance(reading, FluidReading) and reading.holds
    if isinstance(reading, FluidReading) and (holds or verdict.status is Status.STABLE):
        verdict = known_scalings(reading, verdict)
    return replace(verdict, advice=tuple(network_advice(network, load, reading, verdict)))


def _overload(load: NetworkLoad) -> Finding | None:
    """Return the answer if no policy keeps up."""
    if load.least_plan.load < 1:
        return None
    if load.least_plan.load == 1:
        reason = f"the load of {load.bottleneck} is exactly 1"
        return Finding(Status.UNDECIDED, Evidence.NONE, reason)
    certificate = certify_network_overload(
        load.traffic, load.least_plan, servers=load.least_servers
    )
    reason = f"the load of {load.bottleneck} exceeds 1 under every policy"
    evidence = Evidence.NUMERICAL if certificate is None else Evidence.PROVED
    return Finding(Status.UNSTABLE, evidence, reason, certificate)


def _finding(reading: FluidReading | Unmodelled, load: NetworkLoad) -> Finding:
    if isinstance(reading, Unmodelled):
        return undecided(reading.reason)
    classes = reading.classes
    is_forward = feed_forward(classes.network).hypotheses[1].holds
    for hypothesis in reading.hypotheses:
        if not hypothesis.holds and not (is_forward and hypothesis == reading.hypotheses[-1]):
            return undecided(f"this needs that {hypothesis.name}; {hypothesis.how}")
    assert load.plan is not None, "every time at full batches is known"
    if load.plan.load > 1:
        reason = f"{load.bottleneck} gets more than its full batches serve"
        return Finding(Status.UNSTABLE, Evidence.NUMERICAL, reason)
    if load.plan.load == 1:
        return undecided(f"the load of {load.bottleneck} is exactly 1")
    if is_forward:
        return _feed_forward(classes)
    if classes.has_joins:
        return undecided(
            "sessions turn back to an engine that they left, and branches wait for each "
            f"other: {feed_forward(classes.network).hypotheses[1].how}"
        )
    return next(_beyond_feed_forward(reading))


def _feed_forward(classes: FluidClasses) -> Finding:
    match = feed_forward(classes.network)
    certificate = certify_feed_forward(classes.network)
    return Finding(
        Status.STABLE,
        Evidence.THEOREM if certificate is None else Evidence.PROVED,
        "every engine has a load below 1 and no session turns back to an engine that it left",
        certificate,
        match.hypotheses,
    )


def _beyond_feed_forward(reading: FluidReading) -> Iterator[Finding]:
    """Yield what is found for engines that sessions come back to, strongest first."""
    own = reading.own
    if own is None:
        yield undecided("prefill and decode as jobs of their own are too many classes")
        return
    network = own.network
    if network.class_count > MOST_CLASSES:
        yield undecided(
            "sessions turn back to an engine that they left, and make "
            f"{network.class_count} kinds of requests, more than {MOST_CLASSES}"
        )
        return
    pieces = two_station_pieces(network) or stability_pieces(network, priority=own.priority)
    if pieces is not None:
        certificate = certify_network_stability(network, pieces)
        if certificate is not None:
            reason = "a Lyapunov function of the fluid model falls under " + (
                "every work-conserving policy"
                if pieces.priority is None
                else "these priorities"
            )
            yield Finding(Status.STABLE, Evidence.PROVED, reason, certificate)
    theorems = applicable_theorems(network, priority=own.priority, is_fifo=reading.is_fifo)
    for match in theorems:
        reason = f"{match.name} ({match.source}): {match.statement}"
        yield Finding(Status.STABLE, Evidence.THEOREM, reason, hypotheses=match.hypotheses)
    cycle = None
    if own.priority is not None and network.class_count <= MOST_CYCLE_CLASSES:
        cycle = growing_cycle(network, priority=own.priority)
    if cycle is not None:
        yield _grows(own, cycle)
    heavy = None if own.priority is None else virtual_stations(network, priority=own.priority)
    if heavy:
        reason = "visits that are never served side by side need more than one engine's time"
        yield Finding(
            Status.UNSTABLE, Evidence.NUMERICAL, reason, virtual_stations=_named(heavy)
        )
    worst = _named(virtual_stations(network) or ())
    some = f"; some priorities are not stable: {worst[0]}" if worst else ""
    yield undecided(
        "sessions turn back to an engine that they left, and neither a Lyapunov function nor "
        f"a growing cycle was found{some}",
        virtual_stations=worst,
    )


def _grows(classes: FluidClasses, cycle: GrowingCycle) -> Finding:
    network = classes.network
    attraction = cycle_attraction(network, cycle)
    reason = f"in the fluid model {_story(network, cycle)}"
    hypothesis = Hypothesis(
        name="paths from nearby states are drawn to the growing cycle",
        holds=attraction.attracts,
        how=f"{attraction.starts} pushes: each came back larger, its distance from the cycle "
        f"at most {float(attraction.deviation):.3g} of the push"
        if attraction.deviation is not None
        else f"{attraction.starts} pushes: some do not come back larger",
    )
    if not attraction.attracts:
        return undecided(
            f"{reason}, but not from all states nearby, so the network need not do so",
            growth_factor=cycle.factor,
            hypotheses=(hypothesis,),
        )
    heavy = _named(virtual_stations(network, priority=cycle.priority) or ())
    finding = Finding(
        Status.UNSTABLE,
        Evidence.NUMERICAL,
        reason,
        hypotheses=(hypothesis,),
        growth_factor=cycle.factor,
        virtual_stations=heavy,
    )
    if not heavy:
        return finding
    shared = Hypothesis(
        name="visits that are never served side by side need more than one engine's time",
        holds=True,
        how=heavy[0],
    )
    return replace(
        finding,
        evidence=Evidence.PROVED,
        certificate=certify_growth(network, cycle),
        hypotheses=(hypothesis, shared),
    )


def _story(network: MulticlassNetwork, cycle: GrowingCycle) -> str:
    """Say how much larger a backlog comes back, and by way of which classes."""
    stops = passages(network, cycle)
    story = f"a backlog comes back {float(cycle.factor):.4g} times as large"
    if len(stops) < 2:
        return story
    amounts = [sum(cycle.start), *(amount for _, amount in stops)]
    ratios = {after / before for before, after in itertools.pairwise(amounts)}
    story += f", by way of {' and '.join(network.class_names[k] for k, _ in stops)}"
    return story + (f" ({float(ratios.pop()):.4g} times for each)" if len(ratios) == 1 else "")


def _named(stations: Iterable[VirtualStation]) -> tuple[str, ...]:
    return tuple(
        f"{' + '.join(v.names)}: load {float(v.load):.5g}"
        for v in stations
        if v.load is not None
    )
