"""The entries of a table, as a user gives them."""

import itertools
from typing import Any

import numpy as np

from queueing_llm._validate import TokensOrZero, check, unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime._grid import Axis


def entries(
    name: str, values: Any, *, dimensions: int
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Return nested sequences as a flat tuple of Python numbers, and their shape."""
    try:
        # Objects keep integers and fractions exact, and show a bool for what it is.
        array = np.asarray(values, dtype=object)
    except ValueError:
        array = np.empty(())
    if array.ndim != dimensions:
        msg = f"{name} must be a list of numbers nested {dimensions} deep, got {values!r}."
        raise InvalidArgument(msg)
    return tuple(map(unboxed, array.flat)), array.shape


def check_axis(name: str, axis: Axis, *, least: int) -> None:
    """Raise unless an axis is None or ``least`` or more increasing counts."""
    if axis is None:
        return
    for count in axis:
        check(count, name, TokensOrZero)
    rising = all(low < high for low, high in itertools.pairwise(axis))
    if len(axis) < least or not rising:
        msg = f"{name} must be at least {least} strictly increasing counts, got {axis!r}."
        raise InvalidArgument(msg)


def require_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise unless there is one time for each grid point."""
    if shape != expected:
        msg = f"seconds must have shape {expected}, one entry per grid point, got {shape}."
        raise InvalidArgument(msg)
