"""Recorded runs of vLLM: limits, requests with the engine's stamps, and whether it kept up.

Each folder holds one run of vLLM on one GPU: limits (``meta.json``), requests with the times
that the engine stamped (``requests.jsonl``), and its state once a second
(``timeseries.csv``). Times are counted from the first request that the engine queued; its
clock is not that of the clients, and the requests are replayed at the times it queued them.
The state is stamped by the same second, to 0.1 s.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from paper_repro.validation.serving import Served
from paper_repro.validation.verdicts import NEAR
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Status
from queueing_llm.model import Requests

BLOCK = 16
"""Tokens in a block by default."""
FEWEST_REQUESTS = 30
"""Of a run that can be called stable or not."""
LEVEL = 1.5
"""Ratio of the means in two quarters of a run, up to which a number is level."""
STAMPS = ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """One run as the engine saw it.

    Parameters
    ----------
    name, model : str
        The folders: the GPU and the model.
    meta : mapping
        What else was recorded of the engine.
    dropped : int
        Requests of which no arrival or no answer was recorded; they are not replayed.
    requests : Requests
        When they were queued [s], from the first on, and their lengths.
    served : Served
        When they were served; no steps.
    series : mapping of str to float64 array, shape (T,)
        Columns of ``timeseries.csv``.
    token_budget, max_batch_size : int
        Limits of a batch.
    kv_capacity : int or None
        Tokens of the KV cache; None if it was not recorded.
    block_size : int
        Tokens in a block.
    prefix_caching : bool
        Whether blocks can be found again.
    """

    name: str
    model: str
    meta: Mapping[str, Any]
    dropped: int
    requests: Requests
    served: Served
    series: Mapping[str, np.ndarray]
    token_budget: int
    max_batch_size: int
    kv_capacity: int | None
    block_size: int
    prefix_caching: bool

    @property
    def title(self) -> str:
        """What was run, for tables."""
        return f"{self.name}, {self.model}"

    @property
    def model_name(self) -> str:
        """The model by its own name, which the folder may not have."""
        return str(self.meta.get("model") or self.model)

    @property
    def tp(self) -> int:
        """GPUs that share each layer."""
        return int(self.meta["engine_kwargs"].get("tensor_parallel_size") or 1)

    @property
    def version(self) -> str:
        """The version of vLLM."""
        return str(self.meta.get("vllm_version", "—"))

    @property
    def arrival_rate(self) -> float:
        """Requests offered per second while they were coming; infinite if all came at once."""
        times = self.requests.arrival_times
        length = float(times[-1] - times[0])
        return (len(times) - 1) / length if length > 0 else float("inf")

    @property
    def prompt_of_a_token(self) -> int:
        """Mean prompt length seen by a prefill token, E[p^2] / E[p] [tokens]."""
        prompt = self.requests.prompt_tokens
        return round(float(np.mean(prompt**2) / np.mean(prompt)))


def read_run(folder: Path) -> Recorded:
    """Read one run from the folder of a model in the folder of a GPU.

    Raises
    ------
    InvalidArgument
        If a limit of the engine is not recorded, a file is not readable, or no request was
        answered.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
        every = [json.loads(line) for line in lines if line.strip()]
        limits = {**_resolved(meta, "scheduler_config"), **_known(meta["engine_kwargs"])}
        budget, most = limits["max_num_batched_tokens"], limits["max_num_seqs"]
        rows = [row for row in every if row["queued_ts"] is not None and row["output_toks"]]
    except (OSError, ValueError, KeyError) as error:
        msg = f"the run lacks {error}."
        raise InvalidArgument(msg) from error
    if not rows:
        msg = "no request of the run was answered."
        raise InvalidArgument(msg)
    rows.sort(key=lambda row: row["queued_ts"])
    arrival, start, first, finish = (_times(rows, name) for name in STAMPS)
    prompt, output = (
        np.array([row[name] for row in rows], dtype=np.int64)
        for name in ("input_toks", "output_toks")
    )
    cache = {**_resolved(meta, "cache_config"), **_known(meta.get("kv_cache") or {})}
    block = cache.get("block_size", BLOCK)
    blocks = cache.get("num_gpu_blocks")
    capacity = cache.get("num_kv_tokens", None if blocks is None else blocks * block)
    return Recorded(
        folder.parent.name,
        folder.name,
        meta,
        len(every) - len(rows),
        Requests(arrival, prompt, output, np.zeros(len(rows), dtype=np.int64)),
        Served(arrival, start, first, finish, output, 0, np.empty((0, 4))),
        _series(folder / "timeseries.csv"),
        int(budget),
        int(most),
        capacity,
        block,
        cache.get("enable_prefix_caching", True),
    )


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _resolved(meta: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return what the engine itself says that it was set to."""
    return _known((meta.get("resolved_config") or {}).get(section) or {})


def _times(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    zero = rows[0]["queued_ts"]
    stamps = (row.get(name) for row in rows)
    return np.array([float("nan") if t is None else t - zero for t in stamps])


def _series(path: Path) -> dict[str, np.ndarray]:
    """Return the columns, none if there is no file."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = rows[0] if rows else ()
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def measured_status(recorded: Recorded) -> Status | None:
    """Return whether a run was stable while requests came; None if it does not show.

    Unstable if more than a tenth of the requests had not been begun when the last came. Else
    stable if the mean number in the system in the last quarter of that time is at most
    :data:`LEVEL` times that in the second: a queue that grows from empty has 7/3, but so may
    answers that outlast the run.
    """
    times, served = recorded.requests.arrival_times, recorded.served
    if len(times) < FEWEST_REQUESTS or times[-1] <= 0:
        return None
    if np.sum(~(served.start <= times[-1])) > NEAR * len(times):
        return Status.UNSTABLE
    left = np.where(served.done, served.finish, np.inf)
    second, last = (
        float(np.sum(np.clip(left, start, end) - np.clip(times, start, end)))
        for start, end in times[-1] * np.array([(0.25, 0.5), (0.75, 1.0)])
    )
    return Status.STABLE if last <= LEVEL * second else None
