"""Vertices, facets and prices of the stability region; what they say about a load."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.stability import (
    best_rate,
    capacity,
    check_prices,
    stability_region,
)
from queueing_llm.steptime import (
    AbstractStepTime,
    AffineStepTime,
    HingeStepTime,
    RooflineStepTime,
    StaircaseStepTime,
    TableStepTime,
)

A100 = StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
ROUNDED = StaircaseStepTime(0.01128, 0.03547, 128)
TOO_MUCH = 1 + Fraction(1, 10**9)
SECONDS = st.fractions(Fraction(1, 20), 3, max_denominator=20)


def engine(step_time=A100, token_budget=1024, max_batch_size=100, **limits):
    return Engine(
        step_time=step_time, token_budget=token_budget, max_batch_size=max_batch_size, **limits
    )


def load(prompt=290, output=990, rate=1):
    return Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


LIMITED = stability_region(engine())


def boundary(region):
    """Return the vertices other than the origin in tokens/ms, as text."""
    return [tuple(str(rate / 1000) for rate in vertex) for vertex in region.vertices[1:]]


@pytest.mark.parametrize(
    ("budget", "places", "batches", "rates"),
    [
        # Vectors region.vertices.*; (29, 99) / 46.75 ms is published.
        (
            128,
            100,
            [(128, 0), (29, 99), (0, 100)],
            [("512/187", "0"), ("116/187", "36/17"), ("0", "400/187")],
        ),
        (
            256,
            100,
            [(256, 0), (157, 99), (29, 99), (0, 100)],
            [
                ("12800/4111", "0"),
                ("7850/4111", "4950/4111"),
                ("116/187", "36/17"),
                ("0", "400/187"),
            ],
        ),
        (
            512,
            100,
            [(512, 0), (413, 99), (29, 99), (0, 100)],
            [
                ("12800/3829", "0"),
                ("1475/547", "2475/3829"),
                ("116/187", "36/17"),
                ("0", "400/187"),
            ],
        ),
        (
            1024,
            100,
            [(1024, 0), (925, 99), (29, 99), (0, 100)],
            [
                ("1600/461", "0"),
                ("23125/7376", "2475/7376"),
                ("116/187", "36/17"),
                ("0", "400/187"),
            ],
        ),
        (
            512,
            256,
            [(512, 0), (257, 255), (0, 256)],
            [("12800/3829", "0"), ("6425/3829", "6375/3829"), ("0", "12800/4111")],
        ),
        (
            1024,
            256,
            [(1024, 0), (769, 255), (0, 256)],
            [("1600/461", "0"), ("19225/7376", "6375/7376"), ("0", "12800/4111")],
        ),
    ],
)
def test_the_vertices_of_the_fitted_engine(budget, places, batches, rates):
    region = stability_region(engine(token_budget=budget, max_batch_size=places))
    assert region.is_exact
    assert (region.vertices[0], region.batches[0]) == ((0, 0), (0, 0))
    assert list(region.batches[1:]) == batches
    assert boundary(region) == rates


@pytest.mark.parametrize(
    ("budget", "batches"),
    [
        # Vectors region.vertices.*.prompt290.
        (512, [(512, 0), (414, 98), (285, 99), (29, 99), (0, 100)]),
        (1024, [(1024, 0), (928, 96), (799, 97), (285, 99), (29, 99), (0, 100)]),
    ],
)
def test_short_prompts_take_several_places(budget, batches):
    region = stability_region(engine(token_budget=budget), longest_prompt=290)
    assert list(region.batches[1:]) == batches


def test_the_prices_of_the_fitted_engine():
    """Vectors region.dual.*: the token price, the block price, the slot edge."""
    facets = stability_region(engine()).facets
    assert [facet.prices for facet in facets] == [
        (Fraction(461, 1_600_000),) * 2,
        (Fraction(3547, 12_800_000), Fraction(165179, 422_400_000)),
        (Fraction(187, 11_600_000), Fraction(187, 400_000)),
    ]
    assert [facet.between for facet in facets] == [(1, 2), (2, 3), (3, 4)]
    assert facets[1].load(290, 990) == Fraction(4675, 10_000)


@pytest.mark.parametrize(
    ("budget", "prompt", "output", "milliseconds"),
    [
        # Vectors region.lp.*.
        (128, 290, 990, 467.5),
        (1024, 290, 990, 467.5),
        (1024, 990, 290, 387.74242424242425),
        (1024, 129, 112, 79.54457149621213),
        (1024, 512, 512, 342.0969696969697),
        (1024, 100, 900, 422.3620689655172),
    ],
)
def test_the_time_that_a_request_costs(budget, prompt, output, milliseconds):
    limited, work = engine(token_budget=budget), load(prompt, output)
    rate = stability_region(limited).largest_rate(work)
    assert isinstance(rate, Fraction)
    assert float(1000 / rate) == pytest.approx(milliseconds, rel=1e-12)
    assert capacity(limited, work).requests_per_second == rate


def test_three_resource_bound_lies_above():
    """Vector region.three_resource: a bound in closed form, loose where prefill is scarce."""
    region = stability_region(engine())
    for prompt, output, bound in [
        (290, 990, 466.372),
        (129, 112, 79.416959375),
        (100, 900, 378.629375),
    ]:
        assert float(1000 / region.largest_rate(load(prompt, output))) >= bound


def test_the_largest_case_is_found():
    region = stability_region(engine(token_budget=8192, max_batch_size=1024))
    assert list(region.batches[1:]) == [(8192, 0), (7169, 1023), (0, 1024)]
    for facet in region.facets:
        check_prices(region.engine, facet.prices)


@pytest.mark.parametrize("places", [None, 100, 1024])
@pytest.mark.parametrize("budget", [1, 129, 1024, 8192])
def test_floats_give_the_same_polygon_without_spurious_vertices(budget, places):
    limits = {"token_budget": budget, "max_batch_size": places}
    exact, rounded = (stability_region(engine(law, **limits)) for law in (A100, ROUNDED))
    assert not rounded.is_exact
    assert rounded.batches == exact.batches
    np.testing.assert_allclose(rounded.vertices, np.array(exact.vertices, float), rtol=1e-12)
    for facet, other in zip(rounded.facets, exact.facets, strict=True):
        np.testing.assert_allclose(facet.prices, np.array(other.prices, float), rtol=1e-9)


@pytest.mark.parametrize("budget", [50, 8192])
def test_of_equally_fast_batches_the_largest_is_named(budget):
    """Without an overhead all full blocks are equally fast, but for rounding."""
    for per_block in (Fraction(3, 10), 0.3):
        law = StaircaseStepTime(0, per_block, 7)
        region = stability_region(engine(law, token_budget=budget, max_batch_size=None))
        assert region.batches[1:] == ((budget // 7 * 7, 0), (0, budget // 7 * 7))


def test_one_decode_may_be_best_where_reading_the_kv_cache_saves_time():
    times = np.full((3, 2, 2), Fraction(100))
    times[:, :, 0] = 10
    times[1, :, 1] = 1, 9
    grid = TableStepTime.of_batches([0, 4, 8], [0, 8], [0, 5], times.tolist())
    region = stability_region(engine(grid, token_budget=8, max_batch_size=None))
    assert (4, 1) in region.batches
    assert (2, Fraction(1, 2)) in region.vertices


def test_many_collinear_batches_leave_two_vertices():
    """Of an affine law all batches with one number of decodes lie on a line."""
    for base, per_token in ((Fraction(1, 100), Fraction(1, 20_000)), (0.01, 5e-5)):
        law = AffineStepTime(base=base, per_token=per_token)
        region = stability_region(engine(law, token_budget=4096))
        assert region.batches[1:] == ((4096, 0), (3997, 99), (0, 100))


def test_a_slow_batch_of_decodes_leaves_a_level_edge():
    """(3, 2) decodes faster than (0, 3), so that no place on the axis is better."""
    table = TableStepTime.of_tokens([1, 2, 3, 4, 5], [2, 1, 3, 2, Fraction(1, 2)])
    region = stability_region(engine(table, token_budget=5, max_batch_size=3))
    assert region.vertices == ((0, 0), (10, 0), (6, 4), (0, 4))
    assert region.batches == ((0, 0), (5, 0), (3, 2), (3, 2))
    assert [facet.prices for facet in region.facets] == [
        (Fraction(1, 10), Fraction(1, 10)),
        (0, Fraction(1, 4)),
    ]


def test_one_batch_may_be_best_at_both():
    times = [[[9], [9], [9]], [[9], [1], [9]], [[9], [9], [9]]]
    grid = TableStepTime.of_batches([0, 4, 8], [0, 4, 8], None, times)
    region = stability_region(engine(grid, token_budget=8, max_batch_size=5))
    assert region.vertices == ((0, 0), (4, 0), (4, 4), (0, 4))
    assert region.batches == ((0, 0), (4, 4), (4, 4), (4, 4))
    assert [facet.prices for facet in region.facets] == [
        (Fraction(1, 4), 0),
        (0, Fraction(1, 4)),
    ]


def test_times_with_unwieldy_denominators_stay_exact():
    """Their common denominator has over a thousand digits, beyond what a float can hold."""
    primes = list(sympy.primerange(10**6, 10**6 + 5000))[:200]
    times = [Fraction(p + 1000 * n, p) for n, p in enumerate(primes)]
    table = TableStepTime.of_tokens(range(1, 201), times)
    region = stability_region(engine(table, token_budget=200, max_batch_size=50))
    assert len(region.facets) > 1
    for facet in region.facets:
        check_prices(region.engine, facet.prices)


@pytest.mark.parametrize("law", [A100, ROUNDED, HingeStepTime(Fraction(1, 100), 3, 64)])
def test_without_a_limit_the_region_is_the_token_triangle(law):
    unlimited = engine(law, token_budget=512, max_batch_size=None)
    region = stability_region(unlimited)
    fastest = best_rate(unlimited).tokens_per_second
    assert region.vertices == ((0, 0), (fastest, 0), (0, fastest))
    assert region.relaxations == ()
    rate = region.largest_rate(load(129, 112))
    closed = capacity(unlimited, load(129, 112)).requests_per_second
    assert rate == (closed if region.is_exact else pytest.approx(closed, rel=1e-12))


@given(budget=st.integers(1, 600), prompt=st.integers(1, 500), output=st.integers(1, 500))
def test_a_limit_that_never_binds_changes_nothing(budget, prompt, output):
    free, wide = (engine(token_budget=budget, max_batch_size=k) for k in (None, budget))
    assert stability_region(free).vertices == stability_region(wide).vertices
    rates = {capacity(e, load(prompt, output)).requests_per_second for e in (free, wide)}
    assert len(rates) == 1


@given(
    budget=st.integers(1, 300),
    places=st.integers(1, 130),
    longest=st.none() | st.integers(1, 300),
)
def test_every_facet_is_a_certificate_and_no_higher_price_is(budget, places, longest):
    limited = engine(token_budget=budget, max_batch_size=places)
    region = stability_region(limited, longest_prompt=longest)
    for facet in region.facets:
        check_prices(limited, facet.prices, longest_prompt=longest)
        dearer = tuple(price * TOO_MUCH for price in facet.prices)
        with pytest.raises(InvalidArgument, match="prices must value no batch above its time"):
            check_prices(limited, dearer, longest_prompt=longest)
        for i in facet.between:
            assert facet.load(*region.vertices[i]) == 1
    for vertex in region.vertices[1:]:
        assert region.contains(*vertex)
        assert not region.contains(*(rate * TOO_MUCH for rate in vertex))


def test_prices_of_a_grid_are_checked_batch_by_batch():
    times = (np.arange(1, 28).reshape(3, 3, 3) % 7 + 3).tolist()
    grid = TableStepTime.of_batches([0, 3, 8], [0, 2, 8], [0, 5, 9], times)
    region = stability_region(engine(grid, token_budget=8, max_batch_size=5))
    for facet in region.facets:
        check_prices(region.engine, facet.prices)
        dearer = tuple(price * TOO_MUCH for price in facet.prices)
        with pytest.raises(InvalidArgument, match="is worth"):
            check_prices(region.engine, dearer)


def test_a_rejected_price_names_the_batch():
    with pytest.raises(
        InvalidArgument, match="22 prefill and 99 decode tokens takes 187/4000 s"
    ):
        check_prices(engine(token_budget=128), (Fraction(1, 3000), Fraction(1, 2500)))


@pytest.mark.parametrize(
    ("prices", "batch"),
    [
        ((Fraction(461, 1_600_000), 0), "1024 prefill and 0 decode"),
        ((0, Fraction(187, 400_000)), "0 prefill and 100 decode"),
    ],
)
def test_each_kind_of_batch_is_compared(prices, batch):
    check_prices(engine(), prices)
    with pytest.raises(InvalidArgument, match=f"the batch of {batch} tokens"):
        check_prices(engine(), tuple(price * TOO_MUCH for price in prices))


@pytest.mark.parametrize(
    ("law", "prices", "message"),
    [
        (A100, (0.0001, Fraction(1, 10_000)), "must be two integers or Fractions"),
        (A100, (Fraction(-1, 10), 0), "must be two integers or Fractions"),
        (A100, (0, 0, 0), "must be two integers or Fractions"),
        (ROUNDED, (0, 0), "must have integers or Fractions as parameters"),
    ],
)
def test_a_certificate_is_exact(law, prices, message):
    with pytest.raises(InvalidArgument, match=message):
        check_prices(engine(law), prices)


@given(
    rates=st.tuples(st.fractions(0, 4000), st.fractions(0, 4000)).filter(any),
    factor=st.fractions(Fraction(1, 9), 9),
)
def test_a_load_scales_and_its_inverse_reaches_the_boundary(rates, factor):
    needed = LIMITED.load(*rates)
    scaled = [factor * rate for rate in rates]
    assert LIMITED.load(*scaled) == factor * needed
    assert LIMITED.margin(*scaled) == 1 - factor * needed
    assert LIMITED.contains(*scaled) == (factor * needed <= 1)
    assert LIMITED.load(*(rate / needed for rate in rates)) == 1
    assert LIMITED.binding_facet(*rates).load(*rates) == needed


@given(
    share=st.fractions(0, 1),
    first=st.tuples(st.integers(0, 3500), st.integers(0, 2200)),
    second=st.tuples(st.integers(0, 3500), st.integers(0, 2200)),
)
def test_the_region_is_convex_and_holds_what_is_dominated(share, first, second):
    mixed = [share * a + (1 - share) * b for a, b in zip(first, second, strict=True)]
    if LIMITED.contains(*first) and LIMITED.contains(*second):
        assert LIMITED.contains(*mixed)
    if LIMITED.contains(*first):
        assert LIMITED.contains(first[0] * share, first[1] * (1 - share))


def test_a_float_at_the_boundary_is_taken_at_its_exact_value():
    region = stability_region(engine())
    prefill, decode = region.vertices[3]
    below, above = float(prefill) * (1 - 2e-16), np.nextafter(float(prefill), np.inf)
    assert region.contains(Fraction(below), decode)
    assert not region.contains(above, decode)


def test_numbers_of_numpy_are_plain_numbers():
    """Fixed-width integers would overflow, and wrap around, inside a Fraction."""
    rates = [2**61, 2**62]
    assert LIMITED.load(*np.array(rates)) == LIMITED.load(*rates)
    assert not LIMITED.contains(*np.array(rates))
    assert LIMITED.load(*np.array([300.0, 10.0])) == LIMITED.load(300.0, 10.0)


def test_the_load_of_vertex_c_is_one():
    """Published: (290, 990) every 467.5 ms lies on the boundary whatever the budget is."""
    for budget in (128, 256, 512, 1024):
        region = stability_region(engine(token_budget=budget))
        rate = Fraction(10_000, 4675)
        assert region.load(290 * rate, 990 * rate) == 1
        assert region.margin(290 * rate * Fraction(101, 100), 990 * rate) < 0


def test_fewer_decode_steps_where_the_prefill_yields_a_token():
    real = stability_region(engine(first_token_from_prefill=True))
    paper = stability_region(engine()).largest_rate(load())
    # Recomputation may put a decode in the place of the one prompt of a batch.
    assert paper < real.largest_rate(load(290, 991)) <= paper * Fraction(100, 99)
    with pytest.raises(InvalidArgument, match="output lengths must be at least 1"):
        real.largest_rate(load(290, 0))


def test_reading_the_kv_cache_costs_time_beside_the_prices():
    slope = Fraction(1, 10**7)
    times = {"base": Fraction(1, 100), "per_token": Fraction(1, 20_000)}
    free, reading = (
        stability_region(engine(AffineStepTime(per_kv_token=gamma, **times)))
        for gamma in (0, slope)
    )
    assert reading.vertices == free.vertices
    assert free.relaxations != reading.relaxations
    cost = 1 / free.largest_rate(load()) + slope * load().moments.kv_reads(0)
    assert reading.largest_rate(load()) == 1 / cost
    assert capacity(reading.engine, load()).requests_per_second == 1 / cost


@pytest.mark.parametrize(
    ("limited", "relaxations"),
    [
        (engine(max_batch_size=None), 0),
        (engine(), 1),
        (engine(kv_capacity=5000), 2),
        (engine(RooflineStepTime(0, Fraction(1, 100), Fraction(1, 10**4), 1)), 2),
        (engine(RooflineStepTime(0, Fraction(1, 100), Fraction(1, 10**4))), 1),
    ],
)
def test_what_is_left_out_is_said(limited, relaxations):
    assert len(stability_region(limited).relaxations) == relaxations


def test_the_kv_cache_bounds_a_batch():
    region = stability_region(engine(kv_capacity=128))
    assert region.vertices == stability_region(engine(token_budget=128)).vertices


def test_a_step_time_that_never_depends_on_kv_is_not_called_relaxed():
    times = [[[1], [2]], [[3], [4]]]
    grid = TableStepTime.of_batches([0, 9], [0, 9], None, times)
    assert stability_region(engine(grid, token_budget=9, max_batch_size=None)).relaxations == ()


class DecodesCostDouble(AbstractStepTime):
    """A law of the user that lists candidates for the best rate only."""

    kv_slope = None

    def candidate_batches(self, most_tokens, *, most_decode_tokens=None):
        return np.array([most_tokens]), np.array([0]), np.array([0])

    def _seconds(self, x, y, kv):
        return x + 2 * y


def test_a_law_of_another_form_is_refused_and_its_capacity_says_what_it_ignores():
    other = engine(DecodesCostDouble(), token_budget=8, max_batch_size=2)
    for ask in (stability_region, lambda e: check_prices(e, (0, 0))):
        with pytest.raises(
            InvalidArgument, match="step_time must be a law of the total tokens"
        ):
            ask(other)
    assert "max_batch_size" in capacity(other, load()).basis


@pytest.mark.parametrize("longest", [0, -3, 1.5, True])
def test_the_longest_prompt_is_a_positive_integer(longest):
    for ask in (stability_region, lambda e, **o: check_prices(e, (0, 0), **o)):
        with pytest.raises(
            InvalidArgument, match="longest_prompt must be an integer at least 1"
        ):
            ask(engine(), longest_prompt=longest)


@pytest.mark.parametrize(
    ("rates", "named"),
    [((-1, 1), "prefill_rate"), ((1, -1), "decode_rate"), ((float("nan"), 1), "prefill_rate")],
)
def test_rates_are_nonnegative_numbers(rates, named):
    region = stability_region(engine())
    for ask in (region.contains, region.load, region.margin, region.binding_facet):
        with pytest.raises(InvalidArgument, match=f"{named} must be a finite number"):
            ask(*rates)


def test_a_region_needs_numbers_that_are_known():
    symbol = StaircaseStepTime(sympy.Symbol("c", positive=True), 1, 4)
    with pytest.raises(InvalidArgument, match="substitute its symbols"):
        stability_region(engine(symbol))
    short = TableStepTime.of_tokens([1, 512], [1, 2])
    with pytest.raises(InvalidArgument, match="must reach from 1 to 1024 tokens"):
        stability_region(engine(short))
    with pytest.raises(InvalidArgument, match="engine must be of type Engine"):
        stability_region(A100)


@given(
    seconds=st.lists(SECONDS, min_size=2, max_size=16),
    places=st.integers(1, 8),
    prompt=st.integers(1, 9),
    output=st.integers(1, 9),
    servers=st.integers(1, 3),
)
def test_a_batch_size_limit_never_raises_the_capacity(seconds, places, prompt, output, servers):
    table = TableStepTime.of_tokens(range(1, len(seconds) + 1), seconds)
    free, limited = (
        capacity(
            engine(table, token_budget=len(seconds), max_batch_size=k),
            load(prompt, output),
            servers=servers,
        )
        for k in (None, places)
    )
    assert limited.requests_per_second <= free.requests_per_second
    assert limited.is_attained == (places >= len(seconds))
    if limited.requests_per_second < free.requests_per_second:
        assert limited.basis.startswith("static planning: at ")


def test_the_basis_of_a_limited_capacity_names_the_prices():
    found = capacity(engine(), load(990, 290))
    assert found.basis == (
        "static planning: at 0.27711 ms a prefill token and 0.39105 ms a decode token, no "
        "batch of at most 100 requests is worth more than its time; an upper bound, since "
        "max_batch_size can only lower it"
    )
