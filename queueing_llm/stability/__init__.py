"""Closed answers: capacity, critical rates by theorem or closed form, overload growth."""

from queueing_llm.stability._batches import TimedBatch
from queueing_llm.stability._capacity import BestRate, best_rate, capacity
from queueing_llm.stability._foster import FosterDrift, foster_drift
from queueing_llm.stability._frontier import batch_rates, edge_prices
from queueing_llm.stability._growth import excess_work, overload_growth
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
    seconds_at_full_batches,
    theorem_2_hypotheses,
    work_conserving_rate,
)

__all__ = [
    "BestRate",
    "Facet",
    "FosterDrift",
    "Region",
    "TimedBatch",
    "batch_rates",
    "best_rate",
    "capacity",
    "check_prices",
    "edge_prices",
    "excess_work",
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
    "seconds_at_full_batches",
    "stability_region",
    "theorem_2_hypotheses",
    "work_conserving_rate",
]
