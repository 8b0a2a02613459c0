"""The answer about a closed system."""

from dataclasses import dataclass
from typing import final

from queueing_llm.closed._operating_point import OperatingPoint
from queueing_llm.evidence import Evidence, Hypothesis


@final
@dataclass(frozen=True, slots=True)
class ClosedLoop:
    r"""How many requests a fixed number of users gets through an engine.

    Parameters
    ----------
    users : int
        :math:`N`.
    low, high : float
        Between what the throughput surely lies [requests/s]; ``low`` is 0 where nothing is
        proved.
    bounds_evidence : Evidence
        How the bounds are known.
    hypotheses : tuple of Hypothesis
        What the bounds rest on.
    knee : float
        :math:`N^* = X_{max} (Z + R_1)`, the users up to which one more may add as much as
        the first: beyond it the capacity bounds the throughput.
    operating_point : OperatingPoint or None
        Where the system settles; None if that is not known.
    reason : str
        How the operating point is known, or why it is not.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.closed import closed_loop
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.closed(64, prompt_tokens=129, output_tokens=112)
    >>> loop = closed_loop(engine, load, policy=ql.SARATHI)
    >>> round(loop.low, 2), round(loop.operating_point.throughput, 2), round(loop.high, 2)
    (5.86, 8.47, 11.52)
    """

    users: int
    low: float
    high: float
    bounds_evidence: Evidence
    hypotheses: tuple[Hypothesis, ...]
    knee: float
    operating_point: OperatingPoint | None
    reason: str
