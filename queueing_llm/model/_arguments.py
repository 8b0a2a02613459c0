"""How arguments become exact numbers and read-only arrays."""

import math
import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, TypeAlias

import numpy as np

from queueing_llm._validate import Domain, Real, check
from queueing_llm.errors import InvalidArgument

ChunkSize: TypeAlias = Annotated[int, Domain("n", "requests", at_least=1, integer=True)]
Phase: TypeAlias = Annotated[Real, Domain("phi", "1", at_least=0)]
Integers: TypeAlias = Sequence[int] | np.ndarray
Reals: TypeAlias = Sequence[float] | np.ndarray

_LARGEST = 2**53
"""Integers up to here are exact in double precision, and their sums fit 64 bits."""


def exact(value: Real) -> Real:
    """Return a rational number as a Fraction, so that dividing it stays exact."""
    if isinstance(value, numbers.Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    return value


def integer_column(values: Integers, name: str, *, at_least: int) -> np.ndarray:
    """Return a read-only int64 copy of a column of integers."""
    column = _column(values, name, kinds="iu", what=f"integers, each at least {at_least}")
    if column.min() < at_least:
        row = int(np.argmax(column < at_least))
        msg = f"{name} must be at least {at_least}, got {name}[{row}]={column[row]}."
        raise InvalidArgument(msg)
    if column.max() > _LARGEST:
        row = int(np.argmax(column))
        msg = f"{name} must be at most {_LARGEST}, got {name}[{row}]={column[row]}."
        raise InvalidArgument(msg)
    return _frozen(column, np.int64)


def real_column(values: Reals, name: str, *, at_least: float) -> np.ndarray:
    """Return a read-only float64 copy of a column of finite numbers."""
    what = "finite numbers" if at_least == -math.inf else f"numbers, each at least {at_least:g}"
    column = _frozen(_column(values, name, kinds="iuf", what=what), np.float64)
    bad = ~(np.isfinite(column) & (column >= at_least))
    if bad.any():
        row = int(np.argmax(bad))
        msg = f"{name} must be {what}, got {name}[{row}]={column[row]}."
        raise InvalidArgument(msg)
    return column


def time_column(values: Reals, name: str) -> np.ndarray:
    """Return a read-only float64 copy of a column of nondecreasing times from 0 on."""
    column = real_column(values, name, at_least=0)
    backwards = np.diff(column) < 0
    if backwards.any():
        row = int(np.argmax(backwards))
        msg = (
            f"{name} must not decrease, "
            f"got {column[row + 1]} after {column[row]} in row {row + 1}."
        )
        raise InvalidArgument(msg)
    return column


def weight_column(weights: Integers | None, rows: int) -> np.ndarray | None:
    """Return a read-only copy of the integer weights of ``rows`` rows, None for equal ones."""
    if weights is None:
        return None
    column = integer_column(weights, "weights", at_least=1)
    if len(column) != rows:
        msg = f"weights must have one entry for each of {rows} rows, got {len(column)}."
        raise InvalidArgument(msg)
    if sum_of_products(column) > _LARGEST:
        msg = f"weights must sum to at most {_LARGEST}, got {sum_of_products(column)}."
        raise InvalidArgument(msg)
    return column


def check_kind(value: object, name: str, *, kind: type, such_as: str) -> None:
    """Check that an argument is an instance of a class of this package or of NumPy."""
    if not isinstance(value, kind):
        noun = kind.__name__.removeprefix("Abstract")
        msg = f"{name} must be of type {noun} (such as {such_as}), got {name}={value!r}."
        raise InvalidArgument(msg)


def check_draw(rng: np.random.Generator, size: int, phase: Real) -> None:
    """Check the arguments that every stream of random requests takes."""
    check_kind(rng, "rng", kind=np.random.Generator, such_as="numpy.random.default_rng(seed)")
    check(size, "size", ChunkSize)
    check(phase, "phase", Phase)
    if phase >= 1:
        msg = f"phase must be below 1 (a fraction of the recorded rows), got phase={phase!r}."
        raise InvalidArgument(msg)


def start_row(phase: Real, rows: int) -> int:
    """Return the row that a replay starts at, ``floor(phase * rows)``."""
    return min(int(phase * rows), rows - 1)


def sum_of_products(*columns: np.ndarray) -> int:
    """Return the sum over rows of the product of nonnegative int64 columns, exactly."""
    most = math.prod(int(column.max()) for column in columns)
    block = 2**62 // max(most, 1)
    if block == 0:
        return sum(math.prod(row) for row in zip(*(c.tolist() for c in columns), strict=True))
    starts = range(0, len(columns[0]), block)
    blocks = ([column[at : at + block] for column in columns] for at in starts)
    return sum(int(np.prod(parts, axis=0).sum()) for parts in blocks)


def drawn_rows(
    rng: np.random.Generator, size: int, *, rows: int, weights: np.ndarray | None
) -> np.ndarray:
    """Return ``size`` row numbers, drawn with probability proportional to the weights."""
    if weights is None:
        return rng.integers(0, rows, size)
    edges = np.cumsum(weights)
    return np.searchsorted(edges, rng.integers(0, edges[-1], size), side="right")


def _column(values: Integers | Reals, name: str, *, kinds: str, what: str) -> np.ndarray:
    try:
        column = np.asarray(values)
    except ValueError as error:
        msg = f"{name} must be one-dimensional, got {name}={values!r}."
        raise InvalidArgument(msg) from error
    if column.ndim != 1 or len(column) == 0 or column.dtype.kind not in kinds:
        msg = f"{name} must be a non-empty column of {what}, got {name}={values!r}."
        raise InvalidArgument(msg)
    return column


def _frozen(column: np.ndarray, dtype: type) -> np.ndarray:
    copy: np.ndarray = np.array(column, dtype=dtype)
    copy.setflags(write=False)
    return copy
