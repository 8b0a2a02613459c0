"""Predicted against measured, and the errors beside those of simpler estimates."""

from pathlib import Path

import numpy as np
import polars as pl

_COLOURS = {"vllm": "#30728b", "trtllm": "#8bae3f", "sglang": "#d1603d"}
_NAMES = {"vllm": "vLLM", "trtllm": "TensorRT-LLM", "sglang": "SGLang"}
_ESTIMATES = {
    "predicted": "simulated, host costs",
    "bare": "simulated, operators only",
    "closed_form": "aiconfigurator's closed form",
    "mean_step": "mean step",
}


def plot(frame: pl.DataFrame, path: Path | str) -> None:
    """Draw the predictions of :func:`compute` and save the picture.

    Parameters
    ----------
    frame : polars.DataFrame
        What :func:`compute` returns; excluded runs are left out.
    path : path or str
        Where to, as PNG or SVG.
    """
    from matplotlib.figure import Figure

    runs = frame.filter(pl.col("excluded").is_null())
    figure = Figure(figsize=(11.0, 8.0), layout="constrained")
    axes = figure.subplots(2, 2)
    _scatter(axes[0, 0], runs, "tpot", title="time per output token [ms]", scale=1e3)
    _scatter(axes[0, 1], runs, "ttft", title="time to first token [s]", scale=1.0)
    _histogram(axes[1, 0], runs, "tpot", title="error of the time per output token")
    below = runs.filter(pl.col("load") == "below")
    _histogram(axes[1, 1], below, "ttft", title="error of the time to first token, users fit")
    figure.savefig(path, dpi=90)
    if Path(path).suffix == ".png":
        _fewer_colours(Path(path))


def _fewer_colours(path: Path) -> None:
    """Make a picture of many transparent dots a third of its size."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.convert("RGB").quantize(64).save(path, optimize=True)


def _scatter(axes, runs: pl.DataFrame, quantity: str, *, title: str, scale: float) -> None:  # type: ignore[no-untyped-def]
    for backend, colour in _COLOURS.items():
        part = runs.filter(pl.col("backend") == backend)
        if not part.height:
            continue
        axes.scatter(
            part[quantity] * scale,
            part[f"predicted_{quantity}"] * scale,
            s=9,
            alpha=0.55,
            linewidths=0,
            color=colour,
            label=f"{_NAMES[backend]} ({part.height})",
        )
    shown = runs.select(quantity, f"predicted_{quantity}").to_numpy() * scale
    low, high = shown.min() * 0.8, shown.max() * 1.2
    line = np.array([low, high])
    axes.plot(line, line, color="0.2", linewidth=0.8)
    axes.fill_between(line, line / 1.2, line * 1.2, color="0.5", alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), title=title)
    axes.set(xlabel="measured", ylabel="predicted (band: within 20 %)")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _histogram(axes, runs: pl.DataFrame, quantity: str, *, title: str) -> None:  # type: ignore[no-untyped-def]
    bins = np.linspace(-1, 1.5, 76)
    for kind, name in _ESTIMATES.items():
        column = f"{kind}_{quantity}"
        if column not in runs.columns:
            continue
        error = (runs[column] / runs[quantity] - 1).drop_nulls().to_numpy()
        if not len(error):
            continue
        label = f"{name}: median |error| {np.median(np.abs(error)):.0%}"
        axes.hist(np.clip(error, -1, 1.5), bins, histtype="step", linewidth=1.4, label=label)
    axes.axvline(0, color="0.2", linewidth=0.8)
    axes.set(title=title, xlabel="predicted / measured - 1 (last bin: more)", ylabel="runs")
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
    axes.legend(frameon=False, fontsize=8, loc="upper right")
