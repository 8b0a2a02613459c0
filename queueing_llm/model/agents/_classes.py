"""Request classes: where their sessions enter, and the route that they follow if they do."""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, final

from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arrivals import AbstractArrivals
from queueing_llm.model._joint_lengths import length_law
from queueing_llm.model._lengths import AbstractLength
from queueing_llm.model._renewal_arrivals import PoissonArrivals
from queueing_llm.model.agents._attributes import CLASS, check_known
from queueing_llm.model.agents._structure import check_named


@final
@dataclass(frozen=True, slots=True)
class SessionClass:
    """What the graph says of one request class; an empty route means that edges lead it."""

    name: str
    arrivals: AbstractArrivals | None = None
    enters: Hashable | None = None
    priority: int = 0
    route: tuple[Hashable, ...] = ()
    turns: AbstractLength | None = None


def session_classes(table: Any, agents: Collection[Hashable]) -> tuple[SessionClass, ...]:
    """Return the classes that the attribute ``classes`` of a graph describes."""
    if table is None:
        return (SessionClass("session"),)
    if not isinstance(table, Mapping) or not table:
        msg = (
            "classes must map names of request classes to their attributes, such as "
            f"{{'chat': {{'arrival_rate': 2, 'enters': 'planner'}}}}, got {table!r}."
        )
        raise InvalidArgument(msg)
    return tuple(_session_class(name, keys, agents) for name, keys in table.items())


def arrivals_of(attributes: Mapping[str, Any], where: str) -> AbstractArrivals | None:
    """Return the arrivals that ``arrival_rate`` or ``arrivals`` stands for."""
    rate, arrivals = attributes.get("arrival_rate"), attributes.get("arrivals")
    if rate is not None and arrivals is not None:
        msg = f"{where} has both 'arrival_rate' and 'arrivals': keep one of them."
        raise InvalidArgument(msg)
    if rate is None:
        return arrivals
    try:
        return PoissonArrivals(rate)
    except InvalidArgument as error:
        msg = f"{where}: arrival_{error}"
        raise InvalidArgument(msg) from None


def _session_class(name: str, keys: Any, agents: Collection[Hashable]) -> SessionClass:
    where = f"request class {name!r}"
    if not isinstance(keys, Mapping):
        msg = f"{where} must be a mapping of its attributes, got {keys!r}."
        raise InvalidArgument(msg)
    check_known(keys, CLASS, where)
    route = _route(keys.get("route", ()), agents, where)
    enters, turns = keys.get("enters"), keys.get("turns")
    arrivals = arrivals_of(keys, where)
    if enters is not None:
        check_named(enters, agents, "agent", where=f", where {where} enters")
    if route and (enters is not None or arrivals is None):
        wrong = "has a route, so it enters at its first agent: leave out 'enters'"
        missing = "has a route, so it needs 'arrival_rate' or 'arrivals'"
        msg = f"{where} {missing if enters is None else wrong}."
        raise InvalidArgument(msg)
    if not route and (enters is None) != (arrivals is None):
        needs = "'enters'" if enters is None else "'arrival_rate' or 'arrivals'"
        msg = f"{where} needs {needs} too: where and how often its sessions arrive."
        raise InvalidArgument(msg)
    if not route and turns is not None:
        msg = f"{where} has turns but no route: give its agents turns, or the class a route."
        raise InvalidArgument(msg)
    return SessionClass(
        name=name,
        arrivals=arrivals,
        enters=enters,
        priority=keys.get("priority", 0),
        route=route,
        turns=None if turns is None else length_law(turns, f"turns of {where}", at_least=1),
    )


def _route(route: Any, agents: Collection[Hashable], where: str) -> tuple[Hashable, ...]:
    if isinstance(route, str) or not isinstance(route, list | tuple):
        msg = f"the route of {where} must be a list of agents, got {route!r}."
        raise InvalidArgument(msg)
    for agent in route:
        check_named(agent, agents, "agent", where=f", on the route of {where}")
    return tuple(route)
