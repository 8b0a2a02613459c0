"""Static priorities that are stable although not every non-idling discipline is."""

import itertools
import random
from fractions import Fraction as F

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._lyapunov import stability_pieces
from queueing_llm.networks._modes import emptied, mode_count, modes, served
from queueing_llm.networks._pieces import drift_margin
from queueing_llm.networks._traffic import station_loads

AGENTS = [F(1, 12), F(17, 24), F(1, 12), F(17, 24)]
PAIR = MulticlassNetwork.with_routes(
    ["AB", "BA"], mean_service=AGENTS, arrival_rates=[F(108, 95), F(108, 95)]
)
"""The agent pair of arXiv:2504.07347v3, section 5.4, at load 9/10."""
LU_KUMAR = MulticlassNetwork.with_routes(
    ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[F(9, 10)]
)


def test_the_agent_pair_is_stable_when_entering_requests_go_first():
    assert stability_pieces(PAIR) is None
    pieces = stability_pieces(PAIR, priority=[0, 1, 0, 1])
    assert pieces.priority == (0, 1, 0, 1)
    assert drift_margin(PAIR, pieces) == pieces.margin > F(1, 10)


def test_ranks_may_come_from_numpy():
    assert stability_pieces(PAIR, priority=np.array([0, 1, 0, 1])).priority == (0, 1, 0, 1)


@pytest.mark.parametrize("ranks", [[0, 1, 0], [0, 1, 1, 0, 2], [0, 1, 0.5, 1], [[0], 1, 0, 1]])
def test_what_does_not_rank_the_classes_is_refused(ranks):
    with pytest.raises(InvalidArgument, match="priority must be 4 integers"):
        stability_pieces(PAIR, priority=ranks)


@pytest.mark.parametrize(("network", "ranks"), [(PAIR, (1, 0, 1, 0)), (LU_KUMAR, (1, 0, 1, 0))])
def test_the_priorities_under_which_fluid_grows_are_not_certified(network, ranks):
    """Their cycles grow by 153/37 and 27/23."""
    assert stability_pieces(network, priority=ranks) is None


def test_only_one_pair_of_priorities_makes_lu_kumar_grow():
    certified = {
        ranks: stability_pieces(LU_KUMAR, priority=ranks) is not None
        for ranks in itertools.product((0, 1), (0, 1))
        for ranks in [(ranks[0], ranks[1], 1 - ranks[1], 1 - ranks[0])]
    }
    assert [ranks for ranks, found in certified.items() if not found] == [(1, 0, 1, 0)]


def test_what_is_proved_for_every_discipline_is_said_so():
    easy = LU_KUMAR.scaled(F(1, 2))
    assert stability_pieces(easy, priority=[1, 0, 1, 0]).priority is None


def test_too_many_modes_leave_the_priority_aside():
    route = "ABCDEFGH" * 2
    net = MulticlassNetwork.with_routes(
        [route], mean_service=[F(1, 40)] * 16, arrival_rates=[1]
    )
    ranks = list(range(16))
    assert mode_count(net, ranks) == 3**8 - 1
    assert stability_pieces(net, priority=ranks).priority is None
    assert stability_pieces(net.scaled(F(21)), priority=ranks) is None


def test_modes_by_hand():
    ranks = (1, 0, 1, 0)
    found = list(modes(LU_KUMAR, ranks))
    assert len(found) == len(set(found)) == mode_count(LU_KUMAR, ranks) == 8
    assert (None, None) not in found
    assert served(LU_KUMAR, ranks, station=0, first=3) == (3,)
    assert served(LU_KUMAR, ranks, station=0, first=0) == (0, 3)
    assert emptied(LU_KUMAR, ranks, (0, None)) == (1, 2, 3)
    assert emptied(LU_KUMAR, ranks, (3, 2)) == (1,)
    assert emptied(LU_KUMAR, None, (0, None)) == ()


def reentrant_line(seed, stations, classes):
    """Return a random line through all stations at load 19/20."""
    rng = random.Random(seed)
    names = "ABCDE"[:stations]
    route = [*names, *(rng.choice(names) for _ in range(classes - stations))]
    rng.shuffle(route)
    net = MulticlassNetwork.with_routes(
        [route],
        mean_service=[F(rng.randint(1, 10), 10) for _ in route],
        arrival_rates=[1],
    )
    return net.scaled(F(19, 20) / max(station_loads(net)))


def share_certified(lines, *, last_first):
    certified = by_priority = 0
    for net in lines:
        order = range(net.class_count)
        pieces = stability_pieces(net, priority=order[::-1] if last_first else order)
        if pieces is not None:
            assert drift_margin(net, pieces) == pieces.margin > 0
            certified += 1
            by_priority += pieces.priority is not None
    return certified, by_priority


@pytest.mark.parametrize("last_first", [False, True])
def test_first_and_last_buffer_first_served_are_certified(last_first):
    """Both are stable at every load below 1 (Dai and Weiss 1996)."""
    lines = [reentrant_line(seed, 2 + seed % 2, 7) for seed in range(14)]
    certified, by_priority = share_certified(lines, last_first=last_first)
    assert certified == len(lines)
    assert by_priority


@pytest.mark.slow
@pytest.mark.parametrize("last_first", [False, True])
def test_buffer_priorities_of_longer_lines_are_certified(last_first):
    lines = [reentrant_line(seed, 2 + seed % 3, 10) for seed in range(60)]
    certified, _ = share_certified(lines, last_first=last_first)
    assert certified == len(lines)
