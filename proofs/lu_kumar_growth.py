"""The Lu-Kumar line grows by the factor alpha m_4 / (1 - alpha m_2), whatever its loads.

**Setting.** Jobs arrive at rate alpha and visit stations A, B, B, A, with mean services m_1 <
m_2 and m_3 < m_4, and alpha m_2 < 1. A serves class 4 before 1, B serves class 2 before 3.
**Claim.** The fluid model has a path that goes from (1, 0, 0, 0) to (f, 0, 0, 0) with f =
alpha m_4 / (1 - alpha m_2). It grows for ever if and only if alpha (m_2 + m_4) > 1: classes 2
and 4, at different stations, share one virtual station. With alpha = 1, m = (1/100, 2/3, 1/100,
2/3), both stations are loaded to 203/300 and f = 2.
**Checked here.** Symbolically, phase by phase: the balance of fluid; that durations, shares and
what is left of the stations' time are 0 or positive, by writing m_2 = m_1 + d, m_4 = m_3 + g,
alpha = 1 / (m_2 + e) and seeing positive terms only; that no class with fluid is passed over;
where the path ends; that f - 1 has the sign of alpha (m_2 + m_4) - 1. For the numbers, the
package's trusted checker accepts the certificate of growth.
**Not checked here.** That the stochastic network grows with its fluid model.
**Argument.** Class 1 drains at A into class 2, which shuts class 3 out of B: all fluid collects
in class 3. When it is served, class 4 shuts class 1 out of A.
**Source.** S. H. Lu and P. R. Kumar (1991), "Distributed scheduling based on due dates and
buffer priorities"; the factor is derived here.
"""

from collections.abc import Callable
from fractions import Fraction

import sympy

from proofs._claim import NotProved, require
from proofs._fluid import Fluid
from queueing_llm.certificates import certify_growth
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks import FluidPhase, GrowingCycle

KIND = "identity"

alpha, m1, m2, m3, m4 = MEANS = sympy.symbols("alpha m_1:5", positive=True)
d, e, g = sympy.symbols("d e g", positive=True)
SLACKS = {m2: m1 + d, m4: m3 + g, alpha: 1 / (m1 + d + e)}
FACTOR = alpha * m4 / (1 - alpha * m2)
RANKS = (1, 0, 1, 0)
NUMBERS = {
    alpha: Fraction(1),
    **dict(zip(MEANS[1:], [Fraction(1, 100), Fraction(2, 3)] * 2, strict=True)),
}

Phases = list[tuple[sympy.Expr, list[sympy.Expr | int]]]


def phases() -> Phases:
    """Return durations and shares from (1, 0, 0, 0) on."""
    first, drained = m1 / (1 - alpha * m1), 1 / (1 - alpha * m2)
    return [
        (first, [1, 1, 0, 0]),
        (m2 * drained - first, [alpha * m1, 1, 0, 0]),
        (m3 * drained, [0, 0, 1, 1]),
        ((m4 - m3) * drained, [0, 0, 0, 1]),
    ]


def prove(
    *,
    factor: sympy.Expr = FACTOR,
    slacks: dict[sympy.Symbol, sympy.Expr] = SLACKS,
    ranks: tuple[int, ...] = RANKS,
    numbers: dict[sympy.Symbol, Fraction] = NUMBERS,
) -> int:
    """Follow the path for all numbers, then have the certificate for some checked."""
    line = Fluid(
        (0, 1, 1, 0), (m1, m2, m3, m4), (alpha, 0, 0, 0), (1, 2, 3, None), ranks, slacks
    )
    end, comparisons = line.follow([1, 0, 0, 0], phases())
    require(sympy.cancel(end[0] - factor) == 0 and end[1:] == [0, 0, 0], f"it ends at {end}")
    excess = sympy.cancel((factor - 1) * (1 - alpha * m2) - (alpha * (m2 + m4) - 1))
    require(excess == 0, "growth is not decided by the virtual station")
    require(line.is_positive(1 - alpha * m2), "class 2 alone overloads its station")
    return comparisons + 4 + certified(numbers)


def certified(numbers: dict[sympy.Symbol, Fraction]) -> int:
    """Have the package check the path for some numbers."""
    exact = {symbol: sympy.Rational(value) for symbol, value in numbers.items()}

    def value(formula: sympy.Expr | int) -> Fraction:
        return Fraction(*sympy.sympify(formula).subs(exact).as_numer_denom())

    network = MulticlassNetwork.with_routes(
        ["ABBA"],
        mean_service=[numbers[mean] for mean in MEANS[1:]],
        arrival_rates=[numbers[alpha]],
    )
    path = tuple(
        FluidPhase(value(seconds), tuple(map(value, shares))) for seconds, shares in phases()
    )
    start = tuple(map(Fraction, (1, 0, 0, 0)))
    certificate = certify_growth(network, GrowingCycle(start, path, value(FACTOR), RANKS))
    if certificate is None:
        msg = "the checker rejects the path"
        raise NotProved(msg)
    require(value(FACTOR) == 2, f"the factor is {value(FACTOR)}")
    return certificate.check().comparisons + 1


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(factor=alpha * m4 / (1 - alpha * m3)),
    lambda: prove(ranks=(0, 0, 1, 1)),
    lambda: prove(ranks=(1, 1, 0, 0)),
    # Without m_1 < m_2 class 2 does not build up behind class 1.
    lambda: prove(slacks={m1: m2 + d, m4: m3 + g, alpha: 1 / (m2 + d + e)}),
    # Without m_3 < m_4 class 4 does not shut out class 1.
    lambda: prove(slacks={m2: m1 + d, m3: m4 + g, alpha: 1 / (m1 + d + e)}),
    # Class 2 would never empty.
    lambda: prove(slacks={m2: m1 + d, m4: m3 + g}),
    # Below the virtual station's capacity the path shrinks and proves nothing.
    lambda: certified({**NUMBERS, alpha: Fraction(3, 4)}),
)
