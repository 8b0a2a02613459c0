"""Theorem 10's region: the prefill and decode rates that a batch-size limit leaves.

The text around Theorem 10 of arXiv:2504.07347v3: with a limit on the requests in a batch, the
threshold on the token rate becomes a convex set of prefill and decode rates, one vertex of
which is C = (29, 99) / 46.75 tokens/ms for a budget of 128 tokens and at most 100 requests.

Chosen here: the other budgets; that a batch of x prefill and y decode tokens is allowed if
x + y is within the budget, and y, with one request more if there is prefill, within the limit.
Unknown: the statement of Theorem 10 and its other vertices; whether the limit counts the
requests of a batch or all that have started.

Two routes. A region is the hull of the rates of all batches, in fractions; closed forms of its
prices are compared with every batch, and with the linear programme for a mix of requests. The
rates of a saturated Sarathi are exact cycles of equal requests after a burst.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import queueing_llm as ql
from paper_repro.dai2025._published import STEP_TIME as STEP
from paper_repro.dai2025._vertex_c import GAP, OUTPUT, PROMPT, SARATHI_COLOUR, engine, evenly
from queueing_llm.errors import InvalidArgument
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value
from queueing_llm.stability import check_prices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pair: TypeAlias = tuple[Fraction, Fraction]
Table: TypeAlias = dict[str, list[Any]]

BUDGETS = (128, 256, 512, 1024)
SHORT_PROMPT = 16
REQUESTS = ((290, 990), (990, 290), (129, 112), (512, 512), (100, 900))
TOKENS = PROMPT + OUTPUT
"""Of each request behind Sarathi's own rates: its mix varies, its length does not."""
OWN_PROMPTS = (20, 40, 80, 160, 290, 340, 400, 500, 640, 800, 900, 1000, 1100, 1180, 1240)
INSIDE = Fraction(9, 10)
TINY = Fraction(1, 10**9)


def compute(*, quick: bool = False) -> Computed:
    """Find the regions, their prices and proofs, and the rates of a saturated Sarathi."""
    regions = {budget: ql.stability_region(engine(budget)) for budget in BUDGETS}
    values = {**_shapes(regions), **_prices(regions), **_requests(), **_inside(regions[1024])}
    c = [float(rate) / 1000 for rate in (PROMPT / GAP, OUTPUT / GAP)]
    tables = {
        "vertices": _vertices(regions),
        "loads": {
            "share_of_c": [1.0, float(INSIDE)],
            "prefill_tokens_per_ms": [c[0], float(INSIDE) * c[0]],
            "decode_tokens_per_ms": [c[1], float(INSIDE) * c[1]],
        },
        "edges": _edges(regions),
        "saturated_sarathi": _saturated(OWN_PROMPTS[::2] if quick else OWN_PROMPTS),
    }
    return Computed(values, tables)


def _shapes(regions: Mapping[int, ql.Region]) -> dict[str, Value]:
    """Return vertex C, the batches behind all vertices, and what C asks of each engine."""
    c = regions[128].vertices[regions[128].batches.index((29, 99))]
    aware = {b: ql.stability_region(engine(b), longest_prompt=PROMPT) for b in (512, 1024)}
    free = {b: ql.stability_region(engine(b, places=None)) for b in BUDGETS}
    return {
        "vertex_c": (c[0] / 1000, c[1] / 1000),
        **{f"batches_{budget}": region.batches[1:] for budget, region in regions.items()},
        **{f"batches_{b}_prompt_290": region.batches[1:] for b, region in aware.items()},
        "batches_1024_256_places": ql.stability_region(engine(1024, places=256)).batches[1:],
        "load_at_c": tuple(region.load(*c) for region in regions.values()),
        "token_load_at_c": tuple(free[budget].load(*c) for budget in (128, 1024)),
        "one_price_without_limit": all(_has_one_price(region) for region in free.values()),
        "one_price_with_limit": any(_has_one_price(region) for region in regions.values()),
        "load_of_corner_prompt_290": aware[1024].load(*regions[1024].vertices[2]),
    }


def _has_one_price(region: ql.Region) -> bool:
    """Whether only the sum of the rates matters."""
    return all(prefill == decode for prefill, decode in (f.prices for f in region.facets))


