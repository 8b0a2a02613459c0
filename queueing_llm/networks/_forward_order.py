"""The order in which jobs pass the stations, if they never turn back."""

from graphlib import CycleError, TopologicalSorter

from queueing_llm.model import MulticlassNetwork


def forward_order(network: MulticlassNetwork) -> tuple[list[int], bool]:
    """Return the stations in an order in which jobs move forward only, and True.

    If there is none, a circle of stations, and False. Moves within a station do not count.

    >>> line = MulticlassNetwork.with_routes(["BA"], mean_service=[1, 1], arrival_rates=[0])
    >>> forward_order(line)
    ([1, 0], True)
    """
    before: dict[int, set[int]] = {j: set() for j in range(network.station_count)}
    for here, row in zip(network.stations, network.routing, strict=True):
        for l, _ in row:
            before[network.stations[l]] |= {here} - {network.stations[l]}
    try:
        return list(TopologicalSorter(before).static_order()), True
    except CycleError as error:
        return list(error.args[1]), False
