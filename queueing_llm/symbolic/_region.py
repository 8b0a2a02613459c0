r"""The stability region of a staircase engine with a batch-size limit, in symbols.

With :math:`k < b_0` requests and a budget of :math:`J \ge 2` whole blocks the boundary runs
through four batches: all prefill, :math:`(b, 0)`; one prefill beside :math:`k - 1` decodes
in a full batch and in a single block, :math:`(b - k + 1, k - 1)` and
:math:`(b_0 - k + 1, k - 1)`, the latter the vertex of Theorem 10 of arXiv:2504.07347v3; and
all decode, :math:`(0, k)`. These are the vertices, and no batch lies beyond the edges, if and
only if :math:`a (b_0 - k)(k - 1) > c\, b_0`: that is strict convexity at the batch of one
block, and it makes both prices of the edges beside it feasible for every batch.
"""

import itertools
from typing import Any

from queueing_llm.stability import TimedBatch, batch_rates, edge_prices
from queueing_llm.symbolic._formula import Formula
from queueing_llm.symbolic._symbols import symbol
from queueing_llm.symbolic._system import law_of_symbols

WORDS = ("token_budget", "max_batch_size", "overhead", "per_block", "block")
CORNERS = ("all prefill", "full batch", "one block", "all decode")
EDGES = ("token budget", "decodes in every batch", "decode slots")


def region_vertices() -> tuple[Formula, ...]:
    r"""Return the vertices of the region, :math:`(x, y) / t(x + y)` of four batches.

    Returns
    -------
    tuple of Formula
        :math:`(\lambda_p, \lambda_d)` [tokens/s], from the prefill to the decode axis; the
        origin is left out.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> ql.symbolic.region_vertices()[2].expression
    ((b_0 - k + 1)/(a + c), (k - 1)/(a + c))
    """
    return tuple(
        _formula(
            vertex, f"vertex of the region, {corner}", r"(\lambda_p, \lambda_d)", "tokens/s"
        )
        for vertex, corner in zip(_vertices(), CORNERS, strict=True)
    )


def region_facets() -> tuple[Formula, ...]:
    r"""Return the prices of the edges of the region.

    Returns
    -------
    tuple of Formula
        :math:`(\pi_p, \pi_d)` [s/token] of the edges between successive vertices: beyond one,
        :math:`\lambda_p \pi_p + \lambda_d \pi_d > 1` and every policy is unstable.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> ql.symbolic.region_facets()[1].expression
    (a/b_0, (a*k - a + b_0*c)/(b_0*(k - 1)))
    """
    import sympy

    return tuple(
        _formula(
            map(sympy.factor, edge_prices(*ends)),
            f"prices, {edge}",
            r"(\pi_p, \pi_d)",
            "s/token",
        )
        for ends, edge in zip(itertools.pairwise(_vertices()), EDGES, strict=True)
    )


def _vertices() -> list[Any]:
    """Return the rates of the four batches; those of whole blocks lose their ceilings."""
    import sympy

    budget, places, block = (symbol(word) for word in WORDS[:2] + WORDS[-1:])
    law, beside = law_of_symbols("staircase"), places - 1
    blocks = sympy.Dummy("J", integer=True, positive=True)
    whole = {blocks: budget / block, sympy.floor(-places / block): -1}
    batches = (
        (blocks * block, sympy.Integer(0)),
        (blocks * block - beside, beside),
        (block - beside, beside),
        (sympy.Integer(0), places),
    )
    rates = (batch_rates(TimedBatch(x, y, law(x, y))) for x, y in batches)
    return [tuple(rate.subs(whole) for rate in pair) for pair in rates]


def _formula(pair: Any, name: str, letter: str, unit: str) -> Formula:
    import sympy

    expression = sympy.Tuple(*pair)
    budget, places, overhead, per_block, block = (symbol(word) for word in WORDS)
    conditions = (
        sympy.Eq(sympy.Mod(budget, block), 0),
        sympy.Ge(budget, 2 * block),
        sympy.Lt(places, block),
        sympy.Ge(places, 2),
        sympy.Gt(per_block * (block - places) * (places - 1), overhead * block),
    )
    return Formula(
        name=name,
        letter=letter,
        unit=unit,
        expression=expression,
        symbols={word: symbol(word) for word in WORDS},
        conditions=conditions,
        assumptions=("one request can prefill all of a batch", "no KV limit binds"),
        source="ours; the vertex of one block is in Theorem 10 of arXiv:2504.07347v3",
    )
