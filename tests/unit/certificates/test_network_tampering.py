"""The checker rejects every document about a network that does not prove its claim."""

import copy
import json
from fractions import Fraction as F

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.certificates import (
    Rejected,
    certify_feed_forward,
    certify_growth,
    certify_network_overload,
    certify_network_stability,
    check,
)
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks import (
    FluidPhase,
    GrowingCycle,
    LyapunovPieces,
    check_cycle,
    drift_margin,
    growing_cycle,
    plan_static,
    station_loads,
    visit_rates,
)

EXIT_FIRST, SHORT_FIRST = (1, 0, 1, 0), (0, 1, 0, 1)
OTHER = ((F(0), F(1)), (F(1), F(0)))
USUAL = (F(3, 2), F(1), F(3, 2), F(1))


def rs(rate):
    """Return the symmetric pair of Rybko and Stolyar."""
    return MulticlassNetwork.with_routes(
        ["AB", "BA"], mean_service=[F(1, 10), F(3, 5)] * 2, arrival_rates=[F(rate)] * 2
    )


def exact(*rows):
    return tuple(tuple(map(F, row)) for row in rows)


def by_priority():
    """Return a proof for short hops first at rate 4/3, load 14/15, that needs its cases."""
    ratio = F(1, 6)
    listed = []
    for at_a, at_b in [(a, b) for a in (0, 3) for b in (2, 1, None)]:
        w = list(USUAL)
        if at_b is None:
            w[1:3] = F(0), F(1)
        if at_b == 1:
            w[2] = 1 + ratio
        if at_a == 3:
            w[0] = w[1] + ratio
        twin = {None: None, 0: 2, 3: 1, 2: 0, 1: 3}
        listed.append((0, (at_a, at_b), tuple(w)))
        listed.append((1, (twin[at_b], twin[at_a]), (w[2], w[3], w[0], w[1])))
    return LyapunovPieces((USUAL, USUAL), (), SHORT_FIRST, tuple(listed), F(1, 9))


THREE = LyapunovPieces(
    exact((3, 2, 1)) * 3,
    exact((0, F(1, 2), F(1, 2)), (F(1, 2), 0, F(1, 2)), (F(1, 2), F(1, 2), 0)),
    None,
    (),
    F(5, 4),
)
RS_WEIGHTS = exact((1, 0, 1, 1), (1, 1, 1, 0))
RETRY = MulticlassNetwork(
    [0, 0, 1], [F(1, 4)] * 3, [1, 0, 0], [[(0, F(1, 4)), (1, F(1, 2))], [(2, 1)], []]
)
SERVERS = [[(0, F(1, 2)), (1, F(1))], [(0, F(6, 5)), (1, F(2, 5))]]
FOUND = {
    "stability": certify_network_stability(
        rs(F(4, 5)), LyapunovPieces(RS_WEIGHTS, OTHER, None, (), F(1, 15))
    ),
    "by priority": certify_network_stability(rs(F(4, 3)), by_priority()),
    "three stations": certify_network_stability(
        MulticlassNetwork.with_routes(
            ["ABC"], mean_service=[F(1, 2), F(1, 3), F(1, 4)], arrival_rates=[F(1, 4)]
        ),
        THREE,
    ),
    "growth": certify_growth(rs(1), growing_cycle(rs(1), priority=EXIT_FIRST)),
    "feed-forward": certify_feed_forward(RETRY),
    "overload": certify_network_overload(
        MulticlassNetwork([0, 1], [1, 1], [3, 3], [[], []]),
        plan_static([3, 3], [[], []], servers=SERVERS),
        servers=SERVERS,
    ),
}


def document(kind):
    return json.loads(json.dumps(FOUND[kind].document))


def change(whole, path, value):
    *parents, last = path
    node = whole
    for key in parents:
        node = node[key]
    node[last] = value
    return whole


@pytest.mark.parametrize("kind", FOUND)
def test_what_was_found_is_proved(kind):
    assert check(document(kind)).comparisons > 0


