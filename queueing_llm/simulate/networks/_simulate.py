"""The public entry: replications of a network, on whichever driver fits its policies."""

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np

from queueing_llm._validate import Domain, Seconds, SecondsOrZero, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model.agents import AgentNetwork
from queueing_llm.policies import check_policy
from queueing_llm.simulate._clock import NANOSECOND
from queueing_llm.simulate._simulate import generator, in_parallel, progress_bar
from queueing_llm.simulate.networks._layout import Layout, Shares, is_compilable
from queueing_llm.simulate.networks._outcome import NetworkOutcome
from queueing_llm.simulate.networks._reference import Reference
from queueing_llm.simulate.networks._run import NetworkRun
from queueing_llm.simulate.networks._streams import Streams

DRAWN_AT_ONCE = 2**19
Count = Annotated[int, Domain("n", "1", at_least=1, integer=True)]
CountOrZero = Annotated[int, Domain("n", "1", at_least=0, integer=True)]


def simulate_network(
    network: AgentNetwork,
    *,
    horizon: float,
    warmup: float = 0.0,
    replications: int = 1,
    seed: int | np.random.Generator = 0,
    samples: int = 200,
    keep_sessions: bool = False,
    log_batches: bool = False,
    start: Mapping[str, int] | None = None,
    shares: Shares | None = None,
    tick: float = NANOSECOND,
    transparent: bool = False,
    progress: bool = False,
) -> NetworkRun:
    """Simulate a network of engines token by token.

    If every policy is a :class:`BatchRule` and no engine has a ``kv_capacity``, the compiled
    kernel runs it; else the transparent driver, which is thousands of times slower.

    Parameters
    ----------
    network : AgentNetwork
        Engines, kinds of visit and moves.
    horizon : float
        Length of each replication [s].
    warmup : float
        How much of each replication the means leave out [s].
    replications : int
        Independent replications.
    seed : int or numpy.random.Generator
        Source of the randomness; a generator is consumed.
    samples : int
        How many equally spaced times the state is recorded at, besides time 0.
    keep_sessions : bool
        Whether to keep the times of sessions and forks, for latencies.
    log_batches : bool
        Whether to keep every batch of every engine.
    start : mapping of str to int, optional
        Sessions that begin at a kind of visit at time 0, besides those that arrive.
    shares : mapping of str to sequence of numbers, optional
        Probabilities of the engines of each kind of visit that several can serve with
        ``dispatch="planned"``: ``network_load(network).shares`` are those of static planning.
    tick : float
        Resolution of the clock [s]; step times and delays are rounded to it.
    transparent : bool
        Run the transparent driver in any case.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    NetworkRun
        Paths, means with confidence, latencies.

    Raises
    ------
    InvalidArgument
        If an argument is out of range, a request can never fit, cached context comes to an
        engine with a ``kv_capacity``, or a policy answers an illegal batch.
    ConservationViolated
        If tokens or sessions are lost or invented; this would be a defect of the simulator.

    Notes
    -----
    Context that an engine still has in its cache is stored when the request starts, so its
    decodes read it. A preempted request has lost it and computes it again.

    Examples
    --------
    >>> from queueing_llm.model import DeterministicArrivals, DeterministicLength, Engine
    >>> from queueing_llm.model import IndependentLengths
    >>> from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
    >>> from queueing_llm.steptime import StaircaseStepTime
    >>> engine = Engine(step_time=StaircaseStepTime(0.1, 0.1, 8), token_budget=8)
    >>> lengths = IndependentLengths(DeterministicLength(6), DeterministicLength(2))
    >>> every_second = DeterministicArrivals(1)
    >>> write = Visit("write", "a", "jobs", (0,), lengths, every_second)
    >>> check = Visit("check", "b", "jobs", (1,), lengths)
    >>> pair = (NetworkEngine("one", engine), NetworkEngine("two", engine))
    >>> network = AgentNetwork.of(pair, (write, check), (Move(0, 1),))
    >>> run = simulate_network(network, horizon=50.0, keep_sessions=True)
    >>> round(run.latency("end_to_end").value, 9)
    1.2
    """
    check(horizon, "horizon", Seconds)
    check(warmup, "warmup", SecondsOrZero)
    check(replications, "replications", Count)
    check(samples, "samples", Count)
    if warmup >= horizon:
        msg = f"warmup must be shorter than horizon={horizon!r} s, got warmup={warmup!r}."
        raise InvalidArgument(msg)
    for part in network.engines:
        check_policy(part.policy)
    for visit in network.visits:
        is_planned = len(visit.engines) > 1 and visit.dispatch == "planned"
        if is_planned and visit.name not in (shares or {}):
            msg = (
                f"shares must say how visit {visit.name!r} is split among its engines: pass "
                "shares=network_load(network).shares for static planning."
            )
            raise InvalidArgument(msg)
    layout = Layout.of(network, shares=shares, tick=tick)
    sample_at = layout.clock.ticks(np.linspace(0.0, float(horizon), samples + 1))
    slow = transparent or not all(map(is_compilable, network.engines))
    present = _present_at_start(network, start)
    rngs = generator(seed).spawn(replications)
    with progress_bar(replications, show=progress) as report:

        def one(i: int) -> NetworkOutcome:
            streams = Streams(
                network, rngs[i], clock=layout.clock, start=present, phase=i / replications
            )
            return outcome_of(
                layout,
                streams,
                sample_at=sample_at,
                transparent=slow,
                log_batches=log_batches,
                keep_sessions=keep_sessions,
                progress=lambda fraction: report(i, fraction),
            )

        outcomes = in_parallel(one, replications)
    keeps = keep_sessions or slow
    return NetworkRun(network, float(horizon), float(warmup), tick, slow, keeps, outcomes)


def outcome_of(
    layout: Layout,
    streams: Streams,
    *,
    sample_at: np.ndarray,
    transparent: bool = False,
    log_batches: bool = False,
    keep_sessions: bool = False,
    progress: Callable[[float], None] | None = None,
) -> NetworkOutcome:
    """Run one replication on one of the drivers."""
    if not transparent:
        from queueing_llm.simulate.networks._drive import run_kernel

        visits = max(1, len(layout.network.visits))
        return run_kernel(
            layout,
            streams,
            sample_at=sample_at,
            chunk=int(np.clip(DRAWN_AT_ONCE // visits, 1024, 2**16)),
            log_batches=log_batches,
            keep_sessions=keep_sessions,
            progress=progress,
        )
    reference = Reference(layout, streams, sample_at=sample_at)
    for count, (_, step) in enumerate(reference.steps()):
        if progress is not None and count % 256 == 0:
            progress(step.start / int(sample_at[-1]))
    return reference.outcome()


def _present_at_start(network: AgentNetwork, start: Mapping[str, int] | None) -> dict[int, int]:
    names = [visit.name for visit in network.visits]
    present = {}
    for name, count in (start or {}).items():
        if name not in names:
            msg = f"start has no visit {name!r}: {nearest(str(name), names)}."
            raise InvalidArgument(msg)
        check(count, f"start[{name!r}]", CountOrZero)
        present[names.index(name)] = int(count)
    return present
