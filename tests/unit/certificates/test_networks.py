"""Certificates about networks: found where they should be, and only there."""

import itertools
from dataclasses import replace
from fractions import Fraction as F

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.certificates import (
    Rejected,
    certify_feed_forward,
    certify_growth,
    certify_network_overload,
    certify_network_stability,
    certify_overload,
    check_certificate,
    check_network_certificate,
)
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks import (
    GrowingCycle,
    LyapunovPieces,
    drift_margin,
    growing_cycle,
    plan_static,
    priority_fluid,
    stability_pieces,
    station_loads,
    visit_rates,
)

OTHER = ((F(0), F(1)), (F(1), F(0)))
EXIT_FIRST = (1, 0, 1, 0)
SHORT_FIRST = (0, 1, 0, 1)


def line(routes, tenths, rate):
    return MulticlassNetwork.with_routes(
        routes,
        mean_service=[F(m) / 10 for m in tenths],
        arrival_rates=[F(rate)] * len(routes),
    )


def two_pieces(*weights, margin, priority=None, cases=()):
    return LyapunovPieces(
        tuple(tuple(map(F, piece)) for piece in weights), OTHER, priority, cases, F(margin)
    )


AGENTS = MulticlassNetwork.with_routes(
    ["AB", "BA"], mean_service=[F(1, 12), F(17, 24)] * 2, arrival_rates=[F(66, 95)] * 2
)
RS = ((1, 0, 1, 1), (1, 1, 1, 0))
PUBLISHED = {
    # Lines of Lu and Kumar and of Rybko and Stolyar; the agent pair of arXiv:2504.07347.
    "Lu-Kumar": (
        line(["ABBA"], (1, 6, 1, 6), F(4, 5)),
        ((2, 1, 1, 1), (2, 2, 1, 0)),
        F(1, 15),
    ),
    "Rybko-Stolyar": (line(["AB", "BA"], (1, 6, 1, 6), F(4, 5)), RS, F(1, 15)),
    "push start": (
        line(["AABBA"], (3, 1, 5, 1, 4), F(9, 10)),
        ((40, 29, 15, 15, 15), (29, 29, 29, 15, 0)),
        F(2, 3),
    ),
    "agents": (AGENTS, RS, F(36, 1615)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_functions_prove_exactly_their_margin(name):
    network, weights, margin = PUBLISHED[name]
    certificate = certify_network_stability(network, two_pieces(*weights, margin=margin))
    checked = check_network_certificate(certificate, network, priority=None)
    assert checked == check_network_certificate(certificate, network, priority=EXIT_FIRST)
    assert checked.statement.startswith("the fluid model of every non-idling policy is stable")
    more = two_pieces(*weights, margin=margin * (1 + F(1, 10**12)))
    assert certify_network_stability(network, more) is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_proved_happens_on_fluid_paths(name):
    """The sum falls at the claimed rate on every phase of paths under every priority."""
    network, weights, margin = PUBLISHED[name]
    for ranks in priorities(network):
        for start in ((5, 1, 0, 2, 0), (0, 0, 3, 0, 1), (1, 1, 1, 1, 1)):
            assert falls(network, weights, margin, ranks, start[: network.class_count]) > 0


def priorities(network):
    """Yield ranks for all orders of the classes of each station."""
    orders = map(itertools.permutations, map(network.classes_at, range(network.station_count)))
    for chosen in itertools.product(*orders):
        ranked = {k: rank for order in chosen for rank, k in enumerate(order)}
        yield tuple(ranked[k] for k in range(network.class_count))


def falls(network, weights, margin, ranks, start):
    """Return how many phases were compared."""
    run = priority_fluid(network, priority=ranks, start=start, max_phases=40)
    states = (run.start, *run.states)
    heights = [
        max(sum(w * q for w, q in zip(h, state, strict=True)) for h in weights)
        for state in states
    ]
    for (before, after), phase in zip(itertools.pairwise(heights), run.phases, strict=True):
        assert before - after >= margin * phase.duration
    return len(run.phases)


def reversed_cases():
    """Modes of the agent pair that serves short hops first, with the weights that they need."""
    even = 1 + F(2, 17)
    usual = (F(3, 2), F(1), F(3, 2), F(1))
    listed = []
    for at_a, at_b in itertools.product((0, 3), (2, 1, None)):
        w = list(usual)
        if at_b is None:
            w[1:3] = F(0), F(1)
        if at_b == 1:
            w[2] = even
        if at_a == 3:
            w[0] = w[1] + F(2, 17)
        twin = {None: None, 0: 2, 3: 1, 2: 0, 1: 3}
        listed.append((0, (at_a, at_b), tuple(w)))
        listed.append((1, (twin[at_b], twin[at_a]), (w[2], w[3], w[0], w[1])))
    return usual, tuple(listed)


@pytest.mark.parametrize("load", [F(1, 2), F(9, 10), F(99, 100), F(1)])
def test_short_hops_first_is_proved_stable_up_to_load_one(load):
    """The margin is 24/17 (1 - load): derived by hand, and seen on fluid paths."""
    usual, cases = reversed_cases()
    network = AGENTS.scaled(load / F(11, 20))
    margin = F(24, 17) * (1 - load)
    pieces = LyapunovPieces((usual, usual), (), SHORT_FIRST, cases, margin)
    assert drift_margin(network, pieces) == margin
    certificate = certify_network_stability(network, pieces)
    assert (certificate is None) == (load == 1)
    if certificate is not None:
        checked = check_network_certificate(certificate, network, priority=SHORT_FIRST)
        assert checked.statement.startswith("the fluid model of this static priority is stable")
        for start in ((9, 1, 0, 2), (0, 0, 3, 1), (0, 5, 0, 0)):
            assert falls(network, (usual,), margin, SHORT_FIRST, start) > 0
        for other in (None, EXIT_FIRST):
            with pytest.raises(Rejected, match="priority differs"):
                check_network_certificate(certificate, network, priority=other)


@pytest.mark.parametrize(
    ("network", "ranks", "factor"),
    [
        (line(["ABBA"], (1, 6, 1, 6), F(9, 10)), EXIT_FIRST, F(27, 23)),
        (line(["AB", "BA"], (1, 6, 1, 6), F(9, 10)), EXIT_FIRST, F(729, 529)),
        (line(["ABBA"], (F(1, 10), F(20, 3)) * 2, 1), EXIT_FIRST, F(2)),
        (AGENTS.scaled(F(18, 11)), EXIT_FIRST, F(153, 37) ** 2),
    ],
    ids=["Lu-Kumar", "Rybko-Stolyar", "doubling", "agents"],
)
def test_known_cycles_are_proved_to_grow(network, ranks, factor):
    cycle = growing_cycle(network, priority=ranks)
    certificate = certify_growth(network, cycle)
    assert F(*certificate.document["factor"]) == factor
    checked = check_network_certificate(certificate, network, priority=ranks)
    assert checked.statement.startswith("the fluid model of this static priority is unstable")
    assert certify_growth(network, replace(cycle, factor=factor + F(1, 10**12))) is None
    assert certify_growth(network.scaled(F(999, 1000)), cycle) is None
    for other in (None, SHORT_FIRST):
        with pytest.raises(Rejected, match="priority differs"):
            check_network_certificate(certificate, network, priority=other)


@given(
    rate=st.fractions(min_value=F(1, 2), max_value=F(13, 10), max_denominator=60),
    long=st.fractions(min_value=F(1, 5), max_value=F(7, 10), max_denominator=30),
)
def test_a_pair_is_proved_stable_or_growing_on_either_side_of_its_critical_rate(rate, long):
    """A virtual station of the two long hops decides, exactly."""
    network = line(["AB", "BA"], (1, 10 * long) * 2, rate)
    assume(rate * long < 1 and rate / 10 < 1)
    margin = 1 / long - 2 * rate
    stability = certify_network_stability(network, two_pieces(*RS, margin=margin))
    cycle = growing_cycle(network, priority=EXIT_FIRST)
    assert (stability is not None) == (margin > 0)
    assert (cycle is not None) == (margin < 0)
    if cycle is not None:
        assert certify_growth(network, cycle).check().kind == "network-growth"


positive = st.fractions(min_value=F(1, 20), max_value=1, max_denominator=20)


@st.composite
def networks(draw, *, turns_back):
    """Up to six classes at up to four stations; jobs go on to later classes, or come back."""
    count = draw(st.integers(1, 6))
    stations = [0]
    for _ in range(count - 1):
        highest = stations[-1] if not turns_back else max(stations)
        stations.append(draw(st.integers(0 if turns_back else highest, highest + 1)))
    rows = []
    for k in range(count):
        low = 0 if turns_back else stations.index(stations[k])
        targets = draw(st.sets(st.integers(low, count - 1), max_size=3))
        rows.append([(l, F(draw(st.integers(1, 4)), 13)) for l in targets])
    means = draw(st.lists(positive, min_size=count, max_size=count))
    rates = draw(st.lists(positive, min_size=count, max_size=count))
    return MulticlassNetwork(stations, means, rates, rows)


def certify_overload_of(network, servers=None):
    own = [[server] for server in zip(network.stations, network.mean_service, strict=True)]
    plan = plan_static(network.arrival_rates, network.routing, servers=servers or own)
    return certify_network_overload(network, plan, servers=servers)


@given(network=networks(turns_back=False), load=positive.map(lambda x: 2 * x))
def test_exactly_the_loads_below_one_are_certified_where_work_moves_forward(network, load):
    network = network.scaled(load / max(station_loads(network)))
    certificate = certify_feed_forward(network)
    assert (certificate is not None) == (load < 1)
    if certificate is not None:
        assert F(*certificate.document["slack"]) == 1 - load
        check_network_certificate(certificate, network, priority=range(network.class_count))
    overload = certify_overload_of(network)
    assert (overload is not None) == (load > 1)
    if overload is not None:
        assert F(*overload.document["excess"]) == load - 1
        check_network_certificate(overload, network)


@given(network=networks(turns_back=True))
def test_networks_whose_jobs_turn_back_are_not_certified_as_feed_forward(network):
    """A slow twin: no order of the stations has all moves forward."""
    moves = {
        (network.stations[k], network.stations[l])
        for k, row in enumerate(network.routing)
        for l, _ in row
    }
    orders = itertools.permutations(range(network.station_count))
    has_order = any(all(o.index(a) <= o.index(b) for a, b in moves) for o in orders)
    network = network.scaled(F(1, 2) / max(station_loads(network)))
    assert (certify_feed_forward(network) is not None) == has_order


def test_jobs_that_never_leave_are_not_certified():
    for share in (F(1), F(3, 2)):
        endless = MulticlassNetwork([0], [1], [0], [[(0, share)]])
        assert certify_feed_forward(endless) is None
    assert certify_feed_forward(MulticlassNetwork([0], [1], [0], [[(0, F(1, 2))]])) is not None


def test_overload_is_proved_where_classes_may_choose_their_station():
    """Two classes at two stations, static planning load 7/15 at rates 1, 1."""
    servers = [[(0, F(1, 2)), (1, F(1))], [(0, F(6, 5)), (1, F(2, 5))]]
    network = MulticlassNetwork([0, 1], [1, 1], [3, 3], [[], []])
    certificate = certify_overload_of(network, servers)
    assert F(*certificate.document["excess"]) == F(2, 5)
    check_network_certificate(certificate, network, servers=servers)
    with pytest.raises(Rejected, match="network differs"):
        check_network_certificate(certificate, network)
    for scale in (F(1, 3), F(5, 7)):
        assert certify_overload_of(network.scaled(scale), servers) is None


@settings(max_examples=40)
@given(
    network=networks(turns_back=True),
    table=st.lists(st.lists(positive, min_size=3, max_size=3), min_size=6, max_size=6),
    load=positive.map(lambda x: 2 * x),
)
def test_exactly_the_planning_loads_above_one_are_certified(network, table, load):
    servers = [list(enumerate(table[k])) for k in range(network.class_count)]
    servers[0] = []
    if network.class_count > 1:
        plan = plan_static(network.arrival_rates, network.routing, servers=servers)
        network = network.scaled(load / plan.load)
        certificate = certify_overload_of(network, servers)
        assert (certificate is not None) == (load > 1)
        if certificate is not None:
            assert F(*certificate.document["excess"]) == load - 1


def test_a_certificate_is_about_one_network():
    network, weights, margin = PUBLISHED["agents"]
    certificate = certify_network_stability(network, two_pieces(*weights, margin=margin))
    others = [
        network.scaled(F(999, 1000)),
        replace(network, stations=[1, 0, 0, 1]),
        replace(network, mean_service=[F(1, 12), F(17, 24), F(1, 12), F(17, 25)]),
        replace(network, routing=[[(1, F(1, 2))], [], [(3, 1)], []]),
    ]
    for other in others:
        with pytest.raises(Rejected, match="another system: network differs"):
            check_network_certificate(certificate, other)
    named = replace(network, class_names=["search", "answer", "ask", "write"])
    check_network_certificate(certificate, named)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_the_search_finds_is_certified(name):
    network = PUBLISHED[name][0]
    certificate = certify_network_stability(network, stability_pieces(network))
    assert check_network_certificate(certificate, network).kind == "network-stability"


@settings(max_examples=25)
@given(network=networks(turns_back=True), load=positive, ranked=st.booleans())
def test_search_and_checker_agree_on_random_networks(network, load, ranked):
    network = network.scaled(load / max(station_loads(network)))
    priority = tuple(range(network.class_count)) if ranked else None
    pieces = stability_pieces(network, priority=priority)
    assume(pieces is not None)
    certificate = certify_network_stability(network, pieces)
    check_network_certificate(certificate, network, priority=priority)
    for start in ((5, 1, 0, 2, 0, 1), (0, 0, 3, 0, 1, 0)):
        ranks = tuple(range(network.class_count))
        begin = start[: network.class_count]
        falls(network, pieces.weights, pieces.margin, ranks, begin)


def test_a_plan_for_more_arrivals_proves_nothing():
    network = line(["ABBA"], (1, 6, 1, 6), 2)
    own = [[server] for server in zip(network.stations, network.mean_service, strict=True)]
    plan = plan_static(network.arrival_rates, network.routing, servers=own)
    assert certify_network_overload(network, plan) is not None
    assert certify_network_overload(network.scaled(F(999, 1000)), plan) is None


def test_engines_and_networks_are_not_mixed_up():
    network, weights, margin = PUBLISHED["agents"]
    about_network = certify_network_stability(network, two_pieces(*weights, margin=margin))
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    load = ql.Workload.poisson(1, prompt_tokens=5, output_tokens=4)
    about_engine = certify_overload(engine, load)
    with pytest.raises(Rejected, match="another system"):
        check_network_certificate(about_engine, network)
    for policy in (None, ql.SARATHI):
        with pytest.raises(Rejected, match="another system"):
            check_certificate(about_network, engine, workload=load, policy=policy)


def test_traffic_of_a_certificate_is_that_of_the_network():
    network = line(["AAB"], (2, 3, 6), 1)
    document = certify_feed_forward(network).document
    assert document["order"] == [0, 1]
    assert [F(*rate) for rate in document["visit_rates"]] == list(visit_rates(network))
    assert [F(*worth) for worth in document["worth"]] == [3, 2, 1]


def test_a_cycle_of_some_non_idling_policy_needs_no_priority():
    """Of equal ranks the checker asks only that stations with fluid do not idle."""
    network = line(["ABBA"], (1, 6, 1, 6), F(9, 10))
    cycle = growing_cycle(network, priority=EXIT_FIRST)
    document = dict(certify_growth(network, cycle).document)
    checked = ql.certificates.check({**document, "priority": None})
    assert checked.statement.startswith("the fluid model of some non-idling policy is unstable")
    idle = GrowingCycle(cycle.start, cycle.phases[1:], cycle.factor, cycle.priority)
    assert certify_growth(network, idle) is None
