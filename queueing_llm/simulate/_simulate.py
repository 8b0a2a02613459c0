"""The public entry: replications of one engine, on whichever driver fits the policy."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, NamedTuple, TypeVar

import numpy as np

from queueing_llm._validate import Domain, Seconds, SecondsOrZero, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import ClosedArrivals, Engine, Requests, Workload
from queueing_llm.policies import BatchRule, Policy, check_policy
from queueing_llm.simulate._arrivals import one_by_one
from queueing_llm.simulate._clock import NANOSECOND, Clock
from queueing_llm.simulate._outcome import Outcome
from queueing_llm.simulate._recorder import Recorder
from queueing_llm.simulate._reference import Step, steps
from queueing_llm.simulate._run import Run

CHUNK = 65_536
SMALL_CHUNK = 256
Result = TypeVar("Result")
Count = Annotated[int, Domain("n", "1", at_least=1, integer=True)]
CountOrZero = Annotated[int, Domain("n", "1", at_least=0, integer=True)]
Progress = Callable[[int, float], None]


def simulate(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    horizon: float,
    replications: int = 1,
    seed: int | np.random.Generator = 0,
    warmup: float = 0.0,
    samples: int = 200,
    keep_requests: bool = False,
    log_batches: int = 0,
    tick: float = NANOSECOND,
    transparent: bool = False,
    progress: bool = False,
) -> Run:
    """Simulate an engine token by token.

    Every engine starts empty. A :class:`BatchRule` runs on the compiled kernel, any other
    policy on the transparent driver. Replication ``r`` of ``R`` replays a recorded workload
    from the fraction ``r / R`` of its rows. The users of a closed workload are alike: lengths
    are drawn in order of arrival, think times in order of completion.

    Parameters
    ----------
    engine, workload, policy
        What to simulate.
    horizon : float
        Length of each replication [s].
    replications : int
        Independent replications.
    seed : int or numpy.random.Generator
        Source of the randomness; a generator is consumed.
    warmup : float
        How much of each replication the means leave out [s].
    samples : int
        How many equally spaced times the state is recorded at, besides time 0.
    keep_requests : bool
        Whether to keep the times of every request, for latencies.
    log_batches : int
        How many batches of each replication to log.
    tick : float
        Resolution of the clock [s]; step times are rounded to it.
    transparent : bool
        Run a :class:`BatchRule` on the transparent driver too, which keeps all requests.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Run
        Paths, means with confidence, latencies.

    Raises
    ------
    InvalidArgument
        If an argument is out of range, a request can never fit, or the policy answers an
        illegal batch.
    ConservationViolated
        If tokens are lost or invented; this would be a defect of the simulator.

    Notes
    -----
    Invariant 9: arrived + recomputed = served + remaining tokens, checked at every step.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(10.4, prompt_tokens=129, output_tokens=112)
    >>> run = ql.simulate(engine, load, policy=ql.SARATHI, horizon=2000, seed=1)
    >>> abs(run.throughput.value - 10.4) < 0.3
    True
    """
    check_policy(policy)
    check(horizon, "horizon", Seconds)
    check(warmup, "warmup", SecondsOrZero)
    check(replications, "replications", Count)
    check(samples, "samples", Count)
    check(log_batches, "log_batches", CountOrZero)
    if warmup >= horizon:
        msg = f"warmup must be shorter than horizon={horizon!r} s, got warmup={warmup!r}."
        raise InvalidArgument(msg)
    clock = Clock.of(engine, tick=tick)
    sample_at = clock.ticks(np.linspace(0.0, float(horizon), samples + 1))
    fast = isinstance(policy, BatchRule) and not transparent
    size = CHUNK if fast else SMALL_CHUNK
    streams = _streams(workload, seed, replications, size=size, clock=clock)
    with progress_bar(replications, show=progress) as report:

        def one(i: int) -> Outcome:
            return outcome_of(
                engine,
                policy,
                chunks=streams[i].chunks,
                starts=streams[i].starts,
                clock=clock,
                sample_at=sample_at,
                log_size=log_batches,
                keep_requests=keep_requests,
                expected_requests=_expected(workload, horizon) if keep_requests else CHUNK,
                transparent=transparent,
                progress=lambda fraction: report(i, fraction),
            )

        outcomes = in_parallel(one, replications)
    return Run(engine, workload, policy, float(horizon), float(warmup), tick, outcomes)


def outcome_of(
    engine: Engine,
    policy: Policy,
    *,
    chunks: Iterator[Requests],
    clock: Clock,
    sample_at: np.ndarray,
    log_size: int = 0,
    keep_requests: bool = False,
    expected_requests: int = CHUNK,
    starts: np.ndarray | None = None,
    transparent: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run one replication on the driver that fits the policy."""
    if isinstance(policy, BatchRule) and not transparent:
        from queueing_llm.simulate._drive import run_kernel

        return run_kernel(
            engine,
            policy,
            chunks=chunks,
            clock=clock,
            sample_at=sample_at,
            log_size=log_size,
            keep_requests=keep_requests,
            expected_requests=expected_requests,
            starts=starts,
            progress=progress,
        )
    recorder = Recorder(sample_at, log_size=log_size)
    arrivals = one_by_one(chunks, engine, clock=clock)
    taken = steps(
        engine, policy, arrivals=arrivals, clock=clock, recorder=recorder, starts=starts
    )
    for count, step in enumerate(taken):
        if progress is not None and count % SMALL_CHUNK == 0:
            progress(step.start / recorder.horizon)
    return recorder.outcome()


