"""The KV cache as a resource: lifetimes, and the bound by tokens and batches."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.stability import kv_lifetime, resource_prices

MAIN = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
AFFINE = ql.AffineStepTime(Fraction("0.01128"), Fraction("0.03547") / 128)


def requests(prompt, output):
    return ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)


@given(st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_the_lifetime_is_what_a_lone_request_holds(prompt, output, emits):
    """Whole prompts and no company: the bound is attained, slot by slot."""
    engine = ql.Engine(
        step_time=MAIN, token_budget=prompt, kv_capacity=99, first_token_from_prefill=emits
    )
    alone = ql.Workload.of_requests([0], prompt_tokens=[prompt], output_tokens=[output])
    held = sum(
        int(step.state.stored.sum() + step.batch.tokens.sum())
        for step in ql.watch(engine, alone, policy=ql.SARATHI, horizon=1000)
    )
    assert kv_lifetime(engine, requests(prompt, output)) == held


def test_the_published_arithmetic_of_pacing():
    """kv.pacing: 4.845 requests/s, against 6.686 by tokens alone."""
    engine = ql.Engine(step_time=AFFINE, token_budget=512, kv_capacity=20_000)
    found = ql.capacity(engine, requests(100, 400))
    assert float(found.requests_per_second) == pytest.approx(4.84486998821667, rel=1e-12)
    assert "of which a request holds 120,300 over its life" in found.basis
    assert "no batch of at most 20,000 KV slots is worth more" in found.basis
    assert not found.is_attained
    assert found.evidence is ql.Evidence.NUMERICAL
    assert float(512 / AFFINE(512) / 500) > 4.845


def test_short_batches_cost_a_whole_block_on_the_staircase():
    """83 tokens a batch on average never take less than one block of 46.75 ms."""
    engine = ql.Engine(step_time=MAIN, token_budget=512, kv_capacity=20_000)
    expected = Fraction(120_300, 20_000) * MAIN(128)
    assert resource_prices(engine, requests(100, 400)).seconds == expected


laws = st.one_of(
    st.builds(
        ql.StaircaseStepTime,
        st.fractions(0, 3, max_denominator=9),
        st.fractions(Fraction(1, 9), 3, max_denominator=9),
        st.integers(1, 7),
    ),
    st.lists(st.fractions(Fraction(1, 9), 3, max_denominator=9), min_size=12, max_size=12).map(
        lambda times: ql.TableStepTime.of_tokens(range(1, 13), times)
    ),
)


@given(laws, st.integers(1, 12), st.integers(10, 60), st.integers(1, 9), st.integers(1, 9))
def test_the_bound_is_the_optimum_of_the_linear_programme(law, budget, slots, prompt, output):
    from scipy.optimize import linprog

    assume(prompt + output <= slots)
    engine = ql.Engine(step_time=law, token_budget=budget, kv_capacity=slots)
    load = requests(prompt, output)
    sizes = np.arange(1, min(budget, slots) + 1)
    optimum = linprog(
        [float(law(int(n))) for n in sizes],
        A_ub=-np.stack([sizes, np.ones_like(sizes)]),
        b_ub=[-(prompt + output), -float(kv_lifetime(engine, load) / slots)],
    )
    assert float(resource_prices(engine, load).seconds) == pytest.approx(optimum.fun, rel=1e-9)


@pytest.mark.parametrize("policy", [ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM], ids=lambda p: p.name)
@pytest.mark.parametrize("law", [MAIN, AFFINE], ids=["staircase", "affine"])
def test_no_policy_serves_more(policy, law):
    engine = ql.Engine(step_time=law, token_budget=512, kv_capacity=20_000)
    load = requests(100, 400)
    ceiling = float(ql.capacity(engine, load).requests_per_second)
    run = ql.simulate(engine, load.scale_to(3 * ceiling), policy=policy, horizon=2000)
    assert 0 < run.throughput.value <= ceiling


def test_a_bound_that_ignores_memory_would_be_broken_by_nobody_but_is_weaker():
    """Control: the memory term is what lowers the capacity here."""
    free = ql.Engine(step_time=AFFINE, token_budget=512)
    rates = [
        ql.capacity(engine, requests(100, 400)).requests_per_second
        for engine in (
            free,
            ql.Engine(step_time=AFFINE, token_budget=512, kv_capacity=10**9),
            ql.Engine(step_time=AFFINE, token_budget=512, kv_capacity=20_000),
            ql.Engine(step_time=AFFINE, token_budget=512, kv_capacity=2_000),
        )
    ]
    assert rates[0] == rates[1]
    assert all(a > b for a, b in itertools.pairwise(rates[1:]))


def test_kv_reads_add_to_the_bound():
    reading = ql.AffineStepTime(AFFINE.base, AFFINE.per_token, Fraction(1, 10**7))
    engines = [
        ql.Engine(step_time=law, token_budget=512, kv_capacity=20_000)
        for law in (AFFINE, reading)
    ]
    load = requests(100, 400)
    plain, with_reads = (resource_prices(engine, load).seconds for engine in engines)
    assert with_reads - plain == Fraction(119_800, 10**7)
