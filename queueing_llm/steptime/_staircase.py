"""The staircase of kernel tiles: time rises once per block of tokens."""

from dataclasses import dataclass
from typing import Annotated, final

from queueing_llm._ops import Number, coefficients
from queueing_llm._validate import Domain, Real, SecondsOrZero, validate
from queueing_llm.steptime._law import AbstractStepTime


@final
@dataclass(frozen=True, slots=True)
class StaircaseStepTime(AbstractStepTime):
    r"""One step up per started block of tokens.

    .. math:: t(x, y, K) = c + a \lceil n / b_0 \rceil + \gamma K, \qquad n = x + y.

    Assumption 1 of arXiv:2504.07347v3, which also assumes that :math:`b_0` divides the token
    budget; here it need not, and then a full batch may be far from the fastest. The KV reads
    are ours.

    Parameters
    ----------
    overhead : number
        :math:`c` [s], at least 0.
    per_block : number
        :math:`a` [s/block], above 0.
    block : int
        :math:`b_0` [tokens/block].
    per_kv_token : number
        :math:`\gamma` [s/token], at least 0.

    Raises
    ------
    InvalidArgument
        If a parameter is outside its domain.

    Examples
    --------
    The law fitted to CodeLlama-34B on one A100:

    >>> from queueing_llm.steptime import StaircaseStepTime
    >>> step = StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> round(step(129), 6)
    0.08222
    """

    overhead: SecondsOrZero
    per_block: Annotated[Real, Domain("a", "s/block", above=0)]
    block: Annotated[int, Domain("b_0", "tokens/block", at_least=1, integer=True)]
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
            n, self.overhead, self.per_block, self.block, self.per_kv_token
        )
        return c + a * -(-n // b0) + gamma * kv
