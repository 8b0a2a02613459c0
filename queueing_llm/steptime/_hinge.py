"""The hinge: a floor up to a knee, then a slope."""

from dataclasses import dataclass
from typing import Annotated, final

from queueing_llm._ops import Number, coefficients, maximum
from queueing_llm._validate import Domain, Real, SecondsPerTokenOrZero, validate
from queueing_llm.steptime._law import AbstractStepTime


@final
@dataclass(frozen=True, slots=True)
class HingeStepTime(AbstractStepTime):
    r"""Constant up to a knee, then linear in the tokens beyond it.

    .. math:: t(x, y, K) = c + a \max(0, n - b_0) + \gamma K, \qquad n = x + y.

    The form of arXiv:2504.07347v1, to which KV reads are added (ours): decodes that share one
    floor still read their caches. Without reads the rate :math:`n / t` rises on all of
    :math:`n` if :math:`c \ge a b_0`; otherwise it peaks at the knee.

    Parameters
    ----------
    floor : number
        :math:`c` [s], above 0.
    per_token : number
        :math:`a` [s/token], at least 0.
    knee : number
        :math:`b_0` [tokens], at least 0.
    per_kv_token : number
        :math:`\gamma` [s/token], at least 0.

    Raises
    ------
    InvalidArgument
        If a parameter is outside its domain.

    Examples
    --------
    >>> from queueing_llm.steptime import HingeStepTime
    >>> step = HingeStepTime(floor=0.0455, per_token=0.0003, knee=64)
    >>> round(step(512), 6)
    0.1799
    >>> round(HingeStepTime(0.0455, 0.0003, 64, per_kv_token=1e-7)(0, 32, 40_000), 6)
    0.0495
    """

    floor: Annotated[Real, Domain("c", "s", above=0)]
    per_token: SecondsPerTokenOrZero
    knee: Annotated[Real, Domain("b_0", "tokens", at_least=0)]
    per_kv_token: Annotated[Real, Domain("gamma", "s/token", at_least=0)] = 0

    def __post_init__(self) -> None:
        validate(self)

    @property
    def kv_slope(self) -> Real:
        r"""The time per KV token read, :math:`\gamma` [s/token]."""
        return self.per_kv_token

    def _seconds(self, x: Number, y: Number, kv: Number) -> Number:
        n = x + y
        c, a, b0, gamma = coefficients(
            n, self.floor, self.per_token, self.knee, self.per_kv_token
        )
        return c + a * maximum(0, n - b0) + gamma * kv
