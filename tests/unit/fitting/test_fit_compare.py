"""Which law is preferred: the planted one, the simpler one within noise, or a table."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import StepSamples, compare_step_times, fit_step_time
from queueing_llm.fitting._held_out import folds_of
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
    """By hand: one token count of each five is predicted by a line through the others."""
    samples = curve(HingeStepTime(0.02, 5e-5, 300), noise=0.02)
    compared = compare_step_times(samples, laws=("affine",))
    errors = []
    for fold in range(5):
        place = np.arange(128)
        held = ((place + place // 5) % 5 == fold) & (TOKENS > 8) & (TOKENS < 1024)
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"laws": ("affine", "quadratic")}, "law must name a law .* law='quadratic'"),
        ({"laws": "affine"}, "laws must be a sequence of at least one law, got laws='affine'"),
        ({"laws": ()}, "laws must be a sequence"),
        ({"objective": "best"}, "objective must say .* objective='best'"),
    ],
)
def test_a_mistaken_question_is_no_refused_law(options, words):
    with pytest.raises(InvalidArgument, match=f"^{words}"):
        compare_step_times(curve(HingeStepTime(0.02, 5e-5, 300), noise=0.02), **options)


def grid(decodes, contexts):
    y = np.repeat(np.array(decodes, dtype=float), len(contexts))
    kv = y * np.tile(contexts, len(decodes))
    noise = 1 + 0.02 * np.random.default_rng(1).normal(size=len(y))
    return StepSamples(0 * y, y, kv, (0.01 + 1e-4 * y + 1e-8 * kv) * noise)


def test_too_few_batches_between_the_ends_are_said():
    with pytest.raises(InvalidArgument, match=r"5 of them between .* got 12 and 4"):
        compare_step_times(grid([1, 8, 64], [100, 1000, 3000, 9000]))


def test_no_fold_holds_out_a_whole_context():
    """Of five contexts a count, every fifth batch would be one context throughout."""
    samples = grid([1, 2, 4, 8, 16, 32, 64], [100, 1000, 3000, 9000, 27_000])
    folds, context = folds_of(samples), samples.kv_tokens / samples.decode_tokens
    for each in np.unique(context):
        assert len(np.unique(folds[(context == each) & (folds >= 0)])) > 3
