"""Token-exact simulation of networks of engines: a compiled kernel and a transparent twin."""

from queueing_llm.simulate.networks._outcome import NetworkOutcome
from queueing_llm.simulate.networks._run import NetworkRun
from queueing_llm.simulate.networks._simulate import simulate_network

__all__ = ["NetworkOutcome", "NetworkRun", "simulate_network"]
