"""The same start twice: on the exact fluid path, and in one simulated network."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import queueing_llm as ql
from paper_repro.lu_kumar1991.as_engines import as_engines
from queueing_llm.networks import priority_fluid
from queueing_llm.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PHASES = 12
"""Of the fluid path: three rounds of four."""


def two_paths(
    network: ql.MulticlassNetwork,
    *,
    priority: tuple[int, ...],
    start: int,
    shown: Mapping[str, int],
    seed: int,
) -> dict[str, dict[str, list[float]]]:
    """Return how many jobs of some classes are present over three rounds.

    Parameters
    ----------
    network : MulticlassNetwork
        Stations and routes.
    priority : tuple of int, one per class
        Smaller is served first.
    start : int
        Jobs of the first class at time 0; there are no others.
    shown : mapping of str to int
        The classes, by the name of their column.
    seed : int
        Seed of the simulation.

    Returns
    -------
    dict
        The tables ``fluid_path`` and ``simulated_path``, with ``time_s``.
    """
    begin = [start] + [0] * (network.class_count - 1)
    path = priority_fluid(network, priority=priority, start=begin, max_phases=PHASES)
    states = [path.start, *path.states]
    times = [0.0, *map(float, path.times)]
    run = ql.simulate_network(
        as_engines(network, priority=priority),
        horizon=times[-1],
        samples=400,
        seed=seed,
        start={network.class_names[0]: start},
    )
    return {
        "fluid_path": {"time_s": times}
        | {name: [float(state[k]) for state in states] for name, k in shown.items()},
        "simulated_path": {"time_s": run.times.tolist()}
        | {name: run.present[0, :, k].tolist() for name, k in shown.items()},
    }


def draw_two_paths(
    axes: "Axes",
    tables: Mapping[str, Mapping[str, Sequence[Any]]],
    labels: Mapping[str, str],
) -> None:
    """Draw both paths of the columns in ``labels``, the fluid thin and the simulated wide."""
    fluid, simulated = tables["fluid_path"], tables["simulated_path"]
    for (column, label), colour in zip(labels.items(), (COLOURS[2], COLOURS[0]), strict=True):
        for table, style in (
            (simulated, {"linewidth": 3, "alpha": 0.35}),
            (fluid, {"label": label}),
        ):
            hours = [seconds / 3600 for seconds in table["time_s"]]
            axes.plot(hours, table[column], color=colour, **style)
    axes.set_xlabel("time [hours]")
    axes.legend(title="thin: fluid, wide: simulated", loc="upper left", fontsize=8)
    axes.set_ylim(0, 1.4 * max(max(simulated[column]) for column in labels))
