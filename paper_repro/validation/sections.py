"""The parts of the report: each computes, draws, writes its tables and says what was met."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

from paper_repro.validation import guidellm, guidellm_plot, guidellm_view, vllm_runs, vllm_view
from paper_repro.validation.guidellm import ONE_LAW, WITH_CACHE, assumed_engine
from paper_repro.validation.sweeps import read_sweeps
from paper_repro.validation.tables import Errors, markdown, share, write_csv
from paper_repro.validation.verdicts import COLUMNS, Judged, conclusion, judged_runs
from queueing_llm.errors import MissingDependency

if TYPE_CHECKING:
    import polars as pl

RATE, TPOT, TTFT = 0.10, 0.10, 0.20
"""Targets: median absolute errors of saturation throughput, TPOT, and TTFT below saturation."""
ALL_RIGHT = "every verdict with a margin above 10 % is right"

Table: TypeAlias = tuple[str, str, str, str]


@final
@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report.

    Parameters
    ----------
    title, text : str
        Heading and Markdown.
    targets : tuple of (part, target, obtained, met)
        Lines of the table of targets.
    figures : tuple of Path
        PNG files.
    """

    title: str
    text: str
    targets: tuple[Table, ...] = ()
    figures: tuple[Path, ...] = ()


def silicon_section(data: Path, out: Path, *, quick: bool) -> Section:
    """Return part 1: closed-loop benchmarks of many engines and GPUs."""
    title = "1. Closed-loop benchmarks of dense models on real GPUs"
    try:
        from paper_repro.validation import silicon

        frame = silicon.compute(quick=quick)
    except MissingDependency as error:
        return Section(title, f"Left out: {error}")
    silicon.plot(frame, out / "silicon.png")
    frame.write_csv(out / "silicon_runs.csv")
    silicon.summary(frame).write_csv(out / "silicon_groups.csv")
    held_out = frame.filter(~frame["training"])
    left_out = frame.height - frame["excluded"].null_count()
    head = (
        f"{frame.height} runs, of which {left_out} are left out by rule; the constants of the "
        "host were fitted to those with TP 2, the others were predicted. Median absolute "
        "errors of the simulation (`predicted`), of the same without time of the host "
        "(`bare`), of aiconfigurator's own estimate (`closed_form`) and of a step at the mean "
        "operating point (`mean_step`):"
    )
    text = "\n\n".join(
        [
            head,
            _silicon_table(silicon.summary, {"TP 2, fitted to": frame, "others": held_out}),
            "By backend and GPU, runs that were predicted:",
            _groups_table(silicon.summary(held_out, by=("backend", "system"))),
        ]
    )
    row = silicon.summary(held_out, by=()).row(0, named=True)
    targets = (
        _target("1", "saturation throughput", row["peak_rate_median"], RATE),
        _target("1", "TPOT", row["tpot_median"], TPOT),
        _target("1", "TTFT, users fit into memory", row["ttft_median"], TTFT),
    )
    return Section(title, text, targets, (out / "silicon.png",))


def _silicon_table(
    summary: "Callable[..., pl.DataFrame]", frames: "dict[str, pl.DataFrame]"
) -> str:
    rows = []
    for name, frame in frames.items():
        runs = frame.filter(frame["training"]) if name.startswith("TP 2") else frame
        for estimate in ("predicted", "bare", "closed_form", "mean_step"):
            found = summary(runs, by=(), estimate=estimate)
            if runs.height:
                rows.append((name, estimate, *_figures(found.row(0, named=True))))
    columns = ("runs", "estimate", "n", "TTFT", "TPOT", "rate", "rate at saturation")
    return markdown(columns, rows)


def _groups_table(groups: "pl.DataFrame") -> str:
    rows = [
        (f"{row['backend']}, {row['system']}", *_figures(row))
        for row in groups.iter_rows(named=True)
    ]
    return markdown(("group", "n", "TTFT", "TPOT", "rate", "rate at saturation"), rows)


