"""Hypothesis strategies for networks, valid by construction.

They shrink towards one engine, one kind of job and no way back. Every row of the routing
leaves a tenth of the jobs to go, so nobody comes back for ever.
"""

from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from queueing_llm.model import (
    DeterministicLength,
    Engine,
    IndependentLengths,
    MulticlassNetwork,
    PoissonArrivals,
)
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.steptime import AffineStepTime

MOST_STATIONS, MOST_CLASSES, MOST_WAYS = 3, 5, 3
TENTH = Fraction(1, 10)

tenths = st.integers(1, 20).map(lambda tens: tens * TENTH)
tokens = st.integers(1, 40)


@st.composite
def multiclass_networks(draw: st.DrawFn, *, feed_forward: bool = False) -> MulticlassNetwork:
    """Draw a network of up to three stations and five classes, in exact numbers.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    feed_forward : bool
        Whether jobs only go on to the same station or to later ones.

    Examples
    --------
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import multiclass_networks
    >>> found = find(multiclass_networks(), lambda network: network.class_count > 1)
    >>> found.stations, found.routing
    ((0, 0), ((), ()))
    """
    stations = draw(_stations(feed_forward=feed_forward))
    count = len(stations)
    rates = [draw(st.integers(0, 20)) * TENTH for _ in range(count)]
    return MulticlassNetwork(
        stations=stations,
        mean_service=[draw(tenths) for _ in range(count)],
        arrival_rates=rates if any(rates) else [TENTH, *rates[1:]],
        routing=[
            draw(_shares(range(k + 1, count) if feed_forward else range(count)))
            for k in range(count)
        ],
    )


@st.composite
def agent_networks(draw: st.DrawFn, *, feed_forward: bool = False) -> AgentNetwork:
    """Draw a network of up to three engines and five kinds of visit without a context.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    feed_forward : bool
        Whether sessions only go on to the same engine or to later ones.

    Examples
    --------
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import agent_networks
    >>> found = find(agent_networks(), lambda network: len(network.engines) > 1)
    >>> len(found.visits), [visit.engines for visit in found.visits]
    (2, [(0,), (1,)])
    """
    stations = draw(_stations(feed_forward=feed_forward))
    count = len(stations)
    ways: list[set[int]] = [set() for _ in stations]
    entries = [0]
    for k in range(1, count):
        # Every kind of visit is an entry or follows an earlier one.
        before = draw(st.none() | st.integers(0, k - 1))
        if before is None:
            entries.append(k)
        else:
            ways[before].add(k)
    if not feed_forward:
        for way in ways:
            way.update(draw(st.lists(st.integers(0, count - 1), max_size=1)))
    rows = [draw(_shares(way, all_of_them=True)) for way in ways]
    return AgentNetwork.of(
        [
            NetworkEngine(f"engine {j}", draw(_network_engines()))
            for j in range(max(stations) + 1)
        ],
        [draw(_visits(k, engine=stations[k], is_entry=k in entries)) for k in range(count)],
        [Move(k, l, probability=share) for k, row in enumerate(rows) for l, share in row],
    )


@st.composite
def _stations(draw: st.DrawFn, *, feed_forward: bool) -> list[int]:
    """Draw the station of each class, numbered without gaps."""
    last = st.integers(0, MOST_STATIONS - 1)
    drawn = draw(st.lists(last, min_size=1, max_size=MOST_CLASSES))
    numbers = {station: j for j, station in enumerate(sorted(set(drawn)))}
    stations = [numbers[station] for station in drawn]
    return sorted(stations) if feed_forward else stations


@st.composite
def _shares(
    draw: st.DrawFn, targets: Any, *, all_of_them: bool = False
) -> list[tuple[int, Fraction]]:
    """Draw who follows with which probability; together at most nine tenths."""
    followers = sorted(targets)
    if followers and not all_of_them:
        chosen = st.sampled_from(followers)
        followers = draw(st.lists(chosen, unique=True, max_size=MOST_WAYS))
    unit = Fraction(1, 10 * max(1, len(followers)))
    return [(l, draw(st.integers(1, 9)) * unit) for l in followers]


@st.composite
def _network_engines(draw: st.DrawFn) -> Engine:
    step = AffineStepTime(draw(tenths), draw(tenths) * TENTH)
    return Engine(step, token_budget=draw(st.integers(1, 64)))


@st.composite
def _visits(draw: st.DrawFn, number: int, *, engine: int, is_entry: bool) -> Visit:
    lengths = (DeterministicLength(draw(tokens)), DeterministicLength(draw(tokens)))
    return Visit(
        f"visit {number}",
        f"agent {number}",
        "session",
        (engine,),
        IndependentLengths(*lengths),
        arrivals=PoissonArrivals(draw(tenths) * TENTH) if is_entry else None,
        priority=draw(st.integers(0, 2)),
    )
