"""Decimal numbers, read as the fractions that they are."""

import math
from fractions import Fraction

from queueing_llm._validate import Real


def exact_number(text: str) -> Real:
    """Return the number that a decimal text stands for, exactly.

    Parameters
    ----------
    text : str
        Such as ``"10.4"``, ``"1e-3"`` or ``"7/2"``.

    Returns
    -------
    Fraction or float
        A Fraction; a float only for what is none: infinities, NaN, and numbers too large
        for double precision. The domain checks of the model refuse those.

    Raises
    ------
    ValueError
        If the text is not a number.

    Examples
    --------
    >>> exact_number("10.4")
    Fraction(52, 5)
    """
    if "/" in text:
        return _ratio(text)
    value = float(text)
    if value == 0:
        return Fraction(0)
    # The exponent is checked first: Fraction("1e999999999") would fill the memory.
    return Fraction(text) if math.isfinite(value) else value


def _ratio(text: str) -> Fraction:
    above, _, below = text.partition("/")
    if int(below) == 0:
        msg = f"{text!r} divides by zero"
        raise ValueError(msg)
    return Fraction(int(above), int(below))
