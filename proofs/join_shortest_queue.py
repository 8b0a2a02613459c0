"""Routing to the least work stabilises servers of any speeds up to the sum of their rates.

**Setting.** K servers hold work V_1, ..., V_K; server j works at r_j > 0 while it has any, R is
the sum of the r_j. Requests of work w arrive in a Poisson stream of rate lambda and join a
server with the least work, V_m. Let L = (V_1^2 + ... + V_K^2) / 2.
**Claim.** The mean change of L per second is
lambda E[w^2] / 2 - (1 - lambda E[w] / R) S - (lambda E[w] / R) D, with S the sum of r_j V_j and
D >= 0 that of r_j (V_j - V_m). So if lambda E[w] < R, it is at most -1 outside a bounded set.
If the servers are chosen in turn, they need not keep up.
**Checked here.** The identity, as polynomials, for K = 1 to 5 and every m; that V_m <= S / R,
for all work up to 3 and speeds up to 3, K = 1 to 4; that the shipped ``capacity`` of K engines
is K times that of one; and that of speeds 1 and 2, chosen in turn at load 9/10, the slower
gets more work than it can do.
**Not checked here.** That a negative drift of L outside a bounded set means stability (Foster).
That an engine is such a server up to a bounded error: the batch in flight counted by the share
of its time that is left, work falls at r = b / t(b) whenever the batch is full, which it is
above (b - 1) w_max tokens. More than five servers, for which the argument is the same.
**Argument.** An arrival changes L by V_m w + w^2 / 2, and work done changes it by - S per
second. As V_m is the least, each r_j (V_j - V_m) >= 0, and their sum is D = S - R V_m.
**Source.** Proposition 3 of arXiv:2504.07347v3, for equal engines; derived here for others.
"""

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

import sympy

import queueing_llm as ql
from proofs._claim import require

KIND = "identity"

ENGINE = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
LOAD = ql.Workload.poisson(1, prompt_tokens=3, output_tokens=2)


def prove(
    *,
    joined: Callable[[Sequence[int]], int] = min,
    most_servers: int = 5,
    spread: sympy.Expr = sympy.S.One,
) -> int:
    """Check the identity, the inequality, the shipped number and the counterexample."""
    comparisons = 0
    for servers in range(1, most_servers + 1):
        for m in range(servers):
            require(_is_identity(servers, m, spread), f"the identity fails for K = {servers}")
            comparisons += 1
    for servers in range(1, 5):
        for rates in itertools.product((1, 2, 3), repeat=servers):
            for work in itertools.product(range(4), repeat=servers):
                done = sum(r * v for r, v in zip(rates, work, strict=True))
                require(joined(work) * sum(rates) <= done, f"{joined} of {work} at {rates}")
                comparisons += 1
    one = ql.capacity(ENGINE, LOAD).requests_per_second
    for servers in range(1, most_servers + 1):
        several = ql.capacity(ENGINE, LOAD, servers=servers).requests_per_second
        require(several == servers * one, f"the capacity of {servers} engines is {several}")
        comparisons += 1
    offered = Fraction(9, 10) * (1 + 2)
    require(offered / 2 > min(1, 2), "the slower server keeps up with half of the requests")
    return comparisons + 1


def _is_identity(servers: int, m: int, spread: sympy.Expr) -> bool:
    rate, w, first, second = sympy.symbols("rate w E_w E_w2")
    work = sympy.symbols(f"V1:{servers + 1}")
    rates = sympy.symbols(f"r1:{servers + 1}")
    total = sum(rates)
    jump = sympy.Poly(((work[m] + w) ** 2 - work[m] ** 2) / 2, w)
    moments = (sympy.Integer(1), first, second)
    mean_jump = sum(c * moments[power] for (power,), c in jump.terms())
    done = sum(r * v for r, v in zip(rates, work, strict=True))
    uneven = sum(r * (v - work[m]) for r, v in zip(rates, work, strict=True))
    change = rate * mean_jump - done
    claimed = -(total - rate * first) * done - spread * rate * first * uneven
    return sympy.expand(total * (change - rate * second / 2) - claimed) == 0


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(joined=max),
    lambda: prove(joined=lambda work: work[0]),
    lambda: prove(spread=sympy.Integer(0)),
    lambda: prove(spread=1 + sympy.Rational(1, 10**9)),
)