@pytest.mark.parametrize(
    ("kind", "path", "value", "reason"),
    [
        ("stability", ("margin",), [0, 1], "not the claimed 0"),
        ("stability", ("margin",), [-1, 15], "at least 0"),
        ("stability", ("margin",), [10**9 + 1, 15 * 10**9], "falls by 0.0666667 per second"),
        ("stability", ("margin",), ["NaN", 1], "pair of integers"),
        ("stability", ("margin",), float("nan"), "pair of integers"),
        ("stability", ("margin",), [1, True], "pair of integers"),
        ("stability", ("weights", 0, 1), [1, 1], "in some mode"),
        ("stability", ("weights", 0, 1), [2, 1], "weighs more in piece 0"),
        ("stability", ("weights", 0, 1), [-1, 1], "at least 0"),
        ("stability", ("weights", 0), [[1, 1]] * 3, "list of 4 entries"),
        ("stability", ("weights",), [[[1, 1]] * 4], "list of 2 entries"),
        ("stability", ("weights",), [[[0, 1]] * 4] * 2, "class 0 has no weight"),
        ("stability", ("weights", 1, 1), [0, 1], "class 1 has no weight"),
        ("stability", ("mixture",), [], "where pieces differ"),
        ("stability", ("mixture",), None, "list of 2 entries"),
        ("stability", ("mixture", 0), [[1, 2], [1, 2]], "0 at its piece"),
        ("stability", ("mixture", 0), [[0, 1], [2, 1]], "add up to 1"),
        ("stability", ("mixture", 0), [[0, 1], [-1, 1]], "at least 0"),
        ("stability", ("mixture", 0), [[1, 1], [0, 1]], "0 at its piece"),
        ("stability", ("cases",), [{}], "empty without a priority"),
        ("stability", ("cases",), None, "empty without a priority"),
        ("stability", ("priority",), [0, 0, 0, 0], "different for all classes of a station"),
        ("stability", ("priority",), [1, 0, 1], "list of 4 entries"),
        ("stability", ("priority",), [1, 0, 1, False], "list of integers"),
        ("stability", ("priority",), [1, 0, 1, 0.5], "list of integers"),
        ("stability", ("priority",), [1, 0, 1, 10**2_000], "list of integers"),
        ("stability", ("network", "arrival_rates", 0), [9, 10], "in some mode"),
        ("stability", ("network", "arrival_rates"), [], "list of 4 entries"),
        ("stability", ("network", "mean_service", 1), [3, 4], "in some mode"),
        ("stability", ("network", "mean_service", 1), [0, 1], "must be positive"),
        ("stability", ("network", "stations", 1), 0, "weighs more in piece 1"),
        ("stability", ("network", "stations", 1), 2, "list of 3 entries"),
        ("stability", ("network", "stations", 1), 3, "without gaps"),
        ("stability", ("network", "stations", 1), 4, "from 0 to 3"),
        ("stability", ("network", "stations", 1), -1, "from 0 to 3"),
        ("stability", ("network", "stations", 1), True, "from 0 to 3"),
        ("stability", ("network", "routing"), [], "1 to 4096 rows"),
        ("stability", ("network", "routing"), [[]] * 4097, "1 to 4096 rows"),
        ("stability", ("network", "routing", 0), {}, "must be a list"),
        ("stability", ("network", "routing", 0), [[1, [1, 1]]] * 2, "something twice"),
        ("stability", ("network", "routing", 0), [[4, [1, 1]]], "from 0 to 3"),
        ("stability", ("network", "routing", 0), [[1, [0, 1]]], "leave out what is 0"),
        ("stability", ("network", "routing", 0), [[1, [2, 1]]], "in some mode"),
        ("stability", ("network", "routing", 0), [[1]], "list of 2 entries"),
        ("stability", ("network",), None, "must be an object"),
        ("stability", ("version",), 1, "version must be 2"),
        ("stability", ("kind",), "network-growth", "lacks 'start'"),
        ("stability", ("kind",), "network", "not known"),
        ("stability", ("kind",), None, "not known"),
        ("stability", ("mixture", 0), [[1, 2], [1, 1]], "0 at its piece"),
        ("three stations", ("mixture", 0), [[0, 1], [1, 1], [0, 1]], "else positive"),
        ("three stations", ("weights", 0, 1), [3, 1], "weighs more in piece 0"),
        ("three stations", ("margin",), [5, 3], "falls by 1.25 per second"),
        ("by priority", ("cases",), [], "in some mode"),
        ("by priority", ("priority",), list(EXIT_FIRST), "leave the weight of class 2"),
        ("by priority", ("priority",), None, "empty without a priority"),
        ("by priority", ("margin",), [1, 8], "falls by 0.111111"),
        ("by priority", ("cases", 2, "weights", 0), [2, 1], "leave the weight of class 0"),
        ("by priority", ("cases", 2, "weights", 3), [2, 1], "leave the weight of class 3"),
        ("by priority", ("cases", 2, "piece"), 2, "from 0 to 1"),
        ("by priority", ("cases", 2, "mode"), [None, 1], "a class of station 0"),
        ("by priority", ("cases", 2, "mode"), [1, 1], "a class of station 0"),
        ("by priority", ("cases", 2, "mode"), [False, 1], "a class of station 0"),
        ("by priority", ("cases", 2, "mode"), [0.0, 1], "a class of station 0"),
        ("by priority", ("cases", 2, "mode"), [[], 1], "a class of station 0"),
        ("by priority", ("cases", 2, "mode"), [0], "list of 2 entries"),
        ("by priority", ("cases", 2, "surprise"), 0, "unknown field"),
        ("growth", ("factor",), [1, 1], "above 1"),
        ("growth", ("factor",), [9, 5], "does not end at 1.8"),
        ("growth", ("start",), [[0, 1]] * 4, "must have fluid"),
        ("growth", ("start", 0), [2, 1], "class 0 waits in phase 1"),
        ("growth", ("start", 1), [-1, 1], "at least 0"),
        ("growth", ("phases",), [], "1 to 1000 entries"),
        ("growth", ("phases",), [{}] * 1001, "1 to 1000 entries"),
        ("growth", ("phases", 0), {}, "lacks 'duration'"),
        ("growth", ("phases", 0, "duration"), [0, 1], "duration must be positive"),
        ("growth", ("phases", 0, "duration"), [-1, 9], "at least 0"),
        ("growth", ("phases", 0, "duration"), [2, 9], "negative fluid of class 0"),
        ("growth", ("phases", 0, "shares", 0), [1, 2], "class 0 waits in phase 0"),
        ("growth", ("phases", 0, "shares", 0), [-1, 1], "at least 0"),
        ("growth", ("phases", 0, "shares", 1), [9, 10], "class 1 waits in phase 0"),
        (
            "growth",
            ("phases", 0),
            {"duration": [1, 4], "shares": [[1, 2], [1, 1], [0, 1], [0, 1]]},
            "class 0 waits in phase 0",
        ),
        ("growth", ("phases", 0, "shares", 1), [3, 2], "add up to more than 1 in phase 0"),
        ("growth", ("priority",), list(SHORT_FIRST), "class 2 waits in phase"),
        (
            "growth",
            ("network", "arrival_rates", 2),
            [9, 10],
            "phase 2 ends with negative fluid",
        ),
        ("growth", ("network", "stations"), [0, 0, 0, 0], "different for all classes"),
        ("feed-forward", ("order",), [1, 0], "turn back from station 0 to station 1"),
        ("feed-forward", ("order",), [0, 0], "every station once"),
        ("feed-forward", ("order",), [0], "list of 2 entries"),
        ("feed-forward", ("order",), [0, True], "from 0 to 1"),
        ("feed-forward", ("slack",), [0, 1], "not below 1"),
        ("feed-forward", ("slack",), [501, 1000], "not below 1 by the claimed 0.501"),
        ("feed-forward", ("visit_rates", 0), [1, 1], "not those of the traffic"),
        ("feed-forward", ("worth",), [[0, 1]] * 3, "does not show that jobs leave"),
        ("feed-forward", ("network", "routing", 0, 0, 1), [1, 1], "not show that jobs leave"),
        ("feed-forward", ("network", "routing", 2), [[0, [1, 9]]], "turn back from station 1"),
        ("feed-forward", ("network", "mean_service", 0), [1, 1], "not below 1"),
        ("overload", ("excess",), [0, 1], "does not exceed 1"),
        ("overload", ("excess",), [401, 1000], "does not exceed 1"),
        ("overload", ("prices", 0), [1, 1], "add up to more than 1"),
        ("overload", ("prices", 0), [0, 1], "worth more than the time"),
        ("overload", ("prices", 0), [-1, 2], "at least 0"),
        ("overload", ("prices",), [], "1 to 4096 entries"),
        ("overload", ("prices",), [[1, 1]], "from 0 to 0"),
        ("overload", ("worth", 0), [1, 1], "a job of class 0 is worth more"),
        ("overload", ("worth", 1), [0, 1], "does not exceed 1"),
        ("overload", ("network", "servers", 1), [], "class 1 is worth more"),
        ("overload", ("network", "servers", 1), [[0, [1, 1]], [0, [1, 1]]], "twice"),
        ("overload", ("network", "servers", 1), [[2, [1, 1]]], "from 0 to 1"),
        ("overload", ("network", "servers", 1, 1, 1), [1, 5], "class 1 is worth more"),
        ("overload", ("network", "stations"), [0, 1], "unknown field"),
        ("overload", ("network", "arrival_rates", 0), [10**1_999, 10**1_999], "not exceed 1"),
    ],
)
def test_a_changed_document_is_rejected(kind, path, value, reason):
    with pytest.raises(Rejected, match=reason):
        check(change(document(kind), path, value))


