"""Whether what was obtained is what a claim expects."""

import math
import numbers
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, final

from queueing_llm.reproduce._claim import Claim
from queueing_llm.reproduce._computed import Value
from queueing_llm.reproduce._words import words
from queueing_llm.simulate import Estimate


class Verdict(Enum):
    """What trying a claim came to."""

    REPRODUCED = "reproduced"
    """Obtained as expected."""
    DIFFERS = "differs, as stated"
    """Not as expected; what is obtained instead, and why, is part of the claim."""
    FAILED = "failed"
    """Neither what is expected nor what the claim says is obtained instead."""
    TOO_NOISY = "too noisy"
    """The standard error exceeds the resolution of the claim."""
    NOT_TRIED = "not tried"
    """There is no computation for it, or its data are not at hand."""

    @property
    def is_a_failure(self) -> bool:
        """Whether the claim says something else than what happened."""
        return self in (Verdict.FAILED, Verdict.TOO_NOISY)


@final
@dataclass(frozen=True, slots=True)
class Judgement:
    """A claim, what was obtained, and the verdict."""

    claim: Claim
    verdict: Verdict
    obtained: Value | None = None
    reason: str = ""

    def written(self) -> tuple[str, str]:
        """Return what is expected and what is obtained, as text with the unit."""
        unit, expected = self.claim.unit, self.claim.expected
        in_fractions = "/" in words(expected)
        return (
            words(expected, unit=unit),
            words(self.obtained, unit=unit, exact=in_fractions),
        )


def judge(claim: Claim, obtained: Value) -> Judgement:
    """Hold what was obtained against a claim.

    Parameters
    ----------
    claim : Claim
        The claim; its status says whether ``expected`` or ``obtained`` should come out.
    obtained : value
        What ``compute()`` found.

    Returns
    -------
    Judgement
        The verdict. A claim that differs must differ: if it comes out as expected after
        all, it fails, so that its entry is put right.
    """
    if claim.kind == "statistical" and _is_too_noisy(claim, obtained):
        return Judgement(claim, Verdict.TOO_NOISY, obtained, "its standard error is too large")
    as_expected = agrees(claim, claim.expected, obtained)
    if claim.status == "reproduced":
        verdict = Verdict.REPRODUCED if as_expected else Verdict.FAILED
    else:
        as_stated = not as_expected and agrees(claim, claim.obtained, obtained)
        verdict = Verdict.DIFFERS if as_stated else Verdict.FAILED
    return Judgement(claim, verdict, obtained, claim.reason)


def agrees(claim: Claim, expected: Any, obtained: Any) -> bool:
    """Whether a value is the expected one, in the sense of the kind of a claim."""
    if isinstance(expected, list | tuple):
        return (
            isinstance(obtained, list | tuple)
            and len(expected) == len(obtained)
            and all(agrees(claim, e, o) for e, o in zip(expected, obtained, strict=True))
        )
    if claim.kind == "qualitative":
        return type(expected) is type(obtained) and bool(expected == obtained)
    wanted = Fraction(expected)
    if claim.kind == "statistical":
        if not isinstance(obtained, Estimate):
            return False
        room = float(claim.tolerance) + float(claim.standard_errors) * obtained.standard_error
        return abs(obtained.value - float(wanted)) <= room
    if isinstance(obtained, bool) or not isinstance(obtained, numbers.Real):
        return False
    if not isinstance(obtained, numbers.Rational):
        obtained = float(obtained)
        if not math.isfinite(obtained):
            return False
    return abs(Fraction(obtained) - wanted) <= claim.tolerance


def _is_too_noisy(claim: Claim, obtained: Any) -> bool:
    """Whether some standard error exceeds the resolution; NaN and that of one run do."""
    estimates = obtained if isinstance(obtained, list | tuple) else (obtained,)
    return not all(
        isinstance(estimate, Estimate)
        and estimate.observations > 1
        and claim.resolution is not None
        and estimate.standard_error <= claim.resolution
        for estimate in estimates
    )
