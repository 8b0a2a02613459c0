"""Published theorems: which apply to what, and what stands in the way otherwise."""

from fractions import Fraction as F

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._theorems import (
    applicable_theorems,
    buffer_order,
    feed_forward,
    kelly_fifo,
    one_class_per_station,
    two_stations,
)
from queueing_llm.networks._traffic import station_loads


def line_of(route, means, rate=1):
    return MulticlassNetwork.with_routes([route], mean_service=means, arrival_rates=[rate])


LU_KUMAR = line_of("ABBA", [F(1, 10), F(3, 5)] * 2)
RING = MulticlassNetwork.with_routes(
    ["ABC", "BCA", "CAB"], mean_service=[F(1, 10)] * 9, arrival_rates=[1, 1, 1]
)


def names(network, **about):
    return [match.name for match in applicable_theorems(network, **about)]


def test_nothing_is_claimed_for_an_unstable_priority():
    assert names(LU_KUMAR) == []
    assert names(LU_KUMAR, priority=(2, 1, 2, 1), is_fifo=True) == []


def test_priorities_along_and_against_the_route():
    assert names(LU_KUMAR, priority=(1, 1, 2, 2)) == ["first buffer first served"]
    assert names(LU_KUMAR, priority=(9, 9, 3, 3)) == ["last buffer first served"]
    assert names(LU_KUMAR.scaled(F(10, 7)), priority=(1, 1, 2, 2)) == []
    against = buffer_order(LU_KUMAR, (2, 1, 2, 1), forwards=False)
    assert [h.holds for h in against.hypotheses] == [True, True, False]
    assert against.hypotheses[2].how == "not at B"


def test_two_routes_are_not_one():
    """Entering classes first happens to be stable here, but not by these theorems."""
    pair = MulticlassNetwork.with_routes(
        ["AB", "BA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[1, 1]
    )
    assert names(pair, priority=(0, 1, 0, 1)) == []
    assert buffer_order(pair, (0, 1, 0, 1), forwards=True).hypotheses[1].how == "2 routes"


def test_below_its_threshold_every_discipline_is_fine():
    calm = LU_KUMAR.scaled(F(4, 5))
    assert names(calm, priority=(1, 1, 2, 2)) == ["two stations", "first buffer first served"]
    (match,) = applicable_theorems(calm)
    assert match.disciplines == "every non-idling one"
    assert match.hypotheses[1].how == "binding: alpha (m_2 + m_4) < 1, left side 0.96"
    assert not two_stations(LU_KUMAR.scaled(F(5, 6))).applies
    assert not two_stations(RING).applies


def test_kelly_type():
    even = line_of("ABBA", [F(1, 3), F(2, 5), F(2, 5), F(1, 3)])
    assert names(even) == ["two stations"]
    assert "Kelly type under FIFO" in names(even, is_fifo=True)
    assert "Kelly type under FIFO" in names(RING, is_fifo=True)
    assert names(RING) == []
    assert kelly_fifo(LU_KUMAR).hypotheses[2].how == "0.1 to 0.6 s at A, 0.1 to 0.6 s at B"


def test_feed_forward_goes_by_engines_not_by_tasks():
    pipeline = line_of("AABCC", [F(1, 10)] * 5)
    match = feed_forward(pipeline)
    assert match.applies
    assert match.hypotheses[1].how == "order: A -> B -> C"
    assert names(pipeline)[0] == "feed-forward"
    there_and_back = MulticlassNetwork.with_routes(
        ["AB", "BA"], mean_service=[F(1, 10)] * 4, arrival_rates=[1, 1]
    )
    assert feed_forward(there_and_back).hypotheses[1].how == "circle: A -> B -> A"


def test_a_single_station_with_feedback_is_feed_forward():
    loop = MulticlassNetwork([0, 0], [F(1, 10), F(1, 5)], [2, 0], [[(1, F(1))], [(0, F(1, 4))]])
    assert station_loads(loop) == (F(4, 5),)
    assert names(loop) == ["feed-forward"]


def test_forks_and_joins():
    fork = MulticlassNetwork(
        [0, 1, 2, 3],
        [F(1, 10)] * 4,
        [1, 0, 0, 0],
        [[(1, 1), (2, 1)], [(3, F(1, 2))], [(3, F(1, 2))], []],
    )
    assert names(fork, has_joins=True) == ["feed-forward"]
    assert names(fork) == ["feed-forward"]
    assert one_class_per_station(fork).hypotheses[1].how == "forks after 1"
    assert names(RING, has_joins=True, is_fifo=True) == []
    calm = LU_KUMAR.scaled(F(1, 2))
    assert names(calm, has_joins=True) == []


def test_generalised_jackson_networks():
    circle = MulticlassNetwork([0, 1], [F(1, 10)] * 2, [1, 1], [[(1, F(1, 2))], [(0, F(1, 2))]])
    assert names(circle) == ["one class per station"]
    assert one_class_per_station(LU_KUMAR).hypotheses[2].how == "several at A, B"


@given(
    st.lists(st.text("ABC", min_size=1, max_size=5), min_size=1, max_size=3),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_no_theorem_applies_from_load_one(routes, is_fifo):
    count = len("".join(routes))
    network = MulticlassNetwork.with_routes(
        routes,
        mean_service=[F(k + 1, 7) for k in range(count)],
        arrival_rates=[1] * len(routes),
    )
    ranks = tuple(range(count))
    full = network.scaled(1 / max(station_loads(network)))
    assert applicable_theorems(full, priority=ranks, is_fifo=is_fifo) == ()
    for match in applicable_theorems(full.scaled(F(1, 2)), priority=ranks, is_fifo=is_fifo):
        assert all(hypothesis.holds for hypothesis in match.hypotheses)
        assert match.applies


def test_bad_ranks_are_refused():
    with pytest.raises(InvalidArgument, match="priority must be"):
        applicable_theorems(LU_KUMAR, priority=(1, 2))
