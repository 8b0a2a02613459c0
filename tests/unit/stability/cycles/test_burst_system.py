"""The mean cycle of a decode step and its prefill burst, against exact linear algebra."""

import functools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.stability.cycles import _burst_system
from queueing_llm.stability.cycles._burst_system import Bursts, _poisson, _System


@functools.cache
def cycle_in_forty_digits(case):
    """The recursion for h itself, with 40 digits, far more states, and no potential."""
    bursts, rate, states = SYSTEMS[case]
    with mpmath.workdps(40):
        seconds = [mpmath.mpf(float(s)) for s in bursts.batch_seconds]
        units, rate = bursts.arrival_units, mpmath.mpf(rate)
        largest = len(seconds)
        full = rate * seconds[-1]
        slope = seconds[-1] / (largest - units * full)
        matrix, times = mpmath.eye(states), mpmath.matrix(states, 1)
        for waiting in range(1, states + 1):
            served = min(waiting, largest)
            mean = rate * seconds[served - 1]
            times[waiting - 1] = seconds[served - 1]
            inside, moment = mpmath.mpf(0), mpmath.mpf(0)
            for arrivals in range(states):
                after = waiting - served + units * arrivals
                if after > states:
                    break
                chance = mpmath.exp(-mean) * mean**arrivals / mpmath.factorial(arrivals)
                inside += chance
                moment += chance * after
                if after > 0:
                    matrix[waiting - 1, after - 1] -= chance
            # Beyond the last state h grows along its asymptotic slope.
            beyond = waiting - served + units * mean - moment
            matrix[waiting - 1, states - 1] -= 1 - inside
            times[waiting - 1] += slope * (beyond - (1 - inside) * states)
        phase = mpmath.lu_solve(matrix, times)
        mean = rate * mpmath.mpf(bursts.decode_seconds)
        total = mpmath.mpf(bursts.decode_seconds)
        for arrivals in range(1, states // units + 1):
            chance = mpmath.exp(-mean) * mean**arrivals / mpmath.factorial(arrivals)
            total += chance * phase[units * arrivals - 1]
        return total


SYSTEMS = [
    (Bursts(0.15, np.array([0.08, 0.12, 0.15]), 1), 10.5, 60),
    (Bursts(0.15, np.array([0.08, 0.12, 0.15]), 1), 13.0, 75),
    (Bursts(0.5, np.array([0.1, 0.1, 0.3, 0.3]), 3), 2.0, 80),
    (Bursts(0.02, np.array([0.1, 0.11]), 5), 1.5, 80),
]
CASES = range(len(SYSTEMS))


@pytest.mark.parametrize("case", CASES)
def test_the_error_bound_covers_the_truth(case):
    bursts, rate, _ = SYSTEMS[case]
    value, error = bursts.cycle_seconds(rate)
    assert abs(value - cycle_in_forty_digits(case)) <= error
    assert error <= 1e-11 * value


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("states", [8, 14, 24, 40])
def test_the_error_bound_covers_a_truncation_that_is_too_early(case, states):
    bursts, rate, _ = SYSTEMS[case]
    value, error = _System.of(bursts, rate, states).cycle_seconds()
    assert abs(value - cycle_in_forty_digits(case)) <= error or math.isinf(error)


def test_a_truncation_that_matters_is_noticed():
    bursts, rate, _ = SYSTEMS[1]
    errors = [_System.of(bursts, rate, n).cycle_seconds()[1] for n in (4, 8, 16, 32, 64)]
    assert errors[0] > 0.01
    assert sorted(errors, reverse=True) == errors
    assert errors[-1] < 1e-9


def at_random(bursts):
    """The same bursts, told that an arrival brings its units with probability 1."""
    units = np.zeros(bursts.arrival_units + 1)
    units[-1] = 1
    return Bursts(bursts.decode_seconds, bursts.batch_seconds, units)


@pytest.mark.parametrize("case", CASES)
def test_the_error_bound_covers_the_truth_if_units_are_random(case):
    bursts, rate, _ = SYSTEMS[case]
    value, error = at_random(bursts).cycle_seconds(rate)
    assert abs(value - cycle_in_forty_digits(case)) <= error
    assert error <= 2e-10 * value
    assert at_random(bursts).about_cycle_seconds(rate) == pytest.approx(value, abs=error)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("states", [8, 14, 24, 40])
def test_the_error_bound_covers_an_early_truncation_if_units_are_random(case, states):
    bursts, rate, _ = SYSTEMS[case]
    value, error = _System.of(at_random(bursts), rate, states).cycle_seconds()
    assert abs(value - cycle_in_forty_digits(case)) <= error or math.isinf(error)


def played_cycle(bursts, rate, rng, cycles):
    """Play cycles one by one: units that wait, and the time that passes."""
    chances = bursts.arrival_units
    seconds = np.zeros(cycles)

    def arriving(during):
        return int(rng.choice(len(chances), rng.poisson(rate * during), p=chances).sum())

    for cycle in range(cycles):
        seconds[cycle] = bursts.decode_seconds
        waiting = arriving(bursts.decode_seconds)
        while waiting:
            served = min(waiting, len(bursts.batch_seconds))
            seconds[cycle] += bursts.batch_seconds[served - 1]
            waiting += arriving(bursts.batch_seconds[served - 1]) - served
    return seconds.mean(), seconds.std() / math.sqrt(cycles)


UNEVEN = Bursts(0.3, 0.05 + 0.01 * np.arange(1, 11), np.array([0, 0.2, 0.0, 0.5, 0, 0, 0.3]))


@pytest.mark.parametrize("rate", [3.0, 8.0, 14.0])
def test_cycles_that_are_played_agree(rate):
    value, error = UNEVEN.cycle_seconds(rate)
    mean, noise = played_cycle(UNEVEN, rate, np.random.default_rng(4), 4_000)
    assert error < 1e-9 * value
    assert abs(mean - value) < 4 * noise


def test_units_of_another_size_are_the_same_tokens():
    """Every count doubled, and odd batches as long as the even ones above them."""
    doubled = np.zeros(2 * len(UNEVEN.arrival_units) - 1)
    doubled[::2] = UNEVEN.arrival_units
    other = Bursts(0.3, np.repeat(UNEVEN.batch_seconds, 2), doubled)
    value, error = UNEVEN.cycle_seconds(9.0)
    assert other.cycle_seconds(9.0)[0] == pytest.approx(value, abs=2 * error)


def test_rates_up_to_which_it_can_be_solved(monkeypatch):
    assert UNEVEN.most_solvable(5.0) == 5.0
    near = UNEVEN.most_solvable(100.0)
    assert 0.8 * UNEVEN.most_arrivals < near < UNEVEN.most_arrivals
    assert math.isfinite(UNEVEN.cycle_seconds(near)[0])
    monkeypatch.setattr(_burst_system, "MOST_STATES", 200)
    fewer = UNEVEN.most_solvable(100.0)
    assert fewer < near
    assert UNEVEN.about_cycle_seconds(1.01 * fewer) == math.inf


@given(
    decode=st.floats(0.01, 1),
    batch=st.floats(0.01, 1),
    load=st.floats(0, 0.98),
)
def test_one_prompt_at_a_time_is_a_busy_period(decode, batch, load):
    """Each arrival costs its batch, and those who arrive meanwhile."""
    value, error = Bursts(decode, np.array([batch]), 1).cycle_seconds(load / batch)
    assert value == pytest.approx(decode / (1 - load), abs=error + 1e-15)
    assert error <= 1e-9 * value


@settings(max_examples=25)
@given(
    rises=st.lists(st.sampled_from([0.0, 0.1, 1.0]), min_size=1, max_size=6),
    units=st.integers(1, 4),
    loads=st.lists(st.floats(0.01, 0.9), min_size=2, max_size=2),
)
def test_cycles_grow_with_the_arrival_rate(rises, units, loads):
    bursts = Bursts(0.5, 0.2 + np.cumsum(rises), units)
    slower, faster = (bursts.cycle_seconds(x * bursts.most_arrivals) for x in sorted(loads))
    assert slower[0] - slower[1] <= faster[0] + faster[1]


@given(scale=st.floats(1e-3, 1e3), load=st.floats(0.01, 0.9))
def test_the_unit_of_time_does_not_matter(scale, load):
    seconds = np.array([0.1, 0.25, 0.3])
    one, other = Bursts(0.4, seconds, 2), Bursts(0.4 * scale, seconds * scale, 2)
    value = one.cycle_seconds(load * one.most_arrivals)[0]
    scaled = other.cycle_seconds(load * other.most_arrivals)[0]
    assert scaled == pytest.approx(scale * value, rel=1e-11)


def test_without_arrivals_there_is_only_the_decode_step():
    assert SYSTEMS[0][0].cycle_seconds(0.0) == (0.15, 0.0)


@pytest.mark.parametrize("rate", [20.0, 25.0, 1e9])
def test_prefill_that_never_ends_has_no_mean(rate):
    assert SYSTEMS[0][0].most_arrivals == pytest.approx(20)
    assert SYSTEMS[0][0].cycle_seconds(rate) == (math.inf, math.inf)


def test_a_burst_that_practically_never_ends_is_left_open():
    """One token a prompt: batches are never full, but 50 arrive even during a short one."""
    bursts = Bursts(0.1, np.linspace(0.1, 0.11, 4096), 1)
    assert bursts.cycle_seconds(500.0) == (math.inf, math.inf)


@given(st.floats(1e-6, 600))
def test_poisson_chances_have_their_mean_and_variance(mean):
    (chances,) = _poisson(np.array([mean]))
    values = np.arange(len(chances))
    assert chances @ values == pytest.approx(mean, rel=1e-11)
    assert chances @ (values - mean) ** 2 == pytest.approx(mean, rel=1e-9)
