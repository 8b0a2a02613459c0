"""Whether a certificate proves its claim about this very system."""

from queueing_llm.certificates._check import Checked, Rejected
from queueing_llm.certificates._store import Certificate
from queueing_llm.certificates._system import drift_system, overload_system
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import Policy


def check_certificate(
    certificate: Certificate,
    engine: Engine,
    *,
    workload: Workload,
    policy: Policy | None = None,
) -> Checked:
    """Verify that a certificate proves its claim about this very system.

    Parameters
    ----------
    certificate : Certificate
        A proof of overload, which is about every policy, or of stability of one.
    engine, workload, policy
        The system; a proof of overload needs no policy.

    Returns
    -------
    Checked
        What it proves.

    Raises
    ------
    Rejected
        If it proves nothing, or is about another engine, workload, rate or policy.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> load = ql.Workload.poisson(1, prompt_tokens=5, output_tokens=4)
    >>> check_certificate(ql.certify_overload(engine, load), engine, workload=load).kind
    'overload'
    """
    checked = certificate.check()
    if checked.kind == "overload":
        system = overload_system(engine, workload)
    else:
        system = None if policy is None else drift_system(engine, workload, policy)
    if system is None:
        msg = "it is about another system: this one is not exact, or not of its kind"
        raise Rejected(msg)
    for part, expected in system.items():
        if certificate.document[part] != expected:
            msg = f"it is about another system: {part} differs"
            raise Rejected(msg)
    return checked
