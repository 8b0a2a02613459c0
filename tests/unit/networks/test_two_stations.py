"""Two stations: recorded thresholds, the rule over all sets, laws, and the exact proof."""

import itertools
import math
from fractions import Fraction as F

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._pieces import drift_margin
from queueing_llm.networks._two_stations import (
    is_globally_stable,
    two_station_pieces,
    two_station_threshold,
)

ALMOST = 1 - F(1, 10**9)


def network_of(routes, means, rates=None):
    rates = [1] * len(routes) if rates is None else rates
    means = [F(str(mean)) for mean in means]
    return MulticlassNetwork.with_routes(routes, mean_service=means, arrival_rates=rates)


@pytest.mark.parametrize(
    ("route", "means", "nominal", "virtual", "threshold", "text"),
    [
        # net.threshold.*
        ("ABBA", (0.1, 0.6, 0.1, 0.6), F(10, 7), F(5, 6), F(5, 6), "alpha (m_2 + m_4) < 1"),
        ("ABBA", (0.2, 0.5, 0.3, 0.4), F(5, 4), F(10, 9), F(10, 9), "alpha (m_2 + m_4) < 1"),
        ("ABBA", (0.4, 0.4, 0.1, 0.4), F(5, 4), F(5, 4), F(5, 4), "alpha (m_1 + m_4) < 1"),
        (
            "ABABA",
            (0.1, 0.6, 0.1, 0.1, 0.6),
            F(5, 4),
            F(5, 6),
            F(5, 6),
            "alpha (m_2 + m_5) < 1",
        ),
        (
            "AABBA",
            (0.3, 0.1, 0.5, 0.1, 0.4),
            F(5, 4),
            F(10, 9),
            4 - 2 * math.sqrt(21) / 3,
            "alpha m_3 + alpha m_5 / (1 - alpha m_1) < 1",
        ),
        (
            "BABBA",
            (0.3, 0.1, 0.4, 0.1, 0.4),
            F(5, 4),
            F(5, 4),
            1.0233317728,
            "alpha m_5 + alpha m_3 / (1 - alpha m_1) < 1",
        ),
        (
            "BABABA",
            (0.3, 0.1, 0.4, 0.1, 0.1, 0.5),
            F(5, 4),
            F(10, 9),
            0.9449495366961069,
            "alpha m_6 + alpha m_3 / (1 - alpha m_1) < 1",
        ),
        (
            "AABBBA",
            (0.4, 0.5, 0.4, 0.5, 0.4, 0.4),
            F(10, 13),
            F(10, 13),
            0.6886674196,
            "alpha (m_3 + m_4) + alpha m_6 / (1 - alpha m_1) < 1",
        ),
        (
            "ABAAB",
            (0.1, 0.1, 0.3, 0.1, 0.4),
            F(2),
            F(10, 7),
            1.3397459622,
            "alpha m_5 + alpha m_3 / (1 - alpha m_1) < 1",
        ),
        (
            "ABBA",
            ("1/100", "2/3", "1/100", "2/3"),
            1 / (F(1, 100) + F(2, 3)),
            F(3, 4),
            F(3, 4),
            "alpha (m_2 + m_4) < 1",
        ),
    ],
)
def test_recorded_thresholds(route, means, nominal, virtual, threshold, text):
    found = two_station_threshold(network_of([route], means))
    assert found.nominal_scaling == nominal
    assert found.virtual_station_scaling == virtual
    assert found.binding.text == text
    assert float(found.low) == pytest.approx(float(threshold), rel=1e-10)
    if isinstance(threshold, F):
        assert found.scaling == threshold
    else:
        assert found.scaling is None
        assert 0 < found.high - found.low < F(1, 10**15)


def test_rybko_and_stolyar_with_two_rates():
    """net.threshold.RS."""
    found = two_station_threshold(network_of(["AB", "BA"], (0.1, 0.6, 0.1, 0.3), [1, 2]))
    assert found.scaling == F(5, 6)
    assert found.binding.text == "alpha_1 m_2 + alpha_3 m_4 < 1"
    assert found.binding.priority == (2, 0, 3, 1)


def test_the_published_pair_of_engines_and_its_push_start():
    """arXiv:2504.07347v3, section 5.4: work 32 + 32 and 512 + 32 tokens, 768 per slot."""
    hops = two_station_threshold(network_of(["AB", "BA"], [F(64, 768), F(544, 768)] * 2))
    assert hops.scaling == F(12, 17)
    phases = [F(32, 768), F(32, 768), F(512, 768), F(32, 768)]
    split = two_station_threshold(network_of(["AABB", "BBAA"], phases * 2))
    assert split.virtual_station_scaling == F(12, 17)
    assert split.scaling == F(24, 35)
    assert split.binding.push_start == (0, 4)
    assert split.binding.virtual_station == (2, 3, 6, 7)


