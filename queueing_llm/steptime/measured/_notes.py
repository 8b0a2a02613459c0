"""What a measured law leaves out, smooths, extrapolates or takes from a formula, in words."""

import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from queueing_llm.steptime.measured._engine import MeasuredEngine, MeasuredKey, quietly
from queueing_llm.steptime.measured._host_costs import HostCosts
from queueing_llm.steptime.measured._memory import MemoryFacts

_DECODES = 64
_MEASURED = ("silicon", "mixed")
_MOST_TOKENS = 2048
_SMALL = 16
_FITTED_ON = ("h100_sxm", "h200_sxm", "b200_sxm")
_FILES = ("gemm_perf.parquet", "generation_attention_perf.parquet")


@final
@dataclass(frozen=True, slots=True)
class Reach:
    """Counts that were measured; none, or 0, where the files were not found."""

    gemm_tokens: tuple[int, ...]
    most_decodes: int
    most_read: int


@functools.lru_cache(maxsize=32)
def notes(
    key: MeasuredKey,
    engine: MeasuredEngine,
    *,
    facts: MemoryFacts,
    prompt_tokens: int,
    host: HostCosts | None,
) -> tuple[str, ...]:
    """Return sentences on how far to trust a measured law, with its own numbers."""
    reach = _reach(key, facts.gemm_precision)
    sentences = [
        _added_up(key, host),
        _host(key, facts, host),
        _alone(engine, facts),
        _formulas(engine, prompt_tokens),
        _not_monotone(engine),
        _tiles(reach.gemm_tokens),
        _beyond(reach),
        _attention(prompt_tokens),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _added_up(key: MeasuredKey, host: HostCosts | None) -> str:
    left_out = "overlap between operators is not in."
    if host is None:
        left_out = (
            "scheduling, sampling, launches from the CPU and overlap between operators are "
            "not in."
        )
    return (
        f"The times of the operators of {key.backend} {key.version} on {key.system}, each "
        f"measured alone, are added up: {left_out}"
    )


def _host(key: MeasuredKey, facts: MemoryFacts, host: HostCosts | None) -> str:
    if host is None:
        return ""
    layers = 1e3 * facts.layers
    parts = (
        (1e3 * host.per_step, "ms"),
        (1e6 * host.per_decode, "us per decode"),
        (layers * host.per_prefill_layer, "ms if it has prompts"),
    )
    listing = ", ".join(f"{value:.3g} {unit}" for value, unit in parts if value)
    saved = f", less {layers * host.saved_per_layer:.3g} ms" if host.saved_per_layer else ""
    return (
        f"Beside its operators a step takes {listing or 'no time'}{saved}: {_origin(key, host)}"
    )


def _origin(key: MeasuredKey, host: HostCosts) -> str:
    """Say what is known of the costs of a host."""
    fits = {
        HostCosts.fitted(key.backend, schedules_ahead=ahead, quantised=quantised): ahead
        for ahead in (True, False)
        for quantised in (True, False)
    }
    if host not in fits:
        return "costs of the host that were given."
    how = ""
    if key.backend == "vllm":
        how = " that schedules ahead" if fits[host] else " that does not schedule ahead"
    systems = (*_FITTED_ON, *(() if key.system in _FITTED_ON else (f"not {key.system}",)))
    return (
        f"estimated for {key.backend}{how} by a fit to benchmark runs of dense models with "
        f"TP 2 on {', '.join(systems)} (other runs there: time per token off by 6.9 % in the "
        "median)."
    )


def _attention(prompt_tokens: int) -> str:
    return (
        f"Prefill attention is that of prompts of {prompt_tokens} tokens, averaged over their "
        "chunks (for random prompts of p tokens give E[p^2] / E[p]), and is added to that of "
        "the decodes, which are taken to read equally many KV tokens."
    )


def _alone(engine: MeasuredEngine, facts: MemoryFacts) -> str:
    seconds = engine.shared_seconds(1, only_decodes=True) + engine.logits_seconds(1)
    reading = facts.weight_bytes / facts.bandwidth
    return (
        f"A step of one token takes {1e3 * seconds:.3g} ms without attention, "
        f"{seconds / reading:.2f} times as long as reading all weights at the nominal "
        f"{facts.bandwidth / 1e9:.0f} GB/s."
    )


def _formulas(engine: MeasuredEngine, prompt_tokens: int) -> str:
    """Say which operators were not measured, and what they come to."""
    entries = engine.handle.decode_step_per_op(_DECODES, prompt_tokens, 1)
    assumed = {name: (t, how) for name, t, _, how in entries if t and how not in _MEASURED}
    if not assumed:
        return ""
    share = sum(t for t, _ in assumed.values()) / sum(t for _, t, *_ in entries)
    names = (f"{name.partition('_')[2]} ({how})" for name, (_, how) in assumed.items())
    return (
        f"{100 * share:.1f} % of a step of {_DECODES} decodes of {prompt_tokens} tokens come "
        f"from formulas, not from measurements: {', '.join(sorted(names))}."
    )


def _not_monotone(engine: MeasuredEngine) -> str:
    seconds = [engine.shared_seconds(tokens) for tokens in range(1, _MOST_TOKENS + 1)]
    falls = int((np.diff(seconds) < 0).sum())
    return (
        f"The time is not monotone: at {falls} of the first {_MOST_TOKENS} token counts one "
        "more token takes less time."
    )


def _tiles(counts: tuple[int, ...]) -> str:
    if not counts:
        return ""
    both = sum(n + 1 in counts for n in counts if n > _SMALL)
    return (
        f"Matrix products were measured at {len(counts)} token counts up to {counts[-1]:,} and "
        "are interpolated between them: a step made by tiles of tokens is kept where a count "
        f"and the next one were both measured ({both} times above {_SMALL} tokens), and "
        "becomes a ramp elsewhere."
    )


def _beyond(reach: Reach) -> str:
    if not reach.gemm_tokens or not reach.most_decodes:
        return "How far the measurements reach is not known; beyond, they are extrapolated."
    return (
        f"Beyond {reach.gemm_tokens[-1]:,} tokens, {reach.most_decodes:,} decodes or "
        f"{reach.most_read:,} KV tokens per decode the times are extrapolated."
    )


def _reach(key: MeasuredKey, gemm_precision: str) -> Reach:
    """Read which counts the measurements of a backend hold."""
    products, decodes = _files(key)
    counts = _counts(products, "m", filters=[("gemm_dtype", "=", gemm_precision)])
    # The token that is decoded is read, too.
    read = _counts(decodes, "step") + 1
    return Reach(
        gemm_tokens=tuple(counts.tolist()),
        most_decodes=int(_counts(decodes, "batch_size").max(initial=0)),
        most_read=int(read.max(initial=0)),
    )


def _counts(file: Path, column: str, *, filters: list[Any] | None = None) -> np.ndarray:
    """Return the distinct counts in a column of a file; none where there is no file."""
    if not file.is_file():
        return np.empty(0, dtype=np.int64)
    # It has no type hints.
    parquet: Any = importlib.import_module("pyarrow.parquet")
    table = parquet.read_table(file, columns=[column], filters=filters)
    return np.unique(table[column].to_numpy())


def _files(key: MeasuredKey) -> list[Path]:
    from aiconfigurator_core.sdk.operations.base import resolve_op_data_path
    from aiconfigurator_core.sdk.perf_database import get_systems_paths, load_system_spec

    with quietly():
        folder = load_system_spec(key.system)["data_dir"]
        roots = [Path(root) / folder for root in get_systems_paths()]
        root = next(filter(Path.is_dir, roots), roots[0])
        return [
            Path(resolve_op_data_path(str(root), key.backend, key.version, file))
            for file in _FILES
        ]
