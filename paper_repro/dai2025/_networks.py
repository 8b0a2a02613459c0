"""What the figures about several engines share: answers in words, and points with errors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import queueing_llm as ql

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")


def known(value: T | None) -> T:
    """Return a value that is there for the networks here, and None for some others."""
    assert value is not None, "the library answers this for the networks here"
    return value


def answer(verdict: ql.NetworkVerdict) -> tuple[str, str]:
    """Return status and evidence of a verdict, in words."""
    return verdict.status.name, verdict.evidence.value


def proof(verdict: ql.NetworkVerdict) -> str:
    """Check the certificate of a verdict once more, and return what kind of claim it proves."""
    return known(verdict.certificate).check().kind


def draw_points(
    axes: "Axes",
    table: Mapping[str, Sequence[Any]],
    names: tuple[str, str, str],
    *,
    where: tuple[str, object] | None = None,
    unit: float = 1.0,
    **style: Any,
) -> None:
    """Draw the rows of a table that have some value, with three standard errors.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    table : mapping of str to sequence
        The columns.
    names : tuple of str
        Columns of the abscissa, of the estimate and of its standard error.
    where : (str, object), optional
        Column, and its value in the rows to draw; all if left out.
    unit : float
        What estimates are divided by.
    **style
        Of the points.
    """
    mine = slice(None) if where is None else np.array(table[where[0]]) == where[1]
    x, y, error = (np.array(table[name])[mine] for name in names)
    axes.errorbar(
        x,
        y / unit,
        yerr=3 * error / unit,
        **{"fmt": "o", "markersize": 4.5, "capsize": 2.5, **style},
    )
