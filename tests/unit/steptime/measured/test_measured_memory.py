"""Bytes of weights and KV entries, and the tokens that fit on a GPU."""

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import MeasuredStepTime, kv_cache_tokens

pytest.importorskip("aiconfigurator_core", reason="aiconfigurator-core is not installed")

GIB = 2**30


@pytest.mark.parametrize(
    ("model", "tp", "width"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", 1, 2),
        ("meta-llama/Meta-Llama-3.1-8B", 8, 2),
        ("meta-llama/Meta-Llama-3.1-8B", 16, 2),
        ("meta-llama/Meta-Llama-3.1-70B", 4, 2),
        ("Qwen/Qwen3-32B", 2, 2),
        ("Qwen/Qwen3-32B-FP8", 1, 1),
    ],
)
def test_kv_bytes_follow_from_the_shape_of_the_model(model, tp, width):
    folder = resources.files("aiconfigurator_core") / "model_configs"
    config = json.loads((folder / f"{model.replace('/', '--')}_config.json").read_text())
    heads = -(-config["num_key_value_heads"] // tp)
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    expected = 2 * config["num_hidden_layers"] * heads * size * width
    assert MeasuredStepTime(model, "h100_sxm", tp=tp).kv_bytes_per_token == expected


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", 8_030_261_248),
        ("meta-llama/Meta-Llama-3.1-70B", 70_553_706_496),
        ("Qwen/Qwen3-0.6B", 596_049_920),
    ],
)
def test_weights_are_two_bytes_a_parameter_tied_ones_once(model, parameters):
    found = MeasuredStepTime(model, "h100_sxm").weight_bytes
    # Norms are left out: less than a part in a thousand.
    assert found == pytest.approx(2 * parameters, rel=1e-3)


def test_each_gpu_holds_its_share_of_the_weights():
    one, four = (
        MeasuredStepTime("meta-llama/Meta-Llama-3.1-70B", "h100_sxm", tp=tp) for tp in (1, 4)
    )
    assert four.weight_bytes == pytest.approx(one.weight_bytes / 4, rel=1e-3)


def test_vllm_0_19_found_2588_blocks_on_an_rtx_4090():
    law = MeasuredStepTime("meta-llama/Meta-Llama-3.1-8B", "h100_sxm")
    found = law.kv_capacity(0.9, memory_bytes=25_250_627_584)
    assert found == 40_614
    assert found / (2588 * 16) - 1 == pytest.approx(-0.019, abs=0.0005)


def test_vllm_0_6_4_found_53_gib_on_an_h100():
    # vllm-project/vllm, pull request 10511: 79.22 GiB in all, of which 53.29 for the KV cache.
    law = MeasuredStepTime("meta-llama/Meta-Llama-3.1-8B", "h100_sxm")
    found = law.kv_capacity(0.9, memory_bytes=int(79.22 * GIB))
    assert found * law.kv_bytes_per_token / (53.29 * GIB) - 1 == pytest.approx(0.034, abs=0.001)


@pytest.mark.parametrize(
    ("system", "backend", "fraction"),
    [
        ("h100_sxm", "vllm", 0.92),
        ("a100_sxm", "vllm", 0.9),
        ("h100_sxm", "sglang", 0.88),
        ("h100_sxm", "trtllm", 0.9),
    ],
)
def test_backends_take_their_own_share(system, backend, fraction):
    law = MeasuredStepTime("meta-llama/Meta-Llama-3.1-8B", system, backend)
    assert law.kv_capacity() == law.kv_capacity(fraction)
    free = 80 * GIB - law.weight_bytes - 5 * GIB // 4
    room = fraction * free if backend == "trtllm" else free - (1 - fraction) * 80 * GIB
    assert law.kv_capacity() == pytest.approx(room / 131_072, abs=1.5)


def test_a_model_that_does_not_fit_has_times_but_no_memory():
    law = MeasuredStepTime("meta-llama/Meta-Llama-3.1-70B", "l40s")
    assert law(0, 1, 100) > 0
    with pytest.raises(InvalidArgument, match="must leave room for the KV cache"):
        law.kv_capacity()
    assert law.table(64, kv_capacity=1000)(64) > 0


def test_models_that_forget_have_no_bytes_per_token():
    law = MeasuredStepTime("openai/gpt-oss-20b", "h100_sxm")
    for ask in (lambda: law.kv_bytes_per_token, law.kv_capacity, lambda: law.kernel_form(64)):
        with pytest.raises(InvalidArgument, match="the same KV bytes of every token"):
            ask()
    assert law.table(64, kv_capacity=1000)(64) > 0


@given(
    st.integers(10**9, 10**11),
    st.floats(0.05, 1),
    st.integers(1, 10**6),
    st.integers(0, 10**10),
    st.booleans(),
)
def test_the_tokens_fill_the_memory_to_less_than_one(memory, fraction, per, overhead, of_free):
    weights = memory // 4

    def tokens(memory_bytes):
        return kv_cache_tokens(
            memory_bytes,
            weights,
            kv_bytes_per_token=per,
            memory_fraction=fraction,
            overhead_bytes=overhead,
            of_free_memory=of_free,
        )

    taken = weights + overhead
    room = fraction * (memory - taken) if of_free else fraction * memory - taken
    if room < per:
        with pytest.raises(InvalidArgument, match="must leave room"):
            tokens(memory)
        return
    assert tokens(memory) * per <= room < (tokens(memory) + 1) * per
    assert tokens(memory + 10**9) >= tokens(memory)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_bytes", 0),
        ("weight_bytes", 0),
        ("kv_bytes_per_token", 0.5),
        ("memory_fraction", 1.2),
        ("memory_fraction", 0),
        ("overhead_bytes", -1),
    ],
)
def test_bytes_outside_the_domain(name, value):
    good = {
        "memory_bytes": 10**10,
        "weight_bytes": 10**9,
        "kv_bytes_per_token": 1000,
        "memory_fraction": 0.9,
    }
    with pytest.raises(InvalidArgument, match=f"{name} must be"):
        kv_cache_tokens(**(good | {name: value}))
