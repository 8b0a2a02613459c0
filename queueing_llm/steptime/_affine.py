"""The affine law: every token, and every KV token read, adds its own time."""

from dataclasses import dataclass
from typing import Annotated, final

from queueing_llm._ops import Number, coefficients
from queueing_llm._validate import Domain, Real, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime._law import AbstractStepTime


@final
@dataclass(frozen=True, slots=True)
class AffineStepTime(AbstractStepTime):
    r"""A fixed time per step, per token, and per token of KV cache read.

    .. math:: t(x, y, K) = c + \beta (x + y) + \gamma K.

    Parameters
    ----------
    base : number
        :math:`c` [s], at least 0.
    per_token : number
        :math:`\beta` [s/token], at least 0; above 0 if ``base`` is 0.
    per_kv_token : number
        :math:`\gamma` [s/token], at least 0.

    Raises
    ------
    InvalidArgument
        If a parameter is outside its domain, or a batch would take no time.

    Examples
    --------
    >>> from queueing_llm.steptime import AffineStepTime
    >>> step = AffineStepTime(base=0.01, per_token=5e-5, per_kv_token=1e-7)
    >>> round(step(400, 100, 14950), 6)
    0.036495
    """

    base: Annotated[Real, Domain("c", "s", at_least=0)]
    per_token: Annotated[Real, Domain("beta", "s/token", at_least=0)]
    per_kv_token: Annotated[Real, Domain("gamma", "s/token", at_least=0)] = 0

    def __post_init__(self) -> None:
        validate(self)
        if self.base == 0 and self.per_token == 0:
            msg = (
                "per_token must be above 0 [s/token] if base is 0 [s], "
                f"got per_token={self.per_token!r}: a batch would take no time."
            )
            raise InvalidArgument(msg)

    @property
    def kv_slope(self) -> Real:
        r"""The time per KV token read, :math:`\gamma` [s/token]."""
        return self.per_kv_token

    def _seconds(self, x: Number, y: Number, kv: Number) -> Number:
        n = x + y
        c, beta, gamma = coefficients(n, self.base, self.per_token, self.per_kv_token)
        return c + beta * n + gamma * kv
