"""From a graph of agents to engines, kinds of visit and moves."""

from collections.abc import Hashable, Mapping
from typing import Any, TypeAlias

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model._arrivals import AbstractArrivals
from queueing_llm.model._engine import Engine
from queueing_llm.model.agents._agents import Nodes, check_hit, engines_of, visit_of
from queueing_llm.model.agents._attributes import AGENT, GRAPH, WAY, check_known, of_class
from queueing_llm.model.agents._classes import SessionClass, arrivals_of, session_classes
from queueing_llm.model.agents._paths import Edges, Path, Step, fixed_path, led_path
from queueing_llm.model.agents._structure import check_named
from queueing_llm.model.agents._visits import Move, NetworkEngine, Visit
from queueing_llm.policies import Policy

Parts: TypeAlias = tuple[tuple[NetworkEngine, ...], tuple[Visit, ...], tuple[Move, ...]]


def read_graph(
    graph: Any,
    *,
    engines: Mapping[str, Engine] | None,
    policies: Mapping[str, Policy | str] | None,
) -> Parts:
    """Return engines, kinds of visit and moves of a graph, as they are described there."""
    nodes = _checked_nodes(graph)
    known = engines_of(
        nodes,
        {**_table(graph, "engines"), **(engines or {})},
        {**_table(graph, "policies"), **(policies or {})},
    )
    names = [engine.name for engine in known]
    sessions = session_classes(graph.graph.get("classes"), nodes.keys())
    visits: list[Visit] = []
    moves: list[Move] = []
    for session in sessions:
        chosen = _chosen(nodes, session, sessions)
        path = _path(graph, chosen, session)
        first = len(visits)
        for hop, agent in enumerate(path.agents):
            visits.append(
                visit_of(
                    _visit_name(agent, session, hop=hop, alone=len(sessions) == 1),
                    agent,
                    chosen[agent],
                    session=session,
                    arrivals=path.arrivals.get(hop),
                    engines=names,
                )
            )
        moves += [_move(step, path, first=first) for step in path.steps]
    _check_all_visited(nodes, visits)
    _check_carried(visits, moves)
    return known, tuple(visits), tuple(moves)


def _checked_nodes(graph: Any) -> Nodes:
    """Return the agents with their attributes, after a look at the names of all attributes."""
    if not hasattr(graph, "is_directed") or not graph.is_directed():
        msg = f"graph must be a networkx.DiGraph or MultiDiGraph, got {graph!r}."
        raise InvalidArgument(msg)
    check_known(graph.graph, GRAPH, "the graph")
    nodes = dict(graph.nodes(data=True))
    for node, attributes in nodes.items():
        check_known(attributes, AGENT, f"agent {str(node)!r}")
        if not any(name in AGENT for name in attributes):
            others = [str(other) for other in nodes if other != node]
            msg = (
                f"agent {str(node)!r} has no attribute: give it an engine, or delay=0 if it is "
                f"a tool; {nearest(str(node), others)}."
            )
            raise InvalidArgument(msg)
    for source, target, attributes in graph.edges(data=True):
        check_known(attributes, WAY, f"the edge from {str(source)!r} to {str(target)!r}")
    return nodes


def _table(graph: Any, name: str) -> Mapping[str, Any]:
    table = graph.graph.get(name, {})
    if not isinstance(table, Mapping):
        msg = f"the graph attribute {name!r} must map names of engines, got {table!r}."
        raise InvalidArgument(msg)
    return table


def _chosen(
    nodes: Nodes, session: SessionClass, sessions: tuple[SessionClass, ...]
) -> dict[Hashable, dict[str, Any]]:
    """Return the attributes of every agent for one class."""
    classes = [other.name for other in sessions]
    chosen = {
        node: of_class(attributes, session.name, where=f"agent {str(node)!r}", classes=classes)
        for node, attributes in nodes.items()
    }
    for node, attributes in chosen.items():
        for key in ("arrival_rate", "arrivals"):
            shared = key in attributes and not isinstance(nodes[node][key], Mapping)
            if shared and len(sessions) > 1:
                msg = (
                    f"agent {str(node)!r}: {key} must say of which request class, such as "
                    f"{{{session.name!r}: ...}}, since there are several."
                )
                raise InvalidArgument(msg)
    return chosen


