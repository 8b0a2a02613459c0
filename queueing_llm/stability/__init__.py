"""Closed answers: capacity, critical rates by theorem or closed form, overload growth."""

from queueing_llm.stability._capacity import BestRate, best_rate, capacity
from queueing_llm.stability._foster import FosterDrift, foster_drift
from queueing_llm.stability._growth import overload_growth
from queueing_llm.stability._memory import kv_lifetime, memory_seconds
from queueing_llm.stability._prefill_bursts import prefill_burst_growth, prefill_burst_rate
from queueing_llm.stability._prices import check_prices
from queueing_llm.stability._region import Facet, Region, stability_region
from queueing_llm.stability._replacement import replacement_rate
from queueing_llm.stability._request_level import (
    frozen_rate,
    request_level_rate,
    restart_hazard,
)
from queueing_llm.stability._work_conserving import (
    theorem_2_hypotheses,
    work_conserving_rate,
)

__all__ = [
    "BestRate",
    "Facet",
    "FosterDrift",
    "Region",
    "best_rate",
    "capacity",
    "check_prices",
    "foster_drift",
    "frozen_rate",
    "kv_lifetime",
    "memory_seconds",
    "overload_growth",
    "prefill_burst_growth",
    "prefill_burst_rate",
    "replacement_rate",
    "request_level_rate",
    "restart_hazard",
    "stability_region",
    "theorem_2_hypotheses",
    "work_conserving_rate",
]
