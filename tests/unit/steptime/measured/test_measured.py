"""The measured law: its parts against the package's own sums, and against published facts."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import array_api_strict
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import AffineStepTime, HingeStepTime, MeasuredStepTime

pytest.importorskip("aiconfigurator_core", reason="aiconfigurator-core is not installed")

LLAMA = "meta-llama/Meta-Llama-3.1-8B"
H100 = MeasuredStepTime(LLAMA, "h100_sxm")
A100 = MeasuredStepTime(LLAMA, "a100_sxm")
OTHERS = [
    MeasuredStepTime("meta-llama/Meta-Llama-3.1-70B", "h100_sxm", tp=4),
    MeasuredStepTime("Qwen/Qwen3-32B", "h200_sxm", backend="trtllm", tp=2),
    MeasuredStepTime(LLAMA, "l40s", backend="sglang"),
]
LAWS = [H100, A100, *OTHERS]
MIXTURES = [
    MeasuredStepTime("Qwen/Qwen3-30B-A3B", "h200_sxm", tp=2),
    MeasuredStepTime("openai/gpt-oss-20b", "h100_sxm"),
]


def handle(law):
    """The package's own estimator, which sums operators by rules of its own."""
    return law._law.engine.handle


@pytest.mark.parametrize(
    ("law", "milliseconds"),
    [
        (H100, {1: 6.18, 8: 6.60, 64: 10.35, 128: 12.84, 256: 19.57}),
        (A100, {1: 11.86, 8: 12.64, 64: 17.83, 128: 24.77, 256: 43.74}),
    ],
)
def test_decode_steps_recorded_for_aiconfigurator_core_0_12_0(law, milliseconds):
    for decodes, expected in milliseconds.items():
        # Recorded with a context longer by one token, and rounded to 0.01 ms.
        assert 1e3 * law(0, decodes, decodes * 1025) == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize(
    ("law", "recorded", "difference"), [(H100, 17.17, 0.026), (A100, 45.84, 0.012)]
)
def test_a_mixed_step_costs_more_than_recorded_as_chunks_read_earlier_ones(
    law, recorded, difference
):
    # 512 prefill tokens of prompts of 1024 beside 64 decodes that read 1024 + 64 tokens. The
    # package takes half of a whole prompt's attention, without what the second chunk reads.
    assert 1e3 * law(512, 64, 64 * 1088) / recorded - 1 == pytest.approx(difference, abs=0.002)


@pytest.mark.parametrize("law", [*LAWS, *MIXTURES], ids=lambda law: law.system)
def test_decodes_alone_are_the_decode_step_of_the_package(law):
    package = handle(law)

    @settings(max_examples=30)
    @given(st.integers(1, 600), st.integers(1, 9000))
    def check(decodes, stored):
        expected = package.decode_step_latency(decodes, stored, 1) / 1e3
        assert law(0, decodes, decodes * stored) == pytest.approx(expected, rel=1e-12)

    check()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.system)
def test_whole_prompts_beside_decodes_are_the_mixed_step_of_the_package(law):
    package = handle(law)
    # It projects one row onto the vocabulary, where 64 decodes and two prompts are 66.
    logits = law._law.engine.logits_seconds
    mixed = package.mixed_step_latency(2048, 64, 1024, 128) / 1e3 + logits(66) - logits(1)
    assert law(2048, 64, 64 * 1088) == pytest.approx(mixed, rel=1e-12)


@pytest.mark.parametrize("law", MIXTURES, ids=lambda law: law.system)
def test_mixtures_of_experts_project_their_mixed_batches_too(law):
    # For these the package leaves the output projection out of a mixed step.
    mixed = handle(law).mixed_step_latency(2048, 64, 1024, 128) / 1e3
    projection = law._law.engine.logits_seconds(66)
    assert projection > 5e-5
    assert law(2048, 64, 64 * 1088) == pytest.approx(mixed + projection, rel=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.system)
def test_operators_of_decodes_and_of_prompts_take_the_same_time_in_dense_models(law):
    engine = law._law.engine
    for tokens in (1, 2, 63, 64, 65, 128, 129, 777, 2048, 9999):
        alone = engine.shared_seconds(tokens, only_decodes=True)
        assert alone == pytest.approx(engine.shared_seconds(tokens), rel=1e-12)


