"""The agents of a network, coloured by how busy the engines are that serve them."""

import os
import textwrap
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from queueing_llm.model.agents import AgentNetwork
from queueing_llm.plots._frame import COLOURS, TITLE_WIDTH, check_plot_path, save
from queueing_llm.plots._network_boxes import cut, draw_arrivals, draw_box, draw_move
from queueing_llm.plots._network_canvas import TIP, Canvas, LoadColours
from queueing_llm.plots._network_layout import layered_places
from queueing_llm.plots._network_parts import agents_of, edges_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from queueing_llm.decide import NetworkVerdict
    from queueing_llm.networks import NetworkLoad

LETTERS_PER_INCH = 13
"""Letters of the verdict that fit an inch."""
MOST_LINES = 40
"""Engines that the table beside the graph lists, the busiest ones first."""


def plot_network(
    network: AgentNetwork,
    load: "NetworkLoad",
    *,
    path: str | os.PathLike[str],
    title: str,
    verdict: "NetworkVerdict | None" = None,
) -> None:
    """Draw the agents of a network, coloured by the load of their engines, into a file.

    Parameters
    ----------
    network, load, title, verdict
        As for :func:`network_figure`.
    path : str or path
        Where the figure goes; the suffix tells the format.

    Raises
    ------
    InvalidArgument
        If the figure cannot be written there.
    MissingDependency
        If Matplotlib is not installed.
    """
    check_plot_path(path)
    save(network_figure(network, load, title=title, verdict=verdict), path)


def network_figure(
    network: AgentNetwork,
    load: "NetworkLoad",
    *,
    title: str = "",
    verdict: "NetworkVerdict | None" = None,
) -> "Figure":
    """Return a figure of the agents of a network and the loads of its engines.

    Boxes are agents, from left to right in the order of the flow, with the engine that serves
    them, its load, and the mean number of calls in a row; a dashed box is a tool, which needs
    no engine. Beside an arrow stands the share of the sessions that take it, if not all do.
    Thick bars are forks and joins. A blue frame marks the bottleneck.

    Parameters
    ----------
    network : AgentNetwork
        The agents and moves.
    load : NetworkLoad
        The loads of its engines, from ``network_load(network)``; where the load at full
        batches is not known, the least under any policy is shown.
    title : str
        What network it is.
    verdict : NetworkVerdict, optional
        Written below the title.

    Returns
    -------
    Figure
        A Matplotlib figure, as large as the network needs.

    Raises
    ------
    MissingDependency
        If Matplotlib is not installed.

    Examples
    --------
    >>> from queueing_llm.model import DeterministicLength, Engine, IndependentLengths
    >>> from queueing_llm.model import PoissonArrivals
    >>> from queueing_llm.model.agents import NetworkEngine, Visit
    >>> from queueing_llm.networks import network_load
    >>> from queueing_llm.steptime import AffineStepTime
    >>> gpu = NetworkEngine("gpu", Engine(AffineStepTime(1, 0), token_budget=100))
    >>> lengths = IndependentLengths(DeterministicLength(8), DeterministicLength(2))
    >>> agent = Visit("agent", "a", "session", (0,), lengths, arrivals=PoissonArrivals(5))
    >>> network = AgentNetwork.of([gpu], [agent])
    >>> figure = network_figure(network, network_load(network), title="one agent")
    >>> [text.get_text() for text in figure.axes[1].texts]
    ['gpu  50.0%']
    """
    loads = {e.name: float(e.least_load if e.load is None else e.load) for e in load.engines}
    agents, edges = agents_of(network, loads), edges_of(network)
    places, bends = layered_places(list(agents), [e for e in edges if e[0] != e[1]])
    shown = sorted(loads, key=loads.__getitem__, reverse=True)[:MOST_LINES]
    canvas = Canvas.around([*places.values(), *chain(*bends.values())], lines=len(shown))
    figure, graph, panel, key = canvas.figure()
    colours = LoadColours.up_to_full()
    for agent, part in agents.items():
        fill, ink = colours.of(part.load)
        stands_out = load.bottleneck in part.engines
        at = canvas.inches(places[agent])
        draw_box(graph, part, at=at, fill=fill, ink=ink, stands_out=stands_out)
        if part.arrival_rate:
            first = places[agent][0] == 0
            draw_arrivals(graph, part.arrival_rate, at=at, from_left=first)
    for (one, other), label in edges.items():
        route = [places[one], *bends.get((one, other), ()), places[other]]
        draw_move(graph, [canvas.inches(place) for place in route], label=label)
    _draw_loads(panel, {name: loads[name] for name in shown}, load.bottleneck, colours)
    figure.colorbar(
        colours.scale, cax=key, orientation="horizontal", extend="max", extendfrac=TIP
    )
    key.set_xlabel("load of the engine [%]", fontsize=8)
    key.tick_params(labelsize=7.5)
    _draw_heading(figure, title, verdict)
    return figure


def _draw_loads(
    axes: "Axes", loads: Mapping[str, float], bottleneck: str, colours: LoadColours
) -> None:
    """Draw a bar for each engine, the busiest on top, with a line at load 1."""
    axes.set_axis_off()
    axes.set_xlim(0, max(1.0, *loads.values()))
    axes.set_ylim(len(loads) - 0.5, -0.5)
    axes.axvline(1, color="0.4", linewidth=0.8, linestyle="--", zorder=0)
    left = axes.get_yaxis_transform()
    for line, (name, load) in enumerate(loads.items()):
        is_bottleneck = name == bottleneck
        weight = "bold" if is_bottleneck else "normal"
        axes.barh(
            line,
            load,
            height=0.72,
            color=[colours.of(load)[0]],
            edgecolor=COLOURS[2] if is_bottleneck else "0.4",
            linewidth=2 if is_bottleneck else 0.6,
        )
        text = f"{cut(name)}  {load:.1%}"
        style: dict[str, Any] = {"ha": "right", "va": "center", "transform": left}
        axes.text(-0.04, line, text, fontsize=8, fontweight=weight, **style)


def _draw_heading(figure: "Figure", title: str, verdict: "NetworkVerdict | None") -> None:
    """Write the title, and the verdict below it."""
    width, height = figure.get_size_inches()
    lines = [(textwrap.shorten(title, TITLE_WIDTH, placeholder=" …"), 12)]
    if verdict is not None:
        text = f"{verdict.status.name} ({verdict.evidence.value}): {verdict.reason}"
        letters = round(LETTERS_PER_INCH * width)
        wrapped = textwrap.wrap(text, letters, max_lines=2, placeholder=" …")
        lines += [(line, 9) for line in wrapped]
    for i, (line, size) in enumerate(lines):
        y = 1 - (0.12 + 0.2 * i + 0.04 * (i > 0)) / height
        figure.text(0.12 / width, y, line, fontsize=size, va="top")
