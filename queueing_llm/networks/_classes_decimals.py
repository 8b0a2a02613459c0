"""Floats read as the decimals that they print as, so that what follows is exact."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from queueing_llm._validate import decimal, unboxed


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
        return decimal(value, "value"), False
    if isinstance(value, tuple):
        read = [as_decimals(item) for item in value]
        return tuple(item for item, _ in read), all(is_exact for _, is_exact in read)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: as_decimals(getattr(value, f.name)) for f in fields(value)}
        if all(is_exact for _, is_exact in parts.values()):
            return value, True
        return replace(value, **{name: part for name, (part, _) in parts.items()}), False
    return value, True
