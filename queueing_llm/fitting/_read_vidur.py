"""Read vidur's operator times: one row per token count, milliseconds per layer.

The columns are those of microsoft/vidur @ 7d475133: ``mlp.csv``, and ``all_reduce.csv`` of a
network, whose ``size`` is in bytes of half-precision activations.
"""

import os
from pathlib import Path

import numpy as np

from queueing_llm._validate import Domain, Tokens, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.fitting._read_table import MeasuredTable, csv_table, measured_file, short_name
from queueing_llm.fitting._samples import StepSamples

OPERATORS = (
    "input_layernorm",
    "attn_pre_proj",
    "attn_rope",
    "attn_post_proj",
    "post_attention_layernorm",
    "mlp_up_proj",
    "mlp_act",
    "mlp_down_proj",
    "add",
)
LAYERS = {
    (32, 32, 4096, 11008): 32,
    (32, 8, 4096, 14336): 32,
    (64, 8, 8192, 22016): 48,
    (64, 8, 8192, 28672): 80,
}
"""Layers by heads, KV heads and the two widths: Llama 2 7B, Llama 3 8B, CodeLlama 34B, 70B."""

SHAPE = ("n_head", "n_kv_head", "n_embd", "n_expanded_embd")
BYTES_PER_NUMBER = 2
REDUCTIONS_PER_LAYER = 2

_TOKENS = Domain("n", "tokens", at_least=1, integer=True)
_COUNT = Domain("n", "1", at_least=1, integer=True)
_TIME = Domain("t", "ms", at_least=0)


def read_vidur(
    file: Path,
    *,
    tensor_parallel: int = 1,
    layers: int | None = None,
    all_reduce: str | os.PathLike[str] | None = None,
) -> StepSamples:
    """Return one sample per token count: layers times the medians of nine operators.

    Equal token counts are averaged. Attention, embedding, ``lm_head`` and the processor's
    own time are not in these files; communication is only with ``all_reduce``.

    Parameters
    ----------
    file : Path
        An ``mlp.csv``.
    tensor_parallel : int
        GPUs that share a layer, as profiled.
    layers : int, optional
        Layers of the model; by default those of the known model of this shape.
    all_reduce : path, optional
        Times of an all-reduce among as many GPUs, twice a layer.
    """
    table = csv_table(file)
    workers = table.numbers("num_tensor_parallel_workers", _COUNT)
    table = _chosen(table, workers, tensor_parallel)
    width = _width(table)
    depth = _layers(table, layers)
    tokens = table.numbers("num_tokens", _TOKENS)
    medians = [table.numbers(f"time_stats.{name}.median", _TIME) for name in OPERATORS]
    counts, times = _averaged(tokens, 1e-3 * depth * np.sum(medians, axis=0))
    about = f"{short_name(file)}, vidur, {depth} layers, TP {tensor_parallel}"
    if all_reduce is not None:
        bytes_each = BYTES_PER_NUMBER * width
        reduce_times = _all_reduce(
            measured_file(all_reduce), tensor_parallel, counts * bytes_each
        )
        times = times + REDUCTIONS_PER_LAYER * depth * reduce_times
        about += ", with all-reduce"
    elif tensor_parallel > 1:
        about += ", without communication"
    return StepSamples.of_tokens(counts, times, source=f"{about}, without attention")


def _chosen(table: MeasuredTable, workers: np.ndarray, tensor_parallel: int) -> MeasuredTable:
    check(tensor_parallel, "tensor_parallel", Tokens)
    chosen = table.where(workers == tensor_parallel)
    if len(chosen) == 0:
        known = ", ".join(f"{w:g}" for w in np.unique(workers))
        msg = (
            f"{table.file}, column num_tensor_parallel_workers: no row with "
            f"tensor_parallel={tensor_parallel!r}; accepted: {known}."
        )
        raise InvalidArgument(msg)
    return chosen


def _width(table: MeasuredTable) -> float:
    return float(table.numbers("n_embd", _COUNT)[0])


def _layers(table: MeasuredTable, layers: int | None) -> int:
    if layers is not None:
        check(layers, "layers", Tokens)
        return layers
    shapes = np.unique(np.stack([table.numbers(c, _COUNT) for c in SHAPE], axis=-1), axis=0)
    shape = tuple(int(count) for count in shapes[0])
    if len(shapes) > 1 or shape not in LAYERS:
        msg = (
            f"{table.file} does not tell how many layers the model has, and its "
            f"{', '.join(SHAPE)} = {shape} are those of no known model; give 'layers'."
        )
        raise InvalidArgument(msg)
    return LAYERS[shape]


def _all_reduce(file: Path, tensor_parallel: int, sizes: np.ndarray) -> np.ndarray:
    """Return the seconds of one all-reduce of each size [bytes], interpolated."""
    table = csv_table(file)
    workers = table.numbers("num_workers", _COUNT)
    table = table.where(workers == tensor_parallel)
    if len(table) == 0:
        known = ", ".join(f"{w:g}" for w in np.unique(workers))
        msg = (
            f"{file}, column num_workers: no row with tensor_parallel={tensor_parallel!r}; "
            f"accepted: {known}."
        )
        raise InvalidArgument(msg)
    if "collective" in table.header and set(table.text("collective")) != {"all_reduce"}:
        strange = sorted(set(table.text("collective")) - {"all_reduce"})[0]
        msg = f"{file}, column collective: {nearest(strange, ['all_reduce'])}, got {strange!r}."
        raise InvalidArgument(msg)
    table = _within_a_node(table, tensor_parallel)
    measured, times = _averaged(
        table.numbers("size", _COUNT),
        1e-3 * table.numbers("time_stats.all_reduce.median", _TIME),
    )
    if sizes.min() < measured[0] or sizes.max() > measured[-1]:
        msg = (
            f"{file}, column size: it must reach from {sizes.min():g} to {sizes.max():g} "
            f"[bytes] for these token counts, got {measured[0]:g} to {measured[-1]:g}."
        )
        raise InvalidArgument(msg)
    return np.interp(sizes, measured, times)


def _within_a_node(table: MeasuredTable, tensor_parallel: int) -> MeasuredTable:
    """Return the rows whose GPUs share a node, if the file tells and there are any."""
    if "devices_per_node" not in table.header:
        return table
    near = table.where(table.numbers("devices_per_node", _COUNT) == tensor_parallel)
    return near if len(near) else table


def _averaged(counts: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, places = np.unique(counts, return_inverse=True)
    return distinct, np.bincount(places, weights=times) / np.bincount(places)
