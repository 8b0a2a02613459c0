r"""A policy's own critical rate, from simulated drift.

The boundary of stability is where the drift of a *large* backlog changes sign. So every
evaluation first overloads the engine until a large backlog stands, then continues at the
rate in question, lets the mode in which the backlog sits settle, and measures the growth
over the second half. Arrivals carry most of the noise and their mean is known, so the growth
is corrected by its regression on the work that arrived (a control variate).

Bisection brackets the zero; a straight line through the drifts of every replication, at
rates spread around it, gives one estimate of the zero per replication and so a Student
confidence interval.

The backlog is grown in two ways, by a burst far above capacity and gradually above the
critical rate. Where the saturated engine remembers its start (constant lengths with a
batch-size limit keep the phases they began with) the two disagree, and the answer is the
interval that covers both.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, Rate, check
from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Requests, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._estimate import Estimate
from queueing_llm.simulate._simulate import CHUNK, in_parallel, outcome_of

BURST = 2.0
GRADUAL = 1.25
FILLING = 0.25
SPREAD = np.array([-1.0, -2 / 3, -1 / 3, 1 / 3, 2 / 3, 1.0])
NARROWEST_SPREAD = 0.03
MOST_HALVINGS = 24
BLOCKS = 10
Replications = Annotated[int | None, Domain("R", "1", at_least=2, integer=True, optional=True)]
Probability = Annotated[float, Domain("1-alpha", "1", above=0, at_most=0.9999)]


def bracket_critical_rate(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    at_most: float,
    replications: int | None = None,
    requests: int | None = None,
    confidence: float = 0.99,
    seed: int | np.random.Generator = 0,
) -> CriticalRate:
    """Estimate the critical rate of any policy by simulation.

    Parameters
    ----------
    engine, workload, policy
        The workload gives everything but the rate.
    at_most : float
        A rate that no policy can exceed [requests/s].
    replications : int, optional
        Independent estimates of the rate that the interval rests on, at least 2; the
        default is 8 on the kernel and 4 on the transparent driver.
    requests : int, optional
        Arrivals in each drift measurement; the default is at least 40,000 on the kernel and
        1,000 on the transparent driver, and more for large token budgets, so that the
        backlog is large beside what one batch can hold.
    confidence : float
        Of the interval.
    seed : int or numpy.random.Generator
        Source of the randomness; a generator is consumed.

    Returns
    -------
    CriticalRate
        With evidence ``SIMULATED``; or ``NONE`` and no value if the drift never changes
        sign.

    Notes
    -----
    Assumes that the sign of the drift of a large backlog grown in overload decides
    stability, and that the drift is nearly linear close to the boundary. Neither is proved
    here.
    """
    check(at_most, "at_most", Rate)
    check(replications, "replications", Replications)
    check(confidence, "confidence", Probability)
    fast = isinstance(policy, BatchRule)
    experiment = _Experiment(
        engine=engine,
        workload=workload,
        policy=policy,
        at_most=float(at_most),
        replications=replications or (8 if fast else 4),
        requests=_whole_cycles(workload, requests or _enough(engine, fast=fast)),
        rng=seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed),
    )
    return _search(experiment, confidence)


def _search(experiment: "_Experiment", confidence: float) -> CriticalRate:
    fewer = _whole_cycles(experiment.workload, experiment.requests // 4)
    quick = replace(experiment, replications=2, requests=fewer)
    stable, unstable = 0.0, experiment.at_most
    probe = quick.saturated_rate()
    for _ in range(MOST_HALVINGS):
        if unstable <= 1.04 * stable or unstable < 1e-6 * experiment.at_most:
            break
        middle = probe if stable < probe < unstable else (stable + unstable) / 2
        probe = 0.0
        if quick.drift(middle, filling_rate=BURST * quick.at_most).mean() > 0:
            unstable = middle
        else:
            stable = middle
    if stable == 0.0:
        basis = f"the simulated backlog grows at every rate tried, down to {unstable:.3g}/s"
        return CriticalRate(None, 0.0, unstable, Evidence.NONE, basis)
    return _refine(experiment, (stable + unstable) / 2, confidence)


def _refine(experiment: "_Experiment", centre: float, confidence: float) -> CriticalRate:
    """Estimate the zero near ``centre`` from one or two ways of growing the backlog."""
    at_most = experiment.at_most
    for _ in range(3):
        burst = Estimate.of(_zeros(experiment, centre, BURST * at_most), "replications")
        moved = abs(burst.value / centre - 1)
        centre = burst.value
        if not moved > experiment.spread / 3:
            break
    if burst.observations < max(2, experiment.replications / 2):
        basis = "the simulated drift does not cross zero near its sign change"
        return CriticalRate(None, 0.0, at_most, Evidence.NONE, basis)
    starts = [burst]
    if experiment.is_fast:
        zeros = _zeros(experiment, centre, GRADUAL * centre)
        starts.append(Estimate.of(zeros, "replications"))
    return _agree(experiment, starts, confidence)


def _agree(
    experiment: "_Experiment", starts: list[Estimate], confidence: float
) -> CriticalRate:
    """Combine the zeros found after a burst and gradually; the first is always there."""
    burst, gradual = starts[0], starts[-1]
    edge = _edge_effect(experiment) * burst.value
    basis = (
        f"zero of the simulated drift of a large backlog: {confidence:.0%} Student interval "
        f"over {experiment.replications} replications, {len(SPREAD)} rates within "
        f"{experiment.spread:.0%}, {experiment.requests:,} arrivals each"
    )
    low, high = burst.interval(confidence)
    value = burst.value
    if min(burst.observations, gradual.observations) < experiment.replications:
        basis += "; some replications fell into a mode that drains, so no upper end is known"
        high = math.inf
    elif abs(burst.value - gradual.value) > edge + 4 * math.hypot(
        burst.standard_error, gradual.standard_error
    ):
        basis += (
            f"; it depends on how the backlog grew ({burst.value:.4g}/s after a burst, "
            f"{gradual.value:.4g}/s gradually), and the interval covers both"
        )
        other = gradual.interval(confidence)
        low, high = min(low, other[0]), max(high, other[1])
        value = (burst.value + gradual.value) / 2
    return CriticalRate(
        value=min(value, experiment.at_most),
        low=max(low - edge, 0.0),
        high=min(high + edge, experiment.at_most),
        evidence=Evidence.SIMULATED,
        basis=basis,
    )


def _enough(engine: Engine, *, fast: bool) -> int:
    """Return how many arrivals make the backlog large beside what one batch can hold."""
    return (
        max(40_000, 40 * engine.token_budget) if fast else max(1_000, 8 * engine.token_budget)
    )


def _whole_cycles(workload: Workload, requests: int) -> int:
    """Return at least ``requests``, so that half of them are whole cycles of a replay."""
    cycle = 2 * workload.cycle
    return -(-requests // cycle) * cycle


def _zeros(experiment: "_Experiment", centre: float, filling_rate: float) -> np.ndarray:
    """Return one zero of the drift per replication, float64 array, shape (R,)."""
    rates = centre * (1 + experiment.spread * SPREAD)
    drifts = np.stack([experiment.drift(rate, filling_rate=filling_rate) for rate in rates])
    slopes, offsets = np.polyfit(rates - centre, drifts, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        zeros = centre - offsets / slopes
    near = abs(zeros / centre - 1) < max(0.2, 4 * experiment.spread)
    return np.where((slopes > 0) & near, zeros, np.nan)


def _edge_effect(experiment: "_Experiment") -> float:
    """Return how much of the measured work two full batches are: the ends of the window."""
    engine = experiment.engine
    work = float(engine.work_tokens(*_means(experiment.workload)))
    return 2 * engine.token_budget / (work * experiment.requests / 2)


@final
@dataclass(frozen=True, slots=True)
class _Experiment:
    """Everything that a drift measurement needs but the rate."""

    engine: Engine
    workload: Workload
    policy: Policy
    at_most: float
    replications: int
    requests: int
    rng: np.random.Generator

    @property
    def is_fast(self) -> bool:
        """Whether the policy runs on the compiled kernel."""
        return isinstance(self.policy, BatchRule)

    @property
    def spread(self) -> float:
        """How far around the zero drifts are measured, as a fraction of the rate."""
        return max(NARROWEST_SPREAD, 3 / math.sqrt(self.requests))

    def saturated_rate(self) -> float:
        """Return the completion rate in overload, a first guess [requests/s]."""
        rate = BURST * self.at_most
        horizon = self.requests / rate
        samples = self._samples([self.workload.scale_to(rate)], [horizon], marks=2)
        completed = samples[:, :, 4]
        return float((completed[:, 2] - completed[:, 1]).mean() / (horizon / 2))

    def drift(self, rate: float, *, filling_rate: float) -> np.ndarray:
        """Return the growth of a large backlog [requests/s], float64 array, shape (R,).

        The backlog is grown at ``filling_rate`` for about as long as it takes until
        ``FILLING`` of the arrivals to be measured wait. Backlog in tokens is divided by the
        mean work of a request. A backlog that drains counts as drifting down at the rate at
        which it drained.
        """
        excess = filling_rate - min(rate, self.at_most)
        filling = FILLING * self.requests / max(excess, filling_rate / 10)
        measured = self.requests / rate
        samples = self._samples(
            [self.workload.scale_to(filling_rate), self.workload.scale_to(rate)],
            [filling, measured],
            marks=2 * BLOCKS,
        )
        work = float(self.engine.work_tokens(*_means(self.workload)))
        backlog = samples[:, :, 1] / work
        arrived = (samples[:, :, 1] + samples[:, :, 5] - samples[:, :, 6]) / work
        length = measured / (2 * BLOCKS)
        growth = np.diff(backlog[:, BLOCKS:], axis=1) / length
        inflow = np.diff(arrived[:, BLOCKS:], axis=1) / length - rate
        slope = _regression(growth, inflow)
        drift = growth.mean(axis=1) - slope * inflow.mean(axis=1)
        drained = backlog[:, BLOCKS:].min(axis=1) < 0.1 * backlog[:, 0]
        return np.where(drained, -backlog[:, 0] / measured, drift)

    def _samples(
        self, workloads: list[Workload], lengths: list[float], *, marks: int
    ) -> np.ndarray:
        """Run the phases one after the other; sample the last one, shape (R, marks + 1, 12)."""
        clock = Clock.of(self.engine)
        begin, horizon = sum(lengths[:-1]), sum(lengths)
        sample_at = clock.ticks(np.linspace(begin, horizon, marks + 1))
        streams = [
            _phases(workloads, lengths, rng, phase=i / self.replications)
            for i, rng in enumerate(self.rng.spawn(self.replications))
        ]

        def one(i: int) -> np.ndarray:
            return outcome_of(
                self.engine, self.policy, chunks=streams[i], clock=clock, sample_at=sample_at
            ).samples

        return np.stack(in_parallel(one, len(streams)))


def _phases(
    workloads: list[Workload], lengths: list[float], rng: np.random.Generator, *, phase: float
) -> Iterator[Requests]:
    """Yield the requests of workloads that follow one another, each for its length [s]."""
    begin = 0.0
    for i, (workload, length) in enumerate(zip(workloads, lengths, strict=True)):
        last = i == len(workloads) - 1
        for chunk in workload.chunks(rng, min(CHUNK, 8192), phase=phase):
            upto = len(chunk) if last else int(np.searchsorted(chunk.arrival_times, length))
            yield Requests(
                chunk.arrival_times[:upto] + begin,
                chunk.prompt_tokens[:upto],
                chunk.output_tokens[:upto],
                chunk.class_index[:upto],
            )
            if upto < len(chunk):
                break
        begin += length


def _regression(growth: np.ndarray, inflow: np.ndarray) -> float:
    """Return the slope of growth on inflow within replications."""
    x = inflow - inflow.mean(axis=1, keepdims=True)
    y = growth - growth.mean(axis=1, keepdims=True)
    spread = float((x * x).sum())
    return float((x * y).sum()) / spread if spread > 0 else 0.0


def _means(workload: Workload) -> tuple[float, float]:
    return float(workload.mean_prompt_tokens), float(workload.mean_output_tokens)
