"""The overload runs as text, tables and a figure over time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paper_repro.validation.serving import VERSION
from paper_repro.validation.tables import Errors, markdown, percent, share, write_csv
from paper_repro.validation.vllm_runs import CACHED, RULE, Replayed, states
from queueing_llm.plots import COLOURS, figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RUN_COLUMNS = (
    "run",
    "vLLM",
    "TP",
    "requests",
    "per second",
    "token budget",
    "sequences",
    "KV tokens",
    "step time",
    "predicted preemptions (rule / scheduler)",
)
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
    measured, predicted = replayed.finished(way)
    return Errors.of(getattr(predicted, quantity), getattr(measured, quantity))


def mean_error(replayed: Replayed, way: str, quantity: str) -> float:
    """Return the relative error of the mean of a latency [1]."""
    values = (getattr(served, quantity) for served in replayed.finished(way))
    measured, predicted = (float(np.mean(x)) if len(x) else float("nan") for x in values)
    return predicted / measured - 1


def state_errors(replayed: Replayed, way: str) -> dict[str, float]:
    """Return the mean absolute errors of the states over time, nan for what is not known.

    Shares of the largest measured value; of the KV cache, of its size.
    """
    errors = dict.fromkeys(STATES, float("nan"))
    for name, values in zip(STATES, _states(replayed, way), strict=True):
        if is_recorded(replayed, name) and not np.isnan(values).all():
            truth = replayed.recorded.series[name]
            scale = 100.0 if name == "kv_cache_pct" else float(np.nanmax(truth))
            errors[name] = float(np.nanmean(np.abs(values - truth))) / scale
    return errors


def is_recorded(replayed: Replayed, state: str) -> bool:
    """Whether a state was recorded, and not as 0 throughout."""
    series = replayed.recorded.series
    return "t" in series and state in series and bool(np.nanmax(series[state], initial=0) > 0)


def _states(replayed: Replayed, way: str) -> list[np.ndarray]:
    recorded = replayed.recorded
    served = replayed.predictions[way]
    times = recorded.series.get("t", np.empty(0))
    return list(states(served, times, blocks=replayed.blocks))


def summary(results: Sequence[Replayed], skipped: Sequence[tuple[str, str]]) -> str:
    """Return the section of the report: what was run, errors, and what was left out."""
    parts = [f"* Left out: {title}: {reason}" for title, reason in skipped]
    if results:
        rows = [row for replayed in results for row in _rows(replayed)]
        notes = (
            "Errors of the mean are signed; absolute errors are medians over requests; "
            "running and waiting are mean absolute errors over the seconds of the run, as a "
            "share of the largest measured value (a dash if that is 0), KV use of the cache. "
            "Nothing is fitted. `rule`: `VLLM_V1`, which recomputes what is preempted; a "
            f"preempted request counts as running. `scheduler`: that of vLLM {VERSION} with "
            "its prefix cache. No time of the host is added: a constant per step that removed "
            f"the remaining error of TPOT would be {_host(results)}."
        )
        runs = markdown(RUN_COLUMNS, map(_run, results))
        parts = [runs, *_remarks(results), markdown(COLUMNS, rows), notes, *parts]
    return "\n\n".join(parts)


def _run(replayed: Replayed) -> tuple[str, ...]:
    recorded = replayed.recorded
    tokens = f"{replayed.blocks * recorded.block_size:,}"
    return (
        recorded.title,
        recorded.version,
        str(recorded.tp),
        str(len(recorded.requests)),
        f"{recorded.arrival_rate:.1f}",
        str(recorded.token_budget),
        str(recorded.max_batch_size),
        tokens + (" (assumed)" if recorded.kv_capacity is None else ""),
        replayed.origin,
        " / ".join(str(replayed.predictions[way].preemptions) for way in (RULE, CACHED)),
    )


def _remarks(results: Sequence[Replayed]) -> Iterator[str]:
    """Say of which requests the errors are, where not of all."""
    for replayed in results:
        recorded = replayed.recorded
        if recorded.dropped:
            yield f"{recorded.title}: {recorded.dropped} requests without an answer left out."
        if missing := len(recorded.requests) - int(recorded.served.done.sum()):
            yield f"{recorded.title}: {missing} requests never finished; errors are of others."
        if not all(served.done.all() for served in replayed.predictions.values()):
            yield f"{recorded.title}: not all requests finish in the replay."


def _rows(replayed: Replayed) -> Iterator[tuple[str, ...]]:
    recorded = replayed.recorded
    for way in replayed.predictions:
        measured, predicted = replayed.finished(way)
        ends = (np.max(served.finish, initial=0) for served in (predicted, measured))
        last = next(ends) / max(next(ends), 1e-9) - 1
        means = (percent(mean_error(replayed, way, name)) for name in QUANTITIES)
        each = (share(request_errors(replayed, way, name).median) for name in QUANTITIES)
        found = (share(error) for error in state_errors(replayed, way).values())
        yield recorded.title, way, percent(float(last)), *means, *each, *found


def _host(results: Sequence[Replayed]) -> str:
    parts = []
    for replayed in results:
        measured, predicted = replayed.finished(CACHED)
        missing = float(np.mean(measured.tpot) - np.mean(predicted.tpot))
        parts.append(f"{1e3 * missing:+.1f} ms on {replayed.recorded.title}")
    return ", ".join(parts)


def csv_tables(results: Sequence[Replayed], out: Path) -> list[Path]:
    """Write the states over time, and the latencies request by request."""
    over_time, each = [], []
    for replayed in results:
        name, series = replayed.recorded.title, replayed.recorded.series
        for way in replayed.predictions:
            found = _states(replayed, way)
            for i, t in enumerate(series.get("t", np.empty(0)).tolist()):
                pairs = (
                    value
                    for state, values in zip(STATES, found, strict=True)
                    for value in (series[state][i] if state in series else "", values[i])
                )
                over_time.append((name, way, t, *pairs))
            columns = [
                column
                for served in replayed.finished(way)
                for column in (served.first - served.arrival, served.finish - served.arrival)
            ]
            each += [(name, way, *row) for row in np.array(columns).T.tolist()]
    pairs_of_states = [f"{kind}_{s}" for s in STATES for kind in ("measured", "predicted")]
    latencies = [
        f"{kind}_{q}" for kind in ("measured", "predicted") for q in ("ttft", "latency")
    ]
    return [
        write_csv(out / "vllm_states.csv", ("run", "way", "t", *pairs_of_states), over_time),
        write_csv(out / "vllm_requests.csv", ("run", "way", *latencies), each),
    ]


def plot(results: Sequence[Replayed], out: Path) -> list[Path]:
    """Draw requests that run and wait, and the KV cache, over the time of each run."""
    figure = figure_class()(figsize=(max(6, 5 * len(results)), 5.5), layout="constrained")
    panels = figure.subplots(len(STATES), len(results), sharex="col", squeeze=False)
    for column, replayed in zip(panels.T, results, strict=True):
        for row, axes in enumerate(column):
            _draw_panel(axes, replayed, row)
        column[0].set_title(replayed.recorded.title, loc="left", fontsize=10)
        column[-1].set_xlabel("time [s]", fontsize=9)
    for axes, words in zip(panels[:, 0], WORDS, strict=True):
        axes.set_ylabel(words, fontsize=9)
    lines = max((axes.get_lines() for axes in panels.flat), key=len)
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(out / "vllm_runs.png", dpi=90)
    return [out / "vllm_runs.png"]


def _draw_panel(axes: "Axes", replayed: Replayed, row: int) -> None:
    recorded, state = replayed.recorded, STATES[row]
    axes.grid(color="0.92", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if not is_recorded(replayed, state):
        axes.text(0.5, 0.5, "not recorded, or 0", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    times = recorded.series["t"]
    axes.plot(times, recorded.series[state], color=COLOURS[0], label="measured")
    for way, colour in ((CACHED, COLOURS[2]), (RULE, COLOURS[5])):
        values = _states(replayed, way)[row]
        axes.plot(times, values, color=colour, linewidth=1, label=f"predicted, {way}")
    axes.set_ylim(bottom=0)