@pytest.mark.parametrize(("prompt", "chunk"), [(1024, 512), (4096, 1024), (4096, 512)])
def test_attention_of_chunks_adds_up_over_a_prompt(prompt, chunk):
    law = MeasuredStepTime(LLAMA, "h100_sxm", prompt_tokens=prompt)
    ask = law._law.engine.prefill_attention_seconds
    each = [ask(1, chunk, start) for start in range(0, prompt, chunk)]
    found = len(each) * law._law._prefill_attention(chunk)
    assert found == pytest.approx(math.fsum(each), rel=1e-12)
    # Chunks do the work of the prompt, and read the KV entries of earlier ones besides.
    whole = ask(1, prompt, 0)
    assert whole < found < 1.7 * whole


def test_random_prompts_cost_as_much_attention_as_their_size_biased_mean():
    ask = H100._law.engine.prefill_attention_seconds
    prompts = np.rint(np.random.default_rng(5).lognormal(8.5, 0.6, 300)).astype(int).tolist()
    per_token = sum(ask(1, p, 0) for p in prompts) / sum(prompts)
    biased = round(sum(p * p for p in prompts) / sum(prompts))
    mean = round(sum(prompts) / len(prompts))
    assert ask(1, biased, 0) / biased == pytest.approx(per_token, rel=0.03)
    assert ask(1, mean, 0) / mean < 0.85 * per_token


def test_less_than_a_prompt_and_more_than_a_prompt_join():
    attention = H100._law._prefill_attention
    assert attention(1023) == pytest.approx(attention(1024), rel=0.01)
    assert attention(1025) == pytest.approx(attention(1024), rel=0.01)
    assert attention(3 * 1024) == H100._law.engine.prefill_attention_seconds(3, 1024, 0)


def test_one_prefill_token_beside_decodes_costs_a_call_of_the_attention_operator():
    call = H100._law._prefill_attention(1)
    assert 0.0003 < call < 0.001
    shared = H100._law.engine.shared_seconds
    gap = H100(1, 64, 64 * 1024) - H100(0, 64, 64 * 1024)
    assert gap == pytest.approx(call + shared(65) - shared(64), abs=1e-6)


@pytest.mark.parametrize(
    ("law", "fit", "lowest", "highest"),
    [
        (H100, AffineStepTime(5.67e-3, 1.03e-5, 4.16e-8), 1.01, 1.18),
        (OTHERS[0], AffineStepTime(1.44e-2, 3.32e-5, 2.52e-8), 1.00, 1.20),
    ],
)
def test_independent_fits_without_norms_and_activations_are_a_little_lower(
    law, fit, lowest, highest
):
    decodes, stored = (
        m.ravel() for m in np.meshgrid(2 ** np.arange(10), 2 ** np.arange(7, 13))
    )
    fits = decodes * stored < 500_000
    y, kv = decodes[fits], (decodes * stored)[fits]
    ratio = law(0 * y, y, kv) / fit(0 * y, y, kv)
    assert lowest < ratio.min()
    assert ratio.max() < highest
    assert 1.03 < np.median(ratio) < 1.13


def test_a_fit_without_kv_reads_is_not_taken_for_the_law():
    # Control: leaving out the KV reads is far outside the band of the fits above.
    fit = HingeStepTime(5.47e-3, 8.9e-6, 91)
    assert H100(0, 256, 256 * 1024) > 2 * fit(0, 256, 256 * 1024)


@settings(max_examples=60)
@given(
    st.integers(1, 5000),
    st.integers(1, 700),
    st.integers(0, 600),
    st.sampled_from(["prefill", "decode", "kv"]),
)
def test_between_whole_counts_the_law_is_linear(x, y, each, axis):
    if axis == "decode":
        x, each = 1024 * (x // 1024), 0
    start = np.asarray([x, y, y * each])
    step = {"prefill": [1, 0, 0], "decode": [0, 1, 0], "kv": [0, 0, y]}[axis]
    ends = [H100(*start), H100(*(start + step))]
    # The rows that are projected may pass a whole number where a prompt is not whole.
    assert H100(*(start + 0.25 * np.asarray(step))) == pytest.approx(
        0.75 * ends[0] + 0.25 * ends[1], rel=1e-9 if axis != "prefill" else 1e-5
    )


@given(st.integers(1, 700), st.integers(0, 3000), st.integers(1, 3000))
@settings(max_examples=60)
def test_a_batch_that_reads_more_takes_at_least_a_little_less(decodes, stored, more):
    # Measured times wiggle: the largest fall found in a scan is 0.24 percent.
    longer = H100(0, decodes, decodes * (stored + more))
    assert longer > 0.995 * H100(0, decodes, decodes * stored)


def test_an_empty_batch_and_one_without_decodes_read_nothing():
    assert H100(0) == H100(0, 0, 5000) > 0
    assert H100(100, 0, 5000) == H100(100)


def test_arrays_are_the_numbers_one_by_one():
    x, y, kv = [[0], [5], [700.5]], [0, 3, 9], [0, 50, 9000]
    expected = [[H100(p, d, k) for d, k in zip(y, kv, strict=True)] for (p,) in x]
    np.testing.assert_allclose(H100(np.asarray(x), np.asarray(y), np.asarray(kv)), expected)


@pytest.mark.parametrize(
    "library", [lambda: array_api_strict, lambda: pytest.importorskip("torch")]
)
def test_arrays_of_any_library(library):
    asarray = library().asarray
    x, y, kv = [[0], [5], [700]], [0, 3, 9], [0, 50, 9000]
    found = H100(asarray(x), asarray(y), asarray(kv))
    assert type(found) is type(asarray(1.0))
    assert str(found.dtype).endswith("float64")
    expected = H100(np.asarray(x), np.asarray(y), np.asarray(kv))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-15)


