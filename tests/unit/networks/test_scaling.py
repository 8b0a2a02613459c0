"""The largest certified multiple of the arrival rates, against exact thresholds."""

from fractions import Fraction as F

import pytest

from queueing_llm import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._lyapunov import stability_pieces
from queueing_llm.networks._pieces import drift_margin
from queueing_llm.networks._scaling import critical_scaling
from queueing_llm.networks._traffic import station_loads


def network(routes, tenths, rates=(1,)):
    return MulticlassNetwork.with_routes(
        routes, mean_service=[F(n) / 10 for n in tenths], arrival_rates=rates
    )


EXACT = [
    (network(["ABBA"], (1, 6, 1, 6)), 5 / 6),
    (network(["ABBA"], (2, 5, 3, 4)), 10 / 9),
    (network(["ABBA"], (4, 4, 1, 4)), 5 / 4),
    (network(["ABABA"], (1, 6, 1, 1, 6)), 5 / 6),
    (network(["AABBA"], (3, 1, 5, 1, 4)), 4 - 2 * 21**0.5 / 3),
    (network(["BABBA"], (3, 1, 4, 1, 4)), 1.0233317728),
    (network(["BABABA"], (3, 1, 4, 1, 1, 5)), 0.9449495367),
    (network(["AABBBA"], (4, 5, 4, 5, 4, 4)), 0.6886674196),
    (network(["ABAAB"], (1, 1, 3, 1, 4)), 1.3397459622),
    (network(["ABBA"], (F(1, 10), F(20, 3), F(1, 10), F(20, 3))), 3 / 4),
    (network(["AB", "BA"], (1, 6, 1, 3), (1, 2)), 5 / 6),
]
"""Thresholds of two stations, from the conditions after Dai and Vande Vate (2000)."""


@pytest.mark.parametrize(("net", "exact"), EXACT)
def test_exact_thresholds_of_two_stations(net, exact):
    found = critical_scaling(net)
    assert drift_margin(net.scaled(found.low), found.pieces) == found.pieces.margin > 0
    assert found.low < exact < float(found.high) * (1 + 1e-8)
    assert float(found.high - found.low) <= 1e-6 * exact
    assert found.holds_below
    assert found.is_nominal == (exact == 5 / 4)


@pytest.mark.parametrize(("net", "exact"), EXACT)
def test_certificates_exist_next_to_the_threshold_and_not_above(net, exact):
    assert stability_pieces(net.scaled(F(exact) - F(1, 10**5))) is not None
    assert stability_pieces(net.scaled(F(exact) + F(1, 10**5))) is None


def test_a_priority_raises_it_to_the_nominal_bound():
    net = MulticlassNetwork.with_routes(
        ["AB", "BA"], mean_service=[F(1, 12), F(17, 24)] * 2, arrival_rates=[1, 1]
    )
    every = critical_scaling(net)
    assert float(every.low) == pytest.approx(12 / 17, rel=2e-6)
    stable = critical_scaling(net, priority=[0, 1, 0, 1])
    assert stable.is_nominal
    assert stable.high == F(24, 19)
    assert stable.pieces.priority == (0, 1, 0, 1)
    assert drift_margin(net.scaled(stable.low), stable.pieces) > 0
    unstable = critical_scaling(net, priority=[1, 0, 1, 0])
    assert float(unstable.high) == pytest.approx(12 / 17, rel=2e-6)


def test_three_stations_are_closed_in_on():
    net = network(["CABBAC", "BCA"], (6, 9, 8, 10, 2, 6, 9, 10, 3), (1, 1))
    found = critical_scaling(net, tolerance=1e-4)
    assert drift_margin(net.scaled(found.low), found.pieces) == found.pieces.margin > 0
    assert 0 < found.low < found.high <= 1 / max(station_loads(net))
    assert float(found.high - found.low) <= 1e-4 * float(found.high)


def test_a_line_of_three_and_a_single_queue_reach_the_nominal_bound():
    for routes, tenths in ((["ABC"], (3, 5, 4)), (["A"], (5,))):
        found = critical_scaling(network(routes, tenths))
        assert found.is_nominal
        assert found.high == 2


def test_the_scaling_of_scaled_rates():
    net, exact = EXACT[0]
    assert float(critical_scaling(net.scaled(F(1, 10))).low) == pytest.approx(10 * exact, 1e-6)


@pytest.mark.parametrize("rate", [F(1, 10**320), F(10**320)])
def test_rates_beyond_the_range_of_floats(rate):
    net = network(["AB"], (5, 8), (rate,))
    assert critical_scaling(net).high == F(5, 4) / rate


def test_nothing_arriving_is_refused():
    with pytest.raises(InvalidArgument, match="arrival_rates must not all be 0"):
        critical_scaling(EXACT[0][0].scaled(0))


@pytest.mark.parametrize("tolerance", [0, 1e-9, 0.5])
def test_a_tolerance_out_of_reach_is_refused(tolerance):
    with pytest.raises(InvalidArgument, match="tolerance must be between"):
        critical_scaling(EXACT[0][0], tolerance=tolerance)
