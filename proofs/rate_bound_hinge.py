"""The hinge law serves most tokens per second at a full batch, if its floor is high enough.

**Setting.** Step time t(n) = c + a * max(0, n - B), a token budget b >= B, and c >= a B.
**Claim.** n / t(n) <= b / t(b) for every 1 <= n <= b. Without c >= a B it fails: the peak is
then at n = B.
**Checked here.** Two polynomial identities in n, b, B, c, a, one on either side of the knee;
and, with c = 10, a = 3/10, B = 64, b = 512, that n = 64 beats n = 512.
**Not checked here.** That the summands are nonnegative, which is read off.
**Argument.** For n <= B: b t(n) - n t(b) = (B - n) t(b) + (b - B) (c - a B). For n >= B:
b t(n) - n t(b) = (b - n) (c - a B).
**Source.** Derived here; the law is that of arXiv:2504.07347v1 and v2.
"""

from collections.abc import Callable
from fractions import Fraction

import sympy

from proofs._claim import require

KIND = "identity"

n, b, B, c, a = sympy.symbols("n b B c a")


def prove(slack: sympy.Expr = c - a * B) -> int:
    """Check both identities; ``slack`` is what c >= a B makes nonnegative."""
    full = c + a * (b - B)
    below = b * c - n * full - ((B - n) * full + (b - B) * slack)
    above = b * (c + a * (n - B)) - n * full - (b - n) * slack
    require(sympy.expand(below) == 0, "the identity below the knee fails")
    require(sympy.expand(above) == 0, "the identity above the knee fails")
    require(_peak_at_knee(Fraction(10), Fraction(3, 10), 64, 512), "the counterexample fails")
    return 3


def _peak_at_knee(floor: Fraction, per_token: Fraction, knee: int, budget: int) -> bool:
    return knee / floor > budget / (floor + per_token * (budget - knee))


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(slack=c - 2 * a * B),
    lambda: prove(slack=c),
)
