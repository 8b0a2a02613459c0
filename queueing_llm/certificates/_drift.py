"""Write the certificate that a rule is stable, by the drift of full batches."""

from queueing_llm.certificates._checker import FORMAT, LARGEST_BUDGET, VERSION, check
from queueing_llm.certificates._store import Certificate
from queueing_llm.certificates._system import drift_system, pair
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy


def certify_stability(
    engine: Engine, workload: Workload, *, policy: Policy
) -> Certificate | None:
    r"""Return a proof that a policy is stable, if there is one.

    Full batches of :math:`b` tokens serve more than the :math:`\lambda \bar w t(b)` tokens
    that arrive meanwhile, and above :math:`(b - 1) w_{max}` tokens of backlog all batches of a
    mixed, chunked rule are full. That a full batch is the best one is not needed.

    Parameters
    ----------
    engine, workload, policy
        The system.

    Returns
    -------
    Certificate or None
        Checked already; None unless the data are exact (integers and Fractions), arrivals are
        Poisson, lengths are drawn and bounded, the policy is a mixed and chunked rule, the
        engine has no limit but its token budget, and the drift is negative.

    Notes
    -----
    The checker verifies the hypotheses of Foster's criterion with these constants. The
    criterion itself is the human argument: F. G. Foster, "On the stochastic matrices
    associated with certain queuing processes", 1953.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> load = ql.Workload.poisson(Fraction(1, 5), prompt_tokens=1, output_tokens=1)
    >>> certify_stability(engine, load, policy=ql.SARATHI).document["decrease"]
    [2, 1]
    """
    if engine.token_budget > LARGEST_BUDGET or not _fills_every_batch(engine, policy):
        return None
    system = drift_system(engine, workload, policy)
    moments = workload.moments
    work = engine.work_tokens(moments.prompt, moments.output)
    decrease = engine.token_budget - workload.arrival_rate * work * engine.step_time(
        engine.token_budget
    )
    if system is None or decrease <= 0:
        return None
    document = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "drift",
        **system,
        "decrease": pair(decrease),
    }
    check(document)
    return Certificate(document)


def _fills_every_batch(engine: Engine, policy: Policy) -> bool:
    """Whether a policy is a rule that gives every batch min(budget, demand) tokens."""
    unlimited = engine.max_batch_size is None and engine.kv_capacity is None
    return unlimited and isinstance(policy, BatchRule) and policy.is_work_conserving
