"""Operations that mean the same on floats, arrays, fractions and symbols.

A formula written with these runs unchanged on Python numbers, on
:class:`fractions.Fraction`, on SymPy expressions, and on the arrays of any library that
follows the Python array API (NumPy, PyTorch, CuPy, JAX, array-api-strict), where it stays
on the device of its input.
"""

import bisect
import sys
from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any, Literal, TypeAlias

from queueing_llm._validate import is_symbolic
from queueing_llm.errors import InvalidArgument

Number: TypeAlias = Any
"""A Python number, Fraction, SymPy expression or array; one kind per call."""


def is_array(x: object) -> bool:
    """Whether ``x`` is an array of a library that follows the array API."""
    if isinstance(x, int | float | Fraction):
        return False
    return hasattr(x, "__array_namespace__") or _compat().is_array_api_obj(x)


def namespace(*xs: Number) -> Any:
    """Return the common array namespace of the arrays among ``xs``, or None."""
    arrays = [x for x in xs if is_array(x)]
    return _compat().array_namespace(*arrays) if arrays else None


def alike(*xs: Number) -> tuple[Number, ...]:
    """Return ``xs`` as they are or, if one is an array, all as float64 arrays of one shape."""
    xp = namespace(*xs)
    if xp is None:
        return xs
    device = _device(next(x for x in xs if is_array(x)))
    arrays = [
        xp.astype(x, xp.float64, copy=False)
        if is_array(x)
        else xp.asarray(_float(x), dtype=xp.float64, device=device)
        for x in xs
    ]
    if arrays[0].dtype != xp.float64:
        msg = (
            "step times need double precision, which this array library has switched off "
            f"(got {arrays[0].dtype}); in JAX, set jax_enable_x64."
        )
        raise InvalidArgument(msg)
    try:
        return tuple(xp.broadcast_arrays(*arrays))
    except (ValueError, RuntimeError):
        shapes = ", ".join(str(tuple(a.shape)) for a in arrays)
        msg = f"arrays must have shapes that broadcast together, got {shapes}."
        raise InvalidArgument(msg) from None


def coefficients(x: Number, *values: Number) -> tuple[Number, ...]:
    """Return numbers that can multiply ``x``: floats if it is an array, else as they are."""
    return tuple(map(_float, values)) if is_array(x) else values


def maximum(x: Number, y: Number) -> Number:
    """Return the elementwise larger of two numbers of one kind."""
    xp = namespace(x, y)
    if xp is not None:
        return xp.maximum(*alike(x, y))
    if is_symbolic(x) or is_symbolic(y):
        import sympy

        return sympy.Max(x, y)
    return max(x, y)


def ratio(x: Number, y: Number) -> Number:
    """Return ``x / y``, exactly if both are integers or fractions."""
    if isinstance(x, Rational) and isinstance(y, Rational):
        return Fraction(x) / Fraction(y)
    return x / y


def is_false(condition: Any) -> bool:
    """Whether a comparison fails anywhere; one that is not decided yet does not."""
    xp = namespace(condition)
    if xp is not None:
        return not is_traced(condition) and not bool(xp.all(condition))
    if is_symbolic(condition):
        import sympy

        return condition is sympy.false
    return not condition


def is_traced(*xs: Number) -> bool:
    """Whether arrays have no values yet: JAX or PyTorch is compiling what is called."""
    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")
    if jax is not None and any(isinstance(x, jax.core.Tracer) for x in xs):
        return True
    return torch is not None and bool(torch.compiler.is_compiling()) and any(map(is_array, xs))


def where_known(value: Number, *conditions: Number) -> Number:
    """Return ``value``, or NaN where a condition fails that was traced, not checked."""
    for condition in conditions:
        if is_traced(condition):
            xp = namespace(value)
            value = xp.where(condition, value, xp.nan)
    return value


def position(nodes: Sequence[int], x: Number, *, side: Literal["left", "right"]) -> Number:
    """Return how many increasing ``nodes`` are below ``x`` or, on the right, at most ``x``."""
    xp = namespace(x)
    if xp is not None:
        # PyTorch warns when it searches a broadcast view, so a copy is searched.
        flat = xp.asarray(xp.reshape(x, (-1,)), copy=True)
        return xp.reshape(xp.searchsorted(tabulated(nodes, x), flat, side=side), x.shape)
    return bisect.bisect_left(nodes, x) if side == "left" else bisect.bisect_right(nodes, x)


def tabulated(values: Sequence[Number], x: Number) -> Any:
    """Return ``values`` as they are or, beside an array ``x``, as a float64 array like it."""
    xp = namespace(x)
    if xp is None:
        return values
    return xp.asarray([_float(v) for v in values], dtype=xp.float64, device=_device(x))


def pick(table: Any, index: Number) -> Number:
    """Return ``table[index]``, elementwise if the index is an array."""
    xp = namespace(index)
    if xp is None:
        return table[index]
    return xp.reshape(xp.take(table, xp.reshape(index, (-1,)), axis=0), index.shape)


def _float(value: Number) -> float:
    try:
        return float(value)
    except TypeError:
        msg = f"an array needs numbers beside it, got {value!r}: substitute its symbols first."
        raise InvalidArgument(msg) from None


def _device(array: Any) -> Any:
    return _compat().device(array)


def _compat() -> Any:
    import array_api_compat

    return array_api_compat
