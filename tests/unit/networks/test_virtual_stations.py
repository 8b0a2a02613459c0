"""Virtual stations: the published pair, exclusion in simulated jobs, and what is left out."""

import itertools
import random
from fractions import Fraction as F

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._traffic import visit_rates
from queueing_llm.networks._two_stations import is_globally_stable, two_station_threshold
from queueing_llm.networks._virtual_stations import virtual_stations

# arXiv:2504.07347v3, section 5.4, at load 0.9: short and long hops on two engines.
PAIR = MulticlassNetwork(
    [0, 1, 1, 0],
    [F(1, 12), F(17, 24)] * 2,
    [F(108, 95), 0, F(108, 95), 0],
    [[(1, 1)], [], [(3, 1)], []],
    class_names=["short A", "long A", "short B", "long B"],
)


def test_the_two_long_hops_of_the_published_pair():
    (found,) = virtual_stations(PAIR)
    assert found.names == ("long A", "long B")
    assert found.push_start == ()
    assert found.load == F(153, 95)
    assert float(found.load) == pytest.approx(1.6105263157894736, rel=1e-12)  # agents.cycle


def test_only_priorities_that_form_one_do():
    leaving_first, entering_first = (1, 0, 1, 0), (0, 1, 0, 1)
    assert virtual_stations(PAIR, priority=leaving_first) == virtual_stations(PAIR)
    assert virtual_stations(PAIR, priority=entering_first) == ()


def test_no_overload_no_virtual_station():
    calm = PAIR.scaled(F(1, 2))
    assert is_globally_stable(calm)
    assert virtual_stations(calm) == ()
    assert virtual_stations(calm, priority=(1, 0, 1, 0)) == ()
    at_one = PAIR.scaled(F(95, 153))
    assert virtual_stations(at_one) == ()


def test_a_push_start_is_found_beside_the_plain_one():
    means = [F(3, 10), F(1, 10), F(1, 2), F(1, 10), F(2, 5)]
    line = MulticlassNetwork.with_routes(["AABBA"], mean_service=means, arrival_rates=[1])
    (pushed,) = virtual_stations(line)
    assert (pushed.push_start, pushed.classes) == ((0,), (2, 4))
    assert pushed.load == F(1, 2) + F(2, 5) / (1 - F(3, 10))
    both = virtual_stations(line.scaled(F(6, 5)))
    assert [found.push_start for found in both] == [(0,), ()]
    assert both[1].load == F(6, 5) * F(9, 10)


def test_an_overloaded_push_start_has_no_load():
    means = [F(3, 10), F(1, 10), F(1, 2), F(1, 10), F(2, 5)]
    line = MulticlassNetwork.with_routes(["AABBA"], mean_service=means, arrival_rates=[4])
    assert [found.load for found in virtual_stations(line)] == [None, F(18, 5)]


def random_line(rng, stations):
    routes = ["".join(rng.choice(stations) for _ in range(rng.randint(2, 5))) for _ in "ab"]
    means = [F(rng.randint(1, 20), 10) for _ in "".join(routes)]
    return MulticlassNetwork.with_routes(routes, mean_service=means, arrival_rates=[1, 1])


def met(network, ranks, classes, *, rng, events=3_000):
    """Whether jobs of the classes are ever at two stations at once, from empty."""
    order = sorted(range(network.class_count), key=ranks.__getitem__)
    jobs = [0] * network.class_count
    arriving = [k for k, rate in enumerate(network.arrival_rates) if rate]
    for _ in range(events):
        heads = {}
        for k in order:
            if jobs[k]:
                heads.setdefault(network.stations[k], k)
        moves = [*heads.values(), *(~k for k in arriving)]
        k = rng.choice(moves)
        if k < 0:
            jobs[~k] += 1
        else:
            jobs[k] -= 1
            for l, _ in network.routing[k]:
                jobs[l] += 1
        if len({network.stations[k] for k in classes if jobs[k]}) == 2:
            return True
    return False


