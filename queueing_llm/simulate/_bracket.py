r"""A policy's own critical rate, from simulated drift.

The boundary of stability is where the drift of a *large* backlog changes sign. So every
evaluation first overloads the engine until a large backlog stands, then continues at the
rate in question, lets the mode in which the backlog sits settle, and measures the growth
over the second half. Arrivals carry most of the noise and their mean is known, so the growth
is corrected by its regression on the work that arrived (a control variate).

Bisection brackets the zero; a straight line through the drifts of every replication, at
rates spread around it, gives one estimate of the zero per replication and so a Student
confidence interval.
"""

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
from queueing_llm.simulate._simulate import CHUNK, Count, outcome_of, in_parallel

OVERLOAD = 2.0
FILLING = 0.25
SPREAD = (0.97, 0.98, 0.99, 1.01, 1.02, 1.03)
MOST_HALVINGS = 24
BLOCKS = 10
Probability = Annotated[float, Domain("1-alpha", "1", above=0, at_most=0.9999)]


def bracket_critical_rate(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    at_most: float,
    replications: int = 8,
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
    replications : int
        Independent estimates of the rate that the interval rests on.
    requests : int, optional
        Arrivals in each drift measurement; the default is 40,000 on the kernel and 1,000 on
        the transparent driver.
    confidence : float
        Of the interval.
    seed : int or numpy.random.Generator
        Source of the randomness; a generator is consumed.

    Returns
    -------
    CriticalRate
        With evidence ``SIMULATED``; or ``NONE`` and no value if the drift never changes sign,
        or does not settle.

    Notes
    -----
    Assumes that the sign of the drift of a large backlog grown in overload decides
    stability, and that the drift is nearly linear within 3 % of the boundary. Neither is
    proved here.
    """
    check(at_most, "at_most", Rate)
    check(replications, "replications", Count)
    check(confidence, "confidence", Probability)
    fast = isinstance(policy, BatchRule)
    experiment = _Experiment(
        engine=engine,
        workload=workload,
        policy=policy,
        at_most=float(at_most),
        replications=max(2, replications),
        requests=_whole_cycles(workload, requests or (40_000 if fast else 1_000)),
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
        if quick.drift(middle).mean() > 0:
            unstable = middle
        else:
            stable = middle
    if stable == 0.0:
        basis = f"the simulated backlog grows at every rate tried, down to {unstable:.3g}/s"
        return CriticalRate(None, 0.0, unstable, Evidence.NONE, basis)
    centre = (stable + unstable) / 2
    for _ in range(3):
        zeros = _zeros(experiment, centre)
        if not np.isfinite(zeros).all():
            basis = "the simulated drift does not cross zero near its sign change"
            return CriticalRate(None, 0.0, experiment.at_most, Evidence.NONE, basis)
        estimate = Estimate.of(zeros, "replications")
        if abs(estimate.value / centre - 1) < 0.01:
            break
        centre = estimate.value
    low, high = estimate.interval(confidence)
    edge = _edge_effect(experiment) * estimate.value
    basis = (
        f"zero of the simulated drift of a large backlog: {confidence:.0%} Student interval "
        f"over {experiment.replications} replications, {len(SPREAD)} rates within 3 %, "
        f"{experiment.requests:,} arrivals each, and a batch at either end"
    )
    at_most = experiment.at_most
    value = min(estimate.value, at_most)
    return CriticalRate(
        value, max(low - edge, 0.0), min(high + edge, at_most), Evidence.SIMULATED, basis
    )


def _whole_cycles(workload: Workload, requests: int) -> int:
    """Return at least ``requests``, so that half of them are whole cycles of a replay."""
    cycle = 2 * workload.cycle
    return -(-requests // cycle) * cycle


def _zeros(experiment: "_Experiment", centre: float) -> np.ndarray:
    """Return one zero of the drift per replication, float64 array, shape (R,)."""
    rates = centre * np.array(SPREAD)
    drifts = np.stack([experiment.drift(rate) for rate in rates])
    slopes, offsets = np.polyfit(rates - centre, drifts, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        zeros = centre - offsets / slopes
    return np.where((slopes > 0) & (abs(zeros / centre - 1) < 0.2), zeros, np.nan)


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

    def saturated_rate(self) -> float:
        """Return the completion rate in overload, a first guess [requests/s]."""
        rate = OVERLOAD * self.at_most
        horizon = self.requests / rate
        samples = self._samples([self.workload.scale_to(rate)], [horizon], marks=2)
        completed = samples[:, :, 4]
        return float((completed[:, 2] - completed[:, 1]).mean() / (horizon / 2))

    def drift(self, rate: float) -> np.ndarray:
        """Return the growth of a large backlog [requests/s], float64 array, shape (R,).

        Backlog in tokens is divided by the mean work of a request. A backlog that drains
        counts as drifting down at the rate at which it drained.
        """
        overload, calm = OVERLOAD * self.at_most, self.workload.scale_to(rate)
        filling = FILLING * self.requests / overload
        measured = self.requests / rate
        samples = self._samples(
            [self.workload.scale_to(overload), calm], [filling, measured], marks=2 * BLOCKS
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
