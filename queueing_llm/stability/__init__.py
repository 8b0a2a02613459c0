"""Closed answers: capacity, critical rates by theorem or closed form, overload growth."""

from queueing_llm.stability._growth import excess_work, overload_growth
from queueing_llm.stability.batching._batching_costs import BatchingCosts, best_refill_share
from queueing_llm.stability.batching._exclusive_or_mixed import (
    BatchingComparison,
    DecodePhase,
    compare_batching,
    decode_phase,
)
from queueing_llm.stability.batching._memory_safe_slots import SafeSlots, memory_safe_slots
from queueing_llm.stability.batching._observed_crossover import ObservedCrossover
from queueing_llm.stability.bounds._batches import TimedBatch
from queueing_llm.stability.bounds._best_rate import BestRate, best_rate
from queueing_llm.stability.bounds._capacity import capacity
from queueing_llm.stability.bounds._class_check import check_class_prices
from queueing_llm.stability.bounds._class_region import ClassRegion, class_region
from queueing_llm.stability.bounds._frontier import batch_rates, edge_prices
from queueing_llm.stability.bounds._lifetime import kv_lifetime
from queueing_llm.stability.bounds._planning import ResourcePrices, resource_prices
from queueing_llm.stability.bounds._prices import check_prices
from queueing_llm.stability.bounds._region import Facet, Region, stability_region
from queueing_llm.stability.bounds._three_resources import (
    ThreeResourceBound,
    three_resource_bound,
)
from queueing_llm.stability.cycles._exclusive_rate import exclusive_batching_rate
from queueing_llm.stability.cycles._limit_cycle import BatchShape, LimitCycle, limit_cycle
from queueing_llm.stability.cycles._prefill_bursts import (
    prefill_burst_growth,
    prefill_burst_rate,
)
from queueing_llm.stability.cycles._replacement import replacement_rate
from queueing_llm.stability.cycles._request_level import (
    frozen_rate,
    request_level_rate,
    restart_hazard,
)
from queueing_llm.stability.drift._foster import FosterDrift, foster_drift
from queueing_llm.stability.drift._periodic import PeriodicBound, periodic_bound
from queueing_llm.stability.drift._work_conserving import (
    seconds_at_full_batches,
    theorem_2_hypotheses,
    work_conserving_rate,
)
from queueing_llm.stability.memory._boundary_exponent import (
    boundary_exponent,
    hoeffding_exponent,
)
from queueing_llm.stability.memory._chunked_lifetime import (
    full_chunk_lifetime,
    least_lifetime,
    lifetime_demand,
)
from queueing_llm.stability.memory._flow_control import FlowControl, flow_control
from queueing_llm.stability.memory._memory_threshold import (
    MemoryThreshold,
    memory_threshold,
    mixture_rate,
    threshold_rate,
)
from queueing_llm.stability.memory._nested_wait import NestedWaitPlan, nested_wait_plan
from queueing_llm.stability.memory._wait import (
    FluidEquilibrium,
    class_costs,
    equilibrium_memory,
    equilibrium_seconds,
    wait_equilibrium,
)
from queueing_llm.stability.memory._wait_thresholds import (
    WaitThresholds,
    check_thresholds,
    smallest_thresholds,
)

__all__ = [
    "BatchShape",
    "BatchingComparison",
    "BatchingCosts",
    "BestRate",
    "ClassRegion",
    "DecodePhase",
    "Facet",
    "FlowControl",
    "FluidEquilibrium",
    "FosterDrift",
    "LimitCycle",
    "MemoryThreshold",
    "NestedWaitPlan",
    "ObservedCrossover",
    "PeriodicBound",
    "Region",
    "ResourcePrices",
    "SafeSlots",
    "ThreeResourceBound",
    "TimedBatch",
    "WaitThresholds",
    "batch_rates",
    "best_rate",
    "best_refill_share",
    "boundary_exponent",
    "capacity",
    "check_class_prices",
    "check_prices",
    "check_thresholds",
    "class_costs",
    "class_region",
    "compare_batching",
    "decode_phase",
    "edge_prices",
    "equilibrium_memory",
    "equilibrium_seconds",
    "excess_work",
    "exclusive_batching_rate",
    "flow_control",
    "foster_drift",
    "frozen_rate",
    "full_chunk_lifetime",
    "hoeffding_exponent",
    "kv_lifetime",
    "least_lifetime",
    "lifetime_demand",
    "limit_cycle",
    "memory_safe_slots",
    "memory_threshold",
    "mixture_rate",
    "nested_wait_plan",
    "overload_growth",
    "periodic_bound",
    "prefill_burst_growth",
    "prefill_burst_rate",
    "replacement_rate",
    "request_level_rate",
    "resource_prices",
    "restart_hazard",
    "seconds_at_full_batches",
    "smallest_thresholds",
    "stability_region",
    "theorem_2_hypotheses",
    "three_resource_bound",
    "threshold_rate",
    "wait_equilibrium",
    "work_conserving_rate",
]
