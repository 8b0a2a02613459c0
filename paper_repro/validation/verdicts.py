"""Stable or not: what the library says at a rate, and what the measurement says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from paper_repro.validation.sweeps import SweepRun, shortest_and_longest
from paper_repro.validation.tables import percent
from queueing_llm.decide import critical_rate
from queueing_llm.evidence import Capacity, CriticalRate, Evidence, Status
from queueing_llm.model import (
    AbstractRequestLengths,
    Engine,
    IndependentLengths,
    PoissonArrivals,
    UniformLength,
    Workload,
)
from queueing_llm.policies import VLLM_V1
from queueing_llm.stability import capacity

NEAR = 0.1
"""Margin below which no verdict is demanded."""
STARTED = 0.98
"""Share of the offered requests that a client in time has sent."""
STATIONARY, GROWING = 1.0, 2.0
"""Unfinished requests over rate times mean latency, in a long window: Little's law gives 1;
a queue that grows linearly from empty gives 2, since the mean latency is half of the last."""
FEW = 2
"""Requests that may be missing at the two ends of a window."""

COLUMNS = (
    "case",
    "rate",
    "capacity",
    "critical_rate",
    "margin",
    "predicted",
    "measured",
    "evidence",
)


@final
@dataclass(frozen=True, slots=True)
class Boundary:
    """What no policy can exceed, and where ``VLLM_V1`` stops keeping up."""

    capacity: Capacity
    critical: CriticalRate

    @classmethod
    def of(cls, engine: Engine, lengths: AbstractRequestLengths) -> "Boundary":
        """Return the boundary of an engine for requests of these lengths."""
        workload = Workload.of(PoissonArrivals(1), lengths)
        critical = critical_rate(engine, workload, policy=VLLM_V1)
        return cls(capacity(engine, workload), critical)

    def status(self, rate: float) -> tuple[Status, Evidence]:
        """Return the verdict at a rate and its evidence, as ``check_stability`` compares."""
        if rate > self.capacity.requests_per_second:
            return Status.UNSTABLE, self.capacity.evidence
        if rate < self.critical.low:
            return Status.STABLE, self.critical.evidence
        if rate > self.critical.high:
            return Status.UNSTABLE, self.critical.evidence
        return Status.UNDECIDED, Evidence.NONE


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """A rate at which both say something.

    Parameters
    ----------
    case : str
        What was run.
    rate : float
        Offered [requests/s].
    boundary : Boundary
        Of the engine.
    measured : Status
        STABLE or UNSTABLE.
    """

    case: str
    rate: float
    boundary: Boundary
    measured: Status

    @property
    def critical(self) -> float:
        """The critical rate [requests/s]; nan if it is not known."""
        value = self.boundary.critical.value
        return float("nan") if value is None else float(value)

    @property
    def margin(self) -> float:
        """How far the rate is above the critical rate [1]; negative below."""
        return self.rate / self.critical - 1

    @property
    def predicted(self) -> Status:
        """The verdict of the library."""
        return self.boundary.status(self.rate)[0]

    @property
    def is_demanded(self) -> bool:
        """Whether the margin is large enough, or unknown, so that a verdict is demanded."""
        return not abs(self.margin) <= NEAR

    @property
    def is_right(self) -> bool:
        """Whether prediction and measurement agree."""
        return self.predicted is self.measured

    def row(self) -> tuple[object, ...]:
        """Return the cells under :data:`COLUMNS`."""
        status, evidence = self.boundary.status(self.rate)
        ceiling = float(self.boundary.capacity.requests_per_second)
        words = (status.value, self.measured.value, evidence.value)
        return (self.case, self.rate, ceiling, self.critical, percent(self.margin), *words)


def measured_status(run: SweepRun) -> Status:
    """Return whether a constant run was stable, from its counts alone.

    Stable if the client could send what it was to, and what is unfinished at the end is nearer
    to the mean number in the system than to twice that.
    """
    offered = run.target * run.duration
    left = run.completed + run.errored
    is_sent = left + run.incomplete >= STARTED * offered - FEW
    most = (STATIONARY + GROWING) / 2 * run.target * run.latency
    is_level = offered - left < most + FEW
    return Status.STABLE if is_sent and is_level else Status.UNSTABLE


def judged_runs(runs: Iterable[SweepRun], engine: Engine) -> list[Judged]:
    """Return the verdicts on the constant runs that finished requests.

    There is one critical rate for each workload.
    """
    found: dict[str, Boundary] = {}
    judged = []
    for run in runs:
        if run.kind != "constant" or not run.completed:
            continue
        if run.workload not in found:
            lengths = IndependentLengths(_even(run.prompt_tokens), _even(run.output_tokens))
            found[run.workload] = Boundary.of(engine, lengths)
        case = f"{run.workload} at {run.target:g}/s"
        judged.append(Judged(case, run.target, found[run.workload], measured_status(run)))
    return judged


def conclusion(judged: Sequence[Judged]) -> str:
    """Return how many verdicts are right, in words, and those that are not."""
    if not judged:
        return "Not asked."
    demanded = [each for each in judged if each.is_demanded]
    wrong = [each for each in demanded if not each.is_right]
    near = [each for each in judged if not each.is_demanded]
    text = (
        f"Right in {len(demanded) - len(wrong)} of {len(demanded)} cases with a margin above "
        f"{NEAR:.0%}; {len(near)} cases are nearer to the boundary "
        f"({sum(each.is_right for each in near)} right)."
    )
    listed = "; ".join(
        f"{each.case}: predicted {each.predicted.value} with a margin of "
        f"{percent(each.margin)}, measured {each.measured.value}"
        for each in wrong
    )
    return f"{text} Wrong: {listed}." if wrong else text


def _even(mean: int) -> UniformLength:
    return UniformLength(*shortest_and_longest(mean))
