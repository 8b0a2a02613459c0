"""What a certificate says about a network: classes, stations and routing in integers."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from queueing_llm.certificates._system import pair
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._planning import Servers


def network_system(
    network: MulticlassNetwork, *, servers: Servers | None = None
) -> dict[str, Any]:
    """Return the network as a certificate writes it, with ``servers`` if there is a choice."""
    record: dict[str, Any] = {
        "arrival_rates": pairs(network.arrival_rates),
        "routing": [sparse(row) for row in network.routing],
    }
    if servers is None:
        record["stations"] = list(network.stations)
        record["mean_service"] = pairs(network.mean_service)
    else:
        record["servers"] = [sparse(row) for row in servers]
    return record


def own_servers(network: MulticlassNetwork) -> Servers:
    """Return the one station of each class as all that can serve it."""
    own = zip(network.stations, network.mean_service, strict=True)
    return [[(station, seconds)] for station, seconds in own]


def pairs(values: Iterable[int | Fraction]) -> list[list[int]]:
    """Return numbers as a certificate writes them."""
    return [pair(value) for value in values]


def sparse(row: Iterable[tuple[int, int | Fraction]]) -> list[list[Any]]:
    """Return what belongs to a few positions as a certificate writes it, in their order."""
    return [[position, pair(value)] for position, value in sorted(row)]
