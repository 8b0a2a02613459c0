"""The sweeps as text, tables and figures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from paper_repro.validation.guidellm import (
    BELOW,
    BLOCK,
    FEW_SEQUENCES,
    KV_TOKENS,
    MOST_SEQUENCES,
    NO_FIT,
    ONE_LAW,
    OWN_LAW,
    TOKEN_BUDGET,
    WITH_CACHE,
    WITH_HOST,
    Prediction,
    Swept,
    is_below_saturation,
)
from paper_repro.validation.sweeps import USERS, SweepRun
from paper_repro.validation.tables import Errors, markdown, percent, share, write_csv

WAYS = (ONE_LAW, WITH_CACHE, OWN_LAW, NO_FIT, WITH_HOST)
QUANTITIES = ("rate", "ttft", "tpot", "concurrency", "latency")
FIGURES = ("median", "mean", "worst", "bias", "below saturation?", "fitted?")
WAYS_EXPLAINED = (
    "`one law`: rule `VLLM_V1`, recomputing what is preempted. `prefix cache`: the scheduler "
    "of vLLM, which finds it again. `own law`: fitted to that workload alone, a dash where its "
    "low rates cannot tell tokens from KV tokens. `H100 operators`: operator times, fitted to "
    "nothing here. `H100 and host`: the same with the time of the host that was fitted in part "
    "1, of a vLLM that schedules ahead; neither GPU nor version of the measured one is known."
)
NOTABLE = 0.05
"""Relative error of which it is worth saying why."""
ALIKE = 1.25
"""Ratio of rates that may have one cause."""
CURVES_EXPLAINED = (
    f"Below saturation: up to {BELOW:.0%} of the measured saturation throughput; in a workload "
    "where that was not measured, wherever the server kept up. Of the runs called fitted, the "
    "law saw rate, lengths and time per token."
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
        Only the runs below saturation, or only the others.
    """
    saturated = [run for run, _ in swept.saturated if run.rate > 0]
    return _errors(
        [
            (run, prediction)
            for run, prediction, was_fitted in swept.constant
            if not run.is_dirty
            and fitted in (None, was_fitted)
            and is_below_saturation(run, saturated) == below
        ],
        quantity,
    )


def _errors(pairs: Sequence[Pair], quantity: str) -> Errors:
    return Errors.of(
        [getattr(prediction, quantity) for _, prediction in pairs],
        [getattr(run, quantity) for run, _ in pairs],
    )


def _error(predicted: float, measured: float) -> float:
    return predicted / measured - 1 if measured > 0 else float("nan")


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
        f"sequences, blocks of {BLOCK}: Llama-3.1-8B on a GPU of 80 GB with the defaults of "
        "vLLM. Lengths are drawn as the benchmark draws them; the mean output of "
        f"{swept.draws[0]} of {swept.draws[1]} synchronous runs is repeated exactly."
    )
    parts = [
        head,
        *_saturation_part(swept),
        "### Constant rates",
        markdown(("quantity", "runs", *FIGURES), _curve_rows(swept)),
        CURVES_EXPLAINED,
    ]
    return "\n\n".join(parts)


def _saturation_part(swept: Swept) -> tuple[str, ...]:
    if not swept.saturated:
        return ("Nothing was run at saturation.",)
    return (
        f"### Saturation throughput: {USERS} users, requests finished in the same window",
        markdown(("workload", *WAYS, "preempted", "remark"), _saturation_rows(swept)),
        WAYS_EXPLAINED,
        "### What the assumptions change (one law, rule)",
        markdown(_names(swept), _sensitivity_rows(swept)),
    )


def _saturation_rows(swept: Swept) -> Iterator[tuple[str, ...]]:
    for run, found in swept.saturated:
        rates = (found[way].rate if way in found else float("nan") for way in WAYS)
        cells = (percent(_error(rate, run.rate)) for rate in rates)
        remark = f"{run.errored} requests failed" if run.errored else ""
        remark = remark or ("a mean time is impossible" if run.is_dirty else "")
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
        cells = (percent(_error(found.rate, run.rate)) for run, found in pairs)
        sound = _errors([pair for pair in pairs if pair[0].has_sound_rate], "rate")
        yield name, *cells, share(sound.median)


