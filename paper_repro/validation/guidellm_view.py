"""The sweeps as text, tables and figures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from paper_repro.validation.guidellm import (
    FEW_SEQUENCES,
    KV_TOKENS,
    MOST_SEQUENCES,
    NO_FIT,
    ONE_LAW,
    OWN_LAW,
    TOKEN_BUDGET,
    WITH_CACHE,
    Prediction,
    Swept,
    is_below_saturation,
)
from paper_repro.validation.sweeps import SweepRun
from paper_repro.validation.tables import Errors, markdown, percent, share, write_csv

WAYS = (ONE_LAW, WITH_CACHE, OWN_LAW, NO_FIT)
QUANTITIES = ("rate", "ttft", "tpot", "concurrency", "latency")
FIGURES = ("median", "mean", "worst", "bias", "below saturation?", "fitted?")
WAYS_EXPLAINED = (
    "`one law`: rule `VLLM_V1`, recomputing what is preempted. `prefix cache`: the scheduler "
    "of vLLM, which finds it again. `own law`: fitted to that workload alone, a dash where its "
    "low rates cannot tell tokens from KV tokens. `H100, not fitted`: operator times."
)
Pair = tuple[SweepRun, Prediction]


def saturation_errors(swept: Swept, way: str) -> Errors:
    """Return the errors of the saturation throughput of one way to predict it."""
    pairs = [(run, found[way]) for run, found in swept.saturated if way in found]
    return _errors([pair for pair in pairs if pair[0].has_sound_rate], "rate")


def curve_errors(swept: Swept, quantity: str, *, fitted: bool | None, below: bool) -> Errors:
    """Return the errors of constant runs, dirty ones left out.

    Parameters
    ----------
    swept : Swept
        The runs.
    quantity : str
        One of :data:`QUANTITIES`.
    fitted : bool or None
        Only runs that the law was fitted to, or only others; None for both.
    below : bool
        Only the runs below saturation, or only the fastest of each workload.
    """
    runs = [run for run, _, _ in swept.constant]
    return _errors(
        [
            (run, prediction)
            for run, prediction, was_fitted in swept.constant
            if not run.is_dirty
            and fitted in (None, was_fitted)
            and is_below_saturation(run, runs) == below
        ],
        quantity,
    )


def _errors(pairs: Sequence[Pair], quantity: str) -> Errors:
    return Errors.of(
        [getattr(prediction, quantity) for _, prediction in pairs],
        [getattr(run, quantity) for run, _ in pairs],
    )


def summary(swept: Swept) -> str:
    """Return the section of the report: errors only."""
    law, server = swept.server.step_time, swept.server
    head = (
        "One affine law t = c + a (x + y) + g K for all workloads, fitted to synchronous "
        f"runs and the lower half of the constant rates ({server.samples} operating points; "
        f"mean error {share(server.mean_error)}, worst {share(server.worst_error)}): "
        f"c = {1e3 * float(law.base):.2f} ms, a = {1e6 * float(law.per_token):.1f} us, "
        f"g = {1e9 * float(law.per_kv_token):.1f} ns, and "
        f"{1e3 * server.request_time:.1f} ms of a request outside the engine. Assumed, since "
        f"not recorded: {KV_TOKENS:,} KV tokens, budget {TOKEN_BUDGET}, {MOST_SEQUENCES} "
        "sequences, blocks of 16. Lengths are those that the benchmark draws."
    )
    parts = [
        head,
        "### Saturation throughput: 512 users, requests finished in the same window",
        markdown(("workload", *WAYS, "preempted", "remark"), _saturation_rows(swept)),
        WAYS_EXPLAINED,
        "### What the assumptions change (one law, rule)",
        markdown(_names(swept), _sensitivity_rows(swept)),
        "### Constant rates",
        markdown(("quantity", "runs", *FIGURES), _curve_rows(swept)),
    ]
    return "\n\n".join(parts)


def _saturation_rows(swept: Swept) -> Iterator[tuple[str, ...]]:
    for run, found in swept.saturated:
        rates = (found[way].rate if way in found else float("nan") for way in WAYS)
        cells = (percent(rate / run.rate - 1) for rate in rates)
        remark = f"{run.errored} requests failed" if run.errored else ""
        remark = remark or ("time to first token impossible" if run.is_dirty else "")
        yield run.workload, *cells, str(found[ONE_LAW].preemptions), remark
    for name, figure in (("median abs. error", "median"), ("mean abs. error", "mean")):
        errors = (saturation_errors(swept, way) for way in WAYS)
        cells = (share(getattr(each, figure)) for each in errors)
        yield name, *cells, "", "without failed runs"


def _names(swept: Swept) -> tuple[str, ...]:
    return ("assumption", *(run.workload for run, _ in swept.saturated), "median abs. error")


def _sensitivity_rows(swept: Swept) -> Iterator[tuple[str, ...]]:
    runs = [run for run, _ in swept.saturated]
    for name, predictions in swept.sensitivity.items():
        pairs = list(zip(runs, predictions, strict=True))
        cells = (percent(prediction.rate / run.rate - 1) for run, prediction in pairs)
        sound = _errors([pair for pair in pairs if pair[0].has_sound_rate], "rate")
        yield name, *cells, share(sound.median)


def _curve_rows(swept: Swept) -> Iterator[tuple[str, ...]]:
    for below, fitted in ((True, True), (True, False), (False, False)):
        for quantity in QUANTITIES:
            found = curve_errors(swept, quantity, fitted=fitted, below=below)
            sizes = (share(x) for x in (found.median, found.mean, found.worst))
            words = ("yes" if below else "no", "yes" if fitted else "no")
            yield quantity, str(found.count), *sizes, percent(found.bias), *words


def reasons(swept: Swept) -> str:
    """Say where the predictions miss and why, as far as the measurements tell."""
    texts = (_streaming(swept), _overlap(swept), _cache(swept))
    return "\n".join(f"* {text}" for text in texts)


def _overlap(swept: Swept) -> str:
    near = curve_errors(swept, "tpot", fitted=True, below=True)
    far = curve_errors(swept, "tpot", fitted=False, below=True)
    return (
        f"The time per token is {percent(near.bias)} off where the law was fitted and "
        f"{percent(far.bias)} beyond. The law adds up the time of weights, tokens and KV "
        "reads, which a GPU overlaps in part: we think that it is too slow where two of them "
        "matter alike."
    )


def _cache(swept: Swept) -> str:
    pairs = [
        (run, found[ONE_LAW], found[WITH_CACHE])
        for run, found in swept.saturated
        if WITH_CACHE in found and found[ONE_LAW].preemptions
    ]
    if not pairs:
        return "The scheduler with a prefix cache was not asked in this run."
    words = ", ".join(
        f"{run.workload} {percent(rule.rate / run.rate - 1)} and "
        f"{percent(cached.rate / run.rate - 1)}"
        for run, rule, cached in pairs
    )
    return (
        "Where the KV cache is full, requests are preempted. The rule computes them again, "
        f"vLLM finds part of it in its prefix cache (without and with it: {words})."
    )


def _streaming(swept: Swept) -> str:
    """Say why short prompts saturate early, from what was measured."""
    tokens = {run.workload: run.streamed_tokens for run, _ in swept.saturated}
    fast = {name: rate for name, rate in tokens.items() if rate > max(tokens.values()) / 2}
    low, high = min(fast.values()), max(fast.values())
    others = max(rate for name, rate in tokens.items() if name not in fast)
    place = next(i for i, (run, _) in enumerate(swept.saturated) if run.workload in fast)
    short, found = swept.saturated[place]
    few = swept.sensitivity[FEW_SEQUENCES][place]
    ratio, waiting = short.ttft / found[ONE_LAW].ttft, short.ttft / short.latency
    return (
        f"{', '.join(fast)} all saturate at {low / 1e3:.1f} to {high / 1e3:.1f} thousand "
        f"streamed tokens/s, whatever their lengths; the other workloads reach at most "
        f"{others / 1e3:.1f}. The engine does not keep them waiting: the first token of "
        f"{short.workload} comes after {share(waiting)} of the latency (a limit of 256 "
        "sequences, which would explain the rates, means "
        f"{share(few.ttft / few.latency)}), yet {ratio:.1f} times as late as its steps "
        "explain. So we think that it is the process that sends tokens, of the server or of "
        "the client, which low rates do not show and no law of the engine holds."
    )


def csv_tables(swept: Swept, out: Path) -> list[Path]:
    """Write what was measured and predicted, run by run."""
    saturated = [
        (run.workload, way, run.rate, found[way].rate, run.tpot, found[way].tpot)
        for run, found in swept.saturated
        for way in WAYS
        if way in found
    ]
    columns = ["workload", "target", "fitted", "dirty"]
    columns += [f"{kind}_{name}" for name in QUANTITIES for kind in ("measured", "predicted")]
    constant = [
        (run.workload, run.target, fitted, run.is_dirty, *_pairs(run, prediction))
        for run, prediction, fitted in swept.constant
    ]
    head = ["workload", "way"]
    head += [
        f"{kind}_{name}" for name in ("rate", "tpot") for kind in ("measured", "predicted")
    ]
    return [
        write_csv(out / "guidellm_saturation.csv", head, saturated),
        write_csv(out / "guidellm_constant.csv", columns, constant),
    ]


def _pairs(run: SweepRun, prediction: Prediction) -> Iterator[float]:
    for quantity in QUANTITIES:
        yield from (getattr(run, quantity), getattr(prediction, quantity))
