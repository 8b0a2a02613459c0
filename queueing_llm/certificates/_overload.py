"""Write the certificate that no policy keeps up."""

from fractions import Fraction
from typing import Any

from queueing_llm._validate import Real
from queueing_llm.certificates._check import (
    FORMAT,
    LARGEST_BUDGET,
    VERSION,
    Checked,
    Rejected,
    check,
)
from queueing_llm.certificates._store import Certificate
from queueing_llm.model import Engine, Workload
from queueing_llm.stability import capacity, stability_region
from queueing_llm.steptime import (
    AbstractStepTime,
    AffineStepTime,
    HingeStepTime,
    StaircaseStepTime,
    TableStepTime,
)


def certify_overload(engine: Engine, workload: Workload) -> Certificate | None:
    """Return a proof that no policy sustains the workload, if there is one.

    The prices are those of the facet of the stability region that the workload leaves:
    without a batch-size limit, the time that a token takes in the best batch, which is
    Theorem 2(a) of arXiv:2504.07347v3 as a linear-programming dual.

    Parameters
    ----------
    engine, workload
        The system.

    Returns
    -------
    Certificate or None
        Checked already; None if the workload is not above this bound, the data are not exact
        (integers and Fractions; floats only propose), or the batches are too many to check.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=1, per_block=3, block=4)
    >>> engine = ql.Engine(step_time=step, token_budget=8)
    >>> load = ql.Workload.poisson(1, prompt_tokens=5, output_tokens=4)
    >>> ql.certify_overload(engine, load).check().comparisons
    17
    """
    ceiling = capacity(engine, workload).requests_per_second
    if workload.arrival_rate <= ceiling or engine.batch_tokens_limit() > LARGEST_BUDGET:
        return None
    system = _system(engine, workload)
    if system is None:
        return None
    moments = workload.moments
    request = (moments.prompt, engine.decode_steps(moments.output))
    facet = stability_region(engine).binding_facet(*request)
    excess = workload.arrival_rate * facet.load(*request) - 1
    if excess <= 0:
        return None
    prefill, decode = facet.prices
    document = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "overload",
        **system,
        "prices": {"prefill": _pair(prefill), "decode": _pair(decode)},
        "excess": _pair(excess),
    }
    check(document)
    return Certificate(document)


def check_overload(certificate: Certificate, engine: Engine, workload: Workload) -> Checked:
    """Verify that a certificate proves the overload of this very system.

    Raises
    ------
    Rejected
        If it proves nothing, or is about another engine, workload or rate.
    """
    checked = certificate.check()
    system = _system(engine, workload) or {"engine": None}
    for part, expected in system.items():
        if certificate.document[part] != expected:
            msg = f"it is about another system: {part} differs"
            raise Rejected(msg)
    return checked


def _system(engine: Engine, workload: Workload) -> dict[str, Any] | None:
    """Return what a certificate says about the system; None if some number is not exact."""
    law = _law(engine.step_time, engine.batch_tokens_limit())
    moments = workload.moments
    prompt_tokens, decode_steps = moments.prompt, engine.decode_steps(moments.output)
    numbers = (prompt_tokens, decode_steps, workload.arrival_rate)
    if law is None or not all(map(_is_exact, numbers)):
        return None
    return {
        "engine": {
            "step_time": law,
            "token_budget": engine.token_budget,
            "max_batch_size": engine.max_batch_size,
            "kv_capacity": engine.kv_capacity,
        },
        "request": {"prompt_tokens": _pair(prompt_tokens), "decode_steps": _pair(decode_steps)},
        "arrival_rate": _pair(workload.arrival_rate),
    }


def _law(step_time: AbstractStepTime, limit: int) -> dict[str, Any] | None:
    """Return the step-time law as a certificate names it; None if it is not exact.

    Reading the KV cache only adds time, so prices that hold without it hold with it.
    """
    match step_time:
        case StaircaseStepTime(overhead=c, per_block=a, block=block):
            named = {"overhead": c, "per_block": a, "block": block}
            return _parameters("staircase", named)
        case HingeStepTime(floor=c, per_token=a, knee=knee):
            return _parameters("hinge", {"floor": c, "per_token": a, "knee": knee})
        case AffineStepTime(base=c, per_token=a):
            return _parameters("affine", {"base": c, "per_token": a})
        case TableStepTime() if step_time.kv_slope == 0:
            times = [step_time(n) for n in range(1, limit + 1)]
            if not all(map(_is_exact, times)):
                return None
            return {"law": "table", "seconds": [_pair(time) for time in times]}
        case _:
            return None


def _parameters(law: str, named: dict[str, Real]) -> dict[str, Any] | None:
    if not all(map(_is_exact, named.values())):
        return None
    return {"law": law, **{name: _pair(value) for name, value in named.items()}}


def _is_exact(value: object) -> bool:
    return isinstance(value, int | Fraction) and not isinstance(value, bool)


def _pair(value: Real) -> list[int]:
    exact = Fraction(value)
    return [exact.numerator, exact.denominator]
