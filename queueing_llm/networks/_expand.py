"""The multiclass queueing network that a network of agents is in the fluid limit."""

from dataclasses import dataclass
from fractions import Fraction
from typing import final

from queueing_llm.model import GeometricLength, MulticlassNetwork
from queueing_llm.model.agents import AgentNetwork, Visit
from queueing_llm.networks._classes_layout import Parts, laid_out
from queueing_llm.networks._classes_nodes import Draft, RequestKind, turns_of
from queueing_llm.networks._load import network_load
from queueing_llm.networks._service import ServiceMeans, service_means
from queueing_llm.policies import BatchRule

MOST_CLASSES = 1024


@final
@dataclass(frozen=True, slots=True)
class Unmodelled:
    """That a network of agents has no multiclass network here.

    Parameters
    ----------
    reason : str
        Why not, in a sentence.
    """

    reason: str


@final
@dataclass(frozen=True, slots=True)
class FluidClasses:
    """A multiclass network, and what its classes are in the network of agents.

    Parameters
    ----------
    network : MulticlassNetwork
        A class is a visit, turn, phase and engine; a station is an engine that serves any.
    kinds : tuple of RequestKind, one per class
        What each class is, by position in the network of agents.
    priority : tuple of int or None, one per class
        Ranks, smaller served first, if every engine serves its classes by static priority;
        None if some engine does not.
    averages : tuple of str
        Visits whose classes lump together requests with different mean contexts: their
        loads are right, but only those.
    has_joins : bool
        Whether flows wait for each other; the network lets them through at once.
    is_exact : bool
        Whether the data held no float. If not, the numbers are the decimals that they
        print as.
    """

    network: MulticlassNetwork
    kinds: tuple[RequestKind, ...]
    priority: tuple[int, ...] | None
    averages: tuple[str, ...]
    has_joins: bool
    is_exact: bool


def multiclass(
    network: AgentNetwork, *, split_phases: bool = False, most_classes: int = MOST_CLASSES
) -> FluidClasses | Unmodelled:
    r"""Return the multiclass network whose fluid model is that of a network of agents.

    Each turn of a visit is a class with mean service :math:`m = w\, t(b)/b + \gamma G`, its
    time at full batches; it goes on to the next turn with the chance
    :math:`P(N > j \mid N \ge j)`. Delays vanish, joins let through one for all branches.

    Parameters
    ----------
    network : AgentNetwork
        The network.
    split_phases : bool
        Whether prefill and decode are two classes, one after the other at the same engine.
    most_classes : int
        More classes than this are not laid out.

    Returns
    -------
    FluidClasses or Unmodelled
        Exact in the decimals of the data; or the reason why there is no such network.

    Raises
    ------
    InvalidArgument
        If a number is symbolic, or mean contexts have no bound.

    Notes
    -----
    A policy that serves decodes first has a bounded number of requests that have started
    and not finished (each takes a token of every batch), so a request is one job of the
    fluid model and phases need no splitting. Where prompts go before decodes, finished
    prompts can pile up while more keep coming: then ask with ``split_phases``, which allows
    every order of the phases, and whose stability for every non-idling rule covers it.

    The mean services are those of full batches by tokens. Where batch size or KV cache keep
    batches from filling, they are too small, and prove no stability; where a step reads the
    KV cache, they hold per request, not per token. Several engines behind a visit are fed
    at random in the proportions of static planning.

    Examples
    --------
    >>> from queueing_llm.model import *
    >>> from queueing_llm.model.agents import AgentNetwork, NetworkEngine, Visit
    >>> from queueing_llm.steptime import AffineStepTime
    >>> gpu = NetworkEngine("gpu", Engine(AffineStepTime(1, 0), token_budget=768))
    >>> lengths = IndependentLengths(DeterministicLength(64), DeterministicLength(32))
    >>> agent = Visit(
    ...     "agent", "a", "session", (0,), lengths,
    ...     arrivals=PoissonArrivals(1), turns=UniformLength(1, 2),
    ... )
    >>> found = multiclass(AgentNetwork.of([gpu], [agent]))
    >>> found.network.class_names, found.network.mean_service[0], found.network.routing[0]
    (('agent, turn 1', 'agent, turn 2'), Fraction(1, 8), ((1, Fraction(1, 2)),))
    """
    means = service_means(network)
    reason = _obstacle(means)
    if reason is not None:
        return Unmodelled(reason)
    turns = [turns_of(means, at) for at in range(len(means.visits))]
    shares = _shares(network, means)
    limit = most_classes // (2 if split_phases else 1)
    count = 0
    for at, visit in enumerate(means.flow.visits):
        steps = turns[at]
        if steps is None and visit.engines:
            return Unmodelled(f"the turns of {visit.name!r} have no bound that is small enough")
        count += len(steps or ()) * len(shares[at])
    if count > limit:
        return Unmodelled(f"{count} classes of requests are more than {limit}")
    draft = laid_out(means, turns, shares=shares, split_phases=split_phases)
    draft.splice()
    return _finished(network, means, draft=draft, split_phases=split_phases)


