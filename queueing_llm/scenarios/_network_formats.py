"""From the text of a file to a graph whose attributes are still tables."""

import io
import json
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.scenarios._numbers import exact_number

Graph = Any
"""A ``networkx.DiGraph`` or ``MultiDiGraph``."""

_TABLES = ("agents", "classes", "description", "engines", "moves", "name", "policies", "source")


def _from_toml(text: str) -> Graph:
    """Return the graph of a TOML file."""
    import networkx as nx

    try:
        tables = tomllib.loads(text, parse_float=exact_number)
    except tomllib.TOMLDecodeError as error:
        msg = f"this is not valid TOML: {error}."
        raise InvalidArgument(msg) from None
    for key in tables:
        if key not in _TABLES:
            msg = f"the file has no key {key!r}: {nearest(key, _TABLES)}."
            raise InvalidArgument(msg)
    rows = {key: tables.pop(key, []) for key in ("agents", "moves")}
    graph = nx.MultiDiGraph(**tables)
    for row in _rows(rows["agents"], "agents", needs=("name",)):
        if row["name"] in graph:
            msg = f"two agents are called {row['name']!r}: give every agent its own name."
            raise InvalidArgument(msg)
        graph.add_node(row.pop("name"), **row)
    for row in _rows(rows["moves"], "moves", needs=("from", "to")):
        ends = [row.pop(key) for key in ("from", "to")]
        for agent in ends:
            if agent not in graph:
                msg = f"moves: there is no agent {agent!r}: {nearest(str(agent), graph)}."
                raise InvalidArgument(msg)
        graph.add_edge(*ends, **row)
    return graph


def _rows(rows: Any, name: str, *, needs: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return copies of the rows of an array of tables."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        msg = f"{name} must be an array of tables, [[{name}]], got {rows!r}."
        raise InvalidArgument(msg)
    for at, row in enumerate(rows):
        for key in needs:
            if not isinstance(row.get(key), str):
                msg = f"{name}[{at}] needs the key {key!r}: the name of an agent."
                raise InvalidArgument(msg)
    return [dict(row) for row in rows]


def _from_json(text: str) -> Graph:
    """Return the graph of node-link data, with the edges under either of its usual names."""
    import networkx as nx

    data = _json(text)
    if not isinstance(data, Mapping) or not isinstance(data.get("graph", {}), Mapping):
        msg = "this is not node-link data of networkx: it and its 'graph' must be objects."
        raise InvalidArgument(msg)
    try:
        return nx.node_link_graph(data, edges="links" if "links" in data else "edges")
    except (nx.NetworkXError, KeyError, TypeError, AttributeError) as error:
        msg = f"this is not node-link data of networkx: {type(error).__name__} {error}."
        raise InvalidArgument(msg) from None


def _from_graphml(text: str) -> Graph:
    """Return the graph of a GraphML file, with texts of JSON read."""
    import networkx as nx

    try:
        graph = nx.read_graphml(io.BytesIO(text.encode()))
    except (nx.NetworkXError, SyntaxError, KeyError, TypeError, ValueError) as error:
        msg = f"this is not valid GraphML: {error}."
        raise InvalidArgument(msg) from None
    places = [graph.graph, *(keys for _, keys in graph.nodes(data=True))]
    for attributes in (*places, *(keys for _, _, keys in graph.edges(data=True))):
        attributes.update({name: _value(value) for name, value in attributes.items()})
    return graph


def _value(value: Any) -> Any:
    """Return a value of GraphML: a decimal exactly, a text of JSON as what it describes."""
    if isinstance(value, float):
        return exact_number(repr(value))
    is_json = isinstance(value, str) and value.lstrip()[:1] in ("{", "[")
    return _json(value) if is_json else value


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=exact_number)
    except (ValueError, RecursionError) as error:
        msg = f"this is not valid JSON: {error}."
        raise InvalidArgument(msg) from None


FORMATS: Mapping[str, Callable[[str], Graph]] = {
    ".graphml": _from_graphml,
    ".json": _from_json,
    ".toml": _from_toml,
}
"""How a file is read, by its ending."""
