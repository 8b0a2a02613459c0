"""Figures, drawn with Matplotlib (``pip install 'queueing-llm[plots]'``)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from queueing_llm.errors import InvalidArgument, MissingDependency, nearest
from queueing_llm.evidence import Verdict
from queueing_llm.model import ReplayArrivals, Workload
from queueing_llm.simulate import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
SHORTEST = 300.0
REQUESTS = 2000
FAR_APART = 100
COLOURS = ("#d55e00", "#cc79a7", "#0072b2", "#009e73", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, which the colour-blind can tell apart."""
STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
"""Curves that coincide differ in dashes and widths, so that none hides another."""


def watching_time(workload: Workload) -> float:
    """Return how long to watch a workload [s]: a recording once, others 2,000 requests.

    Parameters
    ----------
    workload : Workload
        The workload.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> watching_time(ql.Workload.poisson(2, prompt_tokens=129, output_tokens=112))
    1000.0
    """
    arrivals = workload.arrivals
    if isinstance(arrivals, ReplayArrivals):
        return float(arrivals.times[-1] - arrivals.times[0])
    return max(SHORTEST, REQUESTS / float(workload.arrival_rate))


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
    queueing_llm.errors.InvalidArgument: plot format of 'backlog.gif' is not known: accepted: 'pdf', 'png', 'svg'.
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
    _figure_class()


def plot_backlog(
    runs: Sequence[Run], verdicts: Sequence[Verdict], *, path: str | os.PathLike[str], title: str
) -> None:
    """Draw the simulated backlog of policies against their fluid limits.

    Parameters
    ----------
    runs : sequence of Run, shape (P,)
        One run per policy, all of one workload; the first replication is drawn.
    verdicts : sequence of Verdict, shape (P,)
        The verdict on each policy; its growth is the slope of the fluid limit.
    path : str or path
        Where the figure goes; the suffix tells the format.
    title : str
        What was simulated.

    Raises
    ------
    InvalidArgument
        If the figure cannot be written there.
    MissingDependency
        If Matplotlib is not installed.
    """
    check_plot_path(path)
    figure = _drawn(runs, verdicts, title=title)
    try:
        figure.savefig(path, dpi=200)
    except OSError as error:
        msg = f"plot {os.fspath(path)!r} cannot be written: {error.strerror}."
        raise InvalidArgument(msg) from None


def _drawn(runs: Sequence[Run], verdicts: Sequence[Verdict], *, title: str) -> "Figure":
    figure = _figure_class()(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for i, (run, verdict) in enumerate(zip(runs, verdicts, strict=True)):
        _draw_policy(axes, run, verdict, i)
    _scale_backlog(axes, runs)
    rate = float(runs[0].workload.arrival_rate)
    axes.set_title(f"{title}, {rate:.4g} requests/s", loc="left", fontsize=11)
    axes.set_xlabel("time [s]")
    axes.set_xlim(0, runs[0].horizon)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _draw_policy(axes: "Axes", run: Run, verdict: Verdict, i: int) -> None:
    colour = COLOURS[i % len(COLOURS)]
    thousands = run.backlog_tokens[0] / 1000
    axes.plot(
        run.times,
        thousands,
        color=colour,
        linestyle=STYLES[i % len(STYLES)],
        linewidth=1.6,
        label=f"{verdict.policy}: {verdict.status.name}",
    )
    if verdict.growth is not None and verdict.growth > 0:
        fluid = float(verdict.growth) * run.times / 1000
        axes.plot(run.times, fluid, color=colour, linestyle="--", linewidth=1, alpha=0.8)


def _scale_backlog(axes: "Axes", runs: Sequence[Run]) -> None:
    """Label the backlog; if the policies lie far apart, stretch the lower part of its axis."""
    highest = [float(run.backlog_tokens[0].max()) / 1000 for run in runs]
    lowest = max(min(highest), 1e-3)
    axes.set_ylabel("backlog [thousand tokens]")
    if max(highest) > FAR_APART * lowest:
        axes.set_yscale("symlog", linthresh=float(10 ** np.floor(np.log10(lowest))))
    axes.set_ylim(bottom=0)


def _figure_class() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        msg = "plots need Matplotlib: pip install 'queueing-llm[plots]'."
        raise MissingDependency(msg) from None
    return Figure
