"""Formulas in symbols take the values that the same functions give on numbers."""

from fractions import Fraction

import pytest
import sympy
from hypothesis import assume, example, given
from hypothesis import strategies as st

from queueing_llm import symbolic
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import DeterministicLength, Engine, GeometricLength, Workload
from queueing_llm.policies import ORCA
from queueing_llm.stability import (
    capacity,
    memory_threshold,
    overload_growth,
    stability_region,
    wait_equilibrium,
    work_conserving_rate,
)
from queueing_llm.steptime import AffineStepTime, HingeStepTime, StaircaseStepTime

SECONDS = st.fractions(Fraction(1, 50), 3, max_denominator=50)
TOKENS = st.integers(1, 40)
A100 = {
    "overhead": Fraction("0.01128"),
    "per_block": Fraction("0.03547"),
    "block": 128,
}


@st.composite
def laws(draw):
    """Return the name of a law, a token budget, the law, and its parameters by word."""
    kind = draw(st.sampled_from(["staircase", "hinge", "affine", "affine with KV reads"]))
    budget = draw(TOKENS)
    if kind == "staircase":
        block = draw(st.integers(1, 9))
        words = {"overhead": draw(SECONDS), "per_block": draw(SECONDS), "block": block}
        return kind, block * budget, StaircaseStepTime(**words), words
    if kind == "hinge":
        slope, knee = draw(SECONDS), draw(TOKENS)
        words = {"floor": slope * knee + draw(SECONDS), "per_token": slope, "knee": knee}
        return kind, budget, HingeStepTime(**words), words
    words = {"base": draw(SECONDS), "per_token": draw(SECONDS)}
    if kind != "affine":
        words["per_kv_token"] = draw(SECONDS)
    return kind, budget, AffineStepTime(**words), words


def moments_of(workload, formula):
    moments = workload.moments
    named = {
        "mean_prompt": moments.prompt,
        "mean_output": moments.output,
        "mean_product": moments.product,
        "mean_output_squared": moments.output_squared,
    }
    return {word: value for word, value in named.items() if word in formula.symbols}


LENGTHS = st.one_of(TOKENS.map(DeterministicLength), st.integers(2, 40).map(GeometricLength))


@given(laws(), LENGTHS, LENGTHS, st.booleans())
def test_capacity_is_that_of_numbers(law, prompt, output, emits):
    kind, budget, step, words = law
    engine = Engine(step_time=step, token_budget=budget, first_token_from_prefill=emits)
    workload = Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    formula = symbolic.capacity(kind, first_token_from_prefill=emits)
    words |= {"token_budget": budget, **moments_of(workload, formula)}
    if emits and step.kv_slope > step(budget) / budget:
        with pytest.raises(InvalidArgument, match="holds only if"):
            formula.value(**words)
    else:
        assert formula.value(**words) == capacity(engine, workload).requests_per_second


@given(laws(), LENGTHS, LENGTHS, st.booleans(), SECONDS)
def test_growth_is_that_of_numbers(law, prompt, output, emits, beyond):
    kind, budget, step, words = law
    assume(kind != "affine with KV reads")
    engine = Engine(step_time=step, token_budget=budget, first_token_from_prefill=emits)
    workload = Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    critical = work_conserving_rate(engine, workload, ORCA)
    workload = workload.scale_to(critical.value * (1 + beyond))
    formula = symbolic.overload_growth(kind, first_token_from_prefill=emits)
    found = formula.value(
        token_budget=budget,
        arrival_rate=workload.arrival_rate,
        **words,
        **moments_of(workload, formula),
    )
    assert found == overload_growth(engine, workload, ORCA, critical)


@given(
    overhead=SECONDS,
    per_block=SECONDS,
    block=st.integers(3, 20),
    blocks=st.integers(2, 6),
    places=st.integers(2, 19),
)
@example(**{**A100, "blocks": 8, "places": 100})
def test_the_region_is_that_of_numbers(overhead, per_block, block, blocks, places):
    """The condition is sharp: where it fails, the region has other vertices."""
    assume(places < block)
    step = StaircaseStepTime(overhead, per_block, block)
    engine = Engine(step_time=step, token_budget=blocks * block, max_batch_size=places)
    region = stability_region(engine)
    words = {
        "token_budget": blocks * block,
        "max_batch_size": places,
        "overhead": overhead,
        "per_block": per_block,
        "block": block,
    }
    if per_block * (block - places) * (places - 1) <= overhead * block:
        with pytest.raises(InvalidArgument, match="holds only if"):
            symbolic.region_vertices()[0].value(**words)
        assert len(region.vertices) != 5
        return
    vertices = [formula.value(**words) for formula in symbolic.region_vertices()]
    prices = [formula.value(**words) for formula in symbolic.region_facets()]
    assert vertices == list(region.vertices[1:])
    assert prices == [facet.prices for facet in region.facets]


