"""The staircase law serves most tokens per second at a full batch.

**Setting.** Step time t(n) = c + a * ceil(n / B) with c >= 0, a > 0; a token budget b = J B
that is a multiple of the block B.
**Claim.** n / t(n) <= b / t(b) for every integer 1 <= n <= b, so r* = b / t(b).
**Checked here.** The polynomial identity below, as polynomials in n, j, J, B, c, a: for all
budgets and parameters at once, not on samples.
**Not checked here.** That the summands are nonnegative, which is read off: j B >= n because
j = ceil(n / B), and J >= j because n <= b.
**Argument.** With j = ceil(n / B), cross-multiplying gives
b t(n) - n t(b) = (j B - n) (c + a J) + B c (J - j) >= 0.
**Source.** arXiv:2504.07347v3, Assumption 1 and its use in Theorem 2.
"""

from collections.abc import Callable

import sympy

from proofs._claim import require

KIND = "identity"

n, j, J, B, c, a = sympy.symbols("n j J B c a")


def prove(rest: sympy.Expr = B * c * (J - j)) -> int:
    """Check the identity; ``rest`` is its last summand."""
    full, partial = c + a * J, c + a * j
    difference = J * B * partial - n * full
    remainder = sympy.expand(difference - ((j * B - n) * full + rest))
    require(remainder == 0, f"the two sides differ by {remainder}")
    return 1


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(rest=sympy.Integer(0)),
    lambda: prove(rest=B * c * (J - j) * (1 + sympy.Rational(1, 10**9))),
)
