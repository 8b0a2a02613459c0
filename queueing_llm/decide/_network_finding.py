"""What is found out about the fluid model of a network, and the grade that it deserves."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, final

from queueing_llm.certificates import Certificate
from queueing_llm.decide._network_fluid import FluidReading
from queueing_llm.evidence import Evidence, Hypothesis, Status
from queueing_llm.networks import Unmodelled


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """An answer, before the data behind it are graded; the fields are those of a verdict."""

    status: Status
    evidence: Evidence
    reason: str
    certificate: Certificate | None = None
    hypotheses: tuple[Hypothesis, ...] = ()
    growth_factor: Fraction | None = None
    virtual_stations: tuple[str, ...] = ()


def undecided(reason: str, **known: Any) -> Finding:
    """Return that nothing was found, why, and what is known all the same."""
    return Finding(Status.UNDECIDED, Evidence.NONE, reason, **known)


def numerical(finding: Finding, reason: str) -> Finding:
    """Return a finding without its proof, and the reason for that."""
    return replace(
        finding,
        evidence=Evidence.NUMERICAL,
        reason=f"{finding.reason}; {reason}",
        certificate=None,
    )


def as_read(finding: Finding, reading: FluidReading | Unmodelled) -> Finding:
    """Return a finding about the fluid model with what the reading needs, and its grade.

    A hypothesis that does not hold is listed only where it leaves the question open.
    """
    if isinstance(reading, Unmodelled):
        return finding
    is_open = finding.status is Status.UNDECIDED
    needed = tuple(h for h in reading.hypotheses if h.holds or is_open)
    finding = replace(finding, hypotheses=(*needed, *finding.hypotheses))
    if reading.reads_kv and finding.evidence in (Evidence.PROVED, Evidence.THEOREM):
        return numerical(finding, "steps read the KV cache, which enters by its mean")
    return finding
