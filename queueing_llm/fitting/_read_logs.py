"""Read what serving engines print about their batches.

* SGLang prints a line every so many decode steps (``--decode-log-interval``), with the
  requests that run, their KV tokens and the output rate since the line before, and a line
  for each prefill batch: ``Decode batch. #running-req: 1, #token: 541, token usage: 0.03,
  cuda graph: True, gen throughput (token/s): 75.29, #queue-req: 0,`` (documentation and
  scheduler of SGLang 0.4 and 0.5; newer ones write ``Decode batch, ...`` and
  ``Decode batch [124], ...``).
* vLLM prints means of ten seconds: ``Avg prompt throughput: 0.0 tokens/s, Avg generation
  throughput: 238.7 tokens/s, Running: 10 reqs, Waiting: 0 reqs, GPU KV cache usage: 4.1%``
  (vLLM 0.9 to 0.11).
* TensorRT-LLM prints each iteration with ``print_iter_log``: ``host_step_time = 7.4ms,
  prev_device_step_time = 7.1ms, ... states = {'num_ctx_requests': 0, 'num_ctx_tokens': 0,
  'num_generation_tokens': 8}`` (its PyTorch executor, 1.0 to 1.3); the time on the device is
  that of the iteration before.
"""

import itertools
import re
from pathlib import Path

import numpy as np

from queueing_llm._validate import Tokens, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._read_series import EngineSeries
from queueing_llm.fitting._read_table import short_name, text_of
from queueing_llm.fitting._samples import StepSamples

_SGLANG = re.compile(
    r"Decode batch(?: \[\d+\])?[.,] #running-req: (?P<running>\d+), "
    r"#(?:full )?token: (?P<kv>\d+),.*?gen throughput \(token/s\): (?P<rate>\d+(?:\.\d+)?)"
)
_SGLANG_RANK = re.compile(r"^\[[0-9-]+ [0-9:]+(?P<rank>[^\]]*)\]")
_VLLM = re.compile(
    r"(?:Engine (?P<engine>\d+): )?Avg prompt throughput: (?P<prompt>\d+(?:\.\d+)?) tokens/s, "
    r"Avg generation throughput: (?P<rate>\d+(?:\.\d+)?) tokens/s, "
    r"Running: (?P<running>\d+) reqs.*?KV cache usage: (?P<share>\d+(?:\.\d+)?)%"
)
_TRT = re.compile(
    r"iter = (?P<iter>\d+), global_rank = (?P<rank>\d+).*?"
    r"prev_device_step_time = (?P<device>N/A|\d+(?:\.\d+)? ?ms).*?"
    r"'num_ctx_tokens': (?P<prefill>\d+), 'num_generation_tokens': (?P<decode>\d+)"
)
_SPECULATIVE = "{file}: steps of speculative decoding yield several tokens; not accepted."


def read_sglang(file: Path) -> StepSamples:
    """Return the mean decode step between two lines without a change or a prefill between.

    Parameters
    ----------
    file : Path
        The log of a server. Lines of other ranks than the first that prints are left out.
    """
    points: list[tuple[float, float, float]] = []
    whole: list[bool] = []
    is_whole = False
    for line in _of_first_rank(text_of(file).splitlines()):
        found = _SGLANG.search(line)
        if found is None:
            is_whole = is_whole and "Prefill batch" not in line
            continue
        if "accept len" in line:
            raise InvalidArgument(_SPECULATIVE.format(file=file))
        running = float(found["running"])
        whole.append(is_whole and points[-1][0] == running)
        points.append((running, float(found["kv"]), float(found["rate"])))
        is_whole = True
    _require_lines(file, len(points), "Decode batch. #running-req: 1, #token: 541, ...")
    run, kv, rate = np.array(points).T
    series = EngineSeries(np.zeros(len(run)), rate, run, kv)
    return series.samples(
        np.array(whole), source=f"{short_name(file)}, log of SGLang, decode steps"
    )


def read_vllm_log(file: Path, *, kv_capacity: int | None = None) -> StepSamples:
    """Return the mean step of each interval between two lines.

    Prompt tokens found in the prefix cache are counted as prefill tokens, as vLLM does.

    Parameters
    ----------
    file : Path
        The log of a server. Lines of other engines than the first that prints are left out.
    kv_capacity : int, optional
        Tokens of the KV cache; without it the KV tokens are unknown and entered as 0.
    """
    if kv_capacity is not None:
        check(kv_capacity, "kv_capacity", Tokens)
    text = text_of(file)
    if "SpecDecoding metrics" in text:
        raise InvalidArgument(_SPECULATIVE.format(file=file))
    lines = [m for line in text.splitlines() if (m := _VLLM.search(line))]
    found = [m for m in lines if m["engine"] == lines[0]["engine"]]
    _require_lines(file, len(found), "Avg prompt throughput: 0.0 tokens/s, Avg generation ...")
    columns = [[float(m[key]) for m in found] for key in ("prompt", "rate", "running", "share")]
    prompt, rate, running, share = np.array(columns)
    series = EngineSeries(prompt, rate, running, share / 100 * (kv_capacity or 0))
    known = "" if kv_capacity else ", KV tokens unknown"
    return series.samples(
        np.ones(len(found), dtype=bool), source=f"{short_name(file)}, log of vLLM{known}"
    )


def read_tensorrt_llm(file: Path) -> StepSamples:
    """Return each iteration, with the time on the device that the next line tells.

    The KV tokens that an iteration reads are not printed; they are entered as 0.

    Parameters
    ----------
    file : Path
        The log of a server, with ``print_iter_log``. Rank 0 is read.
    """
    lines = [m for line in text_of(file).splitlines() if (m := _TRT.search(line))]
    first = [m for m in lines if int(m["rank"]) == 0]
    _require_lines(
        file, len(first), "iter = 2, global_rank = 0, ..., prev_device_step_time = ..."
    )
    rows = []
    for this, following in itertools.pairwise(first):
        counts = float(this["prefill"]), float(this["decode"])
        follows = int(following["iter"]) == int(this["iter"]) + 1
        if follows and following["device"] != "N/A" and sum(counts) > 0:
            rows.append((*counts, 1e-3 * float(following["device"].removesuffix("ms"))))
    if not rows:
        msg = f"{file}: no iteration with tokens is followed by a line with its time."
        raise InvalidArgument(msg)
    prefill, decode, seconds = np.array(rows).T
    about = (
        f"{short_name(file)}, log of TensorRT-LLM, {len(rows)} iterations, KV tokens unknown"
    )
    return StepSamples(prefill, decode, np.zeros(len(rows)), seconds, about)


def _of_first_rank(lines: list[str]) -> list[str]:
    """Return the lines that carry the label of the first that tells of a decode batch."""
    first = next((line for line in lines if _SGLANG.search(line)), "")
    return [line for line in lines if _rank(line) == _rank(first)]


def _rank(line: str) -> str:
    label = _SGLANG_RANK.match(line)
    return label["rank"] if label else ""


def _require_lines(file: Path, count: int, example: str) -> None:
    if count < 2:
        msg = f"{file} must have two lines or more such as {example!r}, got {count}."
        raise InvalidArgument(msg)