def test_a_case_stands_there_once():
    twice = document("by priority")
    twice["cases"].append(twice["cases"][0])
    with pytest.raises(Rejected, match="each piece and mode once"):
        check(twice)


def test_numbers_of_modes_are_limited():
    """Fifteen stations of two classes have 3^15 modes with priorities, and one each without."""
    count = 15
    network = {
        "stations": [*range(count), *range(count)],
        "mean_service": [[1, 2]] * (2 * count),
        "arrival_rates": [[0, 1]] * (2 * count),
        "routing": [[]] * (2 * count),
    }
    ones = {"network": network, "weights": [[[1, 1]] * (2 * count)] * count, "mixture": []}
    common = {**document("stability"), **ones, "margin": [2, 1]}
    assert check(common).comparisons == count + count * 2 * count + 1
    with pytest.raises(Rejected, match="14348907 modes are too many"):
        check({**common, "priority": list(range(2 * count))})


def paths(node, path=()):
    """Yield the path of every field and entry of a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in children:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from paths(child, (*path, key))


def is_twin_convinced(changed):
    """Whether the package's own arithmetic, written apart, finds the claim true."""
    kind, listed = changed["kind"], changed["network"]

    def numbers(row):
        return tuple(F(*value) for value in row)

    routing = [[(l, F(*share)) for l, share in row] for row in listed["routing"]]
    rates = numbers(listed["arrival_rates"])
    if kind == "network-overload":
        servers = [[(j, F(*m)) for j, m in row] for row in listed["servers"]]
        plan = plan_static(rates, routing, servers=servers)
        return plan.load - 1 >= F(*changed["excess"]) > 0
    means = numbers(listed["mean_service"])
    network = MulticlassNetwork(listed["stations"], means, rates, routing)
    if kind == "network-feed-forward":
        assert numbers(changed["visit_rates"]) == visit_rates(network)
        return 1 - max(station_loads(network)) >= F(*changed["slack"]) > 0
    priority = changed["priority"] and tuple(changed["priority"])
    if kind == "network-growth":
        phases = tuple(
            FluidPhase(F(*phase["duration"]), numbers(phase["shares"]))
            for phase in changed["phases"]
        )
        ranks = tuple(range(network.class_count)) if priority is None else priority
        cycle = GrowingCycle(numbers(changed["start"]), phases, F(*changed["factor"]), ranks)
        if priority is not None:
            check_cycle(network, cycle)
        return True
    cases = tuple(
        (case["piece"], tuple(case["mode"]), numbers(case["weights"]))
        for case in changed["cases"]
    )
    weights, mixture = map(numbers, changed["weights"]), map(numbers, changed["mixture"])
    pieces = LyapunovPieces(tuple(weights), tuple(mixture), priority, cases, F(0))
    return drift_margin(network, pieces) >= F(*changed["margin"]) > 0


