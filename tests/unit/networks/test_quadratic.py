"""The quadratic programme: published shape, and never better than pieces for two stations."""

import random
from fractions import Fraction as F

import pytest

from queueing_llm import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._lyapunov import stability_pieces
from queueing_llm.networks._quadratic import quadratic_margin, quadratic_scaling
from queueing_llm.networks._scaling import critical_scaling
from queueing_llm.networks._traffic import station_loads


def network(routes, *tenths):
    return MulticlassNetwork.with_routes(
        routes, mean_service=[F(n, 10) for n in tenths], arrival_rates=[1] * len(routes)
    )


@pytest.mark.parametrize(
    ("net", "scale"),
    [
        (network(["ABBA"], 1, 6, 1, 6), 0.78311),
        (network(["AB", "BA"], 1, 6, 1, 6), 0.79867),
        (network(["ABBA"], 5, 5, 5, 5), 0.70440),
        (network(["ABA"], 3, 5, 4), 1.26599),
        (network(["AABBA"], 3, 1, 5, 1, 4), 0.84482),
        (network(["AB"], 5, 8), 1.25),
    ],
)
def test_scalings_computed_before(net, scale):
    assert quadratic_scaling(net) == pytest.approx(scale, abs=2e-5)


def random_two_stations(seed):
    rng = random.Random(seed)
    routes = ["AB" if seed % 2 else "A", "BA"]
    routes[1] += "".join(rng.choice("AB") for _ in range(rng.randint(0, 3)))
    net = network(routes, *(rng.randint(1, 10) for route in routes for _ in route))
    return net.scaled(1 / max(station_loads(net)))


def _never_better(seeds):
    differ = 0
    for seed in seeds:
        net = random_two_stations(seed)
        quadratic = quadratic_scaling(net, tolerance=1e-4)
        high = critical_scaling(net, tolerance=1e-4).high
        assert quadratic <= high * (1 + 1e-4)
        if quadratic > 0.01:
            assert stability_pieces(net.scaled(F(quadratic) * F(999, 1000))) is not None
        differ += quadratic < 0.99 * high
    return differ


def test_pieces_certify_whatever_the_quadratic_programme_does():
    assert _never_better(range(60)) > 10


@pytest.mark.slow
def test_pieces_certify_whatever_the_quadratic_programme_does_in_many_networks():
    assert _never_better(range(60, 560)) > 100


def test_one_queue_by_hand():
    """V = Q^2 / 2 of a queue with rates 1 and 2 falls at the rate Q (2 - 1)."""
    assert quadratic_margin(network(["A"], 5)) == pytest.approx(1, rel=1e-7)


def test_an_overloaded_station_has_no_margin():
    assert quadratic_margin(network(["AB"], 5, 11)) == pytest.approx(0, abs=1e-9)


def test_nothing_arriving_is_refused():
    with pytest.raises(InvalidArgument, match="arrival_rates must not all be 0"):
        quadratic_scaling(network(["A"], 5).scaled(0))


@pytest.mark.parametrize("tolerance", [0, 1e-9, 0.5])
def test_a_tolerance_out_of_reach_is_refused(tolerance):
    with pytest.raises(InvalidArgument, match="tolerance must be between"):
        quadratic_scaling(network(["A"], 5), tolerance=tolerance)
