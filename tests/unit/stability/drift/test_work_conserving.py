"""Theorem 2(b) of arXiv:2504.07347v3, and what it needs."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.evidence import Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import ORCA, POLICIES, SARATHI, VANILLA_VLLM
from queueing_llm.stability import capacity, theorem_2_hypotheses, work_conserving_rate
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

A100 = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
KV = AffineStepTime(
    base=Fraction(1, 100), per_token=Fraction(5, 100_000), per_kv_token=Fraction(1, 10**7)
)
GRID = TableStepTime.of_batches(
    [0, 512], [0, 512], [0, 9], [[[1, 2], [1, 2]], [[1, 2], [1, 3]]]
)
LOAD = Workload.poisson(1, prompt_tokens=100, output_tokens=100)
FINITE = Workload.of_requests([0, 1], prompt_tokens=[1, 1], output_tokens=[1, 1])


def engine(step_time=A100, token_budget=512, **limits):
    return Engine(step_time=step_time, token_budget=token_budget, **limits)


@pytest.mark.parametrize("name", ["orca", "sarathi", "vllm_v1"])
def test_work_conserving_rules_reach_capacity_by_the_theorem(name):
    """Vector thm2.critical.b512.p100.d100."""
    rate = work_conserving_rate(engine(), LOAD, POLICIES[name])
    assert rate.evidence is Evidence.THEOREM
    assert rate.value == rate.low == rate.high == capacity(engine(), LOAD).requests_per_second
    assert float(rate.value) == pytest.approx(16.7145468790807, rel=1e-9)
    assert len(rate.hypotheses) == 5


@pytest.mark.parametrize(
    ("broken", "case"),
    [
        (0, (engine(), LOAD, VANILLA_VLLM)),
        (0, (engine(), LOAD, ORCA.variant(chunked=False))),
        (0, (engine(), LOAD, lambda state: SARATHI(state))),
        (1, (engine(max_batch_size=100), LOAD, SARATHI)),
        (1, (engine(kv_capacity=10**6), LOAD, SARATHI)),
        (2, (engine(), FINITE, SARATHI)),
        (3, (engine(KV), LOAD, SARATHI)),
        (4, (engine(token_budget=130), LOAD, SARATHI)),
    ],
)
def test_each_hypothesis_fails_alone_where_it_should(broken, case):
    """Controls: one constructed case for each hypothesis; the others hold in it."""
    hypotheses = theorem_2_hypotheses(*case)
    assert [h.holds for h in hypotheses] == [i != broken for i in range(5)]
    assert all(h.name and h.how for h in hypotheses)


@pytest.mark.parametrize(
    "case",
    [
        (engine(), LOAD, VANILLA_VLLM),
        (engine(), LOAD, lambda state: SARATHI(state)),
        (engine(max_batch_size=100), LOAD, SARATHI),
        (engine(kv_capacity=10**6), LOAD, SARATHI),
        (engine(), FINITE, SARATHI),
        (engine(GRID), LOAD, SARATHI),
    ],
)
def test_no_rate_is_claimed_beyond_the_argument(case):
    assert work_conserving_rate(*case) is None


def test_kv_reads_leave_a_numerical_answer():
    """Vector step.kv.critical_rate."""
    rate = work_conserving_rate(engine(KV), LOAD, SARATHI)
    assert rate.evidence is Evidence.NUMERICAL
    assert float(rate.value) == pytest.approx(64.92979465952439, rel=1e-9)


def test_full_batches_decide_also_where_they_are_not_the_best():
    """Vector step.staircase.trim130: the larger budget has the lower critical rate."""
    rate = work_conserving_rate(engine(token_budget=130), LOAD, SARATHI)
    assert rate.evidence is Evidence.NUMERICAL
    assert float(rate.value) == pytest.approx(1581.1238141571393 / 200, rel=1e-9)
    assert "token_budget=128" in rate.basis
    trimmed = work_conserving_rate(engine(token_budget=128), LOAD, SARATHI)
    assert trimmed.evidence is Evidence.THEOREM
    assert trimmed.value > rate.value


@given(
    overhead=st.fractions(Fraction(1, 30), 1, max_denominator=30),
    per_block=st.fractions(Fraction(1, 30), 1, max_denominator=30),
    block=st.integers(1, 40),
    budget=st.integers(1, 80),
    prompt=st.integers(1, 50),
    output=st.integers(0, 50),
)
def test_no_rate_exceeds_the_capacity_and_floats_agree_with_fractions(
    overhead, per_block, block, budget, prompt, output
):
    load = Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    exact = engine(StaircaseStepTime(overhead, per_block, block), budget)
    rounded = engine(StaircaseStepTime(float(overhead), float(per_block), block), budget)
    rate = work_conserving_rate(exact, load, SARATHI)
    ceiling = capacity(exact, load).requests_per_second
    assert isinstance(rate.value, Fraction)
    assert rate.value <= ceiling
    assert (rate.value == ceiling) is (rate.evidence is Evidence.THEOREM)
    by_floats = work_conserving_rate(rounded, load, SARATHI)
    assert by_floats.value == pytest.approx(float(rate.value), rel=1e-12)
    assert by_floats.evidence is rate.evidence


def test_equal_rates_stay_equal_in_floats():
    """Without overhead every batch is as good as a full one, 10 tokens per second."""
    load = Workload.poisson(1, prompt_tokens=1, output_tokens=0)
    rate = work_conserving_rate(engine(StaircaseStepTime(0.0, 0.1, 1), 3), load, SARATHI)
    assert rate.evidence is Evidence.THEOREM
