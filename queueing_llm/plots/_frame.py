"""What all figures share: where they go, how they are framed, which colours they use."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from queueing_llm.errors import InvalidArgument, MissingDependency, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
TITLE_WIDTH = 72
COLOURS = ("#d55e00", "#cc79a7", "#0072b2", "#009e73", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, which the colour-blind can tell apart."""


def check_plot_path(path: str | os.PathLike[str]) -> None:
    """Check that a figure can be written, before the work that it is to show.

    Parameters
    ----------
    path : str or path
        Where the figure is to go.

    Raises
    ------
    InvalidArgument
        If the format is unknown, or the folder is missing or read-only.
    MissingDependency
        If Matplotlib is not installed.

    Examples
    --------
    >>> check_plot_path("backlog.gif")
    Traceback (most recent call last):
    queueing_llm.errors.InvalidArgument: plot format of 'backlog.gif' is not known: ...
    """
    file = Path(path)
    suffix = file.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        msg = f"plot format of {str(file)!r} is not known: {nearest(suffix, FORMATS)}."
        raise InvalidArgument(msg)
    target = file if file.exists() else file.parent
    if file.is_dir() or not target.exists() or not os.access(target, os.W_OK):
        msg = f"plot {str(file)!r} cannot be written: a file in a writable folder is accepted."
        raise InvalidArgument(msg)
    figure_class()


def framed(title: str, *, height: float) -> "tuple[Figure, Axes]":
    """Return an empty figure of the given height [inches], and its axes."""
    figure = figure_class()(figsize=(7.2, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(textwrap.fill(title, TITLE_WIDTH), loc="left", fontsize=11)
    axes.xaxis.set_major_formatter("{x:,.10g}")
    _frame(axes)
    return figure, axes


def two_panels(
    title: str, *, height: float, width_ratios: Sequence[float] = (1, 1)
) -> "tuple[Figure, Axes, Axes]":
    """Return an empty figure of the given height [inches], and its left and right axes."""
    figure = figure_class()(figsize=(9.6, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    left, right = figure.subplots(1, 2, width_ratios=width_ratios)
    _frame(left)
    _frame(right)
    return figure, left, right


def _frame(axes: "Axes") -> None:
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure to a file."""
    try:
        figure.savefig(path, dpi=200)
    except OSError as error:
        msg = f"plot {os.fspath(path)!r} cannot be written: {error.strerror}."
        raise InvalidArgument(msg) from None


def figure_class() -> "type[Figure]":
    """Return Matplotlib's figure, which needs neither a display nor ``pyplot``.

    Raises
    ------
    MissingDependency
        If Matplotlib is not installed; the message names the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        msg = "plots need Matplotlib: pip install 'queueing-llm[plots]'."
        raise MissingDependency(msg) from None
    return Figure
