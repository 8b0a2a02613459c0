"""Growth of the backlog in overload, from the fluid limit."""

from queueing_llm._validate import Real
from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability.cycles._prefill_bursts import prefill_burst_growth


def overload_growth(
    engine: Engine, workload: Workload, policy: Policy, critical: CriticalRate
) -> Real | None:
    r"""Return the growth of the backlog in the fluid limit [tokens/s].

    .. math:: \dot V = \bar w\, (\lambda - \lambda_c)^+

    for work-conserving rules, whose full batches serve :math:`b / t(b)` tokens per second
    whatever waits, and where untouched requests wait: under FasterTransformer, and under
    vanilla vLLM with a limit on residents (arXiv:2504.07347v3, section 3; derived for the
    latter two). Otherwise vanilla vLLM's decodes wait, see :func:`prefill_burst_growth`.

    Returns
    -------
    number or None
        0 below the critical rate; None where the growth depends on what is waiting (KV
        reads, other rules) or the critical rate is known by simulation only.
    """
    if critical.evidence not in (Evidence.PROVED, Evidence.THEOREM, Evidence.NUMERICAL):
        return None
    rate = workload.arrival_rate
    if rate <= critical.low:
        return rate * 0
    if rate <= critical.high or engine.step_time.kv_slope != 0:
        return None
    if not isinstance(policy, BatchRule):
        return None
    limits_residents = engine.max_batch_size is not None and policy.limit_counts == "residents"
    if policy.mixed or policy.first == "decode" or limits_residents or critical.high == 0:
        return excess_work(engine, workload, critical.value)
    # It is 0 only if the critical rate that was given is not the one it is derived from.
    return prefill_burst_growth(engine, workload, policy) or None


def excess_work(engine: Engine, workload: Workload, critical: Real) -> Real:
    r"""Return the work that arrives beyond a critical rate.

    .. math:: \bar w (\lambda - \lambda_c)

    Parameters
    ----------
    engine, workload
        The system, of numbers or symbols.
    critical : number
        :math:`\lambda_c` [requests/s].

    Returns
    -------
    number
        Tokens per second.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> excess_work(engine, ql.Workload.poisson(3, prompt_tokens=3, output_tokens=1), 1)
    Fraction(8, 1)
    """
    moments = workload.moments
    work = engine.work_tokens(moments.prompt, moments.output)
    return work * (workload.arrival_rate - critical)
