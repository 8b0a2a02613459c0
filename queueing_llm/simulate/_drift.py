"""The drift of a large backlog, measured by simulation.

In the shape descriptions, ``R`` is the number of replications.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.model import Engine, Requests, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._outcome import SAMPLE_COLUMNS
from queueing_llm.simulate._simulate import in_parallel, outcome_of

BURST = 2.0
FILLING = 0.08
NARROWEST_SPREAD = 0.03
BLOCKS = 10
CHUNK = 8192
BACKLOG, PRESENT, ARRIVED, COMPLETED, SERVED, RECOMPUTED = (
    SAMPLE_COLUMNS.index(name)
    for name in (
        "backlog_tokens",
        "requests",
        "arrived",
        "completed",
        "served_tokens",
        "recomputed_tokens",
    )
)


@final
@dataclass(frozen=True, slots=True)
class DriftExperiment:
    """Everything that a drift measurement needs but the rate.

    Parameters
    ----------
    engine, workload, policy
        What is measured; the workload gives everything but the rate.
    at_most : float
        A rate that no policy can exceed [requests/s].
    replications, requests : int
        Replications, and arrivals measured in each.
    rng : numpy.random.Generator
        Source of the randomness; consumed.
    """

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
    def work_tokens(self) -> float:
        """Mean work of a request [tokens]."""
        moments = self.workload.moments
        return float(self.engine.work_tokens(moments.prompt, moments.output))

    @property
    def spread(self) -> float:
        """How far around the zero drifts are measured, as a fraction of the rate."""
        return max(NARROWEST_SPREAD, 3 / math.sqrt(self.requests))

    def saturated_rate(self) -> float:
        """Return the completion rate in overload, a first guess [requests/s]."""
        rate = BURST * self.at_most
        horizon = self.requests / rate
        samples = self._samples([self.workload.scale_to(rate)], [horizon], marks=2)
        completed = samples[:, :, COMPLETED]
        return float((completed[:, 2] - completed[:, 1]).mean() / (horizon / 2))

    def drift(self, rate: float, *, filling_rate: float) -> np.ndarray:
        """Return the growth of a large backlog [requests/s], float64 array, shape (2, R).

        The first row counts the backlog in tokens, divided by the mean work of a request,
        the second in requests. They differ while the composition of the backlog changes.

        The backlog is grown at ``filling_rate`` for about as long as it takes until
        ``FILLING`` of the arrivals to be measured wait. A backlog that drains counts as
        drifting down at the rate at which it drained.
        """
        excess = filling_rate - min(rate, self.at_most)
        filling = FILLING * self.requests / max(excess, filling_rate / 10)
        measured = self.requests / rate
        samples = self._samples(
            [self.workload.scale_to(filling_rate), self.workload.scale_to(rate)],
            [filling, measured],
            marks=2 * BLOCKS,
        )
        length = measured / (2 * BLOCKS)
        work = self.work_tokens
        tokens = samples[:, :, BACKLOG] / work
        tokens_in = tokens + (samples[:, :, SERVED] - samples[:, :, RECOMPUTED]) / work
        columns = (
            (tokens, tokens_in),
            (samples[:, :, PRESENT], samples[:, :, ARRIVED]),
        )
        return np.stack([_drift(*column, rate=rate, length=length) for column in columns])

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
        for chunk in workload.chunks(rng, CHUNK, phase=phase):
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


def _drift(
    backlog: np.ndarray, arrived: np.ndarray, *, rate: float, length: float
) -> np.ndarray:
    """Return the growth over the second half, corrected for what happened to arrive.

    Samples are ``length`` apart, arrays have shape (R, 2 BLOCKS + 1).
    """
    growth = np.diff(backlog[:, BLOCKS:], axis=1) / length
    inflow = np.diff(arrived[:, BLOCKS:], axis=1) / length - rate
    drift = growth.mean(axis=1) - _regression(growth, inflow) * inflow.mean(axis=1)
    drained = backlog[:, BLOCKS:].min(axis=1) < 0.1 * backlog[:, 0]
    return np.where(drained, -backlog[:, 0] / (2 * BLOCKS * length), drift)


def _regression(growth: np.ndarray, inflow: np.ndarray) -> float:
    """Return the slope of growth on inflow within replications."""
    x = inflow - inflow.mean(axis=1, keepdims=True)
    y = growth - growth.mean(axis=1, keepdims=True)
    spread = float((x * x).sum())
    return float((x * y).sum()) / spread if spread > 0 else 0.0
