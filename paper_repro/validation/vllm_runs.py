"""Overload runs of vLLM 0.19: the same requests, replayed through its rule and its scheduler.

Each folder holds one run of vLLM on one GPU: limits (``meta.json``), requests with the times
that the engine stamped (``requests.jsonl``), and its state once a second
(``timeseries.csv``). Times are counted from the first request that the engine queued; its
clock is not that of the clients, and the requests are replayed at the times it queued them.
The state is stamped by the same second, to 0.1 s.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from paper_repro.validation.serving import Served, serve, serve_by_scheduler
from paper_repro.validation.verdicts import Boundary, Judged
from queueing_llm.errors import InvalidArgument, MissingDependency
from queueing_llm.evidence import Status
from queueing_llm.fitting import read_profile
from queueing_llm.model import EmpiricalLengths, Engine, Requests
from queueing_llm.steptime import AbstractStepTime, MeasuredStepTime

FOLDER = "vllm_runs"
LAYERS = {"Llama-3.1-8B": 32, "Llama-3.1-70B": 80, "Qwen3-8B": 36, "Qwen3-32B": 64}
"""Of the models whose runs can be read."""
BLOCK, PLENTY = 16, 500_000
"""Tokens in a block by default, and of a KV cache whose size was not recorded."""
SYSTEMS = {"RTXPRO6000": "rtx_pro_6000_server"}
"""GPUs for which operator times from elsewhere are at hand, too."""
LONGEST = 2000.0

RULE, CACHED, OTHER = "rule", "scheduler", "scheduler, other operator times"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """One run as the engine saw it.

    Parameters
    ----------
    name, model : str
        The GPU and the model.
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
    def blocks(self) -> int:
        """Blocks of the KV cache, plenty if they were not recorded."""
        return (self.kv_capacity or PLENTY) // self.block_size

    @property
    def arrival_rate(self) -> float:
        """Requests offered per second while they were coming."""
        times = self.requests.arrival_times
        return float((len(times) - 1) / (times[-1] - times[0]))

    @property
    def prompt_of_a_token(self) -> int:
        """Mean prompt length seen by a prefill token, E[p^2] / E[p] [tokens]."""
        prompt = self.requests.prompt_tokens
        return round(float(np.mean(prompt**2) / np.mean(prompt)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """A run and what was predicted of it in several ways."""

    recorded: Recorded
    predictions: Mapping[str, Served]
    judged: Judged | None


def read_run(folder: Path) -> Recorded:
    """Read one run from the folder of a model in the folder of a GPU."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted(map(json.loads, lines), key=lambda row: row["queued_ts"])
    zero = rows[0]["queued_ts"]
    arrival, start, first, finish = (
        np.array([row[name] - zero for row in rows])
        for name in ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")
    )
    prompt, output = (
        np.array([row[name] for row in rows], dtype=np.int64)
        for name in ("input_toks", "output_toks")
    )
    limits, cache = meta["engine_kwargs"], meta.get("kv_cache", {})
    return Recorded(
        folder.parent.name,
        folder.name,
        Requests(arrival, prompt, output, np.zeros(len(rows), dtype=np.int64)),
        Served(arrival, start, first, finish, output, 0, np.empty((0, 4))),
        _series(folder / "timeseries.csv"),
        limits["max_num_batched_tokens"],
        limits["max_num_seqs"],
        cache.get("num_kv_tokens"),
        cache.get("block_size", BLOCK),
        cache.get("enable_prefix_caching", True),
    )


def _series(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def engine_of(recorded: Recorded, step_time: AbstractStepTime) -> Engine:
    """Return the engine of a run with a law."""
    return Engine(
        step_time=step_time,
        token_budget=recorded.token_budget,
        max_batch_size=recorded.max_batch_size,
        kv_capacity=recorded.blocks * recorded.block_size,
        kv_block_size=recorded.block_size,
        first_token_from_prefill=True,
    )


def profiled_law(recorded: Recorded, folder: Path) -> AbstractStepTime:
    """Return the sum of the operators that were timed one by one on this GPU."""
    layers = LAYERS[recorded.model]
    profile = read_profile(folder, layers=layers, prompt_tokens=recorded.prompt_of_a_token)
    return profile.table(**_reach(recorded))


def other_law(recorded: Recorded) -> AbstractStepTime | None:
    """Return operator times of vLLM on this GPU that somebody else measured, if there are."""
    if recorded.name not in SYSTEMS:
        return None
    try:
        law = MeasuredStepTime(
            recorded.model,
            SYSTEMS[recorded.name],
            prompt_tokens=recorded.prompt_of_a_token,
        )
        return law.table(**_reach(recorded))
    except (InvalidArgument, MissingDependency):
        return None


def _reach(recorded: Recorded) -> dict[str, Any]:
    return {
        "token_budget": recorded.token_budget,
        "most_decode_tokens": recorded.max_batch_size,
        "kv_capacity": recorded.kv_capacity or PLENTY,
    }


def compute(data: Path, *, quick: bool = False) -> tuple[Replayed, ...]:
    """Replay every run of which a profile of its GPU and model is at hand.

    Parameters
    ----------
    data : Path
        Folder that holds the runs and, in ``profile``, the operator times.
    quick : bool
        Ask for no verdict.
    """
    root = data / FOLDER
    profiles = {
        (path.parents[1].name, path.name): path for path in sorted(root.glob("profile/*/*/*"))
    }
    return tuple(
        _replayed(read_run(folder), profiles[folder.parent.name, folder.name], quick=quick)
        for folder in sorted(path.parent for path in root.glob("*/*/meta.json"))
        if folder.name in LAYERS and (folder.parent.name, folder.name) in profiles
    )


def _replayed(recorded: Recorded, profile: Path, *, quick: bool) -> Replayed:
    law = profiled_law(recorded, profile)
    engine, requests = engine_of(recorded, law), recorded.requests
    predictions = {
        RULE: serve(engine, requests, until=LONGEST),
        CACHED: _by_scheduler(recorded, engine),
    }
    if (other := other_law(recorded)) is not None:
        predictions[OTHER] = _by_scheduler(recorded, engine_of(recorded, other))
    return Replayed(recorded, predictions, None if quick else _judged(recorded, engine))


def _by_scheduler(recorded: Recorded, engine: Engine) -> Served:
    return serve_by_scheduler(
        engine, recorded.requests, until=LONGEST, prefix_caching=recorded.prefix_caching
    )


def _judged(recorded: Recorded, engine: Engine) -> Judged:
    lengths = EmpiricalLengths(recorded.requests.prompt_tokens, recorded.requests.output_tokens)
    status = Status.UNSTABLE if is_growing(recorded) else Status.STABLE
    boundary = Boundary.of(engine, lengths)
    return Judged(f"{recorded.title}, replayed", recorded.arrival_rate, boundary, status)


def is_growing(recorded: Recorded) -> bool:
    """Whether requests were finished at less than half the rate at which they came."""
    last = recorded.requests.arrival_times[-1]
    finished = int(np.sum(recorded.served.finish <= last))
    return finished < len(recorded.requests) / 2


def states(served: Served, at: np.ndarray, *, blocks: int) -> Iterator[np.ndarray]:
    """Yield requests that run, that wait, and the share of KV blocks held [%] at given times.

    From the steps if there are any, else from the times of the requests; then a preempted
    request counts as one that runs, and nothing is said of blocks.
    """
    if len(served.steps):
        row = np.searchsorted(served.steps[:, 0], at, side="right") - 1
        found = np.where((row >= 0)[:, None], served.steps[row, 1:], 0.0)
        over = at >= served.steps[-1, 0]
        found[over] = 0.0
        yield from (found[:, 0], found[:, 1], 100 * found[:, 2] / blocks)
        return
    arrived, started, left = (
        np.sum(times[None, :] <= at[:, None], axis=1).astype(float)
        for times in (served.arrival, served.start, served.finish)
    )
    yield from (started - left, arrived - started, np.full(len(at), np.nan))