def _obstacle(means: ServiceMeans) -> str | None:
    """Return why the fluid of requests is none of classes with a mean service, or None."""
    for visit in means.flow.visits:
        if len(visit.engines) > 1 and visit.dispatch != "planned":
            return (
                f"{visit.name!r} goes to whichever engine has the least work left, which no "
                "fixed routing does"
            )
        for j in visit.engines:
            if means.flow.engines[j].step_time.kv_slope is None:
                return (
                    f"the step time of an engine of {visit.name!r} is not one of the token "
                    "count plus a multiple of the KV tokens read"
                )
    return None


def _shares(network: AgentNetwork, means: ServiceMeans) -> list[Parts]:
    """Return which share of each visit goes to which engine."""
    if any(len(visit.engines) > 1 for visit in means.flow.visits):
        plan = network_load(network).plan
        assert plan is not None, "every time at full batches is known"
        return list(plan.shares)
    return [tuple((j, Fraction(1)) for j in visit.engines) for visit in means.flow.visits]


def _finished(
    network: AgentNetwork, means: ServiceMeans, *, draft: Draft, split_phases: bool
) -> FluidClasses:
    """Return the network of the nodes that are classes."""
    kept = [node for node, kind in enumerate(draft.kinds) if kind is not None]
    place = {node: k for k, node in enumerate(kept)}
    kinds = tuple(kind for kind in draft.kinds if kind is not None)
    serving = sorted({kind.engine for kind in kinds})
    fluid = MulticlassNetwork(
        stations=[serving.index(kind.engine) for kind in kinds],
        mean_service=[draft.seconds[node] for node in kept],
        arrival_rates=[draft.arrivals[node] for node in kept],
        routing=[[(place[l], part) for l, part in draft.rows[node].items()] for node in kept],
        class_names=_names(network, kinds),
        station_names=[network.engines[j].name for j in serving],
    )
    averages = tuple(
        visit.name
        for visit, kind in zip(means.visits, means.flow.visits, strict=True)
        if kind.engines and (visit.is_varied or _lumps_turns(kind))
    )
    return FluidClasses(
        network=fluid,
        kinds=kinds,
        priority=None if split_phases else _priority(network, kinds),
        averages=averages,
        has_joins=bool(network.blocks),
        is_exact=means.is_exact,
    )


def _lumps_turns(visit: Visit) -> bool:
    """Whether turns with a growing context are one class: those of a geometric number."""
    law = visit.turns
    return isinstance(law, GeometricLength) and law.mean > 1 and visit.turn_carries_context


def _names(network: AgentNetwork, kinds: tuple[RequestKind, ...]) -> list[str]:
    """Return names of the classes that say no more than what tells them apart."""
    turns = {kind.visit: kind.turn for kind in sorted(kinds, key=lambda kind: kind.turn)}
    names = []
    for kind in kinds:
        visit = network.visits[kind.visit]
        parts = [visit.name]
        parts += [f"turn {kind.turn}"] if turns[kind.visit] > 1 else []
        parts += [f"at {network.engines[kind.engine].name}"] if len(visit.engines) > 1 else []
        parts += [kind.phase] if kind.phase != "both" else []
        names.append(", ".join(parts))
    return names


def _priority(network: AgentNetwork, kinds: tuple[RequestKind, ...]) -> tuple[int, ...] | None:
    """Return the ranks of the classes, None unless they alone decide who is served.

    Decodes first, so few requests have started, and those that wait go by priority.
    """
    ranks = [network.visits[kind.visit].priority for kind in kinds]
    for j, engine in enumerate(network.engines):
        here = [rank for rank, kind in zip(ranks, kinds, strict=True) if kind.engine == j]
        rule = engine.policy
        by_priority = isinstance(rule, BatchRule) and rule.first == "decode"
        if len(here) > 1 and (not by_priority or len(set(here)) < len(here)):
            return None
    return tuple(ranks)
