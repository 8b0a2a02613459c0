"""An empty figure of two panels under one title, in the style of the library's figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from queueing_llm.plots import figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def two_panels(
    title: str, *, height: float, width_ratios: Sequence[float] = (1, 1)
) -> "tuple[Figure, Axes, Axes]":
    """Return a figure of the given height [inches], and its left and right axes."""
    figure = figure_class()(figsize=(9.6, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    left, right = figure.subplots(1, 2, width_ratios=width_ratios)
    for axes in (left, right):
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, left, right
