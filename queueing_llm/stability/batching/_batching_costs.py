r"""What batches cost: the cost model of arXiv:2606.00516, and its best refill.

Exclusive batches prefill or decode, mixed batches do both. With prompts waiting and geometric
outputs, an exclusive engine of :math:`N` slots that refills them when :math:`k = \theta N`
are free decodes :math:`\zeta \mu_O` steps in between, in the fluid limit, with
:math:`\zeta = -\ln(1 - \theta)` and mean output :math:`\mu_O`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self, final

from queueing_llm._validate import Domain, Real, check, is_symbolic, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import AffineStepTime

Output = Annotated[Real, Domain("mu_O", "tokens", at_least=1)]
DecodeShare = Annotated[Real, Domain("r", "1", at_least=0, at_most=1)]
Cost = Annotated[Real, Domain("alpha", "s", above=0)]
CostPerToken = Annotated[Real, Domain("beta", "s/token", at_least=0)]
Coefficient = Annotated[Real, Domain("beta_MB", "s/token")]


@final
@dataclass(frozen=True, slots=True)
class BatchingCosts:
    r"""What batches of each kind cost: the calibration constants of arXiv:2606.00516.

    Parameters
    ----------
    prefill_base, prefill_per_token : number
        A prefill of :math:`L` tokens takes :math:`\alpha_p + \beta_p L` [s], [s/token].
    decode_base, decode_per_request : number
        A decode step of :math:`n` requests takes :math:`\alpha_d + \beta_d n` [s], [s/token].
    mixed_base : number
        :math:`\alpha_{MB}` of a mixed batch [s].
    mixed_per_token : sequence of three numbers
        :math:`(a, b, c)` of a token of a mixed batch, :math:`\beta_{MB}(r) = a + b r + c r^2`
        where :math:`r` is the share of decode tokens [s/token].

    Raises
    ------
    InvalidArgument
        If a base is not positive, a slope is negative, or there are not three coefficients.

    Examples
    --------
    >>> from queueing_llm.stability import BatchingCosts
    >>> fitted = (2.4937e-05, 5.1929e-05, 1.4778e-05)
    >>> h200 = BatchingCosts(1.2786e-3, 2.4853e-5, 8.9212e-3, 4.5865e-5, 1.2786e-3, fitted)
    >>> round(1 / h200.mixed_token_seconds(0.5))
    18316
    """

    prefill_base: Cost
    prefill_per_token: CostPerToken
    decode_base: Cost
    decode_per_request: CostPerToken
    mixed_base: Cost
    mixed_per_token: Sequence[Real]

    def __post_init__(self) -> None:
        validate(self)
        if len(self.mixed_per_token) != 3:
            msg = (
                "mixed_per_token must hold three numbers, those of 1, r and r^2, got "
                f"mixed_per_token={self.mixed_per_token!r}."
            )
            raise InvalidArgument(msg)
        for i, value in enumerate(self.mixed_per_token):
            check(value, f"mixed_per_token[{i}]", Coefficient)
        object.__setattr__(self, "mixed_per_token", tuple(self.mixed_per_token))

    @classmethod
    def of_step_time(cls, law: AffineStepTime) -> Self:
        """Return the costs on an engine whose step time is affine in the tokens of a batch.

        Notes
        -----
        Mixed batches are then always better: both kinds cost the same per token, and mixed
        ones share the fixed time of a batch among more tokens.
        """
        if law.per_kv_token != 0:
            msg = f"per_kv_token must be 0 [s/token], got per_kv_token={law.per_kv_token!r}."
            raise InvalidArgument(msg)
        base, slope = law.base, law.per_token
        return cls(base, slope, base, slope, base, (slope, 0, 0))

    def mixed_token_seconds(self, decode_share: Real) -> Real:
        r"""Return the time per token of a mixed batch, :math:`\beta_{MB}(r)` [s/token]."""
        check(decode_share, "decode_share", DecodeShare)
        flat, linear, quadratic = self.mixed_per_token
        seconds = flat + linear * decode_share + quadratic * decode_share**2
        check(seconds, f"mixed_per_token at {decode_share=}", CostPerToken)
        return seconds


def best_refill_share(costs: BatchingCosts, output_tokens: Real) -> Real:
    r"""Return the share of slots whose refill costs least, :math:`\theta_0 = k/N`.

    The root of :math:`\theta / (1 - \theta) + \ln(1 - \theta) = c = \alpha_p / (\alpha_d
    \mu_O)`, where the derivative of :math:`(\alpha_p + \alpha_d \zeta \mu_O) / \theta`
    vanishes. In closed form it is :math:`1 + 1 / W_{-1}(-e^{-1 - c})`.

    Parameters
    ----------
    costs : BatchingCosts
        The cost model.
    output_tokens : number
        :math:`\mu_O` [tokens].

    Returns
    -------
    number
        The closed form for symbols, its value to rounding for numbers [1].

    Examples
    --------
    >>> from queueing_llm.stability import BatchingCosts, best_refill_share
    >>> costs = BatchingCosts(1.2786e-3, 2.4853e-5, 8.9212e-3, 4.5865e-5, 1e-3, (1e-5, 0, 0))
    >>> round(best_refill_share(costs, 1024), 6)
    0.016546
    """
    check(output_tokens, "output_tokens", Output)
    target = costs.prefill_base / (costs.decode_base * output_tokens)
    if is_symbolic(target):
        import sympy

        return 1 + 1 / sympy.LambertW(-sympy.exp(-1 - target), -1)
    # u - ln(1 + u) = c for u = theta / (1 - theta): convex, and begun above the root.
    goal, root = float(target), math.sqrt(2 * float(target))
    if goal > 1e16:
        return 1.0
    if goal < 1e-5:
        # Below, the difference of u and ln(1 + u) is lost; the series is exact to rounding.
        powers = (1 / 3, 1 / 36, -1 / 270, 1 / 4320)
        odds = root + sum(c * root ** (i + 2) for i, c in enumerate(powers))
        return odds / (1 + odds)
    odds = goal + root
    for _ in range(50):
        odds -= (odds - math.log1p(odds) - goal) * (1 + odds) / odds
    return odds / (1 + odds)


def vacating(refill_share: Real) -> Real:
    r"""Return :math:`-\ln(1 - \theta)`, the decode steps of a phase times the hazard."""
    if is_symbolic(refill_share):
        return -logarithm(1 - refill_share)
    if refill_share >= 1:
        msg = f"refill must be below slots, got a refill of {refill_share!r} of them."
        raise InvalidArgument(msg)
    return -math.log1p(-refill_share)


def logarithm(x: Real) -> Real:
    """Return the natural logarithm of a number or symbol."""
    if is_symbolic(x):
        import sympy

        return sympy.log(x)
    return math.log(x)