def block_price(places: int) -> Pair:
    """Return the price [s/token] that charges prefill its share of a block, decode a place too.

    a / 128 per token and, beside prefill, c / (places - 1) per decode.
    """
    per_token = STEP.per_block / STEP.block
    return per_token, per_token + Fraction(STEP.overhead, places - 1)


def slot_price(places: int) -> Pair:
    """Return the price [s/token] of the edge between C and decodes alone."""
    per_place = STEP(places) / places
    return per_place / (STEP.block - places + 1), per_place


def _prices(regions: Mapping[int, ql.Region]) -> dict[str, Value]:
    """Return the prices of the edges [ms/token], and for which engines they are proofs."""
    token, block, slot = (facet.prices for facet in regions[1024].facets)
    dearer = (block[0], block[1] * (1 + TINY))
    return {
        "token_price": tuple(1000 * price for price in token),
        "block_price": tuple(1000 * price for price in block),
        "slot_price": tuple(1000 * price for price in slot),
        "closed_forms_agree": (block, slot) == (block_price(100), slot_price(100)),
        "line": (block[1] / block[0], 1 / (1000 * block[0])),
        "violated": sum(
            not _is_proof(budget, prices)
            for budget, region in (*regions.items(), (4096, ql.stability_region(engine(4096))))
            for prices in (facet.prices for facet in region.facets)
        ),
        "dearer_is_a_proof": _is_proof(1024, dearer),
        "block_by_places": tuple(
            _is_proof(1024, block_price(places), places=places) for places in (100, 128, 256)
        ),
        "slot_by_places": tuple(
            _is_proof(1024, slot_price(places), places=places) for places in (100, 128)
        ),
    }


def _is_proof(token_budget: int, prices: Pair, *, places: int = 100) -> bool:
    """Whether no allowed batch is worth more than its time, compared in fractions."""
    try:
        check_prices(engine(token_budget, places=places), prices)
    except InvalidArgument:
        return False
    return True


def _requests() -> dict[str, Value]:
    """Return the time that requests cost, by edges, by linear programme and by closed form."""
    limited, region = engine(1024), ql.stability_region(engine(1024))
    loads = [ql.Workload.poisson(1, prompt_tokens=p, output_tokens=d) for p, d in REQUESTS]
    rates = [region.largest_rate(load) for load in loads]
    programme = [ql.capacity(limited, load).requests_per_second for load in loads]
    tokens = [ql.capacity(engine(1024, places=None), load) for load in loads]
    bounds = [ql.three_resource_bound(limited, load) for load in loads]
    above = [
        ql.certify_overload(limited, load.scale_to(rate * (1 + TINY)))
        for load, rate in zip(loads, rates, strict=True)
    ]
    at = [
        ql.certify_overload(limited, load.scale_to(rate))
        for load, rate in zip(loads, rates, strict=True)
    ]
    return {
        "request_ms": tuple(1000 / rate for rate in rates),
        "largest_rates": tuple(rates),
        "token_only_rates": tuple(capacity.requests_per_second for capacity in tokens),
        "routes_agree": rates == programme,
        "closed_form_share": tuple(
            rate / bound.requests_per_second
            for rate, bound in zip(rates, bounds, strict=True)
            if bound is not None
        ),
        "certified_above": sum(proof is not None for proof in above),
        "certified_at": sum(proof is not None for proof in at),
    }


def _inside(region: ql.Region) -> dict[str, Value]:
    """Return how two budgets of one work-conserving policy fare at nine tenths of C."""
    growth = {}
    for budget in (128, 1024):
        found = ql.limit_cycle(engine(budget), evenly(INSIDE), policy=ql.SARATHI, start="empty")
        assert found is not None, "equal requests that come evenly run into a cycle"
        growth[budget] = found.growth
    assert growth[1024] is not None
    assert growth[128] is not None
    load = region.load(INSIDE * PROMPT / GAP, INSIDE * OUTPUT / GAP)
    return {
        "load_inside": load,
        "growth_inside_1024": growth[1024],
        "growth_inside_128": growth[128],
        "work_conserving_fails_inside": (
            ql.SARATHI.is_work_conserving and load < 1 and growth[1024] > 0
        ),
    }


