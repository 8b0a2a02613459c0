"""For any table of step times, r* = max n / t(n) bounds the rate, and padding does not help.

**Setting.** A law t(1), ..., t(b) > 0 given by a table, not necessarily increasing. A batch may
be padded with dummy tokens, so n tokens can take t_low(n) = min over n <= m <= b of t(m).
**Claim.** No batch serves more than r* tokens per second, one serves r*, and the padded law has
the same r*. The shipped ``best_rate`` finds r*, and of the batches that attain it the largest.
**Checked here.** The identity of the argument, as polynomials; the claim and ``best_rate`` on
every table of at most 4 integer times up to 4, and on every one of 5 times up to 3.
**Not checked here.** ``best_rate`` on other tables; the argument covers the claim on them.
**Argument.** Of finitely many rates one is the largest. If t_low(n) = t(m) with m >= n, then
r* t_low(n) - n = (r* t(m) - m) + (m - n) >= 0; and t_low <= t loses no rate.
**Source.** Derived here; with r* = b / t(b), Theorem 2 of arXiv:2504.07347v3.
"""

import itertools
from collections.abc import Callable
from fractions import Fraction

import sympy

import queueing_llm as ql
from proofs._claim import require

KIND = "theorem"

TABLES = (
    *(t for b in range(1, 5) for t in itertools.product((1, 2, 3, 4), repeat=b)),
    *itertools.product((1, 2, 3), repeat=5),
)


def prove(
    *,
    rate: Callable[[tuple[int, ...]], Fraction] = lambda table: best(table)[0],
    padded_to: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda table: padded(table),
) -> int:
    """Check the identity, and every small table."""
    n, m, r, t = sympy.symbols("n m r t")
    require(sympy.expand((r * t - n) - ((r * t - m) + (m - n))) == 0, "the identity fails")
    comparisons = 1
    for table in TABLES:
        r_star = rate(table)
        for law in (table, padded_to(table)):
            slack = [r_star * seconds - size for size, seconds in enumerate(law, start=1)]
            require(min(slack) == 0, f"{r_star} is not the best rate of {law}")
            comparisons += len(law)
        engine = ql.Engine(
            # A table needs two entries; the last of these is beyond the budget.
            step_time=ql.TableStepTime.of_tokens(range(1, len(table) + 2), (*table, 1)),
            token_budget=len(table),
        )
        found = ql.best_rate(engine)
        shipped = (found.tokens_per_second, found.batch_tokens)
        require(shipped == best(table), f"best_rate finds {shipped} for {table}")
        comparisons += 1
    return comparisons


def best(table: tuple[int, ...]) -> tuple[Fraction, int]:
    """Return the largest rate and the largest batch that attains it."""
    return max((Fraction(n, seconds), n) for n, seconds in enumerate(table, start=1))


def padded(table: tuple[int, ...]) -> tuple[int, ...]:
    """Return the least time of a batch and all larger ones."""
    return tuple(min(table[n:]) for n in range(len(table)))


CONTROLS: tuple[Callable[[], int], ...] = (
    # The rate of a full batch, of the smallest batch, and one that is a little too small.
    lambda: prove(rate=lambda table: Fraction(len(table), table[-1])),
    lambda: prove(rate=lambda table: Fraction(1, table[0])),
    lambda: prove(rate=lambda table: best(table)[0] - Fraction(1, 10**9)),
    # To leave tokens out instead of adding some is no padding.
    lambda: prove(
        padded_to=lambda table: tuple(min(table[: n + 1]) for n in range(len(table)))
    ),
)
