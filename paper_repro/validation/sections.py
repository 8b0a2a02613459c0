"""The parts of the report: each computes, draws, writes its tables and says what was met."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, final

from paper_repro.validation import guidellm, guidellm_plot, guidellm_view, vllm_runs, vllm_view
from paper_repro.validation.guidellm import ONE_LAW, WITH_CACHE, assumed_engine
from paper_repro.validation.sweeps import read_sweeps
from paper_repro.validation.tables import Errors, share, write_csv
from paper_repro.validation.verdicts import (
    COLUMNS,
    FEW,
    GROWING,
    NEAR,
    STARTED,
    STATIONARY,
    Judged,
    conclusion,
    judged_runs,
)
from paper_repro.validation.vllm_recorded import LEVEL, measured_status
from queueing_llm.errors import InvalidArgument, MissingDependency
from queueing_llm.evidence import Status

RATE, TPOT, TTFT = 0.10, 0.10, 0.20
"""Targets: median absolute errors of saturation throughput, TPOT, and TTFT below saturation."""
MEASURED_BY_COUNTS = (
    f"Measured as stable: at least {STARTED:.0%} of the requests were sent, and those "
    f"unfinished at the end were fewer than {(STATIONARY + GROWING) / 2:g} times rate times "
    f"mean latency ({STATIONARY:g} times if their number is level, {GROWING:g} times if it "
    f"grows from 0), give or take {FEW} requests."
)
MEASURED_BY_STARTS = (
    f"Measured as unstable: more than {NEAR:.0%} of the requests had not been begun when the "
    f"last came. As stable: fewer, and on average in the last quarter of that time at most "
    f"{LEVEL:g} times as many in the system as in the second. Runs that show neither are not "
    "judged."
)
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
    own = data / "silicon_sample.csv"
    try:
        from paper_repro.validation import silicon, silicon_view

        frame = silicon.compute(quick=quick, sample_file=own if own.is_file() else None)
    except (ImportError, InvalidArgument, MissingDependency) as error:
        return Section(title, f"Left out: {error}")
    frame.write_csv(out / "silicon_runs.csv")
    silicon.summary(frame).write_csv(out / "silicon_groups.csv")
    figures = silicon_view.pictures(frame, out)
    row = silicon.summary(frame.filter(~frame["training"]), by=()).row(0, named=True)
    targets = (
        _target("1", "saturation throughput", row["peak_rate_median"], RATE),
        _target("1", "TPOT", row["tpot_median"], TPOT),
        _target("1", "TTFT, users fit into memory", row["ttft_median"], TTFT),
    )
    return Section(title, silicon_view.text(frame), targets, figures)


def guidellm_section(data: Path, out: Path, *, quick: bool) -> Section:
    """Return part 2: sweeps of one vLLM, fitted at low rates."""
    title = "2. Sweeps of a real vLLM, fitted at low rates and predicted up to saturation"
    if not (data / guidellm.FILE).is_file():
        return Section(title, f"Left out: {guidellm.FILE} is not among the data.")
    try:
        swept = guidellm.compute(data, quick=quick)
    except InvalidArgument as error:
        return Section(title, f"Left out: {error}")
    guidellm_view.csv_tables(swept, out)
    engine = assumed_engine(swept.server.step_time)
    judged = [] if quick else judged_runs(read_sweeps(data / guidellm.FILE), engine)
    _write_verdicts(judged, out / "guidellm_verdicts.csv")
    words = f"{conclusion(judged)} {MEASURED_BY_COUNTS if judged else ''}".rstrip()
    parts = [guidellm_view.summary(swept), f"### Verdicts at the constant rates\n\n{words}"]
    if why := guidellm_view.reasons(swept):
        parts.append(f"### Where it misses, and why\n\n{why}")
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
    figures = tuple(guidellm_plot.plot(swept, out))
    return Section(title, "\n\n".join(parts), targets, figures)


def _saturation(swept: guidellm.Swept, way: str) -> Errors:
    return guidellm_view.saturation_errors(swept, way)


def vllm_section(data: Path, out: Path, *, quick: bool) -> Section:
    """Return part 3: recorded runs of vLLM, replayed."""
    title = "3. Recorded runs of vLLM, replayed"
    results, skipped = vllm_runs.compute(data, quick=quick)
    text = vllm_view.summary(results, skipped)
    if not results:
        return Section(title, text or f"Left out: there are no runs in {vllm_runs.FOLDER}.")
    vllm_view.csv_tables(results, out)
    judged = [result.judged for result in results if result.judged is not None]
    _write_verdicts(judged, out / "vllm_verdicts.csv")
    targets = [
        _target(
            "3",
            f"TPOT, {result.recorded.title}{_load(result)}",
            vllm_view.request_errors(result, vllm_runs.CACHED, "tpot"),
            TPOT,
        )
        for result in results
    ]
    targets += _verdict_target("3", judged)
    text += f"\n\nVerdicts at the rate offered while requests came: {conclusion(judged)}"
    if judged:
        text += f" {MEASURED_BY_STARTS}"
    return Section(title, text, tuple(targets), tuple(vllm_view.plot(results, out)))


def _load(result: vllm_runs.Replayed) -> str:
    words = {Status.UNSTABLE: " (overload)", Status.STABLE: " (no overload)"}
    status = measured_status(result.recorded)
    return "" if status is None else words[status]


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
    if isinstance(found, Errors):
        found = found.median if found.count else None
    figure = found
    if figure is None:
        return part, f"{name} < {most:.0%}", "no case", "—"
    return part, f"{name} < {most:.0%}", share(figure), "met" if figure < most else "missed"