def test_a_chain_of_excursions_that_are_left_early_counts():
    """Neither of two neighbours is chosen here: both give all but their last class."""
    line = network_of(["ABBAABB"], [1, 10, 1, 10, 1, 1, 1])
    found = two_station_threshold(line)
    assert found.binding.virtual_station == (1, 3, 5, 6)
    assert found.scaling == F(1, 22)
    assert brute_load(line.scaled(found.scaling)) == 1


def prefixes_and_sets(network, route):
    """Yield every F and V(S) along a route, word by word as the theorem has them."""
    for cut in range(len(route) + 1):
        runs = itertools.groupby(route[cut:], key=network.stations.__getitem__)
        excursions = [list(run) for _, run in runs]
        for chosen in itertools.product([False, True], repeat=len(excursions)):
            if any(chosen[:1]) or any(a and b for a, b in itertools.pairwise(chosen)):
                continue
            virtual = []
            for i, excursion in enumerate(excursions):
                if chosen[i]:
                    virtual += excursion
                elif i >= 1 and not chosen[i - 1]:
                    virtual += excursion[:-1]
            yield route[:cut], virtual


def brute_load(network):
    """Return the largest left side of all conditions; None if a station is overloaded."""
    routes = network.routes()

    def loads(classes, rate):
        work = [(network.stations[k], rate * network.mean_service[k]) for k in classes]
        return [sum((w for j, w in work if j == at), F(0)) for at in (0, 1)]

    per_route = [
        {
            (*loads(push, network.arrival_rates[r[0]]), *loads(v, network.arrival_rates[r[0]]))
            for push, v in prefixes_and_sets(network, r)
        }
        for r in routes
    ]
    whole = [loads(route, network.arrival_rates[route[0]]) for route in routes]
    real = [sum(part) for part in zip(*whole, strict=True)]
    if max(real) >= 1:
        return None
    largest = max(real)
    for choice in itertools.product(*per_route):
        f_1, f_2, v_1, v_2 = (sum(part) for part in zip(*choice, strict=True))
        largest = max(largest, v_1 / (1 - f_1) + v_2 / (1 - f_2))
    return largest


MEANS = st.one_of(st.sampled_from([F(1, 100), F(1, 2), F(1)]), st.fractions(F(1, 50), 1))


@st.composite
def small_networks(draw, most=8):
    routes = draw(
        st.lists(st.text("AB", min_size=1, max_size=most), min_size=1, max_size=3).filter(
            lambda routes: len(set("".join(routes))) == 2 and len("".join(routes)) <= most
        )
    )
    means = [draw(MEANS.map(lambda m: m.limit_denominator(200))) for _ in "".join(routes)]
    rates = [draw(st.sampled_from([F(1), F(1, 3), F(2)])) for _ in routes]
    return network_of(routes, means, rates)


@given(small_networks())
@settings(max_examples=120, deadline=None)
def test_the_rule_over_all_sets_binds_where_the_search_says(network):
    found = two_station_threshold(network)
    assert found.low <= found.high <= found.low * (1 + F(1, 10**18))
    assert brute_load(network.scaled(found.low * ALMOST)) < 1
    if found.scaling is None:
        load = brute_load(network.scaled(found.high))
        assert load is None or load >= 1
    elif found.scaling < found.nominal_scaling:
        assert brute_load(network.scaled(found.scaling)) == 1
    else:
        assert brute_load(network.scaled(found.scaling)) is None
    assert found.high <= found.virtual_station_scaling <= found.nominal_scaling


@given(small_networks(most=14))
@settings(max_examples=100, deadline=None)
def test_stability_is_proved_up_to_the_threshold_and_denied_from_there(network):
    found = two_station_threshold(network)
    below = network.scaled(found.low * ALMOST)
    assert is_globally_stable(below)
    pieces = two_station_pieces(below)
    assert pieces.margin == drift_margin(below, pieces) > 0
    above = network.scaled(found.high)
    assert not is_globally_stable(above)
    assert two_station_pieces(above) is None
    assert drift_margin(above, pieces) <= 0


