"""Probabilities as the exact numbers that their decimals stand for."""

from fractions import Fraction

from queueing_llm._validate import Real, is_symbolic
from queueing_llm.errors import InvalidArgument


def as_printed(value: Real) -> Fraction:
    """Return a number exactly; a float is read as the decimal that it prints as.

    >>> as_printed(0.1)
    Fraction(1, 10)
    """
    if is_symbolic(value):
        msg = f"a probability must be a number, got the expression {value!r}."
        raise InvalidArgument(msg)
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
