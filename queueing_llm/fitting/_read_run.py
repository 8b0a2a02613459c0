"""Read a recorded run of vLLM: its requests, and what the engine counted every second.

The files are those of casys-kaist/LLMServingSim @ 5daddb21 for vLLM 0.19: ``requests.jsonl``,
``timeseries.csv`` and ``meta.json``.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from queueing_llm._validate import Domain, Tokens, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._read_series import EngineSeries
from queueing_llm.fitting._read_table import (
    MeasuredTable,
    csv_table,
    json_table,
    short_name,
    text_of,
)
from queueing_llm.fitting._samples import StepSamples

_TIME = Domain("t", "s")
_RATE = Domain("r", "tokens/s", at_least=0)
_COUNT = Domain("n", "1", at_least=0)
_SHARE = Domain("u", "%", at_least=0, at_most=100)
_TOKENS = Domain("n", "tokens", at_least=1, integer=True)


def read_run(folder: Path, *, kv_capacity: int | None = None) -> StepSamples:
    """Return the mean step of each whole second of a run.

    KV tokens are the recorded share of the cache; where that was not recorded (0 throughout)
    they are reconstructed from the requests, each growing evenly from its first token to its
    last. A request that was preempted holds none for a while, which this does not see.

    Parameters
    ----------
    folder : Path
        A folder with the three files.
    kv_capacity : int, optional
        Tokens of the KV cache, if ``meta.json`` does not tell.
    """
    series = csv_table(folder / "timeseries.csv")
    times = series.numbers("t", _TIME)
    if np.any(np.diff(times) <= 0) or len(times) < 3:
        msg = f"{series.file}, column t: it must rise from row to row, with three rows or more."
        raise InvalidArgument(msg)
    kv, how = _kv_tokens(folder, series, times, kv_capacity)
    counted = EngineSeries(
        series.numbers("prompt_throughput", _RATE),
        series.numbers("gen_throughput", _RATE),
        series.numbers("running", _COUNT),
        kv,
    )
    whole = np.ones(len(times), dtype=bool)
    # The run starts and ends somewhere within its first and last second.
    whole[[0, -1]] = False
    return counted.samples(whole, source=f"{short_name(folder)}, run of vLLM, KV {how}")


def _kv_tokens(
    folder: Path, series: MeasuredTable, times: np.ndarray, kv_capacity: int | None
) -> tuple[np.ndarray, str]:
    """Return the KV tokens at each time, and how they are known."""
    if kv_capacity is not None:
        check(kv_capacity, "kv_capacity", Tokens)
    share = series.numbers("kv_cache_pct", _SHARE) / 100
    meta = _meta(folder / "meta.json")
    if not share.any():
        return _reconstructed(folder, times, meta), "reconstructed from the requests"
    cache = meta.get("kv_cache")
    recorded = cache.get("num_kv_tokens") if isinstance(cache, dict) else None
    capacity = kv_capacity or recorded
    if capacity is None:
        msg = f"{folder / 'meta.json'} has no kv_cache.num_kv_tokens; give 'kv_capacity'."
        raise InvalidArgument(msg)
    check(capacity, f"{folder / 'meta.json'}, kv_cache.num_kv_tokens", Tokens)
    return share * float(capacity), "recorded"


def _reconstructed(folder: Path, times: np.ndarray, meta: dict[str, Any]) -> np.ndarray:
    """Return the KV tokens of the requests that decode at each time."""
    table = json_table(folder / "requests.jsonl")
    arrival, queued, first, last = (
        table.numbers(column, _TIME)
        for column in ("arrival_time", "queued_ts", "first_token_ts", "last_token_ts")
    )
    prompt, output = table.numbers("input_toks", _TOKENS), table.numbers("output_toks", _TOKENS)
    # The two clocks differ by the smallest delay from an arrival to the queue.
    clock = times + _started(folder / "meta.json", meta) + float(np.min(queued - arrival))
    now = clock[:, np.newaxis]
    decoding = (first <= now) & (now < last)
    grown = (now - first) / np.maximum(last - first, np.finfo(float).tiny)
    held = prompt + 1 + (output - 1) * np.clip(grown, 0, 1)
    return np.asarray(np.where(decoding, held, 0.0).sum(axis=1))


def _meta(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    text = text_of(file)
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{file} is not JSON: {error}."
        raise InvalidArgument(msg) from None
    return meta if isinstance(meta, dict) else {}


def _started(file: Path, meta: dict[str, Any]) -> float:
    text = meta.get("started_at")
    try:
        started = datetime.fromisoformat(str(text))
    except ValueError:
        started = datetime.min
    if started.tzinfo is None:
        msg = (
            f"{file}, started_at: a time such as 2026-04-25T18:47:18Z is needed to place the "
            f"requests in the series, got {text!r}."
        )
        raise InvalidArgument(msg)
    return started.timestamp()