@given(small_networks(), st.sampled_from([F(1, 7), F(3), F(10**6)]))
@settings(max_examples=60, deadline=None)
def test_units_names_of_stations_and_order_of_routes_do_not_matter(network, unit):
    found = two_station_threshold(network)
    slower = MulticlassNetwork(
        [1 - j for j in network.stations],
        [mean * unit for mean in network.mean_service],
        network.arrival_rates,
        network.routing,
    )
    other = two_station_threshold(slower)
    assert (found.scaling is None) == (other.scaling is None)
    assert float(other.low * unit) == pytest.approx(float(found.low), rel=1e-14)
    assert two_station_threshold(network.scaled(unit)).nominal_scaling * unit == (
        found.nominal_scaling
    )


@given(small_networks(), st.data())
@settings(max_examples=80, deadline=None)
def test_longer_services_and_cut_visits_never_help_and_split_types_change_nothing(
    network, data
):
    """The fluid of two types that share a route and its classes is that of one type."""
    found = two_station_threshold(network)
    routes = ["".join("AB"[network.stations[k]] for k in r) for r in network.routes()]
    means, k = list(network.mean_service), data.draw(st.integers(0, network.class_count - 1))
    rates = [network.arrival_rates[r[0]] for r in network.routes()]
    longer = two_station_threshold(
        network_of(routes, [*means[:k], 2 * means[k], *means[k + 1 :]], rates)
    )
    assert longer.low <= found.high
    at = next(i for i, r in enumerate(network.routes()) if k in r)
    place = network.routes()[at].index(k)
    cut = [*routes]
    cut[at] = routes[at][:place] + routes[at][place] + routes[at][place:]
    halves = [*means[:k], means[k] / 3, means[k] * 2 / 3, *means[k + 1 :]]
    assert two_station_threshold(network_of(cut, halves, rates)).low <= found.high
    own = [network.mean_service[k] for k in network.routes()[at]]
    shared = [*rates, rates[at] / 3]
    shared[at] = rates[at] * 2 / 3
    split = two_station_threshold(network_of([*routes, routes[at]], [*means, *own], shared))
    assert float(split.low) == pytest.approx(float(found.low), rel=1e-15)


def test_an_irrational_threshold_lies_between_its_ends():
    """The root of 1 - 6/5 x + 3/20 x^2, by its sign."""
    found = two_station_threshold(network_of(["AABBA"], (0.3, 0.1, 0.5, 0.1, 0.4)))

    def polynomial(x):
        return 1 - F(12, 10) * x + F(15, 100) * x**2

    assert polynomial(found.low) > 0 > polynomial(found.high)


def test_long_routes_of_many_excursions():
    """Three routes of 30 hops, for which the sets number more than 10 ** 12."""
    routes = ["AB" * 15, "AABBB" * 6, "BAA" * 10]
    means = [F(1 + (7 * k) % 11, 100) for k in range(90)]
    network = network_of(routes, means, [1, 2, F(1, 2)])
    found = two_station_threshold(network)
    below = network.scaled(found.low * ALMOST)
    assert found.high < found.virtual_station_scaling <= found.nominal_scaling
    assert drift_margin(below, two_station_pieces(below)) > 0


def test_very_different_engines_and_idle_types():
    fast = network_of(["ABBA", "B"], [F(1, 10**9), F(6, 10), F(1, 10**9), F(6, 10), 5], [1, 0])
    found = two_station_threshold(fast)
    assert found.scaling == F(5, 6)
    below = fast.scaled(F(4, 5))
    assert min(map(max, zip(*two_station_pieces(below).weights, strict=True))) > 0


def test_a_tandem_and_separate_types_reach_their_nominal_rates():
    for routes in (["AB"], ["A", "B"], ["AABB", "ABB"]):
        count = len("".join(routes))
        found = two_station_threshold(network_of(routes, [F(k + 1, 9) for k in range(count)]))
        assert found.scaling == found.nominal_scaling


def test_no_arrivals():
    silent = network_of(["ABBA"], [1, 1, 1, 1], [0])
    assert two_station_threshold(silent) is None
    assert is_globally_stable(silent)
    assert two_station_pieces(silent).margin > 0


@pytest.mark.parametrize(
    "network",
    [
        network_of(["ABC"], [1, 1, 1]),
        network_of(["AAA"], [1, 1, 1]),
        MulticlassNetwork([0, 1], [1, 1], [1, 0], [[(1, F(1, 2))], []]),
    ],
    ids=["three stations", "one station", "random routes"],
)
def test_other_networks_are_not_answered(network):
    assert two_station_threshold(network) is None
    assert two_station_pieces(network) is None
    with pytest.raises(InvalidArgument, match="two stations and fixed routes"):
        is_globally_stable(network)
