"""Closed answers: capacity, critical rates by theorem or closed form, overload growth."""

from queueing_llm.stability._capacity import BestRate, best_rate, capacity
from queueing_llm.stability._growth import overload_growth
from queueing_llm.stability._request_level import frozen_rate, request_level_rate
from queueing_llm.stability._work_conserving import (
    theorem_2_hypotheses,
    work_conserving_rate,
)

__all__ = [
    "BestRate",
    "best_rate",
    "capacity",
    "frozen_rate",
    "overload_growth",
    "request_level_rate",
    "theorem_2_hypotheses",
    "work_conserving_rate",
]
