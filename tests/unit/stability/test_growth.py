"""Growth of the backlog in the fluid limit."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import FASTER_TRANSFORMER, SARATHI, VANILLA_VLLM
from queueing_llm.stability import overload_growth, request_level_rate, work_conserving_rate
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime

A100 = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
ENGINE = Engine(step_time=A100, token_budget=512)


def load(rate, prompt=100, output=100):
    return Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


@pytest.mark.parametrize(
    ("times_critical", "per_ms"),
    [
        (Fraction(9, 10), 0),
        (Fraction(11, 10), 0.334290937581614),
        (Fraction(6, 5), 0.668581875163228),
    ],
)
def test_work_conserving_rules_grow_by_the_excess(times_critical, per_ms):
    """Vector thm2.growth.formula."""
    critical = work_conserving_rate(ENGINE, load(1), SARATHI)
    growth = overload_growth(ENGINE, load(critical.value * times_critical), SARATHI, critical)
    assert isinstance(growth, Fraction)
    assert float(growth) / 1000 == pytest.approx(per_ms, rel=1e-9)


@pytest.mark.parametrize(
    ("budget", "prompt", "output", "chunked", "times_critical", "per_ms"),
    [
        # Vectors ft.growth.*.
        (512, 129, 112, False, Fraction(6, 5), 0.026831639810285825),
        (512, 129, 112, True, Fraction(6, 5), 0.03549819013660554),
        (512, 100, 100, False, 3, 0.41423647932131497),
        (1024, 129, 112, False, 3, 0.6100118603372964),
    ],
)
def test_faster_transformer_grows_by_untouched_requests(
    budget, prompt, output, chunked, times_critical, per_ms
):
    engine = Engine(step_time=A100, token_budget=budget)
    rule = FASTER_TRANSFORMER.variant(chunked=chunked)
    critical = request_level_rate(engine, load(1, prompt, output), rule)
    overload = load(critical.value * times_critical, prompt, output)
    growth = overload_growth(engine, overload, rule, critical)
    assert float(growth) / 1000 == pytest.approx(per_ms, rel=1e-9)


@given(st.fractions(Fraction(1, 100), 40))
def test_growth_is_never_negative_and_zero_up_to_the_critical_rate(rate):
    critical = work_conserving_rate(ENGINE, load(1), SARATHI)
    growth = overload_growth(ENGINE, load(rate), SARATHI, critical)
    assert growth == max(0, 200 * (rate - critical.value))


def given_rate(evidence):
    return CriticalRate(2.0, 2.0, 2.0, evidence, "given")


def test_growth_is_left_open_where_it_depends_on_what_waits():
    reads_kv = Engine(
        step_time=AffineStepTime(base=0.01, per_token=1e-4, per_kv_token=1e-7), token_budget=512
    )
    numerical = given_rate(Evidence.NUMERICAL)
    assert overload_growth(reads_kv, load(3), SARATHI, numerical) is None
    assert overload_growth(ENGINE, load(3), VANILLA_VLLM, numerical) is None
    assert overload_growth(ENGINE, load(3), lambda state: SARATHI(state), numerical) is None
    assert overload_growth(ENGINE, load(1), VANILLA_VLLM, numerical) == 0


@pytest.mark.parametrize("evidence", [Evidence.SIMULATED, Evidence.NONE])
def test_growth_is_left_open_where_the_critical_rate_is_not_exact(evidence):
    assert overload_growth(ENGINE, load(3), SARATHI, given_rate(evidence)) is None
