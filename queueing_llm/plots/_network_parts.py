"""What a picture of a network shows: its agents, and who calls whom."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import final

from queueing_llm._validate import Real
from queueing_llm.model.agents import AgentNetwork, Visit


@final
@dataclass(frozen=True, slots=True)
class AgentPart:
    """An agent in a picture: all kinds of visit to one node of the graph together.

    Parameters
    ----------
    name : str
        Its name.
    engines : tuple of str
        Engines that can serve it; none for a tool.
    load : float or None
        Largest load of these engines [1], None without an engine.
    arrival_rate : float
        Sessions that start here [1/s].
    calls : float
        Most visits in a row, on average, of any kind of visit [1].
    delay : float
        Longest mean delay of any kind of visit [s].
    forks : bool
        Whether work splits here.
    join : str
        ``"all"``, ``"any"`` or empty.
    """

    name: str
    engines: tuple[str, ...]
    load: float | None
    arrival_rate: float
    calls: float
    delay: float
    forks: bool
    join: str


def agents_of(network: AgentNetwork, loads: Mapping[str, float]) -> dict[Hashable, AgentPart]:
    """Return the agents of a network, those first at which sessions arrive."""
    kinds: dict[Hashable, list[Visit]] = {}
    for visit in sorted(network.visits, key=lambda visit: visit.arrivals is None):
        kinds.setdefault(visit.agent, []).append(visit)
    return {agent: _part(agent, visits, network, loads) for agent, visits in kinds.items()}


def edges_of(network: AgentNetwork) -> dict[tuple[Hashable, Hashable], str]:
    """Return who calls whom, with the probabilities below 1, classes side by side."""
    shares: dict[tuple[Hashable, Hashable], list[str]] = {}
    for move in network.moves:
        source, target = network.visits[move.source], network.visits[move.target]
        label = "" if move.probability == 1 else share_text(move.probability)
        shares.setdefault((source.agent, target.agent), []).append(label)
    return {edge: " / ".join(t for t in dict.fromkeys(ts) if t) for edge, ts in shares.items()}


def share_text(share: Real) -> str:
    """Return a share in percent, with two significant digits where it is small."""
    percent = 100 * float(share)
    return f"{percent:.0f}%" if percent >= 10 or percent == 0 else f"{percent:.2g}%"


def _part(
    agent: Hashable, visits: list[Visit], network: AgentNetwork, loads: Mapping[str, float]
) -> AgentPart:
    positions = dict.fromkeys(at for visit in visits for at in visit.engines)
    engines = tuple(network.engines[at].name for at in positions)
    arrivals = [visit.arrivals for visit in visits if visit.arrivals is not None]
    return AgentPart(
        name=str(agent),
        engines=engines,
        load=max((loads[name] for name in engines), default=None),
        arrival_rate=float(sum(process.rate for process in arrivals)),
        calls=max(1.0 if v.turns is None else float(v.turns.mean) for v in visits),
        delay=max(float(v.delay) for v in visits),
        forks=any(v.forks for v in visits),
        join=next((v.join for v in visits if v.join is not None), ""),
    )
