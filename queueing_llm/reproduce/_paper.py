"""A paper as a file of claims: what it states, and how each statement is tried.

``claims.toml`` lies in the folder of the paper, beside the modules of its figures; a long
one is continued in ``claims_*.toml``, which have no ``[paper]``:

.. code-block:: toml

    [paper]
    title = "Throughput-Optimal Scheduling Algorithms for LLM Inference and AI Agents"
    authors = "Dai, Deng, Li, Peng"
    source = "arXiv:2504.07347v3"
    about = "One sentence: what the paper is about."

    [[figures]]
    module = "fig_boundary"             # fig_boundary.py: compute() and plot()
    caption = "Backlogs grow exactly above the critical rate."
    seconds = 60                        # on one core; quick_seconds with --quick
    quick_seconds = 5
    data = []                           # files below --data that it reads, with their origin

    [[claims]]
    id = "critical-rate-129-112"
    figure = "fig_boundary"
    value = "capacity"                  # a key of the values of its compute()
    source = "Theorem 2"                # equation, figure or section
    stated_by = "paper"                 # paper | reproduction | ours
    statement = "The critical rate of 129 + 112 tokens at a budget of 512 is 13.871/s."
    kind = "exact"                      # exact | statistical | qualitative
    expected = 13.871
    tolerance = 0.0005                  # absolute: half a unit of the last printed digit
    unit = "requests/s"
    status = "reproduced"               # see STATUSES
"""

import importlib
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from queueing_llm.errors import InvalidArgument, nearest

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
}


