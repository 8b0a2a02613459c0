"""Models on GPUs: what they are asked for, and the limits of their backends."""

from fractions import Fraction

import pytest

from queueing_llm.errors import InvalidArgument, MissingDependency
from queueing_llm.model import Workload
from queueing_llm.scenarios import MeasuredSystem, engine_defaults, load_scenario
from queueing_llm.stability import capacity
from queueing_llm.steptime import HostCosts

GIB = 2**30
MODEL = "meta-llama/Meta-Llama-3.1-8B"
SMALL = {"token_budget": 64, "max_batch_size": 8, "kv_capacity": 4096}


def load(prompt=1000, output=200):
    return Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)


@pytest.mark.parametrize(
    ("backend", "system", "gib", "limits"),
    [
        # vLLM V1: test_defaults_with_usage_context of its own tests.
        ("vllm", "h100_sxm", 80, (8192, 1024, 16)),
        ("vllm", "a100_sxm", 80, (2048, 256, 16)),
        ("vllm", "l40s", 45, (2048, 256, 16)),
        ("vllm", "b200_sxm", 180, (8192, 1024, 16)),
        # SGLang: chunked_prefill_size by the memory of the GPU.
        ("sglang", "l4", 24, (2048, 2048, 1)),
        ("sglang", "l40s", 45, (4096, 2048, 1)),
        ("sglang", "h200_sxm", 141, (8192, 2048, 1)),
        ("sglang", "b200_sxm", 180, (16384, 2048, 1)),
        ("trtllm", "h100_sxm", 80, (8192, 2048, 32)),
    ],
)
def test_the_limits_of_a_backend(backend, system, gib, limits):
    usual = engine_defaults(backend, system=system, memory_bytes=gib * GIB)
    assert (usual.token_budget, usual.max_batch_size, usual.kv_block_size) == limits
    assert usual.source


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tp": 0}, "tp=0"),
        ({"memory_fraction": 2}, "memory_fraction=2"),
        ({"token_budget": 0}, "token_budget=0"),
        ({"backend": 3}, "backend must be a text"),
        ({"version": 0.24}, "version must be a text"),
        ({"host": "fit"}, "host must be 'fitted', 'none' or"),
        ({"host": None}, "host must be"),
        ({"host": ["none"]}, "host must be"),
    ],
)
def test_values_are_checked_before_anything_is_loaded(values, words):
    with pytest.raises(InvalidArgument, match=words):
        MeasuredSystem(MODEL, "h100_sxm", **values)


def test_a_packaged_scenario_is_read_without_its_measurements():
    served = load_scenario("llama31-8b-h100").measured
    assert (served.model, served.system, served.backend) == (MODEL, "h100_sxm", "vllm")
    assert load_scenario("theorem-2").measured is None


def test_without_the_package_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aiconfigurator_core.sdk.engine", None)
    with pytest.raises(MissingDependency, match=r"queueing-llm\[gpu-data\]"):
        MeasuredSystem("a-model-never-asked-for", "h100_sxm").engine(load(77))


