"""What cannot be told from samples is refused with the reason, and a near case is not."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import StepSamples, fit_step_time

DECODES = np.array([1, 2, 4, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128])
CONTEXT = 512


def decodes(*, contexts):
    y = np.tile(DECODES, len(contexts))
    kv = y * np.repeat(contexts, len(DECODES))
    return StepSamples(0 * y, y, kv, 0.01 + 5e-5 * y + 1e-7 * kv)


def curve(tokens, seconds=None):
    tokens = np.asarray(tokens, dtype=float)
    return StepSamples.of_tokens(tokens, 0.01 + 5e-5 * tokens if seconds is None else seconds)


def hinge(tokens, knee):
    return curve(tokens, 0.01 + 1e-4 * np.maximum(0, np.asarray(tokens, dtype=float) - knee))


def fit(samples, law, **options):
    return fit_step_time(samples, law=law, resamples=2, **options)


@pytest.mark.parametrize("law", ["affine", "hinge", "staircase"])
def test_reads_at_one_context_are_not_told_from_tokens(law):
    samples = decodes(contexts=[CONTEXT])
    with pytest.raises(InvalidArgument, match="per_kv_token cannot be told apart") as error:
        fit(samples, law, **({"block": 8} if law == "staircase" else {}))
    if law == "affine":
        assert str(error.value).startswith(
            "per_token and per_kv_token cannot be told apart: over these samples the KV tokens "
            "are a combination of the tokens, with a condition number of "
        )
        assert "fit with kv_reads=False" in str(error.value)


def test_reads_at_two_contexts_are_told_from_tokens():
    found = fit(decodes(contexts=[CONTEXT, 2 * CONTEXT]), "affine")
    assert found.step_time.per_kv_token == pytest.approx(1e-7, rel=1e-6)


def test_without_reads_the_sum_of_both_is_fitted():
    found = fit(decodes(contexts=[CONTEXT]), "affine", kv_reads=False)
    assert found.step_time.per_token == pytest.approx(5e-5 + CONTEXT * 1e-7, rel=1e-6)


def test_reads_that_do_not_vary_are_not_told_from_the_constant():
    y = DECODES
    samples = StepSamples(0 * y, y, 0 * y + 9000, 0.01 + 5e-5 * y)
    with pytest.raises(InvalidArgument, match="base and per_kv_token cannot be told apart"):
        fit(samples, "affine")


def test_reads_wanted_where_there_are_none():
    words = "per_kv_token is not identifiable: the KV tokens are 0 in every sample"
    with pytest.raises(InvalidArgument, match=words):
        fit(curve(range(1, 40)), "affine", kv_reads=True)


def test_reads_that_seem_to_save_time():
    y = np.tile(DECODES, 2)
    kv = y * np.repeat([100, 3000], len(DECODES))
    samples = StepSamples(0 * y, y, kv, 0.1 + 5e-4 * y - 1e-7 * kv)
    with pytest.raises(
        InvalidArgument, match=r"per_kv_token would be -.*fit with kv_reads=Fal"
    ):
        fit(samples, "affine")


def test_time_that_falls_as_tokens_grow():
    tokens = np.arange(1, 40)
    with pytest.raises(
        InvalidArgument, match=r"per_token would be -.*time falls as the tokens"
    ):
        fit(curve(tokens, 0.1 - 1e-4 * tokens), "affine")


@pytest.mark.parametrize("law", ["affine", "hinge", "split", "staircase"])
def test_too_few(law):
    with pytest.raises(InvalidArgument, match="samples must"):
        fit(curve([1, 64]), law)


def test_equal_counts_are_counted_once():
    words = "at least 5 different token counts .* got 3"
    with pytest.raises(InvalidArgument, match=words):
        fit(curve([1, 1, 1, 64, 64, 64, 128, 128, 128]), "hinge")


def test_no_sample_below_the_knee():
    words = "best knee, .* has 1 token counts on the side below it.*; fit an affine law"
    with pytest.raises(InvalidArgument, match=words):
        fit(hinge([100, 128, 200, 256, 300, 400], 90), "hinge")
    assert fit(hinge([60, 80, 128, 200, 256, 300, 400], 90), "hinge").step_time.knee > 89


def test_no_sample_above_the_knee():
    tokens = np.array([1, 8, 16, 24, 32, 40])
    seconds = np.array([0.01, 0.01, 0.01, 0.01, 0.01, 0.011])
    words = "has 1 token counts on the side above it.*; measure larger batches"
    with pytest.raises(InvalidArgument, match=words):
        fit(curve(tokens, seconds), "hinge")


def test_stairs_that_the_samples_step_over():
    tokens = np.arange(64, 2049, 64)
    stairs = 0.01 + 0.03 * np.ceil(tokens / 64)
    words = "block=64 .* not identifiable: .*a line fits them as well"
    with pytest.raises(InvalidArgument, match=words):
        fit(curve(tokens, stairs), "staircase", block=64)
    twice = np.arange(32, 2049, 32)
    found = fit(curve(twice, 0.01 + 0.03 * np.ceil(twice / 64)), "staircase", block=64)
    assert found.worst_relative_error < 1e-9


def test_no_candidate_block_is_fine_enough():
    with pytest.raises(InvalidArgument, match=r"block=256 .* is not identifiable"):
        fit(curve(np.arange(256, 4097, 256)), "staircase")


def test_the_mean_of_several_steps_has_no_stairs():
    words = "single steps for a staircase, got token counts that are not integers"
    with pytest.raises(InvalidArgument, match=words):
        fit(curve(np.arange(1, 400, 7.5)), "staircase")


def test_prefill_and_decode_that_grow_together_are_not_split():
    y = np.tile(DECODES, 2)
    kv = y * np.repeat([100, 3000], len(DECODES))
    samples = StepSamples(4 * y, y, kv, 0.01 + 5e-5 * y + 1e-7 * kv)
    words = (
        "per_prefill_token and per_decode_token cannot be told apart.* the decode tokens are"
    )
    with pytest.raises(InvalidArgument, match=words):
        fit(samples, "split")


def test_prefill_alone_has_no_slope_of_decodes():
    words = "per_decode_token is not identifiable: the decode tokens are 0 in every sample"
    with pytest.raises(InvalidArgument, match=words):
        fit(curve(range(1, 40)), "split")


def test_counts_too_close_together_do_not_show_the_constant():
    with pytest.raises(InvalidArgument, match="base and per_token cannot be told apart"):
        fit(curve(np.arange(4000, 4010)), "affine")
    assert fit(curve(np.arange(2000, 4010, 200)), "affine").step_time.base > 0.009


def test_equal_batches_are_one_measurement():
    """A thousand repeats of six batches tell their means, not the form between them."""
    once = curve(range(1, 7), [0.01 + 0.001 * n**2 for n in range(1, 7)])
    often = once.select(np.tile(np.arange(6), 1000))
    fits = fit(once, "affine").coefficients, fit(often, "affine").coefficients
    for one, other in zip(*fits, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-9)
        assert one.standard_error == pytest.approx(other.standard_error, rel=1e-6)
    with pytest.raises(InvalidArgument, match=r"4 different batches .* got 3"):
        fit(curve([1, 64, 128] * 9), "affine")


@pytest.mark.parametrize("scale", [1e-5, 1e3])
def test_seconds_that_may_have_another_unit_are_noted(scale):
    samples = hinge([1, 8, 16, 64, 90, 128, 200, 256, 300], 90)
    scaled = StepSamples.of_tokens(samples.tokens, scale * samples.seconds)
    assert not any("unit" in note for note in fit(samples, "affine").notes)
    assert "is the unit right?" in fit(scaled, "affine").notes[0]


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_numbers_beyond_any_step_are_refused(size):
    tokens = np.arange(1, 40)
    with pytest.raises(InvalidArgument, match="seconds must be from 1e-12 to"):
        StepSamples.of_tokens(tokens, size * (1 + tokens))
    if size > 1:
        with pytest.raises(InvalidArgument, match="prefill_tokens must be from 0 to"):
            StepSamples.of_tokens(size * tokens, 0.01 * tokens)
