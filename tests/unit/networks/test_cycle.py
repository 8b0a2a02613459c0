"""The check of growing cycles: what it accepts, and the forgeries it rejects."""

from dataclasses import replace
from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._cycle import GrowingCycle, check_cycle, cycle_states, passages
from queueing_llm.networks._growing_cycle import growing_cycle
from queueing_llm.networks._priority_fluid import FluidPhase
from tests.reference.priority_networks import lu_kumar, rybko_stolyar

NETWORK, PRIORITY = lu_kumar(F(9, 10))
# By hand: class 2 keeps B busy, class 3 drains into class 4, class 4 keeps A busy.
BY_HAND = GrowingCycle(
    start=(F(1), F(0), F(0), F(0)),
    phases=(
        FluidPhase(F(10, 91), (F(1), F(1), F(0), F(0))),
        FluidPhase(F(30, 23) - F(10, 91), (F(9, 100), F(1), F(0), F(0))),
        FluidPhase(F(5, 23), (F(0), F(0), F(1), F(1))),
        FluidPhase(F(25, 23), (F(0), F(0), F(0), F(1))),
    ),
    factor=F(27, 23),
    priority=PRIORITY,
)


def test_a_cycle_computed_by_hand_passes():
    check_cycle(NETWORK, BY_HAND)
    assert list(cycle_states(NETWORK, BY_HAND))[1] == (0, 0, F(50, 23), 0)
    assert BY_HAND.duration == F(60, 23)
    assert passages(NETWORK, BY_HAND) == ((2, F(50, 23)), (0, F(27, 23)))


def test_the_halves_of_the_agent_pair():
    """arXiv:2504.07347, section 5.4, at load 0.9: 153/37 = 4.135 a half cycle."""
    network, priority = rybko_stolyar(F(108, 95), short=F(1, 12), long=F(17, 24))
    cycle = growing_cycle(network, priority=priority)
    assert passages(network, cycle) == ((2, F(153, 37)), (0, F(153, 37) ** 2))


@given(st.data(), st.fractions(-2, 2, max_denominator=50).filter(bool))
def test_any_changed_number_is_rejected(data, change):
    place = data.draw(st.sampled_from(["start", "factor", "duration", "share", "drop", "swap"]))
    phase = data.draw(st.integers(0, 3))
    k = data.draw(st.integers(0, 3))
    phases = list(BY_HAND.phases)
    forged = BY_HAND
    if place == "start":
        start = [q + change * (k == l) for l, q in enumerate(BY_HAND.start)]
        forged = replace(BY_HAND, start=tuple(start))
    elif place == "factor":
        forged = replace(BY_HAND, factor=BY_HAND.factor + change)
    elif place == "duration":
        phases[phase] = replace(phases[phase], duration=phases[phase].duration + change)
    elif place == "share":
        shares = [x + change * (k == l) for l, x in enumerate(phases[phase].shares)]
        phases[phase] = replace(phases[phase], shares=tuple(shares))
    elif place == "drop":
        del phases[phase]
    else:
        phases[phase], phases[phase - 1] = phases[phase - 1], phases[phase]
    forged = forged if forged is not BY_HAND else replace(BY_HAND, phases=tuple(phases))
    with pytest.raises(InvalidArgument, match=r"cycle must|phase \d must"):
        check_cycle(NETWORK, forged)


@pytest.mark.parametrize("ranks", [(0, 0, 1, 1), (1, 1, 0, 0), (0, 1, 0, 1)])
def test_another_priority_is_rejected(ranks):
    with pytest.raises(InvalidArgument, match="must not serve classes"):
        check_cycle(NETWORK, replace(BY_HAND, priority=ranks))


def test_another_network_is_rejected():
    with pytest.raises(InvalidArgument):
        check_cycle(NETWORK.scaled(F(10, 9)), BY_HAND)
    pair, _ = rybko_stolyar(F(9, 10))
    with pytest.raises(InvalidArgument):
        check_cycle(pair, BY_HAND)


def test_a_path_that_shrinks_is_rejected():
    network, priority = lu_kumar(F(4, 5))
    phases = (
        FluidPhase(F(5, 46) * 2, (F(1), F(1), F(0), F(0))),
        FluidPhase(F(5, 46), (F(8, 100), F(1), F(0), F(0))),
    )
    shrinking = GrowingCycle((F(1), F(0), F(0), F(0)), phases, F(12, 13), priority)
    with pytest.raises(InvalidArgument, match="factor above 1"):
        check_cycle(network, shrinking)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((F(1, 2), F(0), F(0), F(0)), "exactly 1 of the time of station 0, got 1/2"),
        ((F(1), F(1, 2), F(0), F(0)), "exactly 1 of the time of station 1, got 1/2"),
        ((F(2, 5), F(1), F(1, 10), F(3, 5)), "exactly 1 of the time of station 1, got 11/10"),
        ((F(2, 5), F(9, 10), F(1, 10), F(3, 5)), r"not serve classes \[2\] of station 1"),
        ((F(1), F(9, 10), F(1, 10), F(0)), r"not serve classes \[0\] of station 0"),
        ((F(2), F(0), F(0), F(-1)), "no negative shares"),
        ((F(1, 2), F(0), F(0), F(1, 2)), "no negative shares or fluid"),
    ],
)
def test_each_rule_of_the_discipline_is_checked(shares, message):
    """From class 1 alone: idling, overspending, serving the wrong class, serving nobody."""
    forged = replace(BY_HAND, phases=(FluidPhase(F(1, 100), shares),))
    with pytest.raises(InvalidArgument, match=message):
        check_cycle(NETWORK, forged)


def test_a_station_without_fluid_is_not_overspent_either():
    tandem = MulticlassNetwork.with_routes(
        ["AB"], mean_service=[F(1, 10), F(1, 5)], arrival_rates=[1]
    )
    forged = GrowingCycle((F(1), F(0)), (FluidPhase(F(1, 100), (F(1), F(2))),), F(2), (0, 0))
    with pytest.raises(InvalidArgument, match="at most 1 of the time of station 1, got 2"):
        check_cycle(tandem, forged)


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        (replace(BY_HAND, factor=27 / 23), "integers and Fractions only"),
        (replace(BY_HAND, factor=True), "integers and Fractions only"),
        (replace(BY_HAND, phases=()), "must have phases"),
        (replace(BY_HAND, start=(F(1), F(0), F(0))), "must have phases"),
        (replace(BY_HAND, start=(F(0),) * 4), "must start with fluid"),
        (replace(BY_HAND, start=(F(1), F(-1), F(0), F(0))), "must start with fluid"),
        (replace(BY_HAND, priority=(0, 0, 0, 0)), "priority must be"),
        (
            replace(BY_HAND, phases=(FluidPhase(F(1), (F(1), F(1))), *BY_HAND.phases[1:])),
            "must have phases",
        ),
    ],
)
def test_numbers_out_of_place_are_rejected(forged, message):
    with pytest.raises(InvalidArgument, match=message):
        check_cycle(NETWORK, forged)
