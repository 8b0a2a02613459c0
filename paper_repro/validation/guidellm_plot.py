"""The sweeps as figures: latencies against the rate, a panel for each workload."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paper_repro.validation.guidellm import ONE_LAW, WITH_CACHE, Prediction, Swept
from paper_repro.validation.sweeps import SweepRun
from queueing_llm.plots import COLOURS, figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
WORDS = {"tpot": "time per output token", "ttft": "time to first token"}


def plot(swept: Swept, out: Path) -> list[Path]:
    """Draw both latencies, and return the files."""
    return [_drawn(swept, quantity, out / f"guidellm_{quantity}.png") for quantity in WORDS]


def _drawn(swept: Swept, quantity: str, path: Path) -> Path:
    saturation = {run.workload: (run, found) for run, found in swept.saturated}
    names = list(dict.fromkeys([*saturation, *(run.workload for run, _, _ in swept.constant)]))
    rows = max(1, -(-len(names) // COLUMNS))
    figure = figure_class()(figsize=(10, 0.5 + 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        runs = [line for line in swept.constant if line[0].workload == name]
        _draw_panel(axes, runs, saturation.get(name), quantity)
        axes.set_title(name, loc="left", fontsize=10)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{WORDS[quantity]} [ms]", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("requests/s", fontsize=9)
    lines = panels.flat[0].get_lines()
    figure.legend(handles=lines, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.savefig(path, dpi=90)
    return path


def _draw_panel(
    axes: "Axes",
    runs: Sequence[tuple[SweepRun, Prediction, bool]],
    saturation: tuple[SweepRun, Mapping[str, Prediction]] | None,
    quantity: str,
) -> None:
    red, blue = COLOURS[0], COLOURS[2]
    times = [1e3 * getattr(prediction, quantity) for _, prediction, _ in runs]
    axes.plot([run.target for run, _, _ in runs], times, color=blue, label="predicted")
    for was_fitted, face, label in (
        (True, "white", "measured, fitted to"),
        (False, red, "measured, predicted"),
    ):
        kept = [run for run, _, fitted in runs if fitted == was_fitted and not run.is_dirty]
        rates = [run.target for run in kept]
        heights = [1e3 * getattr(run, quantity) for run in kept]
        (line,) = axes.plot(rates, heights, "o", color=red, markersize=5, label=label)
        line.set_markerfacecolor(face)
    if saturation is not None:
        measured, found = saturation
        best = found[WITH_CACHE if WITH_CACHE in found else ONE_LAW]
        axes.axvline(measured.rate, color=red, linestyle=":", label="saturation, measured")
        axes.axvline(best.rate, color=blue, linestyle=":", label="saturation, predicted")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
