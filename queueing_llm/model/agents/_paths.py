"""The way of one request class through the graph: hops, and steps from hop to hop."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arrivals import AbstractArrivals
from queueing_llm.model._lengths import DeterministicLength
from queueing_llm.model.agents._classes import SessionClass
from queueing_llm.model.agents._rounds import one_more

MOST_HOPS = 4096

Edges: TypeAlias = Mapping[Hashable, Sequence[tuple[Hashable, Mapping[str, Any]]]]
"""Ways out of each agent that a class may take: target and attributes."""


@final
@dataclass(frozen=True, slots=True)
class Step:
    """A way from one hop to another of the same path, by position."""

    source: int
    target: int
    probability: Real
    attributes: Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Path:
    """The agents that a class visits, one per hop, and where its sessions enter."""

    agents: tuple[Hashable, ...]
    arrivals: Mapping[int, AbstractArrivals]
    steps: tuple[Step, ...]


def fixed_path(session: SessionClass, edges: Edges) -> Path:
    """Return the path of a class with a route: one hop for each agent on it, and each round."""
    rounds = 1 if session.turns is None else session.turns.largest
    if rounds is None or rounds * len(session.route) > MOST_HOPS:
        msg = (
            f"turns of request class {session.name!r} must be at most "
            f"{MOST_HOPS // len(session.route)} rounds of its route, got "
            f"turns={session.turns!r}: use a law with a bound, or edges instead of a route."
        )
        raise InvalidArgument(msg)
    chances = one_more(session.turns or DeterministicLength(1))
    hops = session.route * len(chances)
    has_edges = any(edges.values())
    steps = []
    for at in range(len(hops) - 1):
        ends_round = (at + 1) % len(session.route) == 0
        steps.append(
            Step(
                source=at,
                target=at + 1,
                probability=chances[at // len(session.route)] if ends_round else 1,
                attributes=_between(hops[at], hops[at + 1], edges, session=session)
                if has_edges
                else {},
            )
        )
    arrivals = {} if session.arrivals is None else {0: session.arrivals}
    return Path(hops, arrivals, tuple(steps))


def led_path(
    session: SessionClass,
    edges: Edges,
    *,
    entries: Mapping[Hashable, AbstractArrivals],
    is_fork: Callable[[Hashable], bool],
) -> Path:
    """Return the path of a class that edges lead: one hop for each agent that it can reach."""
    reached = dict.fromkeys(entries)
    frontier = list(entries)
    ways = {}
    while frontier:
        agent = frontier.pop()
        ways[agent] = _probable(agent, edges.get(agent, ()), forks=is_fork(agent))
        fresh = [target for target, _, _ in ways[agent] if target not in reached]
        reached |= dict.fromkeys(fresh)
        frontier += dict.fromkeys(fresh)
    agents = tuple(agent for agent in edges if agent in reached)
    position = {agent: at for at, agent in enumerate(agents)}
    return Path(
        agents,
        {position[agent]: arrivals for agent, arrivals in entries.items()},
        tuple(
            Step(position[agent], position[target], probability, attributes)
            for agent in agents
            for target, probability, attributes in ways[agent]
        ),
    )


def _probable(
    agent: Hashable, out: Sequence[tuple[Hashable, Mapping[str, Any]]], *, forks: bool
) -> list[tuple[Hashable, Real, Mapping[str, Any]]]:
    """Return the ways out with their probabilities, without those of probability 0."""
    ways = []
    for target, attributes in out:
        probability = attributes.get("probability")
        if probability is None and not forks and len(out) > 1:
            msg = (
                f"agent {str(agent)!r} has {len(out)} ways out, but the edge to "
                f"{str(target)!r} has no probability: give each one, or set fork=True on the "
                "agent to take them all."
            )
            raise InvalidArgument(msg)
        ways.append((target, 1 if probability is None else probability, attributes))
    return [way for way in ways if way[1] != 0]


def _between(
    agent: Hashable, target: Hashable, edges: Edges, *, session: SessionClass
) -> Mapping[str, Any]:
    for end, attributes in edges.get(agent, ()):
        if end == target:
            return attributes
    msg = (
        f"the route of request class {session.name!r} goes from {str(agent)!r} to "
        f"{str(target)!r}, but the graph has no such edge for it: add the edge, or leave all "
        "edges out of the graph."
    )
    raise InvalidArgument(msg)
