"""A stability region as a figure, with the load and the ray along which it grows."""

import os
from typing import TYPE_CHECKING

import numpy as np

from queueing_llm.model import Workload
from queueing_llm.plots._frame import COLOURS, check_plot_path, framed, save
from queueing_llm.stability import Region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOM = 1.16
"""How far the axes reach beyond what is drawn, for the labels."""
APART = 0.06
"""Vertices closer than this share of the axes would be labelled on top of each other."""


def plot_region(
    region: Region, workload: Workload, *, path: str | os.PathLike[str], title: str
) -> None:
    """Draw a region in tokens per second and mark the load of a workload.

    Parameters
    ----------
    region : Region
        The region.
    workload : Workload
        Its arrival rate and mean lengths are the load.
    path : str or path
        Where the figure goes; the suffix tells the format.
    title : str
        What engine it is.

    Raises
    ------
    InvalidArgument
        If the figure cannot be written there.
    MissingDependency
        If Matplotlib is not installed.
    """
    check_plot_path(path)
    figure = _drawn(region, workload, title=title)
    save(figure, path)


def _drawn(region: Region, workload: Workload, *, title: str) -> "Figure":
    figure, axes = framed(title, height=4.8)
    _draw_boundary(axes, region)
    _draw_load(axes, region, workload)
    axes.set_xlabel("prefill rate [tokens/s]")
    axes.set_ylabel("decode rate [tokens/s]")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlim(0, ROOM * axes.dataLim.xmax)
    axes.set_ylim(0, ROOM * axes.dataLim.ymax)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _draw_boundary(axes: "Axes", region: Region) -> None:
    """Fill the region, and write its batch beside each vertex that stands apart."""
    corners = np.array([(float(x), float(y)) for x, y in region.vertices])
    axes.fill(*corners.T, color=COLOURS[2], alpha=0.15, linewidth=0)
    axes.plot(
        *corners[1:].T,
        color=COLOURS[2],
        marker="o",
        clip_on=False,
        zorder=3,
        label="boundary for all policies; batches (prefill, decode)",
    )
    labelled: list[np.ndarray] = []
    for place, corner, batch in zip(
        corners / corners.max(axis=0), corners, region.batches, strict=True
    ):
        if not corner.any() or any(np.abs(place - p).max() < APART for p in labelled):
            continue
        labelled.append(place)
        text = "({:,}, {:,})".format(*batch)
        axes.annotate(
            text, corner, xytext=(6, 6), textcoords="offset points", fontsize=9, color="0.25"
        )


def _draw_load(axes: "Axes", region: Region, workload: Workload) -> None:
    """Mark the load, and the ray from no load to the largest one of the same mix."""
    rate, moments = workload.arrival_rate, workload.moments
    tokens = float(moments.prompt), float(region.engine.decode_steps(moments.output))
    largest, offered = float(region.largest_rate(workload)), float(rate)
    end = max(largest, offered)
    ray = [[0, count * end] for count in tokens]
    axes.plot(
        *ray, color="0.3", linestyle="--", linewidth=1.1, label="the same mix at other rates"
    )
    place = [[count * offered] for count in tokens]
    label = f"load, {offered:.4g} of at most {largest:.4g} requests/s"
    axes.plot(*place, color=COLOURS[0], marker="D", linestyle="", label=label)