def heaviest_by_definition(network, ranks):
    """Return load and classes of the heaviest virtual station, trying all first classes."""
    lines = [sorted(network.classes_at(j), key=ranks.__getitem__) for j in (0, 1)]
    feeders = [
        [k for k, row in enumerate(network.routing) if l in dict(row)]
        for l in range(network.class_count)
    ]
    rates = visit_rates(network)
    found = []
    for m, n in itertools.product(range(1, len(lines[0]) + 1), range(1, len(lines[1]) + 1)):
        ours = {*lines[0][:m], *lines[1][:n]}
        if not any(network.arrival_rates[k] for k in ours) and all(
            (network.stations[k] == network.stations[l]) == (k in ours)
            for l in ours
            for k in feeders[l]
        ):
            load = sum(rates[k] * network.mean_service[k] for k in ours)
            found.append((load, tuple(sorted(ours))))
    return max(found, default=None)


def test_by_priority_it_is_the_heaviest_of_the_definition():
    rng, seen = random.Random(3), 0
    while seen < 40:
        line = random_line(rng, "AB")
        if line.station_count != 2:
            continue
        # Some jobs come back to a class of their route, which the definition allows or not.
        routing = [list(row) for row in line.routing]
        k, l = rng.randrange(line.class_count), rng.randrange(line.class_count)
        if l not in dict(routing[k]):
            routing[k] = [(t, F(3, 4)) for t, _ in routing[k]] + [(l, F(1, 8))]
        network = MulticlassNetwork(
            line.stations, line.mean_service, line.arrival_rates, routing
        ).scaled(1000)
        ranks = rng.sample(range(network.class_count), network.class_count)
        answer = [(v.load, v.classes) for v in virtual_stations(network, priority=ranks)]
        heaviest = heaviest_by_definition(network, ranks)
        assert answer == ([] if heaviest is None else [heaviest])
        seen += heaviest is not None


@pytest.mark.parametrize("stations", ["AB", "ABC"])
def test_its_classes_are_never_served_at_once(stations):
    """In any order of events, also beside other stations; other classes do meet."""
    rng = random.Random(5)
    found, others = 0, 0
    while found < 40:
        network = random_line(rng, stations)
        ranks = rng.sample(range(network.class_count), network.class_count)
        for virtual in virtual_stations(network.scaled(100), priority=ranks):
            at = {network.stations[k] for k in virtual.classes}
            assert not met(network, ranks, virtual.classes, rng=rng)
            more = [k for k in range(network.class_count) if network.stations[k] in at]
            others += met(network, ranks, more, rng=rng)
            found += 1
    assert others > 30


def test_the_priority_of_a_binding_condition_forms_it():
    """The best virtual station under its own ranks, on networks without a push start."""
    rng, seen = random.Random(11), 0
    while seen < 20:
        network = random_line(rng, "AB")
        if network.station_count != 2:
            continue
        threshold = two_station_threshold(network)
        limit = threshold.virtual_station_scaling
        if threshold.scaling != limit or limit == threshold.nominal_scaling:
            continue
        seen += 1
        above = network.scaled(limit * F(101, 100))
        (under,) = virtual_stations(above, priority=threshold.binding.priority)
        (best, *_) = virtual_stations(above)
        assert under.load == best.load == F(101, 100)


def test_routes_at_random_are_answered_by_priority_only():
    pair = MulticlassNetwork(
        [0, 1, 1, 0],
        [F(1, 10), F(3, 5)] * 2,
        [1, 0, 1, 0],
        [[(1, F(9, 10))], [], [(3, F(9, 10))], []],
    )
    assert virtual_stations(pair) is None
    (found,) = virtual_stations(pair, priority=(1, 0, 1, 0))
    assert found.load == F(9, 10) * F(6, 5)


def test_a_class_fed_through_a_third_station_is_no_part():
    line = MulticlassNetwork.with_routes(
        ["ABBCA"],
        mean_service=[F(1, 10), F(3, 5), F(1, 10), F(1, 10), F(3, 5)],
        arrival_rates=[1],
    )
    assert virtual_stations(line, priority=(2, 1, 2, 1, 1)) == ()


def test_a_class_with_arrivals_of_its_own_is_no_part():
    line = PAIR.scaled(0)
    fed = MulticlassNetwork(
        line.stations, line.mean_service, [1, F(1, 100), 1, 0], line.routing
    )
    assert virtual_stations(fed.scaled(2), priority=(1, 0, 1, 0)) == ()


def test_bad_ranks_are_refused():
    with pytest.raises(InvalidArgument, match="priority must be"):
        virtual_stations(PAIR, priority=(1, 1, 1, 1))


def test_a_silent_network():
    assert virtual_stations(PAIR.scaled(0)) == ()