NUMBERS = st.integers(-3, 3) | st.integers(-(10**12), 10**12) | st.just(10**2_500)
JUNK = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.just([]), st.just({})
)
RATIONAL = st.builds(lambda n, d: [n, d], st.integers(0, 20), st.integers(1, 20))


@settings(max_examples=300)
@given(data=st.data(), kind=st.sampled_from(sorted(FOUND)))
def test_a_mutated_document_is_rejected_or_true(data, kind):
    """One to three fields are replaced or shifted; what passes convinces another program."""
    changed = document(kind)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(paths(changed), key=str)))
        node = changed
        for key in path[:-1]:
            node = node[key]
        old = node[path[-1]]
        if isinstance(old, int) and not isinstance(old, bool) and data.draw(st.booleans()):
            node[path[-1]] = old + data.draw(NUMBERS)
        else:
            node[path[-1]] = data.draw(RATIONAL | NUMBERS | JUNK)
    try:
        check(changed)
    except Rejected:
        return
    assert is_twin_convinced(changed)


@settings(max_examples=200)
@given(
    weights=st.lists(st.lists(RATIONAL, min_size=4, max_size=4), min_size=2, max_size=2),
    scale=st.fractions(min_value=F(1, 2), max_value=F(3, 2), max_denominator=30),
    ranks=st.sampled_from([None, EXIT_FIRST, SHORT_FIRST]),
    equal=st.booleans(),
)
def test_checker_and_package_accept_the_same_functions(weights, scale, ranks, equal):
    """Of random functions too, and those near the ones that work."""
    rows = exact(*([F(*value) for value in row] for row in weights))
    near = tuple(
        tuple(w + v / 40 for w, v in zip(base, row, strict=True))
        for base, row in zip(RS_WEIGHTS, rows, strict=True)
    )
    for chosen in (rows, near):
        used = (chosen[0], chosen[0]) if equal else chosen
        network = rs(F(5, 6) * scale)
        pieces = LyapunovPieces(used, () if equal else OTHER, ranks, (), F(0))
        try:
            margin = drift_margin(network, pieces)
        except InvalidArgument:
            margin = F(0)
        claimed = LyapunovPieces(used, pieces.mixture, ranks, (), abs(margin))
        assert (certify_network_stability(network, claimed) is not None) == (margin > 0)


