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
    stated_by = "paper"                 # paper | reproduction | ours | nobody
    statement = "The critical rate of 129 + 112 tokens at a budget of 512 is 13.871/s."
    kind = "exact"                      # exact | statistical | qualitative
    expected = 13.871
    tolerance = 0.0005                  # absolute: half a unit of the last printed digit
    unit = "requests/s"
    status = "reproduced"               # see STATUSES
"""

import importlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from pydantic import ValidationError, model_validator

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.reproduce._claim import Claim, Entry


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
        name = module.lower()
        for figure in self.figures:
            if name in (figure.module, figure.module.partition("_")[2]):
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
        for name, table in tables.items():
            if name in ("figures", "claims") and isinstance(table, list):
                document[name] += table
            elif name == "paper" and name not in document:
                document[name] = table
            else:
                accepted = "one [paper], [[figures]] and [[claims]] are accepted"
                msg = f"[{name}] of {part.name}: {accepted}"
                raise ValueError(msg)
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
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(_place(first["loc"], document))
        what = first["msg"].removeprefix("Value error, ")
        msg = f"claims {str(file)!r}: {where}: {what}."
        raise InvalidArgument(msg) from None
    except (OSError, ValueError) as error:  # No file, no TOML, or a number that is none.
        msg = f"claims {str(file)!r} cannot be read: {error}."
        raise InvalidArgument(msg) from None


def _place(keys: Sequence[Any], document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that lead to an entry, by the names of claims and figures."""
    value: Any = document
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            value = None
        named = isinstance(key, int) and isinstance(value, dict)
        yield str(value.get("id", value.get("module", key)) if named else key)
