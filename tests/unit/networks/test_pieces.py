"""The exact drift of given pieces, and pieces that must be refused."""

import contextlib
import dataclasses
from fractions import Fraction as F

import pytest

from queueing_llm import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._pieces import LyapunovPieces, drift_margin

SWAP = ((F(0), F(1)), (F(1), F(0)))
LU_KUMAR = [F(1, 10), F(3, 5), F(1, 10), F(3, 5)]
AGENTS = [F(1, 12), F(17, 24), F(1, 12), F(17, 24)]


def network(routes, means, *rates):
    return MulticlassNetwork.with_routes(routes, mean_service=means, arrival_rates=rates)


def pieces(*weights, mixture=SWAP, priority=None, cases=()):
    rows = tuple(tuple(map(F, h)) for h in weights)
    return LyapunovPieces(rows, mixture, priority, cases, F(0))


ABBA = network(["ABBA"], LU_KUMAR, F(4, 5))
PROOF = pieces((2, 1, 1, 1), (2, 2, 1, 0))
PAIR = network(["AB", "BA"], AGENTS, F(108, 95), F(108, 95))
"""The agent pair of arXiv:2504.07347v3, section 5.4, at load 9/10."""


@pytest.mark.parametrize(
    ("net", "weights", "margin"),
    [
        (ABBA, [(2, 1, 1, 1), (2, 2, 1, 0)], F(1, 15)),
        (
            network(["AB", "BA"], LU_KUMAR, F(4, 5), F(4, 5)),
            [(1, 0, 1, 1), (1, 1, 1, 0)],
            F(1, 15),
        ),
        (
            network(["AABBA"], [F(3, 10), F(1, 10), F(1, 2), F(1, 10), F(2, 5)], F(9, 10)),
            [(40, 29, 15, 15, 15), (29, 29, 29, 15, 0)],
            F(2, 3),
        ),
        (
            network(["AB", "BA"], AGENTS, F(66, 95), F(66, 95)),
            [(1, 0, 1, 1), (1, 1, 1, 0)],
            F(36, 1615),
        ),
    ],
    ids=["Lu-Kumar", "Rybko-Stolyar", "AABBA", "agent pair"],
)
def test_margins_worked_out_by_hand(net, weights, margin):
    assert drift_margin(net, pieces(*weights)) == margin


def test_one_station_by_hand():
    """A class of 1/2 s that comes back with probability 1/2: work 1 s per job."""
    net = MulticlassNetwork([0], [F(1, 2)], [F(3, 4)], [[(0, F(1, 2))]])
    assert drift_margin(net, pieces((1,), mixture=())) == 1 - F(3, 4)


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("i", [0, 1])
def test_a_changed_weight_is_noticed(i, k):
    weights = [list(h) for h in PROOF.weights]
    weights[i][k] += 2
    forged = dataclasses.replace(PROOF, weights=tuple(map(tuple, weights)))
    with contextlib.suppress(InvalidArgument):
        assert drift_margin(ABBA, forged) <= 0


WRONG = {
    "shape": (pieces((2, 1, 1, 1)), "weights must have shape"),
    "short": (pieces((2, 1, 1), (2, 2, 1)), "weights must have shape"),
    "negative": (pieces((2, 1, 1, 1), (2, 2, 1, -1)), "weights must be at least 0"),
    "unseen class": (pieces((2, 1, 0, 1), (2, 1, 0, 0)), "above 0 in some piece"),
    "domination": (pieces((2, 3, 1, 1), (2, 2, 1, 0)), "weights must dominate"),
    "no mixture": (pieces((2, 1, 1, 1), (2, 2, 1, 0), mixture=()), "mixture must be given"),
    "mixture": (
        pieces((2, 1, 1, 1), (2, 2, 1, 0), mixture=((F(0), F(1)), (F(1, 2), F(1, 2)))),
        "mixture must be",
    ),
    "case without priority": (
        pieces((2, 1, 1, 1), (2, 2, 1, 0), cases=((0, (0, None), (F(2),) * 4),)),
        "cases must be empty",
    ),
}


