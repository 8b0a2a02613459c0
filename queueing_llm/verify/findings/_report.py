"""What was found out about a policy, on what evidence, and what follows."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import final

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.contracts._listed import (
    CONTRACTS,
    LEGAL,
    PAPER,
    has_batch_limit,
    has_cache_limit,
)
from queueing_llm.verify.findings._counterexample import Counterexample


class Outcome(Enum):
    """Whether a policy keeps a contract."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


class Support(Enum):
    """How an outcome is known, strongest first."""

    COUNTEREXAMPLE = "counterexample"
    """One decision that breaks the contract, played again before it is reported."""
    PROVED = "proved"
    """A proof for every state."""
    THEOREM = "theorem"
    """A published theorem whose hypotheses were checked."""
    EXHAUSTIVE = "exhaustive"
    """Every state up to a stated bound."""
    NUMERICAL = "numerical"
    """A converged computation."""
    SIMULATED = "simulated"
    """Replications, with a stated probability of a wrong answer."""
    TESTED = "tested"
    """Some states, drawn at random: no proof that there is no other."""
    NONE = "none"
    """Nothing that would carry an answer."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """Whether a policy keeps one contract.

    Parameters
    ----------
    contract : Contract
        What was checked.
    outcome : Outcome
        The answer.
    support : Support
        How it is known; never more than was done.
    basis : str
        What was done, with the numbers, or what is wrong.
    counterexample : Counterexample or None
        What breaks the contract.
    tested : int
        Different decisions that could have broken it, as far as they were counted.
    """

    contract: Contract
    outcome: Outcome
    support: Support
    basis: str
    counterexample: Counterexample | None = None
    tested: int = 0


AGAIN = "broken once and kept when the same requests were played again"
"""Why a contract that was seen to be broken is undecided."""


def was_broken(finding: Finding) -> bool:
    """Whether a contract was seen to be broken, be it that it was kept the next time."""
    return finding.outcome is Outcome.VIOLATED or finding.basis == AGAIN


def broken_by(found: Counterexample, finding: Finding) -> Finding:
    """Return a finding as violated, by what was found after it."""
    outcome, support = Outcome.VIOLATED, Support.COUNTEREXAMPLE
    return replace(
        finding, outcome=outcome, support=support, basis=found.sentence, counterexample=found
    )


@final
@dataclass(frozen=True, slots=True, eq=False)
class PolicyReport:
    """What is known about a policy, contract by contract.

    Parameters
    ----------
    policy : str
        Name of the policy.
    findings : tuple of Finding
        One per contract.
    turned_away : int
        Trials that a scheduler of the field did not take: its door refused a request.
    """

    policy: str
    findings: tuple[Finding, ...]
    turned_away: int = 0

    def __getitem__(self, name: str) -> Finding:
        """Return the finding about the contract of that name."""
        found = {finding.contract.name: finding for finding in self.findings}
        if name not in found:
            msg = f"the report has no contract {name!r}: {nearest(name, found)}."
            raise InvalidArgument(msg)
        return found[name]

    @property
    def violated(self) -> tuple[str, ...]:
        """Names of the contracts that are violated."""
        return tuple(
            finding.contract.name
            for finding in self.findings
            if finding.outcome is Outcome.VIOLATED
        )

    @property
    def broken_needs(self) -> tuple[str, ...]:
        """Names of the violated contracts that throughput-optimality needs."""
        return tuple(name for name in self.violated if self[name].contract.is_needed)

    @property
    def consequences(self) -> tuple[str, ...]:
        """What follows from the findings, in sentences, each with its grade."""
        return tuple(text for text in (_of_theorem_2(self), *_of_starvation(self)) if text)

    def __str__(self) -> str:
        """Return the findings, the counterexamples and what follows, as text."""
        width = max(len(finding.contract.name) for finding in self.findings)
        lines = [f"policy {self.policy}"]
        for finding in self.findings:
            about = f"{finding.outcome.name:<9}  {finding.support.value}: {finding.basis}"
            lines.append(f"  {finding.contract.name:<{width}}  {about}")
        for finding in self.findings:
            if finding.counterexample is not None:
                picture = finding.counterexample.timeline()
                lines += ["", f"{finding.contract.name}: {finding.basis}"]
                lines.append(textwrap.indent(picture, "  "))
        return "\n".join([*lines, "", *self.consequences]).rstrip()


def _of_theorem_2(report: PolicyReport) -> str:
    # A contract of somebody else may bear the name of one that the theorem needs.
    found = {
        finding.contract.name: finding
        for finding in report.findings
        if finding.contract is CONTRACTS.get(finding.contract.name)
    }
    needed = [
        found[name] for name, known in CONTRACTS.items() if known.is_needed and name in found
    ]
    if "work_conserving" not in found:
        return ""
    if report.broken_needs:
        return (
            f"Theorem 2(b) of {PAPER} does not apply: {', '.join(report.broken_needs)} "
            "violated. That says nothing yet about its rate; of a policy, critical_rate "
            "estimates it."
        )
    about_limits = (has_batch_limit, has_cache_limit)
    needed = [finding for finding in needed if finding.contract.applies not in about_limits]
    complete = {name for name, known in CONTRACTS.items() if known.is_needed}
    untested = [f.contract.name for f in needed if f.outcome is not Outcome.HOLDS]
    untested += sorted(complete - found.keys())
    if untested:
        return f"Theorem 2(b) of {PAPER} stays open, for want of {', '.join(untested)}."
    return (
        "Work-conserving and first come, first served: throughput-optimal on engines without "
        f"limits whose full batches are their best, by Theorem 2(b) of {PAPER}, as far as its "
        f"hypotheses are {_weakest(needed)}{_for_whom(report)}."
    )


def _of_starvation(report: PolicyReport) -> list[str]:
    found = {finding.contract.name: finding for finding in report.findings}
    oldest, moving = found.get("oldest_first"), found.get("progress")
    if oldest is None or moving is None:
        return []
    if {oldest.outcome, moving.outcome} != {Outcome.HOLDS}:
        return []
    if any(contract.implies.startswith(LEGAL) for contract in _violated(report)):
        return []  # what an engine does with an answer that it cannot carry out is not known
    sentence = (
        "No starvation: a request waits at most as many steps as older requests have tokens "
        "left to compute, recomputation included, as far as that is "
        f"{_weakest([oldest, moving])}{_for_whom(report)}."
    )
    return [sentence]


def _for_whom(report: PolicyReport) -> str:
    return ", and for requests that it lets in" if report.turned_away else ""


def _violated(report: PolicyReport) -> list[Contract]:
    return [report[name].contract for name in report.violated]


def _weakest(findings: Sequence[Finding]) -> str:
    grades = list(Support)
    weakest = max((finding.support for finding in findings), key=grades.index)
    if weakest is Support.EXHAUSTIVE:
        return "checked in every small state"
    return weakest.value
