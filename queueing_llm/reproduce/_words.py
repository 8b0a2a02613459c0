"""Values as text: exact as far as they are exact, and no more digits than mean something."""

import math
import numbers
from fractions import Fraction
from typing import Any

from queueing_llm.simulate import Estimate

LONGEST_FRACTION = 12
"""Characters of a fraction that still says more than its decimals."""


def words(value: Any, *, unit: str = "", exact: bool = True) -> str:
    """Return a value as a reader would write it.

    Parameters
    ----------
    value : value
        Numbers, words, truth values, estimates, or lists of them.
    unit : str, optional
        Put behind it; "1", the unit of a plain number, is not.
    exact : bool, default True
        Whether a fraction that is no short decimal stays one.

    Examples
    --------
    >>> from fractions import Fraction
    >>> words(Fraction("13.871")), words(Fraction(153, 37)), words(0.1234567), words(True)
    ('13.871', '153/37', '0.123457', 'yes')
    >>> words(Estimate(0.13972, 0.0031, 16, "replications")), words(["A", "B"])
    ('0.1397 ± 0.0031', 'A; B')
    """
    if value is None:
        return ""
    if unit not in ("", "1"):
        return f"{words(value, exact=exact)} {unit}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "; ".join(words(entry, exact=exact) for entry in value)
    if isinstance(value, Estimate):
        return _estimate(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}" if abs(int(value)) >= 10_000 else str(value)
    if isinstance(value, Fraction):
        return _fraction(value, exact=exact)
    return f"{float(value):.6g}" if isinstance(value, numbers.Real) else str(value)


def _fraction(value: Fraction, *, exact: bool) -> str:
    if value.denominator == 1:
        return words(int(value))
    decimals = next((d for d in range(1, 7) if value * 10**d % 1 == 0), None)
    if decimals is not None:
        return f"{float(value):.{decimals}f}"
    stays = exact and len(str(value)) <= LONGEST_FRACTION
    return str(value) if stays else f"{float(value):.6g}"


def _estimate(estimate: Estimate) -> str:
    """Write an estimate with two digits of its standard error."""
    value, error = estimate.value, estimate.standard_error
    if not (math.isfinite(error) and error > 0):
        return f"{value:.6g} ± {error:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"
