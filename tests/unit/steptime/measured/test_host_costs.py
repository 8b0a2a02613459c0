"""What a step takes beside its operators: alone, in the measured law, and in its table."""

import math
import pickle
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import HostCosts, MeasuredStepTime

LLAMA = "meta-llama/Meta-Llama-3.1-8B"
seconds = st.floats(0, 0.01)
costs = st.builds(HostCosts, seconds, seconds, seconds, seconds)


@given(costs, st.floats(1e-3, 1), st.integers(1, 100), st.integers(0, 9), st.integers(0, 9))
def test_the_costs_are_those_of_the_formula(host, operators, layers, prompts, decodes):
    found = host.added_to(
        np.asarray([operators]),
        layers,
        prefill_tokens=np.asarray([float(prompts)]),
        decode_tokens=np.asarray([float(decodes)]),
    )
    of_prompts = layers * host.per_prefill_layer if prompts else 0
    expected = operators + host.per_step + decodes * host.per_decode + of_prompts
    assert found[0] == pytest.approx(max(1e-4, expected - layers * host.saved_per_layer))


@pytest.mark.parametrize("field", ["per_step", "per_decode", "per_prefill_layer"])
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, True, "1", sympy.Symbol("h")])
def test_costs_outside_the_domain(field, value):
    with pytest.raises(InvalidArgument, match=f"{field} must be"):
        HostCosts(**{field: value})


def test_they_are_a_value_of_floats():
    host = HostCosts(Fraction(1, 1000), 0, sympy.Rational(1, 8), np.float32(0.5))
    assert host == HostCosts(0.001, 0.0, 0.125, 0.5) == pickle.loads(pickle.dumps(host))
    assert {type(value) for value in (host.per_step, host.per_prefill_layer)} == {float}
    assert eval(repr(host)) == host
    assert len({host, replace(host), HostCosts()}) == 2


def test_only_a_vllm_that_schedules_ahead_and_quantised_tensorrt_differ():
    for backend in ("vllm", "sglang", "trtllm"):
        plain, ahead, small = (
            HostCosts.fitted(backend, **words)
            for words in ({}, {"schedules_ahead": True}, {"quantised": True})
        )
        assert (ahead == plain) == (backend != "vllm")
        assert (small == plain) == (backend != "trtllm")
    with pytest.raises(InvalidArgument, match="did you mean 'vllm'"):
        HostCosts.fitted("vlm")
    with pytest.raises(InvalidArgument, match="backend must"):
        HostCosts.fitted(["vllm"])


class TestOfALaw:
    @pytest.fixture(autouse=True)
    def _measurements(self):
        pytest.importorskip("aiconfigurator_core")

    @pytest.fixture
    def bare(self):
        return MeasuredStepTime(LLAMA, "h100_sxm")

    def test_the_law_has_them(self, bare):
        host = HostCosts(1e-3, 1e-5, 1e-4, 1e-5)
        law = replace(bare, host=host)
        assert law(0, 64, 65536) == pytest.approx(bare(0, 64, 65536) + 1.64e-3 - 32e-5)
        assert law(512) == pytest.approx(bare(512) + 1e-3 + 32 * 9e-5)
        x, y = np.asarray([0.0, 5, 700.5]), np.asarray([[0.0], [9]])
        one_by_one = [[law(p, d, 9 * d) for p in x.tolist()] for (d,) in y.tolist()]
        np.testing.assert_allclose(law(x, y, 9 * y), one_by_one)

    def test_none_is_operators_only_and_a_value_of_its_own(self, bare):
        zero, law = replace(bare, host=HostCosts()), replace(bare, host=HostCosts(1e-3))
        assert zero(5, 3, 100) == bare(5, 3, 100)
        assert len({bare, zero, law, replace(law)}) == 3
        assert pickle.loads(pickle.dumps(law)) == law
        with pytest.raises(InvalidArgument, match="host must be HostCosts or None"):
            replace(bare, host="fitted")

    @settings(max_examples=10)
    @given(host=costs)
    def test_the_table_has_them_exactly(self, host):
        bare = MeasuredStepTime(LLAMA, "h100_sxm")
        law = replace(bare, host=host)
        limits = {"most_decode_tokens": 16, "kv_capacity": 9999}
        of_bare, table = bare.table(64, **limits), law.table(64, **limits)
        x, y = np.meshgrid(np.arange(65.0), np.arange(17.0))
        added = host.added_to(of_bare(x, y, 9 * y), 32, prefill_tokens=x, decode_tokens=y)
        # Savings of more than the whole step end at the least time, at the points of the grid.
        if 32 * host.saved_per_layer < 0.003:
            np.testing.assert_allclose(table(x, y, 9 * y), added, rtol=1e-12)
        assert min(table.seconds) >= 1e-4

    def test_what_takes_more_time_is_relatively_nearer(self, bare):
        slow = replace(bare, host=HostCosts(0.05))
        limits = {"most_decode_tokens": 16, "kv_capacity": 9999}
        for less, more in zip(
            slow.table_errors(64, **limits), bare.table_errors(64, **limits), strict=True
        ):
            assert 0 < less < 0.3 * more

    def test_the_fit_is_that_of_backend_version_and_precision(self, bare):
        assert bare.with_fitted_host().host == HostCosts.fitted("vllm", schedules_ahead=True)
        waits = bare.with_fitted_host(schedules_ahead=False)
        assert waits.host == HostCosts.fitted("vllm")
        trtllm = replace(bare, backend="trtllm", version=None)
        small = replace(trtllm, gemm_precision="fp8").with_fitted_host()
        assert small.host == HostCosts.fitted("trtllm", quantised=True)
        assert trtllm.with_fitted_host().host == HostCosts.fitted("trtllm")

    def test_notes_say_whose_costs_they_are(self, bare):
        assert "scheduling, sampling" in bare.notes[0]
        fitted = bare.with_fitted_host().notes
        assert "scheduling, sampling" not in fitted[0]
        assert "4.58 ms if it has prompts" in fitted[1]
        assert "vllm that schedules ahead by a fit to benchmark runs" in fitted[1]
        assert "not a100_sxm" not in fitted[1]
        elsewhere = MeasuredStepTime(LLAMA, "a100_sxm").with_fitted_host()
        assert "not a100_sxm" in elsewhere.notes[1]
        own = replace(bare, host=HostCosts(1e-3)).notes[1]
        assert "were given" in own
        assert "fit" not in own

    def test_layers_and_memory_are_those_of_the_model_and_the_gpu(self, bare):
        large = MeasuredStepTime("meta-llama/Meta-Llama-3.1-70B", "h200_sxm", tp=4)
        assert (bare.layers, large.layers) == (32, 80)
        assert 79e9 < bare.memory_bytes < 86e9
        assert 140e9 < large.memory_bytes < 152e9
