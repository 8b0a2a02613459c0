"""A graph of agents to draw, from the parts of a network."""

from collections.abc import Sequence
from typing import Any

from queueing_llm.model.agents._visits import Move, NetworkEngine, Visit


def picture(
    engines: Sequence[NetworkEngine], visits: Sequence[Visit], moves: Sequence[Move]
) -> Any:
    """Return a new ``networkx.DiGraph`` of agents; kinds of visit of one agent are one node."""
    import networkx as nx

    graph = nx.DiGraph()
    for visit in visits:
        if visit.agent not in graph:
            graph.add_node(visit.agent, engines=(), request_classes=(), forks=False, join=None)
        node = graph.nodes[visit.agent]
        served = (engines[at].name for at in visit.engines)
        node["engines"] = tuple(dict.fromkeys((*node["engines"], *served)))
        classes = (*node["request_classes"], visit.request_class)
        node["request_classes"] = tuple(dict.fromkeys(classes))
        node["forks"] = node["forks"] or visit.forks
        node["join"] = node["join"] or visit.join
    for move in moves:
        way = visits[move.source].agent, visits[move.target].agent
        known = graph.edges[way]["probability"] if graph.has_edge(*way) else 0
        graph.add_edge(*way, probability=max(known, move.probability))
    return graph
