"""Growth of the backlog in overload, from the fluid limit."""

from queueing_llm._validate import Real
from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy


def overload_growth(
    engine: Engine, workload: Workload, policy: Policy, critical: CriticalRate
) -> Real | None:
    r"""Return the growth of the backlog in the fluid limit [tokens/s].

    .. math:: \dot V = \bar w\, (\lambda - \lambda_c)^+

    for work-conserving rules, whose full batches serve :math:`b / t(b)` tokens per second
    whatever waits, and for FasterTransformer, in which untouched requests wait
    (arXiv:2504.07347v3, section 3; derived for the latter).

    Returns
    -------
    number or None
        0 below the critical rate; None where the growth depends on what is waiting (KV
        reads, other rules) or the critical rate is not exact.
    """
    if critical.evidence not in (Evidence.PROVED, Evidence.THEOREM, Evidence.NUMERICAL):
        return None
    excess = workload.arrival_rate - critical.low
    if excess <= 0:
        return excess * 0
    if engine.step_time.kv_slope != 0 or not isinstance(policy, BatchRule):
        return None
    if not policy.mixed and policy.first == "prefill" and critical.low > 0:
        return None
    moments = workload.moments
    return engine.work_tokens(moments.prompt, moments.output) * excess
