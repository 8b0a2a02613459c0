"""Fits: planted laws come back, intervals hold them, and the laws of a fit."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import StepSamples, fit_step_time
from queueing_llm.steptime import (
    AffineStepTime,
    HingeStepTime,
    StaircaseStepTime,
    TableStepTime,
)

FLOORS = st.floats(0.001, 0.1)
SLOPES = st.floats(1e-6, 1e-3)
READS = st.floats(1e-9, 1e-6)
PLANTED = st.one_of(
    st.tuples(st.just("affine"), st.builds(AffineStepTime, FLOORS, SLOPES, READS)),
    st.tuples(
        st.just("hinge"), st.builds(HingeStepTime, FLOORS, SLOPES, st.floats(40, 300), READS)
    ),
    st.tuples(
        st.just("staircase"),
        st.builds(
            StaircaseStepTime,
            FLOORS,
            st.floats(1e-3, 0.1),
            st.sampled_from([16, 32, 64, 128]),
            READS,
        ),
    ),
)


def batches(seed=0, size=150):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 300, size) * rng.integers(0, 2, size)
    y = rng.integers(1, 128, size)
    return x, y, y * rng.integers(100, 4000, size)


def measured(law, *, noise=0.0, seed=0, size=150):
    x, y, kv = batches(seed, size)
    errors = np.random.default_rng([seed, 1]).normal(0, noise, size)
    return StepSamples(x, y, kv, law(x, y, kv) * (1 + errors))


@given(planted=PLANTED, objective=st.sampled_from(["relative", "absolute"]))
def test_a_planted_law_comes_back(planted, objective):
    name, law = planted
    fit = fit_step_time(measured(law), law=name, objective=objective, resamples=2)
    assert type(fit.step_time) is type(law)
    for each in fit.coefficients:
        assert each.value == pytest.approx(getattr(law, each.name), rel=1e-5)
    assert fit.worst_relative_error < 1e-7
    assert fit.r_squared == pytest.approx(1, abs=1e-9)


@given(base=FLOORS, prefill=SLOPES, decode=SLOPES, read=READS)
def test_slopes_of_prefill_and_decode_come_back_apart(base, prefill, decode, read):
    x, y, kv = batches()
    samples = StepSamples(x, y, kv, base + prefill * x + decode * y + read * kv)
    fit = fit_step_time(samples, law="split", resamples=2)
    found = [each.value for each in fit.coefficients]
    np.testing.assert_allclose(found, [base, prefill, decode, read], rtol=1e-6)
    assert isinstance(fit.step_time, TableStepTime)
    far = base + prefill * 9000 + decode * 700 + read * 10**7
    assert fit.step_time(9000, 700, 10**7) == pytest.approx(far, rel=1e-6)


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_seconds_in_another_unit_scale_the_law(scale, seed):
    samples = measured(HingeStepTime(0.0455, 3e-4, 90, 1e-7), noise=0.03, seed=seed)
    scaled = StepSamples(
        samples.prefill_tokens,
        samples.decode_tokens,
        samples.kv_tokens,
        scale * samples.seconds,
    )
    one, other = (fit_step_time(each, resamples=20) for each in (samples, scaled))
    for before, after in zip(one.coefficients, other.coefficients, strict=True):
        factor = 1 if before.name == "knee" else scale
        assert after.value == pytest.approx(factor * before.value, rel=1e-6)
        assert after.standard_error == pytest.approx(factor * before.standard_error, rel=1e-5)


def test_the_order_of_samples_does_not_matter():
    samples = measured(HingeStepTime(0.0455, 3e-4, 90, 1e-7), noise=0.03)
    fit = fit_step_time(samples)
    shuffled = fit_step_time(samples.select(np.random.default_rng(1).permutation(150)))
    for one, other in zip(fit.coefficients, shuffled.coefficients, strict=True):
        assert other.value == pytest.approx(one.value, rel=1e-9)
        assert other.standard_error == pytest.approx(one.standard_error, rel=1e-9)


def test_residuals_are_those_of_the_law():
    law = HingeStepTime(0.0455, 3e-4, 90, 1e-7)
    samples = measured(law, noise=0.03)
    fit = fit_step_time(samples)
    one = fit.step_time(*(int(column[7]) for column in batches()))
    assert fit.residuals[7] == pytest.approx(samples.seconds[7] - one, rel=1e-9)
    errors = np.abs(fit.fitted_seconds / samples.seconds - 1)
    assert fit.mean_relative_error == pytest.approx(errors.mean(), rel=1e-12)
    assert fit.worst_relative_error == errors.max()
    assert "independent" in fit.interval_method


def test_no_law_nearby_has_less_of_what_the_objective_measures():
    samples = measured(HingeStepTime(0.0455, 3e-4, 90, 1e-7), noise=0.05)
    for objective, weights in (("relative", 1 / samples.seconds), ("absolute", 1.0)):
        fit = fit_step_time(samples, objective=objective, resamples=2)
        least = np.sum((weights * fit.residuals) ** 2)
        values = {each.name: each.value for each in fit.coefficients}
        for name in values:
            for factor in (0.995, 1.005):
                other = HingeStepTime(**values | {name: factor * values[name]})
                x, y, kv = samples.prefill_tokens, samples.decode_tokens, samples.kv_tokens
                squares = np.sum((weights * (other(x, y, kv) - samples.seconds)) ** 2)
                assert squares > least


def test_noise_puts_relative_squares_low_by_twice_its_square():
    law = AffineStepTime(0.01, 1e-4, 1e-7)
    samples = measured(law, noise=0.05, size=40_000)
    batch = samples.prefill_tokens, samples.decode_tokens, samples.kv_tokens
    for objective, expected in (("relative", -2 * 0.05**2), ("absolute", 0)):
        fit = fit_step_time(samples, law="affine", objective=objective, resamples=2)
        bias = np.mean(fit.fitted_seconds / law(*batch)) - 1
        assert bias == pytest.approx(expected, abs=1e-3)


def test_a_constant_below_its_bound_is_put_there_and_said():
    tokens = np.arange(8, 2049, 8)
    seconds = 0.008 * np.ceil(tokens / 128) - 0.0015
    samples = StepSamples.of_tokens(tokens, seconds)
    fit = fit_step_time(samples, law="staircase", objective="absolute")
    overhead = fit.coefficient("overhead")
    assert (overhead.value, overhead.standard_error, overhead.low) == (0, None, None)
    assert "overhead is at its bound 0" in fit.notes[0]
    # The least squares without a constant, by hand.
    stairs = np.ceil(tokens / 128)
    assert fit.step_time.per_block == pytest.approx(stairs @ seconds / (stairs @ stairs))


def test_the_block_is_chosen_or_given():
    law = StaircaseStepTime(0.01, 0.03, 64)
    samples = measured(law, noise=0.02)
    assert fit_step_time(samples, law="staircase", resamples=2).step_time.block == 64
    given_block = fit_step_time(samples, law="staircase", block=128, resamples=2)
    assert given_block.coefficient("block").value == 128
    assert given_block.coefficient("block").standard_error is None


def test_reads_left_out_are_said():
    samples = measured(AffineStepTime(0.01, 1e-4, 1e-7))
    fit = fit_step_time(samples, law="affine", kv_reads=False)
    assert fit.step_time.kv_slope == 0
    assert "what that costs is in the other coefficients" in fit.notes[0]


def test_a_coefficient_that_may_be_nothing_is_said():
    rng = np.random.default_rng(3)
    tokens = np.arange(1, 60)
    samples = StepSamples.of_tokens(tokens, 0.01 * (1 + rng.normal(0, 0.1, 59)) + 1e-7 * tokens)
    assert "per_token may be 0" in fit_step_time(samples, law="affine").notes[0]


def covered(law, *, noise, size, seeds):
    """Return the share of intervals that hold the planted value, by coefficient."""
    truth = {"floor": law.floor, "per_token": law.per_token, "knee": law.knee}
    held = dict.fromkeys(truth, 0)
    tokens = np.linspace(1, 512, size).round()
    for seed in range(seeds):
        errors = noise(np.random.default_rng([5, seed]), size)
        samples = StepSamples.of_tokens(tokens, law(tokens) * (1 + errors))
        fit = fit_step_time(samples, resamples=150, seed=seed)
        for name, value in truth.items():
            each = fit.coefficient(name)
            held[name] += each.low <= value <= each.high
    return {name: count / seeds for name, count in held.items()}


def correlated(rng, size, *, correlation=0.7):
    noise = rng.normal(size=size)
    for at in range(1, size):
        noise[at] = correlation * noise[at - 1] + (1 - correlation**2) ** 0.5 * noise[at]
    return 0.03 * noise


def test_intervals_hold_the_truth_as_often_as_they_say():
    law = HingeStepTime(0.0455, 3e-4, 64)
    shares = covered(law, noise=lambda rng, n: rng.normal(0, 0.02, n), size=60, seeds=200)
    # 0.95 plus and minus three standard errors of 200 seeds is 0.904 to 0.996.
    assert all(0.904 <= share <= 0.996 for share in shares.values()), shares


def test_standard_errors_are_those_of_theory_for_equal_independent_errors():
    law = AffineStepTime(0.01, 1e-4, 1e-7)
    samples = measured(law, noise=0.03, size=400)
    fit = fit_step_time(samples, law="affine", resamples=2000)
    columns = np.stack([np.ones(400), samples.tokens, samples.kv_tokens], axis=1)
    weighted = columns / samples.seconds[:, None]
    theory = 0.03 * np.sqrt(np.diag(np.linalg.inv(weighted.T @ weighted)))
    found = [each.standard_error for each in fit.coefficients]
    np.testing.assert_allclose(found, theory, rtol=0.15)


def test_intervals_of_half_the_confidence_hold_it_half_as_often():
    """Control: the check of coverage can fail."""
    samples = measured(HingeStepTime(0.0455, 3e-4, 90, 1e-7), noise=0.03)
    wide, narrow = (fit_step_time(samples, confidence=level) for level in (0.95, 0.5))
    for one, other in zip(wide.coefficients, narrow.coefficients, strict=True):
        assert (other.high - other.low) < 0.4 * (one.high - one.low)


@pytest.mark.slow
def test_intervals_under_correlated_errors():
    law = HingeStepTime(0.0455, 3e-4, 64)
    shares = covered(law, noise=correlated, size=250, seeds=200)
    assert all(share >= 0.85 for share in shares.values()), shares


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"law": "henge"}, "law must name a law that can be fitted, .* did you mean 'hinge'"),
        ({"objective": "l1"}, "objective must say what squares are least, got objective='l1'"),
        ({"confidence": 1}, "confidence must be"),
        ({"resamples": 1}, "resamples must be an integer at least 2"),
        ({"block": 64}, "block must be None for a law without blocks, got block=64"),
        ({"law": "staircase", "block": 0}, "block must be an integer at least 1"),
    ],
)
def test_arguments_outside_their_domain(change, words):
    samples = measured(HingeStepTime(0.0455, 3e-4, 90, 1e-7))
    with pytest.raises(InvalidArgument, match=words):
        fit_step_time(samples, **change)