def _vertices(regions: Mapping[int, ql.Region]) -> Table:
    """Return the vertices of every region, and of the largest for short prompts."""
    listed = [(budget, 0, region) for budget, region in regions.items()]
    for prompt in (PROMPT, SHORT_PROMPT):
        region = ql.stability_region(engine(1024), longest_prompt=prompt)
        listed.append((1024, prompt, region))
    rows = [
        (budget, prompt, *batch, float(rates[0]) / 1000, float(rates[1]) / 1000)
        for budget, prompt, region in listed
        for batch, rates in zip(region.batches[1:], region.vertices[1:], strict=True)
    ]
    names = (
        "token_budget",
        "longest_prompt_tokens",
        "batch_prefill_tokens",
        "batch_decode_tokens",
        "prefill_tokens_per_ms",
        "decode_tokens_per_ms",
    )
    return _columns(names, rows)


def _edges(regions: Mapping[int, ql.Region]) -> Table:
    """Return the prices of every edge as fractions."""
    rows = [
        (budget, number, *(str(1000 * price) for price in facet.prices))
        for budget, region in regions.items()
        for number, facet in enumerate(region.facets, start=1)
    ]
    names = ("token_budget", "edge", "prefill_ms_per_token", "decode_ms_per_token")
    return _columns(names, rows)


def _saturated(prompts: tuple[int, ...]) -> Table:
    """Return the rates at which Sarathi with 1024 tokens serves a burst of equal requests."""
    rows = []
    region = ql.stability_region(engine(1024))
    for prompt in prompts:
        output = TOKENS - prompt
        load = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
        found = ql.limit_cycle(engine(1024), load, policy=ql.SARATHI)
        assert found is not None, "a saturated engine of equal requests runs into a cycle"
        rate = float(found.rate)
        share = rate / float(region.largest_rate(load))
        rows.append((prompt, output, rate * prompt / 1000, rate * output / 1000, share))
    names = (
        "prompt_tokens",
        "output_tokens",
        "prefill_tokens_per_ms",
        "decode_tokens_per_ms",
        "share_of_the_region",
    )
    return _columns(names, rows)


def _columns(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def plot(computed: Computed) -> "Figure":
    """Draw the regions, what Sarathi keeps of the largest, and the load that it loses."""
    title = (
        "At most 100 requests in a batch: a larger token budget widens what some policy can "
        "serve, and Sarathi gives part of it away"
    )
    figure, axes = framed(title, height=5.4)
    vertices = computed.tables["vertices"]
    for budget, colour in zip(BUDGETS, ("0.75", "0.6", "0.45", COLOURS[2]), strict=True):
        label = f"any policy, b = {budget}"
        _draw_region(axes, vertices, (budget, 0), color=colour, label=label)
    _draw_region(
        axes, vertices, (1024, SHORT_PROMPT), color=COLOURS[5], linestyle=":",
        label=f"b = 1024, prompts of {SHORT_PROMPT} tokens",
    )  # fmt: skip
    own = computed.tables["saturated_sarathi"]
    axes.plot(
        own["prefill_tokens_per_ms"], own["decode_tokens_per_ms"], color=SARATHI_COLOUR[1024],
        linestyle="--", marker=".", label="saturated Sarathi, b = 1024",
    )  # fmt: skip
    loads = computed.tables["loads"]
    c, inside = zip(loads["prefill_tokens_per_ms"], loads["decode_tokens_per_ms"], strict=True)
    label = "0.9 C: Sarathi keeps up with b = 128, not with 1024"
    axes.plot(*inside, "D", color=SARATHI_COLOUR[1024], label=label)
    axes.plot(*c, "*", color="black", markersize=13, label="vertex C = (29, 99) / 46.75 ms")
    axes.set_xlabel("prefill rate [tokens/ms]")
    axes.set_ylabel("decode rate [tokens/ms]")
    axes.set_xlim(0, 3.65)
    axes.set_ylim(0, 2.35)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _draw_region(
    axes: "Axes", vertices: Mapping[str, Any], which: tuple[int, int], **style: Any
) -> None:
    """Draw the boundary of one region; the largest is filled."""
    chosen = [
        (x, y)
        for budget, prompt, x, y in zip(
            vertices["token_budget"],
            vertices["longest_prompt_tokens"],
            vertices["prefill_tokens_per_ms"],
            vertices["decode_tokens_per_ms"],
            strict=True,
        )
        if (budget, prompt) == which
    ]
    axes.plot(*zip(*chosen, strict=True), **style)
    if which == (BUDGETS[-1], 0):
        axes.fill(*zip((0, 0), *chosen, strict=True), color=style["color"], alpha=0.1)
