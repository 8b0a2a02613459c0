"""The attributes of a graph of agents: which there are, and how one differs by class."""

from collections.abc import Collection, Mapping
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest

AGENT = (
    "arrival_rate",
    "arrivals",
    "delay",
    "dispatch",
    "engine",
    "fork",
    "join",
    "lengths",
    "output_tokens",
    "priority",
    "prompt_tokens",
    "random_delay",
    "turn_carries_context",
    "turn_prefix_cache_hit",
    "turns",
)
"""Attributes of a node."""

WAY = ("carries_context", "prefix_cache_hit", "probability", "request_class")
"""Attributes of an edge."""

GRAPH = ("classes", "engines", "policies")
"""Attributes of the graph."""

CLASS = ("arrival_rate", "arrivals", "enters", "priority", "route", "turns")
"""Keys of a request class."""

DRAWING = frozenset(
    {
        "color",
        "colour",
        "description",
        "edge_default",
        "fillcolor",
        "fontsize",
        "group",
        "id",
        "key",
        "label",
        "labels",
        "layer",
        "layout",
        "name",
        "node_default",
        "penwidth",
        "pos",
        "shape",
        "size",
        "source",
        "style",
        "subset",
        "target",
        "title",
        "tooltip",
        "type",
        "url",
        "weight",
        "width",
        "x",
        "y",
        "z",
    }
)
"""What other programs keep in a graph; it has no meaning here."""


def check_known(attributes: Mapping[Any, Any], accepted: Collection[str], where: str) -> None:
    """Raise :class:`InvalidArgument` if an attribute is neither accepted nor for drawing."""
    for name in attributes:
        if name in accepted or name in DRAWING or str(name).startswith("_"):
            continue
        msg = f"{where} has no attribute {name!r}: {nearest(str(name), accepted)}."
        raise InvalidArgument(msg)


def of_class(
    attributes: Mapping[str, Any], request_class: str, *, where: str, classes: Collection[str]
) -> dict[str, Any]:
    """Return the attributes of an agent for one class, without those that it leaves out."""
    chosen = {}
    for name in AGENT:
        value = attributes.get(name)
        if isinstance(value, Mapping):
            for key in value:
                if key not in classes:
                    msg = (
                        f"{where}: {name} names the request class {key!r}, which is not known: "
                        f"{nearest(str(key), classes)}."
                    )
                    raise InvalidArgument(msg)
            value = value.get(request_class)
        if value is not None:
            chosen[name] = value
    return chosen