@settings(max_examples=200)
@given(
    weights=st.lists(st.lists(RATIONAL, min_size=4, max_size=4), min_size=2, max_size=2),
    own=st.lists(st.lists(RATIONAL, min_size=4, max_size=4), min_size=16, max_size=16),
    scale=st.fractions(min_value=1, max_value=F(8, 5), max_denominator=30),
    has_priority=st.booleans(),
)
def test_what_grows_is_never_proved_stable(weights, own, scale, has_priority):
    """From rate 5/6 on the pair that serves last hops first has a path that does not drain."""
    changed = document("stability")
    rate = F(5, 6) * scale
    changed["network"]["arrival_rates"] = [[*rate.as_integer_ratio()], [0, 1]] * 2
    changed["margin"] = [1, 10**9]
    changed["weights"] = weights
    if has_priority:
        changed["priority"] = list(EXIT_FIRST)
        changed["cases"] = best_cases(weights, own)
    with pytest.raises(Rejected):
        check(changed)


def best_cases(weights, own):
    """Return cases that change what may be changed: the weights of classes that are empty."""
    ranked, cases = ((3, 0), (1, 2)), []
    modes = [(a, b) for a in (3, 0, None) for b in (1, 2, None)]
    for piece in (0, 1):
        for n, mode in enumerate(modes[:-1]):
            if mode[piece] is not None:
                empty = {
                    k
                    for first, classes in zip(mode, ranked, strict=True)
                    for k in classes[: None if first is None else classes.index(first)]
                }
                drawn = own[(8 * piece + n) % 16]
                usual = weights[piece]
                mixed = [drawn[k] if k in empty else usual[k] for k in range(4)]
                cases.append({"piece": piece, "mode": list(mode), "weights": mixed})
    return cases


def test_nothing_is_changed_by_a_check():
    for kind in FOUND:
        before = document(kind)
        after = copy.deepcopy(before)
        check(after)
        assert after == before


def test_numbers_too_long_for_a_float_are_checked():
    huge = document("overload")
    huge["network"]["arrival_rates"] = [[10**1_900, 1]] * 2
    assert "no policy keeps up" in check(huge).statement
    huge["excess"] = [10**1_890, 1]
    assert "at least 1.00000e+1890 seconds" in check(huge).statement


def test_the_sentence_claims_no_more_than_the_document():
    """A margin of 1/15 is 0.0666666..., a load of 1 - 2/3 - 1e-9 at most 0.333334."""
    assert "at least 0.0666666 per second" in check(document("stability")).statement
    spare = change(document("feed-forward"), ("slack",), [1, 3])
    assert "more than 0.666667" in check(spare).statement
    assert "by 2.25 or more" in check(document("growth")).statement
