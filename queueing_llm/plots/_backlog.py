"""Simulated backlogs against the slope of the fluid limit."""

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from queueing_llm.evidence import Verdict
from queueing_llm.model import ReplayArrivals, Workload
from queueing_llm.plots._frame import COLOURS, check_plot_path, framed, save
from queueing_llm.simulate import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORTEST = 300.0
REQUESTS = 2000
FAR_APART = 100
INVISIBLE = 0.01
"""Curves that differ by less than this share of the tallest are drawn as one."""


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


def plot_backlog(
    runs: Sequence[Run],
    verdicts: Sequence[Verdict],
    *,
    path: str | os.PathLike[str],
    title: str,
) -> None:
    """Draw the simulated backlog of policies against their fluid limits.

    Policies whose backlogs coincide share a curve and an entry of the legend: "=" stands
    between them if they are equal at every sample, "≈" if they differ by less than 1 % of
    the largest backlog.

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
    save(figure, path)


def _drawn(runs: Sequence[Run], verdicts: Sequence[Verdict], *, title: str) -> "Figure":
    rate = float(runs[0].workload.arrival_rate)
    figure, axes = framed(f"{title}, {rate:.4g} requests/s", height=4.4)
    for group, colour in zip(_coinciding(runs), itertools.cycle(COLOURS), strict=False):
        _draw_curve(axes, [runs[i] for i in group], [verdicts[i] for i in group], colour)
    if any(_fluid_slope(verdict) > 0 for verdict in verdicts):
        axes.plot([], [], color="0.3", linestyle="--", linewidth=1.1, label="fluid limit")
    _scale_backlog(axes, runs)
    axes.set_xlabel("time [s]")
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlim(0, runs[0].horizon)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _coinciding(runs: Sequence[Run]) -> list[list[int]]:
    """Group the runs that the eye could not tell apart; one curve shows each group."""
    paths = [run.backlog_tokens[0] for run in runs]
    tallest = max(float(path.max()) for path in paths)
    groups: list[list[int]] = []
    for i, path in enumerate(paths):
        for group in groups:
            if np.abs(paths[group[0]] - path).max() <= INVISIBLE * tallest:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _draw_curve(
    axes: "Axes", runs: Sequence[Run], verdicts: Sequence[Verdict], colour: str
) -> None:
    """Draw one backlog, that of the first run, and the fluid limits that belong to it."""
    first = runs[0]
    alike = all(np.array_equal(run.backlog_tokens, first.backlog_tokens) for run in runs)
    slopes = dict.fromkeys(slope for v in verdicts if (slope := _fluid_slope(v)) > 0)
    axes.plot(
        first.times,
        first.backlog_tokens[0] / 1000,
        color=colour,
        # Pale where a fluid limit may lie on it, so that its dashes stay visible.
        alpha=0.45 if slopes else 1.0,
        linewidth=2.0,
        label=_label(verdicts, between=" = " if alike else " ≈ "),
    )
    for slope in slopes:
        fluid = slope * first.times / 1000
        axes.plot(first.times, fluid, color=colour, linestyle="--", linewidth=1.2)


def _label(verdicts: Sequence[Verdict], *, between: str) -> str:
    """Name the policies of one curve, those of one status in one line."""
    lines = []
    for status in dict.fromkeys(verdict.status for verdict in verdicts):
        names = between.join(v.policy for v in verdicts if v.status is status)
        lines.append(f"{names}: {status.name}")
    return "\n".join(lines)


def _fluid_slope(verdict: Verdict) -> float:
    """Return the growth of the fluid limit [tokens/s], 0 if there is none or it is unknown."""
    return 0.0 if verdict.growth is None else float(verdict.growth)


def _scale_backlog(axes: "Axes", runs: Sequence[Run]) -> None:
    """Label the backlog; if the policies lie far apart, stretch the lower part of its axis."""
    highest = [float(run.backlog_tokens[0].max()) / 1000 for run in runs]
    lowest = max(min(highest), 1e-3)
    axes.set_ylabel("backlog [thousand tokens]")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    if max(highest) > FAR_APART * lowest:
        axes.set_yscale("symlog", linthresh=float(10 ** np.floor(np.log10(lowest))))
    axes.set_ylim(bottom=0)
