"""The cyclic pair of engines of section 5.4 of arXiv:2504.07347: stable or not by priority.

Fluid: with exit priority a queue of short hops comes back at the other engine larger by
f = m / (1 - m), m the load of the long hops; f > 1 iff rho > 608/1088 = .5588.
"""

from fractions import Fraction

import numpy as np
import pytest

from queueing_llm.model import Engine, IndependentLengths, PoissonArrivals, PoissonLength
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.simulate.networks import simulate_network
from queueing_llm.steptime import AffineStepTime

BUDGET, ROUND_TRIP, LONG = 768, 608, 544
SHORT_HOP = IndependentLengths(PoissonLength(32), PoissonLength(32))
LONG_HOP = IndependentLengths(PoissonLength(512), PoissonLength(32))


def pair(load, *, exit_first=True):
    """Return the network: two engines, one batch a second, types A and B."""
    engine = Engine(step_time=AffineStepTime(base=1, per_token=0), token_budget=BUDGET)
    poisson = PoissonArrivals(Fraction(load) * BUDGET / ROUND_TRIP)
    enter, leave = (1, 0) if exit_first else (0, 1)
    visits = (
        Visit("A enters", "A1", "A", (0,), SHORT_HOP, poisson, enter),
        Visit("A leaves", "A2", "A", (1,), LONG_HOP, priority=leave),
        Visit("B enters", "B1", "B", (1,), SHORT_HOP, poisson, enter),
        Visit("B leaves", "B2", "B", (0,), LONG_HOP, priority=leave),
    )
    engines = (NetworkEngine("one", engine), NetworkEngine("two", engine))
    return AgentNetwork.of(engines, visits, (Move(0, 1), Move(2, 3)))


def fluid_factor(load):
    """Return lambda m / (1 - lambda m), m = 544/768 s the mean long service."""
    offered = Fraction(load) * BUDGET / ROUND_TRIP * LONG / BUDGET
    return float(offered / (1 - offered))


def half_cycle_factors(load, *, start=4000, replications=6, seed=1):
    """Return the peak of B's queue while A's long hops hold engine two, over the start."""
    long_load = float(load) * LONG / ROUND_TRIP
    slots = int(1.3 * start * LONG / BUDGET / (1 - long_load)) + 500
    run = simulate_network(
        pair(load),
        horizon=slots,
        samples=slots,
        replications=replications,
        seed=seed,
        start={"A enters": start},
    )
    factors = []
    for present in run.present:
        # The first long hops arrive after a prompt and 32 decode steps.
        over = 200 + int(np.argmax(present[200:, 1] == 0))
        assert present[over, 1] == 0
        factors.append(present[: over + 1, 2].max() / start)
    return np.array(factors)


@pytest.mark.parametrize("seed", range(5))
def test_the_priority_decides_at_load_nine_tenths(seed):
    """Peaks of the paper's kind: 1.4 M tokens against 22 k were reproduced over 4500 slots."""
    peaks = [
        simulate_network(
            pair(Fraction(9, 10), exit_first=exit_first), horizon=4500, samples=4500, seed=seed
        ).total_backlog_tokens.max()
        for exit_first in (True, False)
    ]
    assert peaks[0] >= 300_000
    assert peaks[1] <= 60_000
    assert peaks[0] > 15 * peaks[1]


@pytest.mark.parametrize(
    ("load", "measured"),
    [
        ("0.5", 0.8186),
        ("0.59", 1.1175),
        ("0.9", 4.2126),
        ("0.53", 0.9084),
        ("0.62", 1.25),
        ("0.7", 1.6709),
    ],
)
def test_half_a_cycle_multiplies_the_queue_as_the_fluid_does(load, measured):
    """``measured``: geometric means of another implementation, six replications."""
    logs = np.log(half_cycle_factors(Fraction(load)))
    error = logs.std(ddof=1) / np.sqrt(len(logs))
    assert abs(logs.mean() - np.log(measured)) < 0.03
    assert abs(logs.mean() - np.log(fluid_factor(load))) < 0.03
    assert error < 0.015


@pytest.mark.parametrize(("load", "is_stable"), [("0.5", True), ("0.6", False)])
def test_a_large_queue_dies_out_below_the_threshold_and_grows_above(load, is_stable):
    """Twelve half cycles of factor .81 or 1.15, in logarithms."""
    slots = 40_000
    run = simulate_network(
        pair(load), horizon=slots, samples=800, replications=4, start={"A enters": 2000}, seed=3
    )
    backlog = run.total_backlog_tokens
    early, late = backlog[:, 1:160].mean(), backlog[:, -160:].mean()
    assert (late < early / 2) if is_stable else (late > 2 * early)


def test_reversed_priorities_stop_the_same_queue():
    """Control of the test above: not the load but the priority makes it grow."""
    run = simulate_network(
        pair("0.6", exit_first=False),
        horizon=20_000,
        samples=400,
        start={"A enters": 2000},
        seed=3,
    )
    backlog = run.total_backlog_tokens[0]
    assert backlog[-80:].mean() < backlog[:40].mean() / 4


def test_the_unstable_peak_passes_sixty_times_the_stable_one():
    """Over 20,000 slots at load .9; over 4500 the ratio is 20 to 50, by seed."""
    peaks = [
        simulate_network(
            pair(Fraction(9, 10), exit_first=exit_first),
            horizon=20_000,
            samples=20_000,
            replications=5,
        ).total_backlog_tokens.max(axis=1)
        for exit_first in (True, False)
    ]
    assert (peaks[0] > 60 * peaks[1]).all()


@pytest.mark.parametrize("exit_first", [True, False])
def test_growth_sees_through_the_swings(exit_first):
    run = simulate_network(
        pair("0.9", exit_first=exit_first), horizon=20_000, samples=400, replications=8
    )
    assert run.grows == exit_first