def _figures(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("ttft_median", "tpot_median", "rate_median", "peak_rate_median")
    found = (row.get(name) for name in names)
    return (str(row["runs"]), *(share(float("nan") if x is None else x) for x in found))


def guidellm_section(data: Path, out: Path, *, quick: bool) -> Section:
    """Return part 2: sweeps of one vLLM, fitted at low rates."""
    title = "2. Sweeps of a real vLLM, fitted at low rates and predicted up to saturation"
    if not (data / guidellm.FILE).is_file():
        return Section(title, f"Left out: {guidellm.FILE} is not among the data.")
    swept = guidellm.compute(data, quick=quick)
    guidellm_view.csv_tables(swept, out)
    engine = assumed_engine(swept.server.step_time)
    judged = [] if quick else judged_runs(read_sweeps(data / guidellm.FILE), engine)
    _write_verdicts(judged, out / "guidellm_verdicts.csv")
    text = "\n\n".join(
        [
            guidellm_view.summary(swept),
            f"### Verdicts at the constant rates\n\n{conclusion(judged)}",
            f"### Where it misses, and why\n\n{guidellm_view.reasons(swept)}",
        ]
    )
    way = ONE_LAW if quick else WITH_CACHE
    unseen = {
        name: guidellm_view.curve_errors(swept, name, fitted=False, below=True)
        for name in ("tpot", "ttft")
    }
    targets = (
        _target("2", f"saturation throughput ({way})", _saturation(swept, way), RATE),
        _target("2", "TPOT below saturation, rates not fitted to", unseen["tpot"], TPOT),
        _target("2", "TTFT below saturation, rates not fitted to", unseen["ttft"], TTFT),
        *_verdict_target("2", judged),
    )
    return Section(title, text, targets, tuple(guidellm_plot.plot(swept, out)))


def _saturation(swept: guidellm.Swept, way: str) -> Errors:
    return guidellm_view.saturation_errors(swept, way)


def vllm_section(data: Path, out: Path, *, quick: bool) -> Section:
    """Return part 3: overload runs of vLLM 0.19, replayed."""
    title = "3. Overload runs of vLLM 0.19, replayed"
    results = vllm_runs.compute(data, quick=quick)
    if not results:
        return Section(
            title, f"Left out: there are no runs with profiles in {vllm_runs.FOLDER}."
        )
    vllm_view.csv_tables(results, out)
    judged = [result.judged for result in results if result.judged is not None]
    _write_verdicts(judged, out / "vllm_verdicts.csv")
    text = "\n\n".join(
        [
            vllm_view.summary(results),
            f"Verdicts at the rate offered while requests came: {conclusion(judged)}",
        ]
    )
    targets = [
        _target(
            "3",
            f"TPOT, {result.recorded.title} (overload)",
            vllm_view.request_errors(result, vllm_runs.CACHED, "tpot"),
            TPOT,
        )
        for result in results
    ]
    targets += _verdict_target("3", judged)
    return Section(title, text, tuple(targets), tuple(vllm_view.plot(results, out)))


def _write_verdicts(judged: Sequence[Judged], path: Path) -> None:
    if judged:
        write_csv(path, COLUMNS, (each.row() for each in judged))


def _verdict_target(part: str, judged: Sequence[Judged]) -> list[Table]:
    demanded = [each for each in judged if each.is_demanded]
    if not demanded:
        return []
    right = sum(each.is_right for each in demanded)
    met = "met" if right == len(demanded) else "missed"
    return [(part, ALL_RIGHT, f"{right} of {len(demanded)}", met)]


def _target(part: str, name: str, found: Errors | float | None, most: float) -> Table:
    figure = found.median if isinstance(found, Errors) else found
    if figure is None:
        return part, f"{name} < {most:.0%}", "no case", "—"
    return part, f"{name} < {most:.0%}", share(figure), "met" if figure < most else "missed"
