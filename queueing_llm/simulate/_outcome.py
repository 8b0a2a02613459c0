"""What one replication leaves behind, whichever driver ran it.

In the shape descriptions, ``S`` is the number of samples, ``N`` the number of requests that
arrived, ``L`` the number of batches logged.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

SAMPLE_COLUMNS = (
    "time",
    "backlog_tokens",
    "requests",
    "arrived",
    "completed",
    "served_tokens",
    "recomputed_tokens",
    "backlog_area",
    "requests_area",
    "busy",
    "steps",
    "preemptions",
)
"""State and running totals at a sample time; times and areas in ticks."""

LOG_COLUMNS = ("start", "end", "prefill_tokens", "decode_tokens", "kv_tokens", "preempted")
"""One batch; times in ticks."""


class Arrival(NamedTuple):
    """One request on its way into the engine.

    In a closed workload it comes when a user comes back, and ``think_ticks`` is how long the
    user thinks who sees as many completions as requests were sent before this one.
    """

    ticks: int
    prompt_tokens: int
    decode_steps: int
    class_index: int
    think_ticks: int = 0


@final
@dataclass(frozen=True, slots=True, eq=False)
class RequestLog:
    """When each request was served; -1 for what did not happen before the horizon.

    Parameters
    ----------
    arrival, start, first, finish : int64 array, shape (N,)
        Arrival, start of the first batch that served the request, end of the batch that
        yielded its first output token, end of its last batch [ticks].
    prompt_tokens, decode_steps, class_index : int32 array, shape (N,)
        What was asked for [tokens].
    """

    arrival: np.ndarray
    start: np.ndarray
    first: np.ndarray
    finish: np.ndarray
    prompt_tokens: np.ndarray
    decode_steps: np.ndarray
    class_index: np.ndarray


@final
@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One replication.

    Parameters
    ----------
    samples : float64 array, shape (S, 12)
        Columns ``SAMPLE_COLUMNS``.
    log : int64 array, shape (L, 6)
        Columns ``LOG_COLUMNS``, of the first batches.
    requests : RequestLog or None
        Per-request times, if they were kept.
    """

    samples: np.ndarray
    log: np.ndarray
    requests: RequestLog | None
