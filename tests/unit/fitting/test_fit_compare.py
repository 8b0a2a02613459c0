"""Which law is preferred: the planted one, the simpler one within noise, or a table."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import StepSamples, compare_step_times, fit_step_time
from queueing_llm.steptime import (
    AffineStepTime,
    HingeStepTime,
    StaircaseStepTime,
    TableStepTime,
)

TOKENS = np.arange(8, 1025, 8)


def curve(law, *, noise, seed=1, tokens=TOKENS):
    errors = np.random.default_rng(seed).normal(0, noise, len(tokens))
    return StepSamples.of_tokens(tokens, law(tokens) * (1 + errors))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("law", "name"),
    [
        (AffineStepTime(0.01, 5e-5), "affine"),
        (HingeStepTime(0.02, 5e-5, 300), "hinge"),
        (StaircaseStepTime(0.01, 0.01, 128), "staircase"),
    ],
)
def test_the_planted_law_is_preferred(law, name, seed):
    compared = compare_step_times(curve(law, noise=0.02, seed=seed))
    assert compared.preferred == name
    assert type(compared.step_time) is type(law)
    assert compared.errors == tuple(sorted(compared.errors))
    # No law of 128 samples predicts a normal error better than its own mean size.
    assert min(compared.errors) > 0.8 * 0.02 * (2 / np.pi) ** 0.5


def wavy(tokens):
    """A curve that no law follows: it falls within each block, as measured ones do."""
    return 0.01 + 0.02 * np.ceil(tokens / 200) * (1.4 - 0.7 * (tokens % 200) / 200)


def test_a_table_where_no_law_is_within_the_tolerance():
    compared = compare_step_times(curve(wavy, noise=0.01))
    assert compared.preferred == "table"
    assert isinstance(compared.step_time, TableStepTime)
    assert compared.step_time(512) == pytest.approx(float(wavy(np.array(512))), rel=0.05)
    assert "tile steps that no law here follows" in compared.reason


def test_a_wide_tolerance_keeps_the_law():
    compared = compare_step_times(curve(wavy, noise=0.01), tolerance=0.9)
    assert compared.preferred != "table"


def test_noise_is_no_reason_for_a_table():
    compared = compare_step_times(curve(AffineStepTime(0.01, 5e-5), noise=0.15))
    assert compared.preferred == "affine"
    assert compared.quantiles[0] > 0.1
    assert "interpolation between the samples does no better" in compared.reason


def test_what_is_refused_is_listed_with_the_reason():
    compared = compare_step_times(curve(HingeStepTime(0.02, 5e-5, 300), noise=0.02))
    refused = dict(compared.refused)
    assert "the decode tokens are 0 in every sample" in refused["split"]
    assert {fit.law for fit in compared.fits} | set(refused) == {
        "affine",
        "hinge",
        "split",
        "staircase",
    }


def test_reads_that_are_not_identifiable_are_left_out_and_said():
    decodes = np.arange(1, 60)
    samples = StepSamples(0 * decodes, decodes, 512 * decodes, 0.01 + 1e-4 * decodes)
    compared = compare_step_times(samples, laws=("affine",))
    assert compared.step_time.kv_slope == 0
    assert "the samples read KV tokens" in compared.fits[0].notes[0]
    assert compared.table_error is None


def test_errors_are_of_batches_held_out():
    """By hand: each fifth token count is predicted by a line through the others."""
    samples = curve(HingeStepTime(0.02, 5e-5, 300), noise=0.02)
    compared = compare_step_times(samples, laws=("affine",))
    errors = []
    for fold in range(5):
        held = (np.arange(128) % 5 == fold) & (TOKENS > 8) & (TOKENS < 1024)
        fit = fit_step_time(samples.select(~held), law="affine", resamples=2)
        errors += list(np.abs(fit.step_time(TOKENS[held]) / samples.seconds[held] - 1))
    assert len(errors) == 126
    assert compared.errors[0] == pytest.approx(np.mean(errors), rel=1e-9)


def test_too_few_batches_and_no_law_at_all():
    few = curve(AffineStepTime(0.01, 5e-5), noise=0.01, tokens=np.arange(8, 80, 8))
    with pytest.raises(InvalidArgument, match=r"at least 10 different batches .* got 9"):
        compare_step_times(few)
    falling = StepSamples.of_tokens(TOKENS, 1 - TOKENS / 2000)
    with pytest.raises(
        InvalidArgument, match=r"must determine one of the laws .*affine: per_t"
    ):
        compare_step_times(falling)
    with pytest.raises(InvalidArgument, match="tolerance must be"):
        compare_step_times(falling, tolerance=0)
