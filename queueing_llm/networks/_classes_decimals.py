"""Floats read as the decimals that they print as, so that what follows is exact."""

from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from numbers import Rational
from typing import Any

from queueing_llm._validate import Real, unboxed
from queueing_llm.errors import InvalidArgument


def as_decimals(value: Any) -> tuple[Any, bool]:
    """Return a frozen value with its floats as Fractions, and whether it had none.

    Parameters
    ----------
    value : object
        Dataclasses and tuples are searched, to any depth; anything else is kept.

    Examples
    --------
    >>> from queueing_llm.model import PoissonArrivals
    >>> as_decimals(PoissonArrivals(0.1))
    (PoissonArrivals(rate=Fraction(1, 10)), False)
    """
    value = unboxed(value)
    if isinstance(value, float):
        return Fraction(repr(value)), False
    if isinstance(value, tuple):
        read = [as_decimals(item) for item in value]
        return tuple(item for item, _ in read), all(is_exact for _, is_exact in read)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: as_decimals(getattr(value, f.name)) for f in fields(value)}
        if all(is_exact for _, is_exact in parts.values()):
            return value, True
        return replace(value, **{name: part for name, (part, _) in parts.items()}), False
    return value, True


def decimal(value: Real, name: str) -> Fraction:
    """Return a number as a Fraction, a float as the decimal that it prints as."""
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, float):
        return Fraction(repr(float(value)))
    msg = f"{name} must be a number, got {value!r}: substitute its symbols first."
    raise InvalidArgument(msg)
