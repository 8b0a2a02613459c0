"""Laws that every arrival process obeys, and the processes one by one."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    BatchArrivals,
    DeterministicArrivals,
    DeterministicLength,
    EmpiricalLength,
    GammaArrivals,
    GeometricLength,
    OnOffArrivals,
    PoissonArrivals,
    RenewalArrivals,
    ReplayArrivals,
    ScheduledArrivals,
)

ON_OFF = OnOffArrivals(rate_on=30, rate_off=2, mean_on=1.5, mean_off=3)
ENDLESS = [
    PoissonArrivals(10.4),
    DeterministicArrivals(Fraction(10, 3), first=0.25),
    GammaArrivals(5, scv=4),
    GammaArrivals(5, scv=Fraction(1, 7)),
    RenewalArrivals([0.1, 0.2, 1.7], weights=[3, 4, 1]),
    ON_OFF,
    OnOffArrivals(rate_on=3, rate_off=0, mean_on=0.05, mean_off=0.2),
    BatchArrivals(PoissonArrivals(2), GeometricLength(3)),
    BatchArrivals(DeterministicArrivals.every(3), EmpiricalLength([0, 0, 9])),
    ReplayArrivals([0.0, 0.1, 0.1, 2.5, 2.75]),
]


def times(arrivals, count, *, seed=1, size=None, phase=0.0) -> np.ndarray:
    """The first ``count`` arrival times, drawn in chunks of ``size``."""
    size = size or count
    chunks = arrivals.chunks(np.random.default_rng(seed), size, phase=phase)
    return np.concatenate(list(itertools.islice(chunks, -(-count // size))))[:count]


@pytest.mark.parametrize("arrivals", ENDLESS, ids=repr)
@given(size=st.integers(1, 90), seed=st.integers(0, 2**32), phase=st.floats(0, 0.999))
def test_times_do_not_depend_on_the_chunk_size(arrivals, size, seed, phase):
    parts = times(arrivals, 100, seed=seed, size=size, phase=phase)
    assert np.array_equal(parts, times(arrivals, 100, seed=seed, phase=phase))


@pytest.mark.parametrize("arrivals", ENDLESS, ids=repr)
def test_times_are_nondecreasing_and_as_frequent_as_the_rate_says(arrivals):
    # Error from 64 groups of 4000 arrivals, within 4.5 standard errors.
    seen = times(arrivals, 64 * 4000, seed=3)
    assert seen.dtype == np.float64
    assert seen[0] >= 0
    assert (np.diff(seen) >= 0).all()
    groups = np.diff(np.append(0.0, seen.reshape(64, -1)[:, -1]))
    error = groups.std() / math.sqrt(64) + 2 * groups.mean() / seen.size
    assert abs(groups.mean() - 4000 / float(arrivals.rate)) <= 4.5 * error


@pytest.mark.parametrize("arrivals", ENDLESS, ids=repr)
@pytest.mark.parametrize("rate", [0.5, Fraction(200, 3)])
def test_scaling_stretches_time_and_nothing_else(arrivals, rate):
    scaled = arrivals.scaled_to(rate)
    assert float(scaled.rate) == pytest.approx(float(rate), rel=1e-14)
    stretch = float(arrivals.rate) / float(rate)
    assert times(scaled, 500) == pytest.approx(times(arrivals, 500) * stretch, rel=1e-11)


@pytest.mark.parametrize("arrivals", ENDLESS, ids=repr)
def test_the_seed_decides(arrivals):
    first = times(arrivals, 200, seed=11)
    assert np.array_equal(first, times(arrivals, 200, seed=11))
    drawn = not isinstance(arrivals, DeterministicArrivals | ReplayArrivals)
    assert np.array_equal(first, times(arrivals, 200, seed=12)) != drawn


@pytest.mark.parametrize("arrivals", [a for a in ENDLESS if a.is_renewal], ids=repr)
def test_gaps_of_renewal_processes_have_the_scv_and_no_correlation(arrivals):
    gaps = np.diff(times(arrivals, 400_001, seed=7))
    deviation = (gaps * float(arrivals.rate) - 1) ** 2
    # One z-test of the scaled squared deviations, within 4.5 standard errors.
    error = deviation.std() / math.sqrt(len(gaps))
    assert abs(deviation.mean() - float(arrivals.gap_scv)) <= 4.5 * error + 1e-9
    if gaps.std() > 1e-6:
        assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) <= 4.5 / math.sqrt(len(gaps))


def test_only_iid_gaps_have_an_scv():
    assert [a.is_renewal for a in ENDLESS] == [True] * 5 + [False] * 5


def test_rational_rates_stay_exact():
    assert DeterministicArrivals.every(Fraction(2, 7)).rate == Fraction(7, 2)
    assert ON_OFF.scaled_to(7).rate == pytest.approx(7)
    exact = OnOffArrivals(rate_on=7, rate_off=1, mean_on=Fraction(1, 3), mean_off=2)
    assert exact.rate == Fraction(13, 7)
    assert exact.scaled_to(5).rate == 5
    batches = BatchArrivals(PoissonArrivals(Fraction(1, 3)), EmpiricalLength([1, 2]))
    assert batches.rate == Fraction(1, 2)
    assert batches.scaled_to(4).rate == 4


def test_evenly_spaced_times_do_not_drift():
    late = times(DeterministicArrivals.every(Fraction(1, 10)), 10**6, size=1000)
    assert np.array_equal(late, np.arange(1, 10**6 + 1) / 10)
    assert times(DeterministicArrivals(4, first=0), 3).tolist() == [0, 0.25, 0.5]


@pytest.mark.parametrize("window", [0.5, 5.0, 50.0])
def test_on_off_counts_are_as_dispersed_as_the_formula_says(window):
    # Var N(t)/E N(t) of a two-state modulated process: Fischer and Meier-Hellstern (1993).
    leave_on, leave_off = 1 / ON_OFF.mean_on, 1 / ON_OFF.mean_off
    total = leave_on + leave_off
    weight = leave_on * leave_off * (ON_OFF.rate_on - ON_OFF.rate_off) ** 2 / total**2
    excess = 2 * weight * (window / total - (1 - math.exp(-total * window)) / total**2)
    expected = 1 + excess / (float(ON_OFF.rate) * window)

    seen = times(ON_OFF, 2_000_000, seed=9)
    counts = np.histogram(seen, np.arange(0, seen[-1], window))[0]
    squares = (counts - float(ON_OFF.rate) * window) ** 2 / (float(ON_OFF.rate) * window)
    blocks = squares[: len(squares) // 50 * 50].reshape(50, -1).mean(axis=1)
    # Batch means over 50 blocks, within 4.5 standard errors.
    assert abs(blocks.mean() - expected) <= 4.5 * blocks.std() / math.sqrt(50)


def test_on_off_starts_in_equilibrium():
    # Arrivals in the first 0.2 s of 3000 runs, against the stationary mean: 4.5 errors.
    runs = [np.sum(times(ON_OFF, 40, seed=s) < 0.2) for s in range(3000)]
    error = np.std(runs) / math.sqrt(len(runs))
    assert abs(np.mean(runs) - 0.2 * float(ON_OFF.rate)) <= 4.5 * error


def test_an_on_off_process_that_is_off_sends_nothing():
    arrivals = OnOffArrivals(rate_on=1000, rate_off=0, mean_on=1, mean_off=100)
    gaps = np.diff(times(arrivals, 50_000))
    assert 20 < np.sum(gaps > 1) < 80
    assert gaps.max() > 100


def test_batches_arrive_together():
    arrivals = BatchArrivals(DeterministicArrivals.every(3), DeterministicLength(4))
    assert times(arrivals, 10).tolist() == [3, 3, 3, 3, 6, 6, 6, 6, 9, 9]


def test_a_replay_at_phase_zero_is_the_recording():
    recorded = np.sort(np.random.default_rng(2).random(50))
    recorded[0] = 0
    assert np.array_equal(times(ReplayArrivals(recorded), 50), recorded)


@given(phase=st.floats(0, 1, exclude_max=True), start=st.floats(0, 10))
def test_a_replay_keeps_the_recorded_gaps_in_cyclic_order(phase, start):
    recorded = start + np.array([0, 1, 1, 4, 8.0])
    gaps = np.append(np.diff(recorded), 2.0)
    first = math.floor(phase * 5)
    seen = times(ReplayArrivals(recorded), 23, phase=phase)
    assert seen[0] == 0
    assert np.diff(seen) == pytest.approx(np.resize(np.roll(gaps, -first), 22))


def test_a_schedule_ends_after_its_last_time():
    chunks = ScheduledArrivals([0.5, 1, 4]).chunks(np.random.default_rng(1), 2)
    assert [c.tolist() for c in chunks] == [[0.5, 1.0], [4.0]]


def test_a_schedule_without_a_span_has_no_rate():
    with pytest.raises(InvalidArgument, match="must span some time"):
        _ = ScheduledArrivals([2.0]).rate


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: PoissonArrivals(0), "rate must be a finite number above 0.*rate=0"),
        (lambda: PoissonArrivals(-2.5), "rate=-2.5"),
        (lambda: PoissonArrivals(math.nan), "rate=nan"),
        (lambda: PoissonArrivals("3"), "rate='3'"),
        (lambda: PoissonArrivals(3).scaled_to(0), "rate=0"),
        (lambda: DeterministicArrivals(1, first=-1), "first=-1"),
        (lambda: DeterministicArrivals.every(0), "interval=0"),
        (lambda: GammaArrivals(1, scv=0), "scv=0"),
        (lambda: RenewalArrivals([]), "gaps must be a non-empty column"),
        (lambda: RenewalArrivals([0, 0]), "gaps must not all be 0"),
        (lambda: RenewalArrivals([1, -1]), r"gaps\[1\]=-1"),
        (lambda: RenewalArrivals([1, math.inf]), r"gaps\[1\]=inf"),
        (
            lambda: RenewalArrivals([1, 2], weights=[1.5, 1]),
            "weights must be a non-empty column",
        ),
        (lambda: RenewalArrivals([1]).scaled_to(-1), "rate=-1"),
        (lambda: OnOffArrivals(0, 1, 1, 1), "rate_on=0"),
        (lambda: OnOffArrivals(1, -1, 1, 1), "rate_off=-1"),
        (lambda: OnOffArrivals(1, 1, 0, 1), "mean_on=0"),
        (lambda: ON_OFF.scaled_to(math.nan), "rate=nan"),
        (lambda: BatchArrivals(3, GeometricLength(2)), "batches must be of type Arrivals"),
        (lambda: BatchArrivals(PoissonArrivals(1), 2), "size must be of type Length"),
        (lambda: BatchArrivals(PoissonArrivals(1), DeterministicLength(0)), "mean above 0"),
        (lambda: BatchArrivals(ScheduledArrivals([1]), GeometricLength(2)), "for ever"),
        (lambda: ReplayArrivals([1.0]), "span some time.*1 arrival"),
        (lambda: ReplayArrivals([3.0, 3.0]), "all at 3.0 s"),
        (
            lambda: ReplayArrivals([1, 3, 2]),
            "times must not decrease, got 2.0 after 3.0 in row 2",
        ),
        (lambda: ReplayArrivals([0, math.nan]), r"times\[1\]=nan"),
        (lambda: ScheduledArrivals([-1, 2]), r"times\[0\]=-1"),
        (lambda: ScheduledArrivals([1, 2]).chunks(RNG, 1, phase=0.5), "phase must be 0"),
        (lambda: PoissonArrivals(1).chunks(RNG, 0), "size=0"),
        (lambda: PoissonArrivals(1).chunks(RNG, 2.0), "size=2.0"),
        (lambda: PoissonArrivals(1).chunks(RNG, 2, phase=1), "phase must be below 1"),
        (lambda: PoissonArrivals(1).chunks(RNG, 2, phase=-0.1), "phase=-0.1"),
        (lambda: PoissonArrivals(1).chunks(7, 2), "rng must be of type Generator.*rng=7"),
    ],
)
def test_arguments_outside_the_domain_are_refused(build, words):
    with pytest.raises(InvalidArgument, match=words):
        build()
