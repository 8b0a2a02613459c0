"""Closed critical rates of rules that do not mix phases."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.evidence import Evidence
from queueing_llm.model import (
    EmpiricalLength,
    EmpiricalLengths,
    Engine,
    GeometricLength,
    PoissonArrivals,
    UniformLength,
    Workload,
)
from queueing_llm.policies import FASTER_TRANSFORMER, ORCA, SARATHI, VANILLA_VLLM
from queueing_llm.stability import frozen_rate, request_level_rate
from queueing_llm.stability.cycles import _request_level
from queueing_llm.stability.cycles._parting import parting_seconds
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime

A100 = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
FLOATS = StaircaseStepTime(0.01128, 0.03547, 128)
CHUNKED = FASTER_TRANSFORMER.variant(chunked=True)


def engine(step_time=A100, token_budget=512, **limits):
    return Engine(step_time=step_time, token_budget=token_budget, **limits)


def load(prompt, output):
    return Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)


@pytest.mark.parametrize(
    ("budget", "prompt", "output", "rule", "rate"),
    [
        # Vectors ft.critical.*.
        (512, 129, 112, FASTER_TRANSFORMER, 0.5566730251096647),
        (512, 129, 112, CHUNKED, 0.7364769737884967),
        (512, 100, 100, FASTER_TRANSFORMER, 1.0355911983032875),
        (512, 100, 100, CHUNKED, 1.0604453870625663),
        (512, 128, 100, FASTER_TRANSFORMER, 0.8284729586426299),
        (1024, 129, 112, FASTER_TRANSFORMER, 1.2655847724840175),
        (128, 290, 990, CHUNKED, 0.021557105066046002),
        (1024, 290, 990, FASTER_TRANSFORMER, 0.06445781203973093),
        (1024, 290, 990, CHUNKED, 0.07580981053869786),
    ],
)
def test_faster_transformer_in_closed_form(budget, prompt, output, rule, rate):
    exact, rounded = (
        request_level_rate(engine(law, budget), load(prompt, output), rule)
        for law in (A100, FLOATS)
    )
    assert exact.evidence is Evidence.NUMERICAL
    assert isinstance(exact.value, Fraction)
    assert float(exact.value) == pytest.approx(rate, rel=1e-6)
    assert rounded.value == pytest.approx(float(exact.value), rel=1e-12)


def test_the_cycle_by_hand():
    """Three prompts of 129 make one batch of 387 tokens; then 112 batches of three tokens."""
    rate = request_level_rate(engine(), load(129, 112), FASTER_TRANSFORMER).value
    assert rate == 3 / (A100(387) + 112 * A100(3))


def test_chunked_prompts_alternate_between_two_sizes_of_batch():
    """8 tokens of budget finish 8/3 prompts of 3: three of them in two cycles out of three."""
    law = AffineStepTime(base=Fraction(1), per_token=Fraction(1, 10))
    rate = request_level_rate(engine(law, 8), load(3, 5), CHUNKED).value
    decodes = 5 * (Fraction(1, 3) * law(2) + Fraction(2, 3) * law(3))
    assert rate == Fraction(8, 3) / (law(8) + decodes)


def test_a_chunked_prompt_longer_than_the_budget_decodes_alone():
    law = AffineStepTime(base=Fraction(1), per_token=Fraction(1, 10))
    rate = request_level_rate(engine(law, 8), load(12, 5), CHUNKED).value
    assert rate == 1 / (Fraction(3, 2) * law(8) + 5 * law(1))


def test_the_first_token_of_a_prefill_saves_a_decode_step():
    real = engine(first_token_from_prefill=True)
    rate = request_level_rate(real, load(129, 112), FASTER_TRANSFORMER).value
    assert rate == 3 / (A100(387) + 111 * A100(3))


@pytest.mark.parametrize(("places", "together"), [(1, 1), (2, 2), (9, 3)])
def test_a_batch_size_limit_caps_those_who_start_together(places, together):
    limited = engine(max_batch_size=places)
    rate = request_level_rate(limited, load(129, 112), FASTER_TRANSFORMER).value
    assert rate == together / (A100(129 * together) + 112 * A100(together))


def test_kv_reads_lengthen_the_cycle():
    law = AffineStepTime(base=Fraction(1), per_token=Fraction(0), per_kv_token=Fraction(1, 10))
    rate = request_level_rate(engine(law, 8), load(4, 2), FASTER_TRANSFORMER).value
    # Two requests: a prefill of 1 s, then decodes that read 2 * 4 and 2 * 5 tokens.
    assert rate == Fraction(2) / (1 + Fraction(18, 10) + 2)


def test_geometric_outputs_halve_the_rate():
    """Vector ft.critical.geometric."""
    found = request_level_rate(engine(), load(128, GeometricLength(100)), FASTER_TRANSFORMER)
    assert found.value == pytest.approx(0.40537778856145146, rel=1e-11)
    assert found.evidence is Evidence.NUMERICAL
    assert found.low < found.value < found.high < found.low * (1 + 1e-9)


def test_two_requests_by_hand():
    """Outputs 1 or 2, so that two requests decode together once and the longer goes on."""
    law = AffineStepTime(base=Fraction(1), per_token=Fraction(1, 10))
    found = request_level_rate(engine(law, 8), load(4, UniformLength(1, 2)), FASTER_TRANSFORMER)
    second = Fraction(1, 2) * law(1) + Fraction(1, 4) * law(2)
    assert found.low < 2 / (law(8) + law(2) + second) < found.high


@given(
    prompt=st.integers(1, 40),
    mean=st.integers(2, 60),
    budget=st.integers(1, 40),
    rule=st.sampled_from([FASTER_TRANSFORMER, CHUNKED]),
    emits=st.booleans(),
)
def test_random_outputs_never_help(prompt, mean, budget, rule, emits):
    """A batch waits for its longest output: of a mean, equal outputs are the fastest."""
    system = engine(FLOATS, max(prompt, budget), first_token_from_prefill=emits)
    alike = request_level_rate(system, load(prompt, mean), rule).value
    for output in (GeometricLength(mean), UniformLength(1, 2 * mean - 1)):
        found = request_level_rate(system, load(prompt, output), rule)
        assert found.low <= alike
        assert found.high / found.low - 1 < 1e-9


def test_a_table_with_one_output_is_the_closed_form():
    same = load(129, EmpiricalLength([112, 112]))
    rows = Workload.of(PoissonArrivals(1), EmpiricalLengths([129], [112]))
    for workload in (same, rows):
        exact = request_level_rate(engine(), workload, CHUNKED)
        assert exact == request_level_rate(engine(), load(129, 112), CHUNKED)
        assert isinstance(exact.value, Fraction)


@pytest.mark.parametrize(
    ("prompt", "budget", "sizes"), [(100, 250, [2, 3]), (60, 40, [1]), (50, 100, [2])]
)
def test_chunks_make_the_number_that_starts_together_alternate(prompt, budget, sizes):
    """One full batch, or more for a long prompt, then all decode, and the rest carries over."""
    law, output = AffineStepTime(base=1, per_token=0.1), UniformLength(1, 9)
    system, workload = engine(law, budget), load(prompt, output)
    found = request_level_rate(system, workload, CHUNKED)
    spent = [parting_seconds(system, workload, n)[0] for n in sizes]
    batches = max(prompt / budget, 1)
    cycle = batches * law(budget) + sum(spent) / len(spent)
    assert found.value == pytest.approx(max(budget / prompt, 1) / cycle, rel=1e-12)


def test_kv_reads_of_random_outputs_are_those_of_their_means():
    law = AffineStepTime(base=0, per_token=1, per_kv_token=Fraction(1, 2))
    found = request_level_rate(engine(law, 8), load(4, UniformLength(1, 3)), FASTER_TRANSFORMER)
    # Two requests: 8 tokens of prefill, 2 * 2 decodes; of 1, 2 or 3 outputs, each reads 4,
    # 4 + 5 or 4 + 5 + 6 tokens.
    reads = Fraction(4 + 9 + 15, 3) / 2
    assert found.low < 2 / (8 + 4 + 2 * reads) < found.high


@pytest.mark.parametrize(
    ("system", "workload", "rule"),
    [
        (engine(), load(GeometricLength(129), 112), FASTER_TRANSFORMER),
        (engine(kv_capacity=10**6), load(129, 112), FASTER_TRANSFORMER),
        (engine(max_batch_size=9), load(129, 112), CHUNKED),
        (engine(token_budget=128), load(129, 112), FASTER_TRANSFORMER),
        (engine(first_token_from_prefill=True), load(129, 0), FASTER_TRANSFORMER),
        (
            engine(),
            Workload.of(PoissonArrivals(1), EmpiricalLengths([9, 9], [1, 2], in_order=True)),
            FASTER_TRANSFORMER,
        ),
        (engine(), load(129, 112), VANILLA_VLLM),
        (engine(), load(129, 112), ORCA),
        (engine(), load(129, 112), lambda state: FASTER_TRANSFORMER(state)),
        (
            engine(),
            Workload.of_requests([0, 1], prompt_tokens=[1, 1], output_tokens=[1, 1]),
            FASTER_TRANSFORMER,
        ),
    ],
)
def test_other_systems_have_no_closed_form(system, workload, rule):
    assert request_level_rate(system, workload, rule) is None


@pytest.mark.parametrize(
    "rule",
    [FASTER_TRANSFORMER, VANILLA_VLLM, ORCA.variant(chunked=False)],
    ids=lambda r: r.name,
)
@pytest.mark.parametrize(
    ("prompt", "said"), [(290, "of 290 tokens"), (GeometricLength(20), "of any length")]
)
def test_a_prompt_that_never_fits_freezes_a_rule_of_whole_prompts(rule, prompt, said):
    """Vector ft.critical.whole.oversize."""
    rate = frozen_rate(engine(token_budget=128), load(prompt, 990), rule)
    assert rate.value == 0
    assert said in rate.basis


@pytest.mark.parametrize(
    ("rule", "prompt"), [(FASTER_TRANSFORMER, 128), (CHUNKED, 290), (SARATHI, 290)]
)
def test_a_prompt_that_fits_or_may_be_split_does_not(rule, prompt):
    assert frozen_rate(engine(token_budget=128), load(prompt, 990), rule) is None


@pytest.mark.parametrize("per_kv_token", [0, Fraction(1, 7)])
def test_decodes_of_equal_requests_are_summed_in_closed_form(per_kv_token):
    law = AffineStepTime(Fraction(1, 3), Fraction(1, 5), per_kv_token)
    one = Engine(step_time=law, token_budget=12)
    by_steps = sum(law(0, 3, 3 * (4 + step)) for step in range(6))
    assert _request_level._decode_seconds(one, 3, 4, 6) == by_steps
    load = Workload.poisson(1, prompt_tokens=4, output_tokens=10**23)
    assert 0 < request_level_rate(one, load, FASTER_TRANSFORMER).value < 1e-20