@pytest.mark.parametrize(("wrong", "says"), WRONG.values(), ids=WRONG)
def test_what_is_no_lyapunov_function_is_refused(wrong, says):
    with pytest.raises(InvalidArgument, match=says):
        drift_margin(ABBA, wrong)


def test_domination_needs_every_mixture_weight():
    """Pieces 0 and 1 vouch for each other while all fluid is at station 2.

    Their weights 2 for the class there beat its own piece, whose station is the only one with
    work, so nothing is known of how the largest piece falls.
    """
    net = network(["A", "B", "C"], [F(1)] * 3, F(1, 9), F(1, 9), F(1, 9))
    half = F(1, 2)
    closed = ((F(0), F(1), F(0)), (F(1), F(0), F(0)), (half, half, F(0)))
    vouch = pieces((1, 1, 2), (1, 1, 2), (1, 1, 1), mixture=closed)
    with pytest.raises(InvalidArgument, match="mixture must be"):
        drift_margin(net, vouch)
    even = tuple(tuple(F(0) if i == j else half for j in range(3)) for i in range(3))
    with pytest.raises(InvalidArgument, match="weights must dominate"):
        drift_margin(net, dataclasses.replace(vouch, mixture=even))


ENTRY_FIRST = (0, 1, 0, 1)
EXIT_FIRST = (1, 0, 1, 0)
CLEARED = (
    (0, (3, 1), (F(3, 25), F(0), F(1), F(1))),
    (0, (3, 2), (F(3, 25), F(0), F(1), F(1))),
    (0, (3, None), (F(3, 25), F(0), F(1), F(1))),
    (1, (0, 1), (F(1), F(1), F(3, 25), F(0))),
    (1, (3, 1), (F(1), F(1), F(3, 25), F(0))),
    (1, (None, 1), (F(1), F(1), F(3, 25), F(0))),
)
REVERSED = pieces((1, 0, 1, 1), (1, 1, 1, 0), priority=ENTRY_FIRST, cases=CLEARED)


def test_weights_of_empty_classes_may_be_replaced():
    assert drift_margin(PAIR, REVERSED) == F(5592, 40375)
    assert drift_margin(PAIR, dataclasses.replace(REVERSED, cases=())) < 0


@pytest.mark.parametrize(
    "case",
    [
        (0, (3, 1), (F(3, 25), F(0), F(1), F(2))),
        (0, (0, 1), (F(3, 25), F(0), F(1), F(1))),
        (0, (None, 1), (F(3, 25), F(0), F(1), F(1))),
        (0, (3,), (F(1), F(0), F(1), F(1))),
        (2, (3, 1), (F(1), F(0), F(1), F(1))),
        (0, (1, 3), (F(1), F(0), F(1), F(1))),
        (0, (3, 1), (F(1), F(0), F(1))),
    ],
    ids=["has fluid", "top class", "idle", "short mode", "no piece", "elsewhere", "short"],
)
def test_other_weights_may_not(case):
    with pytest.raises(InvalidArgument, match="cases must replace"):
        drift_margin(PAIR, dataclasses.replace(REVERSED, cases=(case,)))


def test_the_proof_for_one_priority_does_not_hold_for_the_other():
    with pytest.raises(InvalidArgument, match="cases must replace"):
        drift_margin(PAIR, dataclasses.replace(REVERSED, priority=EXIT_FIRST))


@pytest.mark.parametrize("ranks", [(0, 0, 0, 0), (0, 1, 0), (0, 1.0, 0, 1)])
def test_a_priority_is_a_rank_for_each_class(ranks):
    with pytest.raises(InvalidArgument, match="priority must be 4 integers"):
        drift_margin(PAIR, dataclasses.replace(REVERSED, priority=ranks, cases=()))
