"""Scenarios: an engine and a workload in one TOML file, packaged ones by name."""

from queueing_llm.scenarios._change import change_engine, change_workload
from queueing_llm.scenarios._numbers import exact_number
from queueing_llm.scenarios._read import load_scenario, scenario_names
from queueing_llm.scenarios._scenario import Scenario
from queueing_llm.scenarios._sources import Recording, read_recording

__all__ = [
    "Recording",
    "Scenario",
    "change_engine",
    "change_workload",
    "exact_number",
    "load_scenario",
    "read_recording",
    "scenario_names",
]
