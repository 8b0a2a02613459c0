"""The region of several classes: what it says, what it refuses, and its laws."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    EmpiricalLengths,
    Engine,
    GeometricLength,
    IndependentLengths,
    PoissonArrivals,
    RequestClass,
    Workload,
)
from queueing_llm.stability import stability_region
from queueing_llm.stability.bounds._class_check import check_class_prices
from queueing_llm.stability.bounds._class_region import class_region
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

A100 = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
ROUNDED = StaircaseStepTime(0.01128, 0.03547, 128)
TOO_MUCH = 1 + Fraction(1, 10**9)
SECONDS = st.fractions(Fraction(1, 20), 3, max_denominator=20)
PROMPTS = st.none() | st.integers(1, 12)


def engine(step_time=A100, token_budget=1024, max_batch_size=100, **limits):
    return Engine(
        step_time=step_time, token_budget=token_budget, max_batch_size=max_batch_size, **limits
    )


def mixed(*classes, rate=1):
    """Return a workload of classes given as (prompt, output, share)."""
    kinds = [
        RequestClass(f"class {i}", EmpiricalLengths([prompt], [output]), share)
        for i, (prompt, output, share) in enumerate(classes)
    ]
    return Workload(PoissonArrivals(rate), kinds)


@st.composite
def engines(draw, laws=None):
    most = draw(st.integers(2, 12))
    tables = st.lists(SECONDS, min_size=most, max_size=most).map(
        lambda seconds: TableStepTime.of_tokens(range(1, most + 1), seconds)
    )
    return engine(draw(laws or tables), most, draw(st.none() | st.integers(1, most)))


def rates(classes):
    number = st.integers(0, 9) | st.fractions(0, 9, max_denominator=9)
    return st.lists(st.tuples(number, number), min_size=classes, max_size=classes)


def priced(prices, pair):
    return prices[0] * pair[0] + prices[1] * pair[1]


LIMITED = class_region(engine(), longest_prompts=(4, 990))
OFFERED = [(100, 1000), (500, 400)]


def test_short_prompts_cost_more_where_places_are_scarce():
    """Prompts of at most 4 tokens fill fewer tokens with the same places."""
    short, long = (pair[0] for pair in LIMITED.prices(OFFERED))
    assert short > long
    assert {pair[1] for pair in LIMITED.prices(OFFERED)} == {LIMITED.prices(OFFERED)[0][1]}
    alike = [class_region(engine(), longest_prompts=(p, p)).load(OFFERED) for p in (4, 990)]
    assert alike[1] < LIMITED.load(OFFERED) < alike[0]
    assert LIMITED.margin(OFFERED) == 1 - LIMITED.load(OFFERED)


def test_one_region_for_the_totals_where_no_class_differs():
    """Vectors region.lp.*: 467.5 ms for a request of (290, 990) tokens, split in any way."""
    region = class_region(engine(), longest_prompts=(None, None, None))
    split = [(100, 490), (190, 0), (0, 500)]
    assert region.load(split) == Fraction(4675, 10_000)
    prices = (Fraction(3547, 12_800_000), Fraction(165_179, 422_400_000))
    assert region.prices(split) == (prices,) * 3
    assert {facet[0] for facet in region.facets()} == {
        facet.prices for facet in stability_region(engine()).facets
    }


@settings(max_examples=25, deadline=None)
@given(engines(), PROMPTS, st.data())
def test_a_single_class_has_the_region_of_the_engine(system, prompt, data):
    polygon = stability_region(system, longest_prompt=prompt)
    region = class_region(system, longest_prompts=(prompt,))
    assert region.is_exact
    assert region.vertices() == tuple(sorted((vertex,) for vertex in polygon.vertices))
    assert {facet[0] for facet in region.facets()} == {f.prices for f in polygon.facets}
    assert len(region.facets()) == len(polygon.facets)
    (pair,) = offered = data.draw(rates(1))
    assert region.load(offered) == polygon.load(*pair)
    assert region.contains(offered) == polygon.contains(*pair)


@settings(max_examples=25, deadline=None)
@given(engines(), st.tuples(PROMPTS, PROMPTS, PROMPTS), rates(3), st.permutations([0, 1, 2]))
def test_the_order_of_the_classes_does_not_matter(system, prompts, offered, order):
    region = class_region(system, longest_prompts=prompts)
    other = class_region(system, longest_prompts=tuple(prompts[i] for i in order))
    assert other.load([offered[i] for i in order]) == region.load(offered)
    moved = {tuple(facet[i] for i in order) for facet in region.facets()}
    assert set(other.facets()) == moved
    assert set(other.vertices()) == {tuple(v[i] for i in order) for v in region.vertices()}


@settings(max_examples=25, deadline=None)
@given(engines(), st.tuples(PROMPTS, PROMPTS), rates(3))
def test_a_class_split_in_two_alike_leaves_the_load_unchanged(system, prompts, offered):
    whole = class_region(system, longest_prompts=prompts)
    split = class_region(system, longest_prompts=(*prompts, prompts[1]))
    joined = [offered[0], tuple(map(sum, zip(*offered[1:], strict=True)))]
    assert split.load(offered) == whole.load(joined)


@settings(max_examples=25, deadline=None)
@given(engines(), st.tuples(PROMPTS, PROMPTS), rates(2), rates(2), st.fractions(0, 5))
def test_the_load_is_a_monotone_norm_of_the_rates(system, prompts, some, more, factor):
    region = class_region(system, longest_prompts=prompts)
    both = [tuple(map(sum, zip(*pairs, strict=True))) for pairs in zip(some, more, strict=True)]
    scaled = [tuple(factor * rate for rate in pair) for pair in some]
    assert region.load(scaled) == factor * region.load(some)
    assert region.load(some) <= region.load(both) <= region.load(some) + region.load(more)


@settings(max_examples=25, deadline=None)
@given(engines(), st.tuples(PROMPTS, PROMPTS), rates(2), st.integers(1, 5))
def test_longer_prompts_and_faster_steps_never_raise_the_load(system, prompts, offered, extra):
    region = class_region(system, longest_prompts=prompts)
    longer = tuple(None if p is None else p + extra for p in prompts)
    assert class_region(system, longest_prompts=longer).load(offered) <= region.load(offered)
    law = system.step_time
    seconds = [law(n) / extra for n in range(1, system.token_budget + 1)]
    faster = TableStepTime.of_tokens(range(1, system.token_budget + 1), seconds)
    scaled = engine(faster, system.token_budget, system.max_batch_size)
    quicker = class_region(scaled, longest_prompts=prompts)
    assert quicker.load(offered) == region.load(offered) / extra


@settings(max_examples=25, deadline=None)
@given(engines(), st.tuples(PROMPTS, PROMPTS), rates(2))
def test_prices_are_a_certificate_that_cannot_be_raised(system, prompts, offered):
    region = class_region(system, longest_prompts=prompts)
    prices = region.prices(offered)
    worth = sum(map(priced, prices, offered))
    assert worth == region.load(offered)
    check_class_prices(system, prices, longest_prompts=prompts)
    if worth:
        dearer = [tuple(TOO_MUCH * price for price in pair) for pair in prices]
        with pytest.raises(InvalidArgument, match="must value no batch above its time"):
            check_class_prices(system, dearer, longest_prompts=prompts)


def test_one_dear_class_is_enough_to_reject_prices():
    """All tokens of a batch may be of the class that values them most."""
    prices = LIMITED.facets()[0]
    check_class_prices(engine(), prices, longest_prompts=(4, 990))
    for j, phase in ((0, 0), (0, 1), (1, 0), (1, 1)):
        raised = [list(pair) for pair in prices]
        raised[j][phase] = 2 * max(max(pair) for pair in prices)
        with pytest.raises(InvalidArgument, match=r"worth .* s\."):
            check_class_prices(engine(), raised, longest_prompts=(4, 990))


def test_prices_a_trillionth_too_high_are_rejected():
    """Rounded to 32 bits, the prices make the other batch the better one."""
    tiny = Fraction(1, 10**15)
    law = TableStepTime.of_tokens([1, 2], [1, 2 - 4 * tiny])
    system = engine(law, 2, 1)
    check_class_prices(system, [(1 - 2 * tiny, 1)], longest_prompts=(None,))
    with pytest.raises(InvalidArgument, match="must value no batch above its time"):
        check_class_prices(system, [(1 - tiny, 1)], longest_prompts=(None,))


def test_the_largest_rate_of_one_class_in_two_halves():
    """Vector region.lp.*: 467.5 ms for a request of (290, 990) tokens."""
    region = class_region(engine(), longest_prompts=(None, 290))
    rate = region.largest_rate(mixed((290, 990, 1), (290, 990, 2)))
    alone = class_region(engine(), longest_prompts=(None,))
    assert alone.largest_rate(mixed((290, 990, 1))) == Fraction(10_000, 4675) == rate


def test_the_largest_rate_weighs_the_classes_by_their_shares():
    load = mixed((4, 100, 3), (900, 400, 1))
    rate = LIMITED.largest_rate(load)
    per_second = [(rate * 4 * Fraction(3, 4), rate * 75), (rate * 225, rate * 100)]
    assert LIMITED.load(per_second) == 1
    emits = class_region(engine(first_token_from_prefill=True), longest_prompts=(4, 990))
    fewer = mixed((4, 101, 3), (900, 401, 1))
    assert emits.largest_rate(fewer) == rate


def test_kv_reads_add_to_what_a_request_costs():
    gamma = Fraction(1, 10**7)
    law = AffineStepTime(Fraction(1, 100), Fraction(1, 10_000), gamma)
    free = AffineStepTime(Fraction(1, 100), Fraction(1, 10_000))
    load = mixed((4, 100, 3), (900, 400, 1))
    slow, fast = (
        class_region(engine(step), longest_prompts=(4, 990)).largest_rate(load)
        for step in (law, free)
    )
    assert 1 / slow == 1 / fast + gamma * load.moments.kv_reads(0)


def test_floats_give_the_floats_next_to_the_exact_answers():
    rounded = class_region(engine(ROUNDED), longest_prompts=(4, 990))
    assert not rounded.is_exact
    assert isinstance(rounded.load(OFFERED), float)
    assert rounded.load(OFFERED) == pytest.approx(float(LIMITED.load(OFFERED)), rel=1e-12)
    assert isinstance(LIMITED.load([(200.0, 900), (500, 400)]), float)
    assert LIMITED.load(np.array(OFFERED)) == LIMITED.load(OFFERED)
    np.testing.assert_allclose(
        rounded.prices(OFFERED), np.array(LIMITED.prices(OFFERED), float), rtol=1e-9
    )


def test_rounded_times_have_no_exact_facets():
    """Collinear batches would lie on several facets, by rounding."""
    rounded = class_region(engine(ROUNDED), longest_prompts=(4, 990))
    for ask in (rounded.facets, rounded.vertices):
        with pytest.raises(InvalidArgument, match="step_time must have integers or Fractions"):
            ask()


def test_times_with_unwieldy_denominators_stay_exact():
    primes = list(sympy.primerange(10**6, 10**6 + 500))[:24]
    times = [Fraction(p + 1000 * n, p) for n, p in enumerate(primes)]
    table = TableStepTime.of_tokens(range(1, 25), times)
    system = engine(table, 24, 6)
    region = class_region(system, longest_prompts=(3, None))
    for facet in region.facets():
        check_class_prices(system, facet, longest_prompts=(3, None))
    assert {region.load(vertex) for vertex in region.vertices()} == {0, 1}


def test_what_was_left_out_is_said():
    (limited,) = LIMITED.relaxations
    assert "longest prompt of its class" in limited
    assert class_region(engine(max_batch_size=None), longest_prompts=(5, 9)).relaxations == ()
    law = AffineStepTime(Fraction(1, 100), Fraction(1, 10_000), Fraction(1, 10**7))
    full = engine(law, 64, 8, kv_capacity=32)
    assert len(class_region(full, longest_prompts=(5, 9)).relaxations) == 3


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ((), "longest_prompts must be a list"),
        (290, "longest_prompts must be a list"),
        ((5, 0), r"longest_prompts\[1\] must be an integer at least 1"),
        ((1.5,), r"longest_prompts\[0\] must be an integer at least 1"),
    ],
)
def test_longest_prompts_are_positive_integers(prompts, message):
    with pytest.raises(InvalidArgument, match=message):
        class_region(engine(), longest_prompts=prompts)
    with pytest.raises(InvalidArgument, match=message):
        check_class_prices(engine(), [(0, 0)], longest_prompts=prompts)


@pytest.mark.parametrize(
    ("offered", "message"),
    [
        ([(1, 1)], "for each of 2 classes"),
        ([(1, 1), (1,)], "for each of 2 classes"),
        (3, "for each of 2 classes"),
        ([(1, 1), (1, -1)], r"rates\[1\] must be a finite number at least 0"),
        ([(1, 1), (float("nan"), 1)], r"rates\[1\] must be a finite number"),
        ([(1, 1), (sympy.Symbol("x"), 1)], "substitute its symbols"),
    ],
)
def test_rates_are_a_pair_for_each_class(offered, message):
    for ask in (LIMITED.load, LIMITED.contains, LIMITED.margin, LIMITED.prices):
        with pytest.raises(InvalidArgument, match=message):
            ask(offered)


def test_a_workload_must_be_the_one_that_the_region_assumes():
    for load, message in [
        (mixed((4, 9, 1)), "workload must have 2 classes"),
        (mixed((5, 9, 1), (9, 9, 1)), "at most 4 tokens in class 'class 0'.* of 5 tokens"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            LIMITED.largest_rate(load)
    endless = IndependentLengths(GeometricLength(9), GeometricLength(9))
    kinds = [RequestClass(name, endless) for name in "ab"]
    with pytest.raises(InvalidArgument, match="prompts of any length"):
        LIMITED.largest_rate(Workload(PoissonArrivals(1), kinds))


def test_an_engine_must_have_a_known_time_for_every_total():
    grid = TableStepTime.of_batches(
        [0, 4, 8], [0, 8], None, [[[1], [2]], [[2], [3]], [[3], [4]]]
    )
    short = TableStepTime.of_tokens([1, 512], [1, 2])
    symbol = StaircaseStepTime(sympy.Symbol("c", positive=True), 1, 4)
    for law, message in [
        (grid, "step_time must be a law of the total tokens"),
        (short, "must reach from 1 to 900 tokens"),
        (symbol, "substitute its symbols"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            class_region(engine(law), longest_prompts=(5, 9))
    with pytest.raises(InvalidArgument, match="engine must be of type Engine"):
        class_region(A100, longest_prompts=(5, 9))
    with pytest.raises(InvalidArgument, match=r"must be at most 2\^28"):
        class_region(
            engine(token_budget=2**20, max_batch_size=2**10), longest_prompts=(5, None)
        )


def test_prices_are_exact_and_nonnegative():
    tiny = Fraction(1, 10**6)
    for prices, law, message in [
        ([(0.0, tiny)], A100, "integers or Fractions for an exact check"),
        ([(0, tiny)], ROUNDED, "integers or Fractions for an exact check"),
        ([(-tiny, tiny)], A100, r"prices\[0\] must be a finite number at least 0"),
        ([(tiny, tiny)] * 2, A100, "for each of 1 classes"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            check_class_prices(engine(law), prices, longest_prompts=(5,))