@pytest.mark.parametrize("shape", [(), (0,), (2, 1, 2)])
def test_any_shape(shape):
    assert H100(np.zeros(shape)).shape == shape
    assert tuple(H100(array_api_strict.zeros(shape)).shape) == shape


def test_exact_numbers_become_floats_and_symbols_are_refused():
    assert H100(Fraction(512), 64, sympy.Integer(64)) == H100(512, 64, 64)
    with pytest.raises(InvalidArgument, match="must be a number to be looked up"):
        H100(sympy.Symbol("x", positive=True))


@pytest.mark.parametrize("count", [-1, math.nan, math.inf, 2**31, np.asarray([1.0, 2**31])])
def test_counts_outside_the_domain(count):
    for batch in ((count, 0, 0), (0, count, 0), (0, 1, count)):
        with pytest.raises(InvalidArgument, match="_tokens must be"):
            H100(*batch)


def test_it_is_a_value():
    same = MeasuredStepTime("LLAMA-3.1-8b-instruct", "h100_sxm", version="0.24.0")
    assert same == H100 == pickle.loads(pickle.dumps(H100))
    assert hash(same) == hash(H100)
    assert eval(repr(H100)) == H100
    assert A100 != H100 != MeasuredStepTime(LLAMA, "h100_sxm", prompt_tokens=512)
    assert H100.kv_slope is None


def test_threads_get_the_same_times():
    batches = [(x, 1 + x % 60, 1000 + 7 * x) for x in range(0, 400, 7)]
    alone = [H100(*batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: H100(*batch), batches))
    assert together == alone


@pytest.mark.parametrize(
    ("law", "cheap"),
    [
        (H100, {"gemm_precision": "fp8"}),
        (OTHERS[1], {"gemm_precision": "fp8", "kv_precision": "fp8"}),
    ],
)
def test_smaller_numbers_take_less_time_and_memory(law, cheap):
    plain = (law.model, law.system, law.backend, law.tp)
    small = MeasuredStepTime(*plain, **cheap)
    assert small(0, 1, 1024) < 0.85 * law(0, 1, 1024)
    assert small.weight_bytes < 0.65 * law.weight_bytes
    share = 0.5 if "kv_precision" in cheap else 1
    assert small.kv_bytes_per_token == share * law.kv_bytes_per_token


def test_notes_say_what_is_smoothed_extrapolated_and_assumed():
    text = "\n".join(H100.notes)
    for words in (
        "scheduling, sampling, launches from the CPU",
        "A step of one token takes 5.75 ms without attention, 1.20 times",
        "add_norm_1 (empirical)",
        "measured at 74 token counts up to 32,768",
        "Beyond 32,768 tokens, 2,048 decodes or 131,072 KV tokens per decode",
        "E[p^2] / E[p]",
    ):
        assert words in text
    falls = int((np.diff([H100(x) for x in range(1, 2049)]) < 0).sum())
    assert falls > 0
    assert "not monotone" in text


def test_tile_steps_are_kept_where_both_sides_were_measured():
    assert "(27 times above 16 tokens)" in "\n".join(H100.notes)
    shared = H100._law.engine.shared_seconds
    assert shared(161) > 1.09 * shared(160)
    assert "(0 times above 16 tokens)" in "\n".join(A100.notes)
    ramp = np.diff([A100._law.engine.shared_seconds(n) for n in range(128, 193)])
    assert ramp.max() < 0.02 * A100._law.engine.shared_seconds(128)
