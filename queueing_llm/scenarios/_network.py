"""Read networks of agents: packaged ones by name, others by path."""

import importlib.resources
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import Engine
from queueing_llm.scenarios._network_build import network_of
from queueing_llm.scenarios._network_formats import FORMATS
from queueing_llm.scenarios._network_scenario import NetworkScenario


def network_names() -> tuple[str, ...]:
    """Return the names of the packaged networks, sorted.

    Examples
    --------
    >>> from queueing_llm.scenarios import network_names
    >>> "rybko-stolyar" in network_names()
    True
    """
    files = _packaged().iterdir()
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))
    )


def load_network(
    name: str | os.PathLike[str], *, engines: Mapping[str, Engine] | None = None
) -> NetworkScenario:
    """Return the network in a file, or the packaged network of that name.

    The keys are the attributes of :class:`~queueing_llm.model.agents.AgentNetwork`. Where it
    takes a length law, a file has an integer or a table such as
    ``{law = "geometric", mean = 112}``; arrivals are a table such as
    ``{process = "gamma", rate = 2, scv = 4}``. An engine is a table with the keys of a
    scenario's ``[engine]`` and ``policy``, or with ``scenario``, whose engine it then is; an
    engine that is named but not described is that of the packaged scenario of its name.
    Decimal numbers are read as the fractions that they are, and so are texts like "108/95".

    ``.toml``
        Tables ``[engines.NAME]``, ``[[agents]]`` with ``name``, ``[[moves]]`` with ``from``
        and ``to``, ``[classes.NAME]``.
    ``.json``
        Node-link data of networkx; the attributes of the graph hold ``engines`` and
        ``classes``.
    ``.graphml``
        Values are scalars, so tables and lists are texts of JSON: the attribute ``engines`` of
        the graph, for example. Decimals pass through double precision, which keeps 15 digits.

    Parameters
    ----------
    name : str or path
        Path of a file, or one of :func:`network_names`.
    engines : mapping of str to Engine, optional
        Engines by name, instead of those in the file.

    Returns
    -------
    NetworkScenario
        The network with its name, description and source.

    Raises
    ------
    InvalidArgument
        If there is no such file, or it describes no network; the message names the file, the
        agent or the key, and what is accepted.

    Examples
    --------
    >>> from queueing_llm.scenarios import load_network
    >>> [visit.name for visit in load_network("rybko-stolyar").network.visits]
    ['A:1@left', 'A:2@right', 'B:1@right', 'B:2@left']
    """
    label = os.fspath(name)
    text, ending = _text(label)
    try:
        graph = FORMATS[ending](text)
        network = network_of(graph, engines=engines or {})
    except InvalidArgument as error:
        msg = f"{label}: {error}"
        raise InvalidArgument(msg) from None
    return NetworkScenario(
        name=str(graph.graph.get("name") or Path(label).stem),
        description=str(graph.graph.get("description", "")),
        source=str(graph.graph.get("source", "")),
        network=network,
    )


def _text(name: str) -> tuple[str, str]:
    """Return the text of a file or a packaged network, and the ending that tells its format."""
    if name in network_names():
        return _packaged().joinpath(f"{name}.toml").read_text(encoding="utf-8"), ".toml"
    path = Path(name)
    if not path.is_file():
        what = "no readable file" if path.exists() else "neither a file nor a packaged network"
        msg = f"network {name!r} is {what}: {nearest(path.stem, network_names())}."
        raise InvalidArgument(msg)
    if path.suffix.lower() not in FORMATS:
        msg = f"network {name!r} has an unknown ending: {nearest(path.suffix, FORMATS)}."
        raise InvalidArgument(msg)
    try:
        return path.read_text(encoding="utf-8-sig"), path.suffix.lower()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        msg = f"network {name!r} cannot be read: {reason}."
        raise InvalidArgument(msg) from None


def _packaged() -> Any:
    return importlib.resources.files("queueing_llm.scenarios").joinpath("networks")