class Entry(BaseModel):
    """A table of the file, with the declared keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Heading(Entry):
    """``[paper]``: what is reproduced."""

    title: str
    authors: str
    source: str
    about: str


class DataFile(Entry):
    """A file that a figure reads and that is not part of this repository."""

    file: str
    """Below the folder of the data."""
    origin: str
    """Where it is published."""


class PaperFigure(Entry):
    """``[[figures]]``: a module with ``compute()``, and ``plot()`` if there is a picture."""

    module: str
    caption: str
    seconds: float
    """What ``compute()`` takes on one core; and what it takes with ``quick=True``."""
    quick_seconds: float
    data: tuple[DataFile, ...] = ()


class Claim(Entry):
    """``[[claims]]``: one statement, and how it is tried."""

    id: str
    source: str
    """Equation, figure or section of the paper."""
    stated_by: Literal["paper", "reproduction", "ours"]
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
        differs, as_expected = self.status == "differs", self.status == "reproduced"
        needs_resolution = self.is_tried and self.kind == "statistical"
        resolution = self.resolution is not None and self.resolution > 0
        for wrong, message in (
            (self.is_tried and not (self.figure and self.value), "needs a figure and a value"),
            (self.is_tried and self.expected is None, "needs what is expected"),
            (not self.is_tried and self.figure, "is not tried, so it has no figure"),
            (differs and self.obtained is None, "needs what is obtained"),
            (not differs and self.obtained is not None, "obtains something else: it differs"),
            (not as_expected and not self.reason, "needs a reason"),
            (needs_resolution and not resolution, "needs a resolution above 0"),
            (self.tolerance < 0, "has a tolerance that must not be negative"),
            (self.standard_errors <= 0, "has standard errors that must be above 0"),
            (self.kind == "qualitative" and self.tolerance, "is qualitative: no tolerance"),
        ):
            if wrong:
                msg = f"claim {self.id!r} {message}"
                raise ValueError(msg)
        for entry in (*_entries(self.expected), *_entries(self.obtained)):
            self._check(entry)
        return self

    def _check(self, entry: Any) -> None:
        """Check that an expected value is of the kind of the claim."""
        if self.kind == "qualitative":
            if isinstance(entry, Fraction):
                msg = f"claim {self.id!r} is qualitative: a word is accepted, got {entry}"
                raise ValueError(msg)
            return
        try:
            is_number = not isinstance(entry, bool) and Fraction(entry) is not None
        except (TypeError, ValueError, ZeroDivisionError):
            is_number = False
        if not is_number:
            msg = f"claim {self.id!r} is {self.kind}: a number is accepted, got {entry!r}"
            raise ValueError(msg)


def _entries(value: Any) -> Iterator[Any]:
    """Yield the single values of lists of lists."""
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _entries(entry)
    elif value is not None:
        yield value


class Paper(Entry):
    """Everything that a ``claims.toml`` says, and the folder that it lies in.

    Examples
    --------
    >>> dai = read_paper(papers_folder() / "dai2025" / "claims.toml")
    >>> dai.paper.source
    'arXiv:2504.07347v3'
    """

    name: str
    folder: Path
    paper: Heading
    figures: tuple[PaperFigure, ...] = ()
    claims: tuple[Claim, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        modules = [figure.module for figure in self.figures]
        names = [claim.id for claim in self.claims]
        for word in {
            name for group in (modules, names) for name in group if group.count(name) > 1
        }:
            msg = f"{word!r} stands there twice"
            raise ValueError(msg)
        for claim in self.claims:
            if claim.figure and claim.figure not in modules:
                known = nearest(claim.figure, modules)
                msg = f"figure {claim.figure!r} of claim {claim.id!r}: {known}"
                raise ValueError(msg)
        return self

    def figure(self, module: str) -> PaperFigure:
        """Return the entry of a figure, by its module or the end of that name."""
        for figure in self.figures:
            if module in (figure.module, figure.module.partition("_")[2]):
                return figure
        known = nearest(module, (figure.module for figure in self.figures))
        msg = f"figure {module!r} of {self.name} is not known: {known}."
        raise InvalidArgument(msg)

    def claims_of(self, figure: PaperFigure) -> tuple[Claim, ...]:
        """Return the claims that a figure tries."""
        return tuple(claim for claim in self.claims if claim.figure == figure.module)

    def module_of(self, figure: PaperFigure) -> ModuleType:
        """Import the module of a figure."""
        return importlib.import_module(f"{self.folder.parent.name}.{self.name}.{figure.module}")


def _document(file: Path) -> dict[str, Any]:
    """Return the tables of a file of claims and of those that continue it."""
    document: dict[str, Any] = {"figures": [], "claims": []}
    for part in (file, *sorted(file.parent.glob(f"{file.stem}_*.toml"))):
        tables = tomllib.loads(part.read_text(encoding="utf-8"), parse_float=Fraction)
        for name in ("figures", "claims"):
            document[name] += tables.pop(name, [])
        for name in tables.keys() & document.keys():
            msg = f"[{name}] of {part.name} stands in {file.name}"
            raise tomllib.TOMLDecodeError(msg)
        document |= tables
    return document


def papers_folder() -> Path:
    """Return the folder of the papers: ``paper_repro``, installed beside this package.

    Raises
    ------
    InvalidArgument
        If it is not installed.
    """
    try:
        package = importlib.import_module("paper_repro")
    except ImportError:
        msg = "the papers are not installed: paper_repro comes with the repository."
        raise InvalidArgument(msg) from None
    return Path(package.__path__[0])


def papers() -> tuple[Paper, ...]:
    """Return all papers: every folder of ``paper_repro`` with a ``claims.toml``, by name."""
    return tuple(read_paper(file) for file in sorted(papers_folder().glob("*/claims.toml")))


def read_paper(file: Path) -> Paper:
    """Read the claims of a paper.

    Parameters
    ----------
    file : path
        A ``claims.toml``. Files ``claims_*.toml`` beside it hold further figures and claims.

    Raises
    ------
    InvalidArgument
        If it is not one; the message names the claim and the key.
    """
    try:
        document = _document(file)
        return Paper(**document, name=file.parent.name, folder=file.parent)
    except (OSError, tomllib.TOMLDecodeError) as error:
        msg = f"claims {str(file)!r} cannot be read: {error}."
        raise InvalidArgument(msg) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"claims {str(file)!r}: {where}: {first['msg']}."
        raise InvalidArgument(msg) from None