class TestWithMeasurements:
    @pytest.fixture(autouse=True)
    def _measurements(self):
        pytest.importorskip("aiconfigurator_core")

    def test_the_engine_has_the_limits_that_were_given_and_the_usual_others(self):
        engine = MeasuredSystem(MODEL, "a100_sxm", **SMALL).engine(load())
        assert (engine.token_budget, engine.max_batch_size) == (64, 8)
        assert (engine.kv_capacity, engine.kv_block_size) == (4096, 16)
        assert engine.first_token_from_prefill

    def test_the_kv_cache_is_what_fits_in_whole_blocks(self):
        limits = SMALL | {"kv_capacity": None}
        served = MeasuredSystem(MODEL, "h100_sxm", **limits)
        engine = served.engine(load())
        alone = served.step_time(load()).kv_capacity()
        assert engine.kv_capacity == alone // 16 * 16
        half = served.changed(memory_fraction=Fraction(1, 2)).engine(load()).kv_capacity
        assert half < engine.kv_capacity / 2

    def test_the_law_is_that_of_prompts_as_long_as_a_token_sees_them(self):
        served = MeasuredSystem(MODEL, "h100_sxm", **SMALL)
        moments = load_scenario("llama31-8b-h100").workload.moments
        step = served.step_time(load_scenario("llama31-8b-h100").workload)
        assert step.prompt_tokens == round(moments.prompt_squared / moments.prompt)
        assert step.prompt_tokens > 1.9 * moments.prompt

    def test_the_engine_is_the_law_at_the_grid_points(self):
        served = MeasuredSystem(MODEL, "h100_sxm", **SMALL)
        table, step = served.engine(load()).step_time, served.step_time(load())
        assert table(64, 0, 0) == pytest.approx(step(64, 0, 0), rel=1e-9)
        assert table(0, 8, 4096) == pytest.approx(step(0, 8, 4096), rel=0.02)
        median, worst = served.table_errors(load())
        assert 0 <= median <= worst < 0.2

    @pytest.mark.parametrize(
        ("lengths", "limits", "word"),
        [
            ((4000, 20), {}, "tokens"),
            ((20, 400), {"max_batch_size": 16}, "requests"),
            ((2000, 4000), {}, "kv"),
        ],
    )
    def test_which_limit_binds(self, lengths, limits, word):
        served = MeasuredSystem(MODEL, "h100_sxm").changed(max_batch_size=256)
        found = capacity(served.changed(**limits).engine(load(*lengths)), load(*lengths))
        assert found.cost.limited_by == word

    def test_noise_of_one_decode_does_not_hide_that_requests_limit(self):
        # One decode more takes from -0.26 to 0.24 ms longer here, and 0.03 ms on average.
        shares = []
        for places in range(12, 21):
            served = MeasuredSystem(MODEL, "h100_sxm", max_batch_size=places, host="none")
            found = capacity(served.engine(load(20, 400)), load(20, 400)).cost
            assert found.limited_by == "requests"
            shares.append(found.shares["requests"])
        assert 0.8 < min(shares) < max(shares) < 0.99

    def test_costs_of_the_host_make_steps_longer(self):
        fitted, none, own = (
            MeasuredSystem(MODEL, "h100_sxm", **SMALL, **host)
            for host in ({}, {"host": "none"}, {"host": HostCosts(per_step=1e-3)})
        )
        times = [served.engine(load()).step_time(0, 8, 800) for served in (none, fitted, own)]
        assert times[1] - times[0] == pytest.approx(8 * 18.4e-6)
        assert times[2] - times[0] == pytest.approx(1e-3)
        assert none.changed(host="fitted") == fitted

    def test_a_file_with_its_own_limits(self, tmp_path):
        file = tmp_path / "mine.toml"
        file.write_text(
            "[engine]\ntoken_budget = 64\nkv_capacity = 4096\nmax_batch_size = 8\n"
            f'[engine.step_time]\nlaw = "measured"\nmodel = "{MODEL}"\nsystem = "l40s"\n'
            'host = "none"\n'
            "[workload]\narrival_rate = 1\nprompt_tokens = 100\noutput_tokens = 9\n"
        )
        engine = load_scenario(file).engine
        assert (engine.token_budget, engine.kv_capacity) == (64, 4096)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ('step_time = {law = "measured", model = "x"}', "needs the key 'system'"),
        (
            'token_budget = 5\nstep_time = {law = "measured", model = "x", token_budget = 4}',
            "belongs to",
        ),
        (
            'first_token_from_prefill = false\nstep_time = {law = "measured", model = "x"}',
            "leave the key out",
        ),
        ('step_time = {law = "measurd"}', "did you mean 'measured'"),
        (
            'step_time = {law = "affine", base = 1, per_token = 1}',
            "needs the key 'token_budget'",
        ),
    ],
)
def test_a_bad_file_is_explained(tmp_path, engine, words):
    file = tmp_path / "mine.toml"
    lengths = "arrival_rate = 1\nprompt_tokens = 100\noutput_tokens = 9\n"
    file.write_text(f"[engine]\n{engine}\n[workload]\n{lengths}")
    with pytest.raises(InvalidArgument, match=words):
        load_scenario(file)
