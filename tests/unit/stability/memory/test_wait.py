"""The fluid equilibrium of WAIT: published figures, the memory bound, and simulation."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.stability import kv_lifetime, resource_prices
from queueing_llm.stability.memory._wait import (
    equilibrium_memory,
    stage_lifetime,
    wait_equilibrium,
)

COSTS = Fraction("0.02"), Fraction(4, 10**7)

# arXiv:2504.11320, M*(lambda) [tokens] at lambda = 50, 60, 70, 80 per second.
RATES = np.array([50.0, 60.0, 70.0, 80.0])
MEMORY = np.array([34_377, 55_758, 100_327, 250_509])
CAPACITY = 137_000


def wait_engine(base, slope, **limits):
    law = ql.AffineStepTime(base, slope, slope)
    return ql.Engine(step_time=law, **{"token_budget": 10**4, **limits})


def mixed(*types, rate):
    """Return Poisson arrivals of (prompt, output, share) types."""
    classes = [
        ql.RequestClass(f"{l}/{o}", ql.EmpiricalLengths([l], [o]), share)
        for l, o, share in types
    ]
    return ql.Workload(ql.PoissonArrivals(rate), classes)


def test_the_published_lifetimes():
    """arXiv:2504.11320: types (512, 20) and (512, 50), and 0.7 and 0.3 of them."""
    assert [stage_lifetime(512, steps) for steps in (20, 50)] == [10_962, 27_387]
    engine = wait_engine(*COSTS)
    load = mixed((512, 20, 7), (512, 50, 3), rate=1)
    assert kv_lifetime(engine, load) == Fraction("15889.5")


def test_the_equilibrium_of_two_types():
    engine = wait_engine(*COSTS, kv_capacity=CAPACITY)
    found = wait_equilibrium(engine, mixed((512, 20, 4), (512, 50, 1), rate=50))
    assert found.load == 712_350 * COSTS[1]
    assert float(found.memory_tokens) == pytest.approx(19_924.202164853297, rel=1e-14)
    assert float(found.iteration_seconds) == pytest.approx(0.02796968086594132, rel=1e-14)
    expected = [1.1187872346376528, 0.2796968086594132]
    assert [float(n) for n in found.stage_requests] == pytest.approx(expected, rel=1e-14)
    assert found.iteration_seconds == COSTS[0] + COSTS[1] * found.memory_tokens
    assert found.token_throughput == 40 * 20 + 10 * 50
    assert found.is_sustainable


def test_the_published_table_is_one_equilibrium():
    """1/M* is affine in 1/lambda; the fit then gives every row within 3 tokens."""
    slope, offset = np.polyfit(1 / RATES, 1 / MEMORY, 1)
    assert 1 / slope == pytest.approx(298.84, rel=1e-4)
    assert -offset == pytest.approx(3.7837e-5, rel=1e-4)
    base = 1 / slope / stage_lifetime(512, 20)
    engine = wait_engine(float(base), float(-offset * base), kv_capacity=CAPACITY)
    load = ql.Workload.poisson(1, prompt_tokens=512, output_tokens=20)
    rows = [wait_equilibrium(engine, load.scale_to(float(rate))) for rate in RATES]
    assert [row.memory_tokens for row in rows] == pytest.approx(MEMORY, abs=3)
    assert [row.is_sustainable for row in rows] == [True, True, True, False]
    assert 1 / resource_prices(engine, load).seconds == pytest.approx(74.138, abs=5e-3)
    pole = 88.44
    assert wait_equilibrium(engine, load.scale_to(pole - 0.01)) is not None
    assert wait_equilibrium(engine, load.scale_to(pole + 0.01)) is None


types = st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(1, 5))


@given(
    st.lists(types, min_size=1, max_size=3, unique_by=lambda t: t[:2]),
    st.fractions(Fraction(1, 9), 2, max_denominator=9),
    st.fractions(0, Fraction(1, 20), max_denominator=99),
    st.fractions(0, Fraction(1, 20), max_denominator=99),
    st.fractions(Fraction(1, 50), 2, max_denominator=50),
)
def test_it_fits_exactly_within_the_bound_on_every_policy(shapes, base, token, read, rate):
    """Any affine law, not only that of the paper; the bound is solved elsewhere."""
    law = ql.AffineStepTime(base, token, read)
    engine = ql.Engine(step_time=law, token_budget=60, kv_capacity=60)
    load = mixed(*shapes, rate=rate)
    cost = resource_prices(engine, load).seconds
    found = wait_equilibrium(engine, load)
    if found is None:
        assert rate * cost > 1
        return
    assert found.is_sustainable == (rate * cost <= 1)
    at_capacity = wait_equilibrium(engine, load.scale_to(1 / cost))
    assert at_capacity.memory_tokens == 60
    assert at_capacity.memory_load == 1
    assert sum(found.stage_requests) == rate * found.iteration_seconds


@given(types, st.fractions(Fraction(1, 9), 2, max_denominator=9))
def test_it_balances_one_iteration(shape, base):
    """A batch of n of every stage takes the time in which n requests arrive."""
    slope = Fraction(1, 1000)
    engine = wait_engine(base, slope)
    load = mixed(shape, rate=Fraction(1, 5))
    found = wait_equilibrium(engine, load)
    assume(found is not None)
    (n,), (prompt, steps, _) = found.stage_requests, shape
    law = engine.step_time
    reads = sum(prompt + j - 1 for j in range(1, steps + 1))
    assert law(n * prompt, n * steps, n * reads) == found.iteration_seconds
    assert found.memory_tokens == sum(n * (prompt + stage) for stage in range(steps + 1))


def test_above_it_no_rule_keeps_up():
    engine = wait_engine(Fraction(1, 10), Fraction(1, 1000), kv_capacity=60)
    load = mixed((4, 2, 7), (4, 6, 3), rate=1)
    boundary = 1 / resource_prices(engine, load).seconds
    assert wait_equilibrium(engine, load.scale_to(boundary)).memory_tokens == 60
    for rule in (ql.SARATHI, ql.VANILLA_VLLM):
        run = ql.simulate(
            engine, load.scale_to(boundary * Fraction(11, 10)), policy=rule, horizon=2000
        )
        assert run.grows
        assert run.throughput.value < boundary


def test_the_formula_takes_symbols_and_arrays():
    d0, d1, rate, held = sympy.symbols("d0 d1 lambda A", positive=True)
    found = equilibrium_memory(d0, d1 * rate * held, rate * held)
    assert sympy.simplify(found - d0 * rate * held / (1 - d1 * rate * held)) == 0
    assert equilibrium_memory(1, np.array([0, 0.5]), 3).tolist() == [3, 6]
    l, s = sympy.symbols("l s", positive=True)
    assert sympy.expand(stage_lifetime(l, s) - (s + 1) * (l + s / 2)) == 0


@pytest.mark.parametrize(
    "law", [ql.HingeStepTime(1, 1, 8), ql.AffineStepTime(0, 1), "no engine"], ids=str
)
def test_other_laws_are_refused(law):
    load = ql.Workload.poisson(1, prompt_tokens=1, output_tokens=1)
    engine = law if law == "no engine" else ql.Engine(step_time=law, token_budget=8)
    with pytest.raises(ql.InvalidArgument, match=r"must be (an AffineStepTime|of type Engine)"):
        wait_equilibrium(engine, load)
