"""Errors of predictions, and tables of them for people and for programs."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

Row = Sequence[Any]


@final
@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of predictions against measurements.

    Parameters
    ----------
    count : int
        Predictions compared.
    median, mean, worst : float
        Of the absolute relative errors [1].
    bias : float
        Median of the signed ones [1].

    Examples
    --------
    >>> Errors.of([1.1, 0.8, 1.0], [1.0, 1.0, 1.0])
    Errors(count=3, median=0.1, mean=0.1, worst=0.2, bias=0.0)
    """

    count: int
    median: float
    mean: float
    worst: float
    bias: float

    @classmethod
    def of(cls, predicted: Iterable[float], measured: Iterable[float]) -> "Errors":
        """Compare two sequences of equal length; all nan if they are empty."""
        given, truth = np.array([*predicted], float), np.array([*measured], float)
        if given.shape != truth.shape:
            msg = f"predicted has shape {given.shape}, measured {truth.shape}: must be equal."
            raise ValueError(msg)
        if not len(given):
            return cls(0, *(float("nan"),) * 4)
        error = given / truth - 1
        size = np.abs(error)
        figures = (np.median(size), size.mean(), size.max(), np.median(error))
        return cls(len(error), *(round(float(figure), 4) for figure in figures))


def percent(share: float | None) -> str:
    """Return a share as a signed percentage, a dash if there is none.

    Examples
    --------
    >>> percent(-0.0312), percent(None)
    ('-3.1 %', '—')
    """
    return "—" if share is None or np.isnan(share) else f"{100 * share:+.1f} %"


def share(size: float) -> str:
    """Return a size as a percentage without a sign.

    Examples
    --------
    >>> share(0.0312)
    '3.1 %'
    """
    return "—" if np.isnan(size) else f"{100 * size:.1f} %"


def markdown(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Return a table in Markdown; numbers stand to the right.

    Examples
    --------
    >>> print(markdown(["case", "error"], [["a", 0.5]]))
    | case | error |
    |---|---:|
    | a | 0.5 |
    """
    body = [[_cell(value) for value in row] for row in rows]
    aligned = ["---"] + ["---:"] * (len(columns) - 1)
    lines = [columns, *body]
    head, *rest = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + "|".join(aligned) + "|", *rest])


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> Path:
    """Write a table for programs, and return where it is."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
