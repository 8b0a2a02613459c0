"""Scenarios: an engine and a workload, or a network of agents, in one file; some by name."""

from queueing_llm.scenarios._change import change_engine, change_workload
from queueing_llm.scenarios._engine_defaults import EngineDefaults, engine_defaults
from queueing_llm.scenarios._laws import STEP_TIMES
from queueing_llm.scenarios._measured import MeasuredSystem
from queueing_llm.scenarios._network import load_network, network_names
from queueing_llm.scenarios._network_scenario import NetworkScenario
from queueing_llm.scenarios._numbers import exact_number
from queueing_llm.scenarios._read import load_scenario, scenario_names
from queueing_llm.scenarios._scenario import Scenario
from queueing_llm.scenarios._sources import Recording, read_recording

__all__ = [
    "STEP_TIMES",
    "EngineDefaults",
    "MeasuredSystem",
    "NetworkScenario",
    "Recording",
    "Scenario",
    "change_engine",
    "change_workload",
    "engine_defaults",
    "exact_number",
    "load_network",
    "load_scenario",
    "network_names",
    "read_recording",
    "scenario_names",
]
