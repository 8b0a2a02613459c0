"""Read a folder of operator times: ``dense.csv``, ``attention.csv``, ``per_sequence.csv``.

The format is that of the profiles of casys-kaist/LLMServingSim for vLLM 0.19; times are in
microseconds.
"""

import os
from pathlib import Path

import numpy as np

from queueing_llm._validate import Domain
from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._profile import OperatorProfile
from queueing_llm.fitting._profile_grid import MeasuredGrid, complete_grid
from queueing_llm.fitting._read_table import MeasuredTable, csv_table, measured_file, short_name

FILES = ("dense.csv", "attention.csv", "per_sequence.csv")
ONCE = ("embedding", "final_layernorm")
EVERY_LAYER = {
    "layernorm": 2,
    "qkv_proj": 1,
    "rotary_emb": 1,
    "o_proj": 1,
    "gate_up_proj": 1,
    "act_fn": 1,
    "down_proj": 1,
}
"""How often a transformer layer runs each operator."""
EVERY_SEQUENCE = ("lm_head", "sampler")

_COUNT = Domain("n", "tokens", at_least=0, integer=True)
_TIME = Domain("t", "us", above=0)
_POINT = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")


def read_profile(
    path: str | os.PathLike[str], *, layers: int, prompt_tokens: int = 1024
) -> OperatorProfile:
    """Read the operator times of a model on a GPU.

    Parameters
    ----------
    path : str or path
        A folder with ``dense.csv`` (layer, tokens, time_us), ``attention.csv``
        (prefill_chunk, kv_prefill, n_decode, kv_decode, time_us) and ``per_sequence.csv``
        (layer, sequences, time_us).
    layers : int
        Transformer layers of the model, which the files do not tell: 32 for Llama-3.1-8B.
    prompt_tokens : int
        Length of the prompts that prefill tokens belong to [tokens].

    Returns
    -------
    OperatorProfile
        Seconds of any batch within what was profiled.

    Raises
    ------
    InvalidArgument
        If a file or an operator is missing, a cell is not a number in its domain, a point
        occurs twice, or the attention contains no complete grid.

    Examples
    --------
    >>> read_profile("nowhere", layers=32)
    Traceback (most recent call last):
    queueing_llm.errors.InvalidArgument: path must be a file or folder ... does not exist.
    """
    folder = measured_file(path)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        listing = ", ".join(FILES)
        msg = f"{folder} must be a folder with {listing}; it lacks {', '.join(missing)}."
        raise InvalidArgument(msg)
    dense = _lines(csv_table(folder / "dense.csv"), "tokens", (*ONCE, *EVERY_LAYER))
    last = _lines(csv_table(folder / "per_sequence.csv"), "sequences", EVERY_SEQUENCE)
    counts = {**dict.fromkeys(ONCE, 1), **{n: k * layers for n, k in EVERY_LAYER.items()}}
    points, seconds = _attention(csv_table(folder / "attention.csv"))
    chunk, _, decodes, _ = points
    file = folder / "attention.csv"
    return OperatorProfile(
        layers=layers,
        prompt_tokens=prompt_tokens,
        by_tokens=_total(dense, counts),
        by_sequences=_total(last, dict.fromkeys(EVERY_SEQUENCE, 1)),
        decode=_grid(points[2:], seconds, chunk == 0, file=file),
        prefill=_grid(points[:2], seconds, decodes == 0, file=file),
        mixed=_grid(points, seconds, (chunk > 0) & (decodes > 0), file=file),
        source=f"operator times in {short_name(folder, parts=3)}, {layers} layers",
    )


def _lines(
    table: MeasuredTable, count: str, operators: tuple[str, ...]
) -> dict[str, MeasuredGrid]:
    """Return the seconds of each operator against its count."""
    names = np.array(table.text("layer"))
    strange = sorted(set(names.tolist()) - set(operators))
    lacking = sorted(set(operators) - set(names.tolist()))
    if strange or lacking:
        what = f"unknown operators {strange}" if strange else f"no times of {lacking}"
        msg = f"{table.file} has {what}; those of each step are {', '.join(operators)}."
        raise InvalidArgument(msg)
    found = {}
    for name in operators:
        rows = table.where(names == name)
        axis = rows.numbers(count, Domain("n", count, at_least=1, integer=True))
        _require_once([axis], file=table.file, what=f"{name} at {count}")
        order = np.argsort(axis)
        found[name] = MeasuredGrid((axis[order],), 1e-6 * rows.numbers("time_us", _TIME)[order])
    if len({tuple(grid.axes[0]) for grid in found.values()}) > 1 or len(axis) < 2:
        msg = f"{table.file}: every operator must be timed at the same {count}, two or more."
        raise InvalidArgument(msg)
    return found


def _total(lines: dict[str, MeasuredGrid], counts: dict[str, int]) -> MeasuredGrid:
    axes = next(iter(lines.values())).axes
    return MeasuredGrid(axes, np.sum([counts[n] * g.seconds for n, g in lines.items()], axis=0))


def _attention(table: MeasuredTable) -> tuple[list[np.ndarray], np.ndarray]:
    points = [table.numbers(name, _COUNT) for name in _POINT]
    _require_once(points, file=table.file, what=", ".join(_POINT))
    return points, 1e-6 * table.numbers("time_us", _TIME)


def _grid(
    points: list[np.ndarray], seconds: np.ndarray, chosen: np.ndarray, *, file: Path
) -> MeasuredGrid:
    try:
        return complete_grid([column[chosen] for column in points], seconds[chosen])
    except ValueError:
        msg = (
            f"{file} must hold a grid of decode batches, of prefill chunks and of both, each "
            f"complete from end to end of its counts; none is among {int(chosen.sum())} rows."
        )
        raise InvalidArgument(msg) from None


def _require_once(points: list[np.ndarray], *, file: Path, what: str) -> None:
    found, times = np.unique(np.stack(points, axis=-1), axis=0, return_counts=True)
    if np.any(times > 1):
        where = ", ".join(f"{value:g}" for value in found[np.argmax(times)])
        msg = f"{file} has {times.max()} rows for {what} = {where}; one is accepted."
        raise InvalidArgument(msg)
