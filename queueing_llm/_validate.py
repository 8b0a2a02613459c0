"""One declaration per parameter: its symbol, its unit and its domain.

A field annotated ``Annotated[Real, Domain("t", "s", above=0)]`` is checked by
:func:`validate`, explained by the same declaration in the error text, and is the
source from which property tests draw.
"""

import functools
import math
import numbers
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, TypeAlias, get_type_hints

import numpy as np

from queueing_llm.errors import InvalidArgument

Real: TypeAlias = Any
"""One real number: ``int``, ``float``, ``fractions.Fraction`` or a SymPy expression."""


@dataclass(frozen=True, slots=True)
class Domain:
    """An interval of real numbers (or integers) with a symbol and a unit."""

    symbol: str
    unit: str
    above: float = -math.inf
    at_least: float = -math.inf
    at_most: float = math.inf
    integer: bool = False
    optional: bool = False

    def check(self, name: str, value: Real) -> None:
        """Raise :class:`InvalidArgument` unless ``value`` lies in the domain."""
        if value is None and self.optional:
            return
        if is_symbolic(value) and not value.is_number:
            return
        if not self._contains(value):
            msg = f"{name} must be {self}, got {name}={value!r}."
            raise InvalidArgument(msg)

    def _contains(self, value: Real) -> bool:
        is_a_kind = isinstance(value, numbers.Integral if self.integer else numbers.Real)
        if isinstance(value, bool | np.bool_) or not is_a_kind:
            return False
        return (
            _is_finite(value) and self.above < value and self.at_least <= value <= self.at_most
        )

    def __str__(self) -> str:
        what = "an integer" if self.integer else "a finite number"
        bounds = []
        if self.above > -math.inf:
            bounds.append(f"above {_bound(self.above)}")
        if self.at_least > -math.inf:
            bounds.append(f"at least {_bound(self.at_least)}")
        if self.at_most < math.inf:
            bounds.append(f"at most {_bound(self.at_most)}")
        text = " ".join([what, " and ".join(bounds)]).strip()
        unit = "" if self.unit == "1" else f" [{self.unit}]"
        return f"{text}{unit}{' or None' if self.optional else ''}"


def _is_finite(value: Real) -> bool:
    """Whether a number fits in double precision; exact ones may be larger."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _bound(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


Seconds: TypeAlias = Annotated[Real, Domain("t", "s", above=0)]
SecondsOrZero: TypeAlias = Annotated[Real, Domain("c", "s", at_least=0)]
SecondsPerToken: TypeAlias = Annotated[Real, Domain("a", "s/token", above=0)]
SecondsPerTokenOrZero: TypeAlias = Annotated[Real, Domain("a", "s/token", at_least=0)]
Rate: TypeAlias = Annotated[Real, Domain("lambda", "requests/s", above=0)]
Tokens: TypeAlias = Annotated[int, Domain("n", "tokens", at_least=1, integer=True)]
TokensOrZero: TypeAlias = Annotated[int, Domain("n", "tokens", at_least=0, integer=True)]
Confidence: TypeAlias = Annotated[Real, Domain("1 - alpha", "1", above=0, at_most=0.9999)]


def is_symbolic(value: object) -> bool:
    """Whether ``value`` is a SymPy expression (without importing SymPy)."""
    return type(value).__module__.partition(".")[0] == "sympy"


def unboxed(value: Any) -> Any:
    """Return a scalar of NumPy as a Python number, and anything else as it is.

    Integers of fixed width would overflow inside a Fraction, and arrays cost it its exactness.
    """
    return value.item() if isinstance(value, np.generic) else value


def decimal(value: Real, name: str) -> Fraction:
    """Return a number as a Fraction, a float as the decimal that it prints as.

    >>> decimal(0.1, "probability")
    Fraction(1, 10)
    """
    if isinstance(value, numbers.Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, float):
        return Fraction(repr(float(value)))
    msg = f"{name} must be a number, got {value!r}: substitute its symbols first."
    raise InvalidArgument(msg)


@functools.cache
def domains(cls: type) -> dict[str, Domain]:
    """Return the declared domain of each field of ``cls``, in field order."""
    hints: dict[str, Any] = get_type_hints(cls, include_extras=True)
    return {
        name: meta
        for name, hint in hints.items()
        for meta in getattr(hint, "__metadata__", ())
        if isinstance(meta, Domain)
    }


def validate(model: object) -> None:
    """Check every field of ``model`` against its declared domain.

    A scalar of NumPy becomes a Python number.
    """
    cls: Any = type(model)
    for name, domain in domains(cls).items():
        value = getattr(model, name)
        domain.check(name, value)
        if isinstance(value, np.generic):
            object.__setattr__(model, name, unboxed(value))


def check(value: Real, name: str, annotation: Any) -> None:
    """Check one argument against an ``Annotated`` declaration such as :data:`Rate`."""
    for meta in annotation.__metadata__:
        if isinstance(meta, Domain):
            meta.check(name, value)
