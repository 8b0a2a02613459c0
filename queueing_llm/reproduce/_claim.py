"""One statement of a paper: who states it, what is expected, and how far it may be missed."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

KINDS = {
    "exact": "equal up to the rounding of what is printed",
    "statistical": "equal within a stated number of standard errors",
    "qualitative": "a word, an order or a yes",
}
STATUSES = {
    "reproduced": "obtained as expected",
    "differs": "something else is obtained, for the reason given",
    "not_reproduced": "not tried, for the reason given",
    "not_expressible": "outside what the models here can say, for the reason given",
}
STATED_BY = {
    "paper": "printed in the paper",
    "reproduction": "reported by others who reproduced it",
    "ours": "derived here, with the models of the paper",
    "nobody": "a question that the paper leaves open, as far as is known here",
}


class Entry(BaseModel):
    """A table of the file, with the declared keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Claim(Entry):
    """``[[claims]]``: one statement, and how it is tried."""

    id: str
    source: str
    """Equation, figure or section of the paper."""
    stated_by: Literal["paper", "reproduction", "ours", "nobody"]
    statement: str
    kind: Literal["exact", "statistical", "qualitative"]
    status: Literal["reproduced", "differs", "not_reproduced", "not_expressible"]
    figure: str = ""
    """Module whose ``compute()`` tries it; empty if it is not tried."""
    value: str = ""
    """Key of what that computes."""
    expected: Any = None
    """A number, exact as written ("p/q" is one), a word, a truth value, or a list of them."""
    obtained: Any = None
    """What is obtained instead, where the status is "differs"."""
    tolerance: Fraction = Fraction(0)
    """Largest accepted difference: the rounding of what is printed."""
    standard_errors: Fraction = Fraction(3)
    """Of a statistical claim: how many are added to the tolerance."""
    resolution: Fraction | None = None
    """Of a statistical claim: the largest standard error that says anything about it."""
    unit: str = ""
    reason: str = ""
    """Why the status is what it is; needed unless it is "reproduced"."""

    @property
    def is_tried(self) -> bool:
        """Whether there is a computation for it."""
        return self.status in ("reproduced", "differs")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        """Check that everything is said that its status and kind need."""
        differs = self.status == "differs"
        is_statistical = self.kind == "statistical"
        resolution = self.resolution
        self._refuse(
            (self.is_tried and not (self.figure and self.value), "needs a figure and a value"),
            (self.is_tried and self.expected is None, "needs what is expected"),
            (not self.is_tried and self.figure, "is not tried, so it has no figure"),
            (differs and self.obtained is None, "needs what is obtained"),
            (not differs and self.obtained is not None, "obtains something else: it differs"),
            (self.status != "reproduced" and not self.reason, "needs a reason"),
            (self.is_tried and is_statistical and not resolution, "needs a resolution above 0"),
            (resolution is not None and resolution <= 0, "needs a resolution above 0"),
            (resolution and not is_statistical, "has a resolution, but is not statistical"),
            (self.tolerance < 0, "has a tolerance that must not be negative"),
            (self.standard_errors <= 0, "has standard errors that must be above 0"),
            (self.kind == "qualitative" and self.tolerance, "is qualitative: no tolerance"),
        )
        return self

    @model_validator(mode="after")
    def _has_values_of_its_kind(self) -> Self:
        """Check that a qualitative claim is about words, any other about numbers."""
        for entry in (*_entries(self.expected), *_entries(self.obtained)):
            if self.kind == "qualitative":
                wrong, accepted = (
                    isinstance(entry, Fraction),
                    f"a word is accepted, got {entry}",
                )
            else:
                wrong, accepted = not _is_number(entry), f"a number is accepted, got {entry!r}"
            self._refuse((wrong, f"is {self.kind}: {accepted}"))
        return self

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        """Check that not everything would do, and that what differs is said to differ."""
        expected, obtained = [*_entries(self.expected)], [*_entries(self.obtained)]
        same = expected == obtained
        of_zero = False
        if self.kind != "qualitative":
            room = self.tolerance + self.standard_errors * (self.resolution or 0)
            of_zero = any(0 < abs(Fraction(entry)) <= room for entry in expected)
            same = len(expected) == len(obtained) and all(
                abs(Fraction(e) - Fraction(o)) <= self.tolerance
                for e, o in zip(expected, obtained, strict=True)
            )
        self._refuse(
            (self.expected is not None and not expected, "expects an empty list"),
            (self.status == "differs" and same, "differs, but by less than its tolerance"),
            (of_zero, "would hold if 0 were obtained: the room that it leaves is too large"),
        )
        return self

    def _refuse(self, *checks: tuple[Any, str]) -> None:
        """Raise what is said of the first check that is true."""
        for wrong, what in checks:
            if wrong:
                msg = f"claim {self.id!r} {what}"
                raise ValueError(msg)


def _is_number(entry: Any) -> bool:
    """Whether an entry is a number, perhaps written "p/q"."""
    try:
        return not isinstance(entry, bool) and Fraction(entry) is not None
    except (TypeError, ValueError, ZeroDivisionError):
        return False


def _entries(value: Any) -> Iterator[Any]:
    """Yield the single values of lists of lists."""
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _entries(entry)
    elif value is not None:
        yield value