def _curve_rows(swept: Swept) -> Iterator[tuple[str, ...]]:
    for below, fitted in ((True, True), (True, False), (False, True), (False, False)):
        for quantity in QUANTITIES:
            found = curve_errors(swept, quantity, fitted=fitted, below=below)
            if not found.count:
                continue
            sizes = (share(x) for x in (found.median, found.mean, found.worst))
            words = ("yes" if below else "no", "yes" if fitted else "no")
            yield quantity, str(found.count), *sizes, percent(found.bias), *words


def reasons(swept: Swept) -> str:
    """Say where the predictions miss and why; each is said only if the measurements show it."""
    texts = (_streaming(swept), _overlap(swept), _cache(swept))
    return "\n".join(f"* {text}" for text in texts if text)


def _overlap(swept: Swept) -> str:
    near = curve_errors(swept, "tpot", fitted=True, below=True)
    far = curve_errors(swept, "tpot", fitted=False, below=True)
    if not far.bias > max(near.bias, 0) + NOTABLE / 2:
        return ""
    return (
        f"The median signed error of the time per token is {percent(near.bias)} where the law "
        f"was fitted and {percent(far.bias)} at higher rates. The law adds up the time of "
        "weights, tokens and KV reads, which a GPU overlaps in part: we think that it is too "
        "slow where two of them matter alike."
    )


def _cache(swept: Swept) -> str:
    pairs = [
        (run, found[ONE_LAW], found[WITH_CACHE])
        for run, found in swept.saturated
        if WITH_CACHE in found and found[ONE_LAW].preemptions
    ]
    if not pairs:
        return ""
    words = ", ".join(
        f"{run.workload} {percent(_error(rule.rate, run.rate))} and "
        f"{percent(_error(cached.rate, run.rate))}"
        for run, rule, cached in pairs
    )
    return (
        "Where the KV cache is full, requests are preempted. The rule computes them again, "
        f"vLLM finds part of it in its prefix cache (without and with it: {words})."
    )


def _streaming(swept: Swept) -> str:
    """Say that tokens are sent too slowly, if several workloads end at the same tokens/s."""
    runs = [run for run, _ in swept.saturated if run.has_sound_rate]
    tokens = {run.workload: run.streamed_tokens for run in runs}
    fast = {name: rate for name, rate in tokens.items() if rate > max(tokens.values()) / 2}
    others = [rate for name, rate in tokens.items() if name not in fast]
    places = [i for i, (run, _) in enumerate(swept.saturated) if run.workload in fast]
    low, high = min(fast.values(), default=0.0), max(fast.values(), default=0.0)
    if len(fast) < 2 or not others or high > ALIKE * low:
        return ""
    if not all(_is_overestimated(swept, place) for place in places):
        return ""
    short, found = swept.saturated[places[0]]
    few = swept.sensitivity[FEW_SEQUENCES][places[0]]
    ratio, waiting = short.ttft / found[ONE_LAW].ttft, short.ttft / short.latency
    if not (ratio > 1 and 0 < waiting < few.ttft / few.latency / 2):
        return ""
    return (
        f"{', '.join(fast)} saturate at {low / 1e3:.1f} to {high / 1e3:.1f} thousand "
        "streamed tokens/s, all less than predicted; the other workloads reach at most "
        f"{max(others) / 1e3:.1f}. The engine does not keep them waiting: the first token of "
        f"{short.workload} comes after {share(waiting)} of the latency (a limit of 256 "
        f"sequences would make it {share(few.ttft / few.latency)}), yet {ratio:.1f} times as "
        "late as its steps explain. So we think that each token sent takes time of the server "
        f"or the client, which low rates do not show.{_with_host(swept, places)}"
    )


def _with_host(swept: Swept, places: Sequence[int]) -> str:
    """Say that a time per decode explains it, if it does."""
    pairs = [
        (run, found[WITH_HOST])
        for run, found in (swept.saturated[place] for place in places)
        if WITH_HOST in found
    ]
    errors = [_error(found.rate, run.rate) for run, found in pairs]
    if len(pairs) < len(places) or max(map(abs, errors)) > NOTABLE:
        return ""
    return (
        " The time per decode that was fitted to other engines in part 1 explains these rates: "
        f"with it the errors are {', '.join(map(percent, errors))}."
    )


def _is_overestimated(swept: Swept, place: int) -> bool:
    run, found = swept.saturated[place]
    return found[ONE_LAW].rate > (1 + NOTABLE) * run.rate


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
