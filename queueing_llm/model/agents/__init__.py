"""Networks of agents: engines, kinds of visit, and moves between them."""

from queueing_llm.model.agents._network import AgentNetwork
from queueing_llm.model.agents._visits import Dispatch, Join, Move, NetworkEngine, Visit

__all__ = ["AgentNetwork", "Dispatch", "Join", "Move", "NetworkEngine", "Visit"]
