"""From a graph whose attributes are tables to a network of the model."""

from collections.abc import Mapping
from typing import Any

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import AbstractArrivals, BatchArrivals, Engine
from queueing_llm.model.agents import AgentNetwork
from queueing_llm.scenarios._build import length_of
from queueing_llm.scenarios._laws import PROCESSES, STEP_TIMES, constructed, named_law
from queueing_llm.scenarios._numbers import exact_number
from queueing_llm.scenarios._read import load_scenario, scenario_names

_NUMBERS = frozenset(
    {
        "arrival_rate",
        "delay",
        "prefix_cache_hit",
        "probability",
        "turn_prefix_cache_hit",
    }
)
"""Attributes that may be a text such as "108/95"."""


def network_of(graph: Any, *, engines: Mapping[str, Engine]) -> AgentNetwork:
    """Return the network of a graph of tables; ``engines`` go before those of the file."""
    graph = graph.copy()
    tables = _mapping(graph.graph.pop("engines", {}), "engines")
    for name in _named_engines(graph):
        if name not in tables and name not in engines and name in scenario_names():
            tables = {**tables, name: {"scenario": name}}
    described = {name: _engine(name, table) for name, table in tables.items()}
    policies = {
        name: table["policy"] for name, table in tables.items() if "policy" in table
    } | dict(_mapping(graph.graph.pop("policies", {}), "policies"))
    classes = graph.graph.pop("classes", None)
    if classes is not None:
        graph.graph["classes"] = {
            name: _attributes(_mapping(keys, f"classes.{name}"), f"classes.{name}")
            for name, keys in _mapping(classes, "classes").items()
        }
    for node, keys in graph.nodes(data=True):
        keys.update(_attributes(keys, f"agents.{node}"))
    for source, target, keys in graph.edges(data=True):
        keys.update(_attributes(keys, f"the edge from {source!r} to {target!r}"))
    return AgentNetwork(graph, engines={**described, **engines}, policies=policies)


def _named_engines(graph: Any) -> list[str]:
    """Return the names of engines that agents give."""
    named: list[Any] = []
    for _, engine in graph.nodes(data="engine"):
        values = engine.values() if isinstance(engine, Mapping) else [engine]
        for value in values:
            named += value if isinstance(value, list) else [value]
    return [name for name in named if isinstance(name, str)]


def _engine(name: str, table: Any) -> Engine:
    """Return the engine that a table describes."""
    where = f"engines.{name}"
    keys = {key: value for key, value in _mapping(table, where).items() if key != "policy"}
    if "scenario" in keys:
        if len(keys) > 1:
            msg = f"{where} takes its engine from 'scenario', so it has no key but 'policy'."
            raise InvalidArgument(msg)
        return load_scenario(str(keys["scenario"])).engine
    if "step_time" in keys:
        place = f"{where}.step_time"
        law, values = named_law(
            _mapping(keys["step_time"], place), STEP_TIMES, word="law", where=place
        )
        keys["step_time"] = constructed(law, values, where=place)
    engine: Engine = constructed(Engine, keys, where=where)
    return engine


def _attributes(attributes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return attributes with laws for their tables, by class where they differ by class."""
    return {
        name: _attribute(name, value, f"{where}.{name}") for name, value in attributes.items()
    }


def _attribute(name: str, value: Any, where: str) -> Any:
    if isinstance(value, str) and name in _NUMBERS:
        try:
            return exact_number(value)
        except ValueError:
            msg = f"{where} must be a number, got {value!r}."
            raise InvalidArgument(msg) from None
    if not isinstance(value, Mapping):
        return value
    if "law" in value:
        return length_of(value, where)
    if "process" in value:
        return _arrivals(value, where)
    return {key: _attribute(name, each, f"{where}.{key}") for key, each in value.items()}


def _arrivals(table: Mapping[str, Any], where: str) -> AbstractArrivals:
    """Return the arrivals of a table with a ``process`` and the parameters of that."""
    process, values = named_law(table, PROCESSES, word="process", where=where)
    if process is BatchArrivals:
        if "size" in values:
            values["size"] = length_of(values["size"], f"{where}.size")
        if "batches" in values:
            batches = _mapping(values["batches"], f"{where}.batches")
            values["batches"] = _arrivals(batches, f"{where}.batches")
    arrivals: AbstractArrivals = constructed(process, values, where=where)
    return arrivals


def _mapping(table: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        msg = f"{where} must be a table, got {table!r}."
        raise InvalidArgument(msg)
    return table
