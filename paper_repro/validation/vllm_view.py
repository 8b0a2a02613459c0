"""The overload runs as text, tables and a figure over time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paper_repro.validation.tables import Errors, markdown, percent, share, write_csv
from paper_repro.validation.vllm_runs import CACHED, RULE, Replayed, states
from queueing_llm.plots._frame import COLOURS, figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTITIES = ("ttft", "tpot", "latency")
STATES = ("running", "waiting", "kv_cache_pct")
WORDS = ("running [requests]", "waiting [requests]", "KV cache [%]")
COLUMNS = (
    "run",
    "prediction",
    "last answer",
    "mean TTFT",
    "mean TPOT",
    "mean latency",
    "abs. error TTFT",
    "TPOT",
    "latency",
    "running",
    "waiting",
    "KV use",
)


def request_errors(replayed: Replayed, way: str, quantity: str) -> Errors:
    """Return the errors of a latency, request by request."""
    predicted = getattr(replayed.predictions[way], quantity)
    return Errors.of(predicted, getattr(replayed.recorded.served, quantity))


def mean_error(replayed: Replayed, way: str, quantity: str) -> float:
    """Return the relative error of the mean of a latency [1]."""
    predicted = getattr(replayed.predictions[way], quantity).mean()
    return float(predicted / getattr(replayed.recorded.served, quantity).mean() - 1)


def state_errors(replayed: Replayed, way: str) -> dict[str, float]:
    """Return the mean absolute errors of the states over time, nan for what is not known.

    Requests for ``running`` and ``waiting``, percentage points for the KV cache.
    """
    recorded = replayed.recorded
    found = _states(replayed, way)
    errors = {
        name: float(np.mean(np.abs(values - recorded.series[name])))
        for name, values in zip(STATES, found, strict=True)
    }
    if recorded.kv_capacity is None:
        errors["kv_cache_pct"] = float("nan")
    return errors


def _states(replayed: Replayed, way: str) -> list[np.ndarray]:
    recorded = replayed.recorded
    served = replayed.predictions[way]
    return list(states(served, recorded.series["t"], blocks=recorded.blocks))


def summary(results: Sequence[Replayed]) -> str:
    """Return the section of the report: errors only."""
    rows = [row for replayed in results for row in _rows(replayed)]
    notes = (
        "Errors of the mean are signed; absolute errors are medians over requests; running, "
        "waiting and KV use are mean absolute errors over the seconds of the run, as a share "
        "of the largest measured value (KV use: percentage points). The step time is the sum "
        "of the operators timed on the same GPU, nothing fitted. `rule`: `VLLM_V1`, which "
        "recomputes what is preempted; a preempted request counts as running. `scheduler`: "
        f"that of vLLM with its prefix cache. {_preemptions(results)}\n\n"
        "No time of the host is added: a constant per step that removed the remaining error of "
        f"TPOT would be {_host(results)}."
    )
    return f"{markdown(COLUMNS, rows)}\n\n{notes}"


def _rows(replayed: Replayed) -> Iterator[tuple[str, ...]]:
    recorded = replayed.recorded
    for way, served in replayed.predictions.items():
        last = float(np.nanmax(served.finish) / recorded.served.finish.max() - 1)
        means = (percent(mean_error(replayed, way, name)) for name in QUANTITIES)
        each = (share(request_errors(replayed, way, name).median) for name in QUANTITIES)
        found = state_errors(replayed, way)
        counts = (share(found[n] / recorded.series[n].max()) for n in ("running", "waiting"))
        use = share(found["kv_cache_pct"] / 100)
        yield recorded.title, way, percent(last), *means, *each, *counts, use


def _preemptions(results: Sequence[Replayed]) -> str:
    counts = "; ".join(
        f"{replayed.recorded.title}: {replayed.predictions[way].preemptions} ({way})"
        for replayed in results
        for way in (RULE, CACHED)
    )
    return f"Predicted preemptions (not recorded): {counts}."


def _host(results: Sequence[Replayed]) -> str:
    parts = []
    for replayed in results:
        missing = (
            replayed.recorded.served.tpot.mean() - replayed.predictions[CACHED].tpot.mean()
        )
        parts.append(f"{1e3 * float(missing):+.1f} ms on {replayed.recorded.title}")
    return ", ".join(parts)


def csv_tables(results: Sequence[Replayed], out: Path) -> list[Path]:
    """Write the states over time, and the latencies request by request."""
    over_time, each = [], []
    for replayed in results:
        name, series = replayed.recorded.title, replayed.recorded.series
        for way in replayed.predictions:
            found = _states(replayed, way)
            for i, t in enumerate(series["t"].tolist()):
                pairs = (
                    value
                    for state, values in zip(STATES, found, strict=True)
                    for value in (series[state][i], values[i])
                )
                over_time.append((name, way, t, *pairs))
            columns = [
                column
                for served in (replayed.recorded.served, replayed.predictions[way])
                for column in (served.ttft, served.tpot, served.latency)
            ]
            each += [(name, way, *row) for row in np.array(columns).T.tolist()]
    pairs_of_states = [f"{kind}_{s}" for s in STATES for kind in ("measured", "predicted")]
    latencies = [f"{kind}_{q}" for kind in ("measured", "predicted") for q in QUANTITIES]
    return [
        write_csv(out / "vllm_states.csv", ("run", "way", "t", *pairs_of_states), over_time),
        write_csv(out / "vllm_requests.csv", ("run", "way", *latencies), each),
    ]


def plot(results: Sequence[Replayed], out: Path) -> list[Path]:
    """Draw requests that run and wait, and the KV cache, over the time of each run."""
    figure = figure_class()(figsize=(10, 5.5), layout="constrained")
    panels = figure.subplots(len(STATES), len(results), sharex="col", squeeze=False)
    for column, replayed in zip(panels.T, results, strict=True):
        for row, axes in enumerate(column):
            _draw_panel(axes, replayed, row)
        column[0].set_title(replayed.recorded.title, loc="left", fontsize=10)
        column[-1].set_xlabel("time [s]", fontsize=9)
    for axes, words in zip(panels[:, 0], WORDS, strict=True):
        axes.set_ylabel(words, fontsize=9)
    lines = panels[0, 0].get_lines()
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(out / "vllm_runs.png", dpi=90)
    return [out / "vllm_runs.png"]


def _draw_panel(axes: "Axes", replayed: Replayed, row: int) -> None:
    recorded, state = replayed.recorded, STATES[row]
    axes.grid(color="0.92", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if state == "kv_cache_pct" and recorded.kv_capacity is None:
        axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    times = recorded.series["t"]
    axes.plot(times, recorded.series[state], color=COLOURS[0], label="measured")
    for way, colour in ((CACHED, COLOURS[2]), (RULE, COLOURS[5])):
        values = _states(replayed, way)[row]
        axes.plot(times, values, color=colour, linewidth=1, label=f"predicted, {way}")
    axes.set_ylim(bottom=0)
