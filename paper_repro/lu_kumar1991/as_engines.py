"""A network of single servers as engines that serve one token in each step.

An engine with a token budget of one is a single server: a request of n prompt tokens and no
decode steps holds it for n steps, in a row. With geometric prompts services are memoryless up
to the length of a step, and a mean service of one step is constant.
"""

from fractions import Fraction

import queueing_llm as ql
from queueing_llm.model import DeterministicLength
from queueing_llm.model.agents import Move, NetworkEngine, Visit

STEP = Fraction(1, 10)


def as_engines(
    network: ql.MulticlassNetwork,
    *,
    priority: tuple[int, ...],
    seconds_per_token: Fraction = STEP,
) -> ql.AgentNetwork:
    """Return the network of agents that has these stations and classes.

    Parameters
    ----------
    network : MulticlassNetwork
        Stations, routes, mean services that are at least one step, and arrival rates, which
        become Poisson processes.
    priority : tuple of int, one per class
        Smaller is served first, without interrupting; equal ones in order of arrival.
    seconds_per_token : Fraction, optional
        Length of a step [s].

    Returns
    -------
    AgentNetwork
        Kinds of visit are called as the classes.

    Examples
    --------
    >>> line = ql.MulticlassNetwork.with_routes(
    ...     ["AB"], mean_service=[Fraction(1, 10), Fraction(1, 2)], arrival_rates=[1]
    ... )
    >>> network = as_engines(line, priority=(0, 0))
    >>> [engine.load for engine in ql.network_load(network).engines]
    [Fraction(1, 10), Fraction(1, 2)]
    """
    server = _server(seconds_per_token)
    engines = [NetworkEngine(name, server) for name in network.station_names]
    visits = [
        _visit(network, k, priority[k], seconds_per_token) for k in range(network.class_count)
    ]
    ways = [Move(k, l, p) for k, row in enumerate(network.routing) for l, p in row]
    return ql.AgentNetwork.of(engines, visits, ways)


def _server(step: Fraction) -> ql.Engine:
    """Return the engine that serves one token in a step."""
    law = ql.AffineStepTime(base=step, per_token=0)
    return ql.Engine(law, token_budget=1, first_token_from_prefill=True)


def _visit(network: ql.MulticlassNetwork, k: int, rank: int, step: Fraction) -> Visit:
    """Return the kind of visit that is a class: geometric prompts, constant if one token."""
    tokens, rate, name = (
        network.mean_service[k] / step,
        network.arrival_rates[k],
        network.class_names[k],
    )
    law = DeterministicLength(1) if tokens == 1 else ql.GeometricLength(tokens)
    lengths = ql.IndependentLengths(law, DeterministicLength(1))
    arrivals = ql.PoissonArrivals(rate) if rate else None
    return Visit(name, name, "job", (network.stations[k],), lengths, arrivals, rank)
