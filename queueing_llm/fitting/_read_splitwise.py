"""Read Splitwise's ``perf_model.csv``: whole prompts and single decode steps, in milliseconds.

The columns are those of Mutinifni/splitwise-sim @ 8f99e7dc (arXiv:2311.18677).
"""

from pathlib import Path

import numpy as np

from queueing_llm._validate import Domain
from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._read_table import MeasuredTable, csv_table, short_name
from queueing_llm.fitting._samples import StepSamples

UNSOUND = {
    ("llama2-70b", 2): "no law fits their times (R2 below 0.6), which do not follow the batch",
}
"""Rows that are refused, by model and GPUs per model, and why."""
COPIES = {"h100-80gb-pcap": "h100-80gb with prompt times times 1.3, not measured on its own"}

_COUNT = Domain("n", "tokens", at_least=1, integer=True)
_TIME = Domain("t", "ms", above=0)


def read_splitwise(
    file: Path,
    *,
    model: str | None = None,
    hardware: str | None = None,
    tensor_parallel: int | None = None,
) -> StepSamples:
    """Return a prefill sample and a decode sample per row of one model on one GPU.

    A prefill step holds ``batch_size`` prompts; a decode step one token of each, whose mean
    context is the prompt and half the output.

    Parameters
    ----------
    file : Path
        A ``perf_model.csv``.
    model, hardware : str, optional
        As in the columns of these names; needed unless the file has only one.
    tensor_parallel : int, optional
        GPUs per model, likewise.
    """
    table = csv_table(file)
    wanted: dict[str, object] = {
        "model": model,
        "hardware": hardware,
        "tensor_parallel": tensor_parallel,
    }
    systems = _systems(table)
    found = {
        system
        for system in systems
        if all(w in (None, v) for w, v in zip(wanted.values(), system, strict=True))
    }
    _require_one(file, wanted, found, systems)
    ((name, gpu, workers),) = found
    table = table.where(np.array([s == (name, gpu, workers) for s in systems]))
    prompt, batch, output = (
        table.numbers(column, _COUNT) for column in ("prompt_size", "batch_size", "token_size")
    )
    nothing = np.zeros(len(table))
    return StepSamples(
        np.concatenate([prompt * batch, nothing]),
        np.concatenate([nothing, batch]),
        np.concatenate([nothing, batch * (prompt + output / 2)]),
        1e-3 * np.concatenate([table.numbers(c, _TIME) for c in ("prompt_time", "token_time")]),
        f"{short_name(file)}, splitwise, {name}, {gpu}, TP {workers}",
    )


def _systems(table: MeasuredTable) -> list[tuple[str, str, int]]:
    workers = table.numbers("tensor_parallel", Domain("n", "1", at_least=1, integer=True))
    names, hardware = table.text("model"), table.text("hardware")
    return [(n, h, int(w)) for n, h, w in zip(names, hardware, workers, strict=True)]


def _require_one(
    file: Path,
    wanted: dict[str, object],
    found: set[tuple[str, str, int]],
    systems: list[tuple[str, str, int]],
) -> None:
    """Raise unless one system is chosen, and its rows are sound."""
    if len(found) == 1:
        name, gpu, workers = next(iter(found))
        reason = UNSOUND.get((name, workers)) or COPIES.get(gpu)
        if reason is None:
            return
        msg = f"{file}: the rows of {name}, {gpu}, TP {workers} are not used: {reason}."
        raise InvalidArgument(msg)
    sound = sorted(
        s for s in set(systems) if not UNSOUND.get((s[0], s[2])) and s[1] not in COPIES
    )
    listing = "; ".join(f"{n}, {h}, {w}" for n, h, w in sound)
    given = ", ".join(f"{key}={value!r}" for key, value in wanted.items() if value is not None)
    msg = (
        f"{file} holds several systems; 'model', 'hardware' and 'tensor_parallel' must choose "
        f"one, got {given or 'none of them'}. Accepted: {listing}."
    )
    raise InvalidArgument(msg)