def watch(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    horizon: float,
    seed: int | np.random.Generator = 0,
    tick: float = NANOSECOND,
) -> Iterator[Step]:
    """Run an engine step by step, with the state that the policy saw at each.

    Parameters
    ----------
    engine, workload, policy, horizon, seed, tick
        As for :func:`simulate`.

    Yields
    ------
    Step
        Every batch, as it is formed.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=1, per_block=1, block=4)
    >>> engine = ql.Engine(step_time=step, token_budget=4)
    >>> load = ql.Workload.of_requests([0, 0], prompt_tokens=[3, 2], output_tokens=[2, 1])
    >>> [s.batch.tokens.tolist() for s in ql.watch(engine, load, policy=ql.SARATHI, horizon=99)]
    [[3, 1], [1, 1], [1, 1]]
    """
    check_policy(policy)
    check(horizon, "horizon", Seconds)
    clock = Clock.of(engine, tick=tick)
    (stream,) = _streams(workload, seed, 1, size=SMALL_CHUNK, clock=clock)
    return steps(
        engine,
        policy,
        arrivals=one_by_one(stream.chunks, engine, clock=clock),
        clock=clock,
        recorder=Recorder(clock.ticks([horizon])),
        starts=stream.starts,
    )


class _Stream(NamedTuple):
    """What one replication draws: requests, and when the users of a closed workload begin."""

    chunks: Iterator[Requests]
    starts: np.ndarray | None


def _streams(
    workload: Workload,
    seed: int | np.random.Generator,
    replications: int,
    *,
    size: int,
    clock: Clock,
) -> list[_Stream]:
    streams = []
    for i, child in enumerate(generator(seed).spawn(replications)):
        phase = i / replications if workload.is_endless else 0.0
        chunks = workload.chunks(child, size, phase=phase)
        streams.append(_Stream(chunks, _starts(workload, child, clock)))
    return streams


def _starts(workload: Workload, rng: np.random.Generator, clock: Clock) -> np.ndarray | None:
    if not isinstance(workload.arrivals, ClosedArrivals):
        return None
    (first,) = rng.spawn(1)
    return clock.arrival_ticks(workload.arrivals.starts(first))


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """Return the generator that a seed stands for."""
    if isinstance(seed, np.random.Generator):
        return seed
    check(seed, "seed", CountOrZero)
    return np.random.default_rng(seed)


def in_parallel(one: Callable[[int], Result], count: int) -> tuple[Result, ...]:
    """Return ``one(0), ..., one(count - 1)``, on as many threads as there are processors.

    The kernel releases the interpreter lock, so threads run side by side.
    """
    workers = min(count, os.cpu_count() or 1)
    if workers == 1:
        return tuple(one(i) for i in range(count))
    with ThreadPoolExecutor(workers) as pool:
        return tuple(pool.map(one, range(count)))


def _expected(workload: Workload, horizon: float) -> int:
    """Guess the number of requests, a little generously."""
    if not workload.is_endless or workload.users is not None:
        return CHUNK
    mean = float(workload.arrival_rate) * float(horizon)
    return int(mean * 1.002 + 8 * np.sqrt(mean)) + CHUNK


@contextlib.contextmanager
def progress_bar(replications: int, *, show: bool) -> Iterator[Progress]:
    if not show:
        yield lambda replication, fraction: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    done = np.zeros(replications)
    with Bars(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("simulating", total=1.0)

        def report(replication: int, fraction: float) -> None:
            done[replication] = fraction
            bars.update(bar, completed=done.mean())

        yield report