def _path(graph: Any, chosen: Nodes, session: SessionClass) -> Path:
    """Return the path of a class."""
    edges = _edges(graph, session, known=graph.graph.get("classes") or {"session": None})
    entries = _entries(chosen, session)
    if session.route:
        for key in ("fork", "join"):
            for agent in session.route:
                if chosen[agent].get(key):
                    msg = (
                        f"request class {session.name!r} follows a route, which is one way, so "
                        f"agent {str(agent)!r} on it must not have {key!r}."
                    )
                    raise InvalidArgument(msg)
        return fixed_path(session, edges)
    if not entries:
        of = "" if session.name == "session" else f" of class {session.name!r}"
        msg = (
            f"no session{of} ever arrives: give an agent an arrival_rate, or the class an "
            "arrival_rate and the agent that it enters at."
        )
        raise InvalidArgument(msg)
    return led_path(
        session, edges, entries=entries, is_fork=lambda node: bool(chosen[node].get("fork"))
    )


def _edges(graph: Any, session: SessionClass, *, known: Mapping[str, Any]) -> Edges:
    """Return the edges that a class may take, by the agent that they leave."""
    edges: dict[Hashable, list[tuple[Hashable, Mapping[str, Any]]]] = {n: [] for n in graph}
    for source, target, attributes in graph.edges(data=True):
        only = attributes.get("request_class")
        way = f" on the edge from {str(source)!r} to {str(target)!r}"
        if only is not None:
            check_named(only, known, "request class", where=way)
        if only in (None, session.name):
            edges[source].append((target, attributes))
    return edges


def _entries(chosen: Nodes, session: SessionClass) -> dict[Hashable, AbstractArrivals]:
    """Return where the sessions of a class arrive."""
    entries: dict[Hashable, AbstractArrivals] = {}
    for node, attributes in chosen.items():
        arrivals = arrivals_of(attributes, f"agent {str(node)!r}")
        if arrivals is None:
            continue
        if session.route or node == session.enters:
            msg = (
                f"request class {session.name!r} says how often its sessions arrive, so agent "
                f"{str(node)!r} must not say it again."
            )
            raise InvalidArgument(msg)
        entries[node] = arrivals
    if session.enters is not None and session.arrivals is not None:
        entries[session.enters] = session.arrivals
    return entries


def _visit_name(agent: Hashable, session: SessionClass, *, hop: int, alone: bool) -> str:
    if session.route:
        return f"{session.name}:{hop + 1}@{agent}"
    return str(agent) if alone else f"{session.name}@{agent}"


def _move(step: Step, path: Path, *, first: int) -> Move:
    """Return the move of a step; the class's visits begin at position ``first``."""
    ends = [str(path.agents[at]) for at in (step.source, step.target)]
    where = f"the edge from {ends[0]!r} to {ends[1]!r}"
    carries = step.attributes.get("carries_context", False)
    hit = step.attributes.get("prefix_cache_hit", 0)
    check_hit(carries, hit, where=where)
    try:
        return Move(
            first + step.source,
            first + step.target,
            probability=step.probability,
            carries_context=carries,
            prefix_cache_hit=hit,
        )
    except InvalidArgument as error:
        msg = f"{where}: {error}"
        raise InvalidArgument(msg) from None


def _check_all_visited(nodes: Nodes, visits: list[Visit]) -> None:
    visited = {visit.agent for visit in visits}
    for node in nodes:
        if node not in visited:
            msg = (
                f"no session ever reaches agent {str(node)!r}: lead an edge there, let a "
                "request class enter there, or remove it."
            )
            raise InvalidArgument(msg)


def _check_carried(visits: list[Visit], moves: list[Move]) -> None:
    """Refuse edges that carry a context out of a tool that none is carried into."""
    given = {move.target for move in moves if move.carries_context}
    for move in moves:
        if move.carries_context and not (visits[move.source].engines or move.source in given):
            tool, target = (visits[at].name for at in (move.source, move.target))
            msg = (
                f"the edge from {tool!r} to {target!r} has no context to carry: {tool!r} makes "
                "no request, so set carries_context=True on an edge to it too."
            )
            raise InvalidArgument(msg)
