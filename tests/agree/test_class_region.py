"""The region of classes against all batches of all classes, and against simulation."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Matrix, Rational

import queueing_llm as ql
from queueing_llm.linear import exact_maximum, is_optimal
from queueing_llm.model import (
    EmpiricalLengths,
    Engine,
    PoissonArrivals,
    RequestClass,
    Workload,
)
from queueing_llm.stability import stability_region
from queueing_llm.stability.bounds._class_batches import TokenKinds, best_batch
from queueing_llm.stability.bounds._class_region import class_region
from queueing_llm.steptime import StaircaseStepTime, TableStepTime

SECONDS = st.fractions(Fraction(1, 20), 3, max_denominator=20)
NUMBERS = st.integers(0, 9) | st.fractions(0, 9, max_denominator=9)


@st.composite
def cases(draw, classes, most):
    tokens = draw(st.integers(2, most))
    seconds = draw(st.lists(SECONDS, min_size=tokens, max_size=tokens))
    engine = Engine(
        step_time=TableStepTime.of_tokens(range(1, tokens + 1), seconds),
        token_budget=tokens,
        max_batch_size=draw(st.none() | st.integers(1, tokens)),
    )
    prompt = st.none() | st.integers(1, tokens + 1)
    return engine, tuple(draw(prompt) for _ in range(classes))


def every_batch(engine, prompts):
    """Return every batch by the definition: a prefill and a decode count for each class."""
    most = engine.token_budget
    places = engine.max_batch_size or most
    for tokens in itertools.product(range(most + 1), repeat=2 * len(prompts)):
        prefill, decode = tokens[::2], tokens[1::2]
        held = sum(
            (x > 0) if prompt is None else math.ceil(Fraction(x, prompt))
            for x, prompt in zip(prefill, prompts, strict=True)
        )
        if 1 <= sum(tokens) <= most and held + sum(decode) <= places:
            yield tokens, engine.step_time(sum(tokens))


def flat(pairs):
    return tuple(itertools.chain.from_iterable(pairs))


def worth(prices, tokens):
    return sum(price * count for price, count in zip(prices, tokens, strict=True))


@settings(max_examples=40, deadline=None)
@given(cases(2, 6), st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=2))
def test_the_load_is_the_linear_programme_over_all_batches(case, rates):
    engine, prompts = case
    rows, seconds = zip(*every_batch(engine, prompts), strict=True)
    region = class_region(engine, longest_prompts=prompts)
    found = exact_maximum(flat(rates), rows, bounds=seconds)
    assert is_optimal(found, flat(rates), rows=rows, bounds=seconds)
    assert region.load(rates) == found.value
    prices = flat(region.prices(rates))
    assert all(worth(prices, row) <= time for row, time in zip(rows, seconds, strict=True))
    assert worth(prices, flat(rates)) == found.value


@settings(max_examples=25, deadline=None)
@given(cases(2, 5), st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_vertices_and_facets_describe_the_region_of_all_batches(case, direction):
    """Each from the other, each from all batches, and none superfluous."""
    engine, prompts = case
    batches = list(every_batch(engine, prompts))
    region = class_region(engine, longest_prompts=prompts)
    facets, vertices = map(flat, region.facets()), map(flat, region.vertices())
    facets, vertices = list(facets), list(vertices)
    assert all(worth(f, tokens) <= time for f in facets for tokens, time in batches)
    assert max(worth(direction, tokens) / time for tokens, time in batches) == max(
        worth(direction, vertex) for vertex in vertices
    )
    for facet in facets:
        _spans([v for v in vertices if worth(facet, v) == 1])
    for vertex in vertices:
        assert all(worth(facet, vertex) <= 1 for facet in facets)
        signs = [[int(i == j) for j in range(4)] for i in range(4) if vertex[i] == 0]
        _spans([*signs, *(facet for facet in facets if worth(facet, vertex) == 1)])


def _spans(rows):
    assert Matrix([[Rational(entry) for entry in row] for row in rows]).rank() == 4


@settings(max_examples=80, deadline=None)
@given(
    times=st.lists(SECONDS, min_size=1, max_size=9),
    prompts=st.sets(st.integers(2, 9), max_size=3),
    places=st.integers(1, 9),
    prices=st.lists(st.fractions(0, 9, max_denominator=9), min_size=4, max_size=4),
    unit=st.sampled_from([1, Fraction(1, 10**40)]),
)
def test_no_batch_is_worth_more_per_second_than_the_best(times, prompts, places, prices, unit):
    """With a tiny part added to the prices, 64 bits do not hold their common unit."""
    longest = tuple(sorted({1, *(min(prompt, len(times)) for prompt in prompts)}))
    kinds = TokenKinds.of(longest, places, seconds=times)
    prices = [price + unit for price in prices[: len(longest)]]
    found = best_batch(kinds, prices)

    def held(tokens):
        return sum(math.ceil(x / most) for x, most in zip(tokens, longest, strict=True))

    assert held(found.tokens) <= places
    assert found.seconds == times[sum(found.tokens) - 1]
    every = itertools.product(range(len(times) + 1), repeat=len(longest))
    allowed = [t for t in every if 1 <= sum(t) <= len(times) and held(t) <= places]
    best = max(worth(prices, tokens) / times[sum(tokens) - 1] for tokens in allowed)
    assert worth(prices, found.tokens) / found.seconds == best


STEP = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
CROWDED = Engine(step_time=STEP, token_budget=1024, max_batch_size=8)
PROMPTS = (8, 1000)


def two_classes(rate):
    """Many short prompts, which leave few places, and a few long ones, most of the tokens."""
    kinds = [
        RequestClass("short", EmpiricalLengths([8], [1]), share=20),
        RequestClass("long", EmpiricalLengths([1000], [8])),
    ]
    return Workload(PoissonArrivals(rate), kinds)


@pytest.mark.parametrize("rule", [ql.SARATHI, ql.ORCA, ql.VLLM_V1])
def test_the_backlog_grows_where_only_the_classes_tell_that_it_must(rule):
    """At the capacity for the total rates; tokens are worth at most their dearest price."""
    region = class_region(CROWDED, longest_prompts=PROMPTS)
    totals = stability_region(CROWDED, longest_prompt=1000)
    mix = two_classes(totals.largest_rate(two_classes(1)))
    rates = [
        (mix.arrival_rate * share * m.prompt, mix.arrival_rate * share * m.output)
        for share, m in zip(mix.shares, (c.lengths.moments for c in mix.classes), strict=True)
    ]
    load = region.load(rates)
    assert totals.load(*map(sum, zip(*rates, strict=True))) == 1
    assert load > Fraction(108, 100)
    assert load == mix.arrival_rate / region.largest_rate(mix)
    least = (load - 1) / max(flat(region.prices(rates)))
    run = ql.simulate(CROWDED, mix, policy=rule, horizon=400, replications=6, seed=5)
    growth = run.growth
    assert growth.value > 4 * growth.standard_error
    assert growth.value > float(least) - 4 * growth.standard_error
