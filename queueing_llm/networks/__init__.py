"""Networks of engines: loads, sufficient conditions, growing fluid cycles."""

from queueing_llm.networks._attraction import CycleAttraction, cycle_attraction
from queueing_llm.networks._cycle import GrowingCycle, check_cycle, passages
from queueing_llm.networks._expand import FluidClasses, Unmodelled, multiclass
from queueing_llm.networks._growing_cycle import growing_cycle
from queueing_llm.networks._load import EngineLoad, NetworkLoad, network_load
from queueing_llm.networks._lyapunov import stability_pieces
from queueing_llm.networks._pieces import LyapunovPieces, drift_margin
from queueing_llm.networks._planning import StaticPlan, plan_static
from queueing_llm.networks._priority_fluid import FluidPhase, FluidRun, priority_fluid
from queueing_llm.networks._quadratic import quadratic_margin, quadratic_scaling
from queueing_llm.networks._scaling import CriticalScaling, critical_scaling
from queueing_llm.networks._search import stabilising_priorities
from queueing_llm.networks._theorem_match import TheoremMatch
from queueing_llm.networks._theorems import applicable_theorems, feed_forward
from queueing_llm.networks._traffic import solve_flow, station_loads, visit_rates
from queueing_llm.networks._two_stations import (
    TwoStationThreshold,
    is_globally_stable,
    two_station_pieces,
    two_station_threshold,
)
from queueing_llm.networks._virtual_stations import VirtualStation, virtual_stations
from queueing_llm.networks._workload_condition import WorkloadCondition

__all__ = [
    "CriticalScaling",
    "CycleAttraction",
    "EngineLoad",
    "FluidClasses",
    "FluidPhase",
    "FluidRun",
    "GrowingCycle",
    "LyapunovPieces",
    "NetworkLoad",
    "StaticPlan",
    "TheoremMatch",
    "TwoStationThreshold",
    "Unmodelled",
    "VirtualStation",
    "WorkloadCondition",
    "applicable_theorems",
    "check_cycle",
    "critical_scaling",
    "cycle_attraction",
    "drift_margin",
    "feed_forward",
    "growing_cycle",
    "is_globally_stable",
    "multiclass",
    "network_load",
    "passages",
    "plan_static",
    "priority_fluid",
    "quadratic_margin",
    "quadratic_scaling",
    "solve_flow",
    "stabilising_priorities",
    "stability_pieces",
    "station_loads",
    "two_station_pieces",
    "two_station_threshold",
    "virtual_stations",
    "visit_rates",
]
