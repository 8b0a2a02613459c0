"""Fitted step times over what was measured, and by how much they miss it."""

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import StepSamples, StepTimeFit
from queueing_llm.plots._frame import COLOURS, check_plot_path, framed, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 12
"""Axes whose ends differ by more than this factor are logarithmic."""
CURVE_POINTS = 2000
MARKERS = ("o", "s", "^", "D", "v", "P")

Look = tuple[StepTimeFit, str, str]
"""A fit, its colour and its marker."""


def plot_residuals(
    fits: Sequence[StepTimeFit], *, path: str | os.PathLike[str], title: str
) -> None:
    """Draw laws fitted to the same samples, and their relative errors below.

    A law is a curve where the batches are known by their tokens alone. Where they differ in
    what they decode or read as well, there is no one curve: what the first law says of each
    batch is drawn as a point.

    Parameters
    ----------
    fits : sequence of StepTimeFit
        Fits to the same samples, in the order of the legend.
    path : str or path
        Where the figure goes; the suffix tells the format.
    title : str
        What was measured.

    Raises
    ------
    InvalidArgument
        If there is no fit, or the figure cannot be written there.
    MissingDependency
        If Matplotlib is not installed.
    """
    check_plot_path(path)
    save(residuals_figure(fits, title=title), path)


def residuals_figure(fits: Sequence[StepTimeFit], *, title: str) -> "Figure":
    """Return the figure that :func:`plot_residuals` writes.

    Parameters
    ----------
    fits, title
        As there.

    Returns
    -------
    Figure
        A Matplotlib figure, laws above and errors below.

    Raises
    ------
    InvalidArgument
        If there is no fit.
    MissingDependency
        If Matplotlib is not installed.
    """
    if not fits:
        msg = "fits must hold at least one fit, got none."
        raise InvalidArgument(msg)
    samples = fits[0].samples
    figure, upper = framed(title, height=6.2)
    lower = figure.add_subplot()
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 2))
    upper.set_subplotspec(grid[0])
    lower.set_subplotspec(grid[1])
    looks = list(zip(fits, itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False))
    _draw_times(upper, looks, samples)
    _draw_errors(lower, looks, samples)
    _scale(upper, lower, samples)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _draw_times(axes: "Axes", looks: Sequence[Look], samples: StepSamples) -> None:
    label = f"measured, {len(samples):,} {'means' if samples.is_averaged else 'batches'}"
    axes.plot(
        samples.tokens, 1e3 * samples.seconds, ".", color="0.45", markersize=5, label=label
    )
    if _is_curve(samples):
        tokens = _between(samples.tokens)
        prefills = float(not samples.decode_tokens.any())
        for fit, colour, _ in looks:
            times = fit.step_time(prefills * tokens, (1 - prefills) * tokens)
            axes.plot(tokens, 1e3 * times, color=colour, linewidth=1.4)
        return
    fit, colour, marker = looks[0]
    style = _outlined(colour, marker, size=4)
    axes.plot(samples.tokens, 1e3 * fit.fitted_seconds, **style)


def _draw_errors(axes: "Axes", looks: Sequence[Look], samples: StepSamples) -> None:
    axes.axhline(0, color="0.45", linewidth=0.8)
    for depth, (fit, colour, marker) in enumerate(looks):
        label = f"{fit.law}: mean error {fit.mean_relative_error:.1%}"
        style = _outlined(colour, marker, size=3)
        # The first is the best and lies on top.
        errors = 100 * fit.relative_errors
        axes.plot(samples.tokens, errors, label=label, zorder=3 - 0.1 * depth, **style)


def _outlined(colour: str, marker: str, *, size: float) -> dict[str, Any]:
    """Return the style of points that let each other through."""
    return {
        "color": colour,
        "marker": marker,
        "markersize": size,
        "linestyle": "",
        "fillstyle": "none",
        "alpha": 0.7,
    }


def _scale(upper: "Axes", lower: "Axes", samples: StepSamples) -> None:
    """Name the axes, and stretch those that span much."""
    from matplotlib.ticker import LogLocator

    upper.set_ylabel("step time [ms]")
    lower.set_ylabel("relative error [%]")
    lower.set_xlabel("tokens in the batch")
    lower.grid(color="0.92", linewidth=0.8)
    lower.set_axisbelow(True)
    lower.spines[["top", "right"]].set_visible(False)
    if np.ptp(np.log(samples.seconds)) > np.log(WIDE):
        upper.set_yscale("log", subs=())
        upper.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        upper.set_ylim(bottom=0)
    upper.yaxis.set_major_formatter("{x:,.10g}")
    for axes in (upper, lower):
        if np.ptp(np.log(samples.tokens)) > np.log(WIDE):
            axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:,.10g}")
        axes.set_xlim(upper.get_xlim())


def _is_curve(samples: StepSamples) -> bool:
    """Whether the tokens alone tell the batches apart."""
    alike = not samples.prefill_tokens.any() or not samples.decode_tokens.any()
    return alike and not samples.kv_tokens.any()


def _between(tokens: np.ndarray) -> np.ndarray:
    """Return the token counts at which a curve over the samples is drawn."""
    first, last = np.floor(tokens.min()), np.ceil(tokens.max())
    if last - first < CURVE_POINTS:
        return np.arange(max(first, 1), last + 1)
    return np.unique(np.rint(np.geomspace(max(first, 1), last, CURVE_POINTS)))
