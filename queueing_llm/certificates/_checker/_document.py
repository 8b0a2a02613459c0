"""What a certificate is made of: fields, integers and pairs of integers, read or rejected."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any, NoReturn, final

FORMAT = "queueing_llm certificate"
VERSION = 2
LARGEST = 10**2_000


class Rejected(Exception):
    """The document does not prove its claim; the message says why."""


@final
@dataclass(frozen=True, slots=True)
class Checked:
    """What a certificate proves.

    Parameters
    ----------
    kind : str
        The kind of claim.
    statement : str
        The claim in a sentence.
    comparisons : int
        How many comparisons of integers established it.
    """

    kind: str
    statement: str
    comparisons: int


def reject(reason: str) -> NoReturn:
    """Say why a document proves nothing."""
    raise Rejected(reason)


def fields_of(document: object, where: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return an object that has these fields and no other."""
    if not isinstance(document, Mapping):
        reject(f"{where} must be an object")
    for name in names:
        if name not in document:
            reject(f"{where} lacks {name!r}")
    for name in document:
        if name not in names:
            reject(f"{where} has an unknown field {name!r}")
    return document


def entries(value: object, where: str, *, count: int) -> list[Any]:
    """Return a list of so many entries."""
    if not isinstance(value, list) or len(value) != count:
        reject(f"{where} must be a list of {count} entries")
    return value


def rational(value: object, where: str, *, signed: bool = False) -> Fraction:
    """Return a number, at least 0 unless ``signed``."""
    if not isinstance(value, list) or len(value) != 2 or not all(map(is_integer, value)):
        reject(f"{where} must be a pair of integers")
    numerator, denominator = value
    if denominator <= 0:
        reject(f"{where} must have a positive denominator")
    if max(abs(numerator), denominator) >= LARGEST:
        reject(f"{where} has more than 2000 digits")
    if numerator < 0 and not signed:
        reject(f"{where} must be at least 0")
    return Fraction(numerator, denominator)


def rationals(
    value: object, where: str, *, count: int, signed: bool = False
) -> tuple[Fraction, ...]:
    """Return a list of so many numbers."""
    listed = entries(value, where, count=count)
    return tuple(rational(entry, where, signed=signed) for entry in listed)


def integer(value: object, where: str) -> int:
    """Return an integer above 0."""
    if not isinstance(value, int) or not is_integer(value) or not 1 <= value < LARGEST:
        reject(f"{where} must be a positive integer")
    return value


def position(value: object, where: str, *, count: int) -> int:
    """Return which of so many things is meant; the first is 0."""
    if not isinstance(value, int) or not is_integer(value) or not 0 <= value < count:
        reject(f"{where} must be an integer from 0 to {count - 1}")
    return value


def is_integer(value: object) -> bool:
    """Whether JSON would call it an integer: true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def brief(value: Fraction, rounding: str = ROUND_HALF_EVEN) -> str:
    """Return a number as a sentence shows it."""
    # Not by a float, which would overflow where a document holds long integers.
    digits = Context(prec=6, rounding=rounding)
    return f"{digits.divide(Decimal(value.numerator), Decimal(value.denominator)):g}"
