"""Two agents with short first and long second hops are stable for sure up to 1 / (2 m_long).

**Setting.** Two engines; jobs of type A make a short hop at engine 1, then a long one at engine
2, those of type B the reverse. A short hop takes m_short, a long one m_long > m_short, and each
type arrives at rate lambda with lambda m_long < 1. Budget of 768 tokens, one slot a batch, hops
of 64 and 544 tokens: m_short = 1/12, m_long = 17/24.
**Claim.** If 2 lambda m_long < 1, the fluid model of every non-idling policy is stable. If not,
that of the priority for long hops is not: it goes from (q, 0, 0, 0) to (f^2 q, 0, 0, 0), where
f = lambda m_long / (1 - lambda m_long) >= 1. So 1 / (2 m_long) is the critical rate, of load
(m_short + m_long) / (2 m_long): for the tokens above 12/17 a slot and 608/1088 = 19/34.
**Checked here.** Symbolically: for h_1 = (1, 0, 1, 1) and h_2 = (1, 1, 1, 0) each class at the
station of a piece lowers it at least at the rate 1 / m_long, and no class raises it; arrivals
raise both by 2 lambda; each piece weighs what is not at its station at most as much as the
other does. The path, phase by phase: balance of fluid, durations, shares, the priority, and its
end. For loads 0.55 and 0.5589 the package's trusted checker accepts a certificate of stability
for every non-idling policy, with margin 36/1615, and one of growth.
**Not checked here.** That networks are stable with their fluid models, which is Dai's theorem
(1995), or grow with them.
**Argument.** The larger of h_1 . Q and h_2 . Q belongs to an engine with work unless all is
empty, and falls by 1 / m_long - 2 lambda. The long hops of the two types share one virtual
station of capacity 1.
**Source.** The configuration is that of section 5.4 of arXiv:2504.07347v3; derived here, after
Rybko and Stolyar (1992) and Dai and Weiss (1996).
"""

from collections.abc import Callable
from fractions import Fraction

import sympy

from proofs._claim import NotProved, require
from proofs._fluid import Fluid
from proofs._rybko_stolyar import (
    EXIT_FIRST,
    SHORT_FIRST,
    growing_path,
    half_factor,
    pair,
    whole_cycle,
)
from queueing_llm.certificates import certify_growth, certify_network_stability
from queueing_llm.networks import LyapunovPieces

KIND = "theorem"

rate, short, long = sympy.symbols("lambda m_short m_long", positive=True)
d, e = sympy.symbols("d e", positive=True)
SLACKS = {long: short + d, rate: 1 / (short + d + e)}
PIECES = ((1, 0, 1, 1), (1, 1, 1, 0))
SHORT, LONG = Fraction(64, 768), Fraction(544, 768)
CRITICAL = Fraction(12, 17)
TINY = Fraction(1, 10**9)


def fluid(ranks: tuple[int, ...] = EXIT_FIRST) -> Fluid:
    """Return the network with its symbols."""
    means, rates = (short, long, short, long), (rate, 0, rate, 0)
    return Fluid((0, 1, 1, 0), means, rates, (1, None, 3, None), ranks, SLACKS)


def prove() -> int:
    """Check both sides of the critical rate, for symbols and for the tokens above."""
    load = CRITICAL * (SHORT + LONG)
    require(load == Fraction(608, 1088) == Fraction(19, 34), f"the critical load is {load}")
    require(CRITICAL == 1 / (2 * LONG), "the critical rate is not 1 / (2 m_long)")
    below, above = (load / (SHORT + LONG) for load in (Fraction(11, 20), Fraction(5589, 10**4)))
    comparisons = falls() + grows() + certified_stable(below, Fraction(36, 1615))
    return comparisons + certified_growth(above) + 2


def falls(pieces: tuple[tuple[int, ...], ...] = PIECES, *, least: sympy.Expr = 1 / long) -> int:
    """Check that each piece falls at least at the rate ``least`` less 2 lambda."""
    network, comparisons = fluid(), 0
    for i, (piece, other) in enumerate([pieces, pieces[::-1]]):
        arriving = sum(a * weight for a, weight in zip(network.rates, piece, strict=True))
        require(sympy.expand(arriving - 2 * rate) == 0, f"arrivals raise piece {i} otherwise")
        for k, station in enumerate(network.stations):
            follower = network.followers[k]
            left = 0 if follower is None else piece[follower]
            lowers = sympy.sympify(piece[k] - left) / network.means[k]
            spare = sympy.cancel(lowers - least) if station == i else lowers
            require(spare == 0 or network.is_positive(spare), f"class {k} in piece {i}")
            require(station == i or piece[k] <= other[k], f"class {k} dominates in piece {i}")
            require(piece[k] >= 0 and piece[k] + other[k] > 0, f"class {k} has no weight")
            comparisons += 3
    return comparisons + len(pieces)


def grows(ranks: tuple[int, ...] = EXIT_FIRST, factor: sympy.Expr | None = None) -> int:
    """Follow the path and compare its factor with 1."""
    network = fluid(ranks)
    half = half_factor(rate, long=long) if factor is None else factor
    phases = whole_cycle(rate, short=short, long=long)
    end, comparisons = network.follow([1, 0, 0, 0], phases)
    require(sympy.cancel(end[0] - half**2) == 0 and end[1:] == [0, 0, 0], f"ends at {end}")
    require(network.is_positive(half), "the factor has no sign")
    excess = sympy.cancel((half - 1) * (1 - rate * long) - (2 * rate * long - 1))
    require(excess == 0, "growth is not decided by 2 lambda m_long")
    return comparisons + 6


def certified_stable(numeric: Fraction, margin: Fraction) -> int:
    """Have the package check the two pieces for the tokens above."""
    weights = tuple(tuple(map(Fraction, piece)) for piece in PIECES)
    mixture = ((Fraction(0), Fraction(1)), (Fraction(1), Fraction(0)))
    certificate = certify_network_stability(
        pair(numeric, short=SHORT, long=LONG),
        LyapunovPieces(weights, mixture, None, (), margin),
    )
    if certificate is None:
        msg = f"the checker rejects the pieces at {numeric} jobs per slot"
        raise NotProved(msg)
    return certificate.check().comparisons


def certified_growth(numeric: Fraction) -> int:
    """Have the package check the path for the tokens above."""
    network = pair(numeric, short=SHORT, long=LONG)
    certificate = certify_growth(network, growing_path(numeric, short=SHORT, long=LONG))
    if certificate is None:
        msg = f"the checker rejects the path at {numeric} jobs per slot"
        raise NotProved(msg)
    return certificate.check().comparisons


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: falls(((1, 0, 1, 1), (1, 1, 0, 0))),
    lambda: falls(((1, 1, 1, 1), (1, 1, 1, 0))),
    lambda: falls(least=1 / long + TINY),
    lambda: grows(SHORT_FIRST),
    lambda: grows(factor=rate * long / (1 - rate * short)),
    lambda: certified_stable(CRITICAL, TINY),
    lambda: certified_stable(CRITICAL - TINY, 3 * TINY),
    lambda: certified_growth(CRITICAL),
)
