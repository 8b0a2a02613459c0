"""What a file of a network of agents describes."""

from dataclasses import dataclass
from typing import final

from queueing_llm.model.agents import AgentNetwork


@final
@dataclass(frozen=True, slots=True)
class NetworkScenario:
    """A network of agents with a name and a source.

    Parameters
    ----------
    name : str
        What tables and plots call it.
    description : str
        What it is, in a sentence.
    source : str
        Where its numbers come from.
    network : AgentNetwork
        The agents, their engines and what arrives.

    Examples
    --------
    >>> from queueing_llm.scenarios import load_network
    >>> load_network("fork-join").network.arrival_rate
    3
    """

    name: str
    description: str
    source: str
    network: AgentNetwork
