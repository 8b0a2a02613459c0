"""What one replication of a network leaves behind, whichever driver ran it.

In the shape descriptions, ``S`` is the number of samples, ``E`` of engines, ``V`` of kinds of
visit, ``L`` of batches logged, ``N`` of sessions that finished, ``B`` of forks that joined.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

TOTALS = ("time", "arrived", "completed", "steps")
"""Time, sessions and batches until then."""

ENGINE_COLUMNS = (
    "backlog_tokens", "served_tokens", "recomputed_tokens", "busy", "backlog_area", "steps",
)  # fmt: skip
"""State of an engine and its running totals; times and areas in ticks."""

VISIT_COLUMNS = ("present", "entered", "left", "present_area", "time_spent")
"""Branches at a kind of visit and running totals; times and areas in ticks."""

LOG_COLUMNS = ("engine", "start", "end", "prefill_tokens", "decode_tokens", "kv_tokens")
"""One batch; times in ticks."""

SESSION_COLUMNS = ("arrival", "visit", "answered", "finished")
"""One session: where it started, when it left, when its last branch ended [ticks]."""

BLOCK_COLUMNS = ("visit", "forked", "joined")
"""One fork whose join went on: where and when [ticks]."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutcome:
    """One replication of a network.

    Parameters
    ----------
    totals : float64 array, shape (S, 4)
        Columns ``TOTALS``.
    engines : float64 array, shape (S, E, 6)
        Columns ``ENGINE_COLUMNS``.
    visits : float64 array, shape (S, V, 5)
        Columns ``VISIT_COLUMNS``.
    log : int64 array, shape (L, 6)
        Columns ``LOG_COLUMNS``; in order of start, then of engine.
    sessions, blocks : int64 arrays, shape (N, 4), (B, 3)
        Columns ``SESSION_COLUMNS`` and ``BLOCK_COLUMNS``, in order of the end; empty unless
        kept.
    """

    totals: np.ndarray
    engines: np.ndarray
    visits: np.ndarray
    log: np.ndarray
    sessions: np.ndarray
    blocks: np.ndarray


def in_order(log: np.ndarray) -> np.ndarray:
    """Return batches in order of start, then of engine."""
    return log[np.lexsort((log[:, 0], log[:, 1]))]