@given(
    arrival_rate=SECONDS,
    base=SECONDS,
    slope=SECONDS,
    reads=SECONDS,
    emits=st.booleans(),
    prompt=LENGTHS,
    output=LENGTHS,
)
def test_the_memory_of_an_equilibrium_is_that_of_numbers(
    arrival_rate, base, slope, reads, emits, prompt, output
):
    law = AffineStepTime(base, slope / 10**4, reads / 10**6)
    engine = Engine(step_time=law, token_budget=8, first_token_from_prefill=emits)
    workload = Workload.poisson(arrival_rate, prompt_tokens=prompt, output_tokens=output)
    found = wait_equilibrium(engine, workload)
    formulas = symbolic.wait_equilibrium(first_token_from_prefill=emits)
    words = {
        "base": base,
        "arrival_rate": arrival_rate,
        "per_token": law.per_token,
        "per_kv_token": law.per_kv_token,
    }
    values = [f.value(**words, **moments_of(workload, f)) for f in formulas]
    assert values == [found.memory_tokens, found.iteration_seconds]


@given(prompt=TOKENS, output=TOKENS, seconds=SECONDS, emits=st.booleans())
def test_the_memory_threshold_is_that_of_numbers(prompt, output, seconds, emits):
    slots = 100
    engine = Engine(
        step_time=AffineStepTime(seconds, 0),
        token_budget=slots,
        kv_capacity=slots,
        first_token_from_prefill=emits,
    )
    workload = Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    found = memory_threshold(engine, workload, batch_seconds=seconds)
    formula = symbolic.kv_threshold(first_token_from_prefill=emits)
    words = {"kv_capacity": slots, "batch_seconds": seconds}
    assert formula.value(**words, **moments_of(workload, formula)) == found.unstable_above


def test_published_figures():
    """arXiv:2504.07347v3: 13.871 requests/s of 129 + 112 tokens, and vertex C."""
    rate = symbolic.capacity().value(token_budget=512, mean_prompt=129, mean_output=112, **A100)
    assert rate == Fraction(12800000, 922789)
    corner = symbolic.region_vertices()[2]
    found = corner.value(token_budget=1024, max_batch_size=100, **A100)
    assert found == (Fraction(29) / Fraction("0.04675"), Fraction(99) / Fraction("0.04675"))


def test_a_formula_shows_itself_in_a_notebook():
    formula = symbolic.capacity("affine")
    assert formula._repr_latex_().startswith(r"$\displaystyle \lambda^{\star} = \frac{b}")
    assert sympy.latex(formula) == formula.equation
    assert sympy.sympify(formula) == formula.expression
    assert formula.legend["token_budget"] == "b [tokens]"
    assert set(formula.symbols.values()) == formula.expression.free_symbols


def test_symbols_carry_their_assumptions():
    symbols = symbolic.capacity().symbols
    assert symbols["block"].is_integer
    assert symbols["block"].is_positive
    assert sympy.ask(sympy.Q.nonnegative(symbols["overhead"]))


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"token_budget": 512}, "needs a number for overhead, per_block"),
        ({"token_budgt": 512}, "did you mean 'token_budget'"),
        ({"token_budget": 500}, "holds only if"),
        ({"token_budget": 512.5}, "token_budget must be integer"),
        ({"mean_prompt": 0}, "mean_prompt must be positive"),
        ({"overhead": "slow"}, "overhead must be a number"),
        ({"block": True}, "block must be a number"),
    ],
)
def test_wrong_numbers_are_named(numbers, reason):
    complete = {"token_budget": 512, "mean_prompt": 129, "mean_output": 112, **A100}
    given = numbers if "needs" in reason else {**complete, **numbers}
    with pytest.raises(InvalidArgument, match=reason):
        symbolic.capacity().value(**given)


def test_an_unknown_law_is_named():
    with pytest.raises(InvalidArgument, match="did you mean 'staircase'"):
        symbolic.capacity("stairs")


def test_growth_with_kv_reads_is_refused():
    with pytest.raises(InvalidArgument, match="growth follows the queue"):
        symbolic.overload_growth("affine with KV reads")


def test_symbols_cannot_be_drawn():
    from queueing_llm.symbolic._system import SymbolicLengths

    with pytest.raises(InvalidArgument, match="cannot be drawn"):
        SymbolicLengths().sampler(None)
