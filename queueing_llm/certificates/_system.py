"""What a certificate says about a system: engine, lengths and rate in integers."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from queueing_llm._validate import Real
from queueing_llm.model import Engine, PoissonArrivals, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability.bounds._batches import is_of_token_count
from queueing_llm.steptime import (
    AbstractStepTime,
    AffineStepTime,
    HingeStepTime,
    StaircaseStepTime,
)

Record = dict[str, Any]


def overload_system(engine: Engine, workload: Workload) -> Record | None:
    """Return the fields of a certificate of overload; None if some number is not exact."""
    moments = workload.moments
    lengths = {
        "prompt_tokens": moments.prompt,
        "output_tokens": moments.output,
        "kv_reads": moments.kv_reads(engine.decode_steps(0)),
    }
    return _described(engine, workload.arrival_rate, lengths)


def drift_system(engine: Engine, workload: Workload, policy: Policy) -> Record | None:
    """Return the fields of a certificate of drift.

    None if some number is not exact, lengths are unbounded or replayed, arrivals are not
    Poisson, reading the KV cache takes time, or the policy is not a rule.
    """
    moments, longest = workload.moments, workload.longest_request
    is_poisson = isinstance(workload.arrivals, PoissonArrivals) and workload.has_iid_lengths
    if longest is None or not is_poisson or not isinstance(policy, BatchRule):
        return None
    if engine.step_time.kv_slope != 0 or engine.decode_steps(moments.shortest_output) < 0:
        return None
    lengths = {"prompt_tokens": moments.prompt, "output_tokens": moments.output}
    system = _described(engine, workload.arrival_rate, lengths)
    if system is None:
        return None
    request = {**system["request"], "longest": longest}
    rule = {name: getattr(policy, name) for name in ("mixed", "chunked")}
    return {**system, "request": request, "arrivals": "poisson", "rule": rule}


def pair(value: Real) -> list[int]:
    """Return a rational number as a certificate writes it."""
    exact = Fraction(value)
    return [exact.numerator, exact.denominator]


def _described(engine: Engine, rate: Real, lengths: Mapping[str, Real]) -> Record | None:
    law = _law(engine.step_time, engine.batch_tokens_limit())
    if law is None or not all(map(_is_exact, (rate, *lengths.values()))):
        return None
    return {
        "engine": {
            "step_time": law,
            "token_budget": engine.token_budget,
            "max_batch_size": engine.max_batch_size,
            "kv_capacity": engine.kv_capacity,
            "first_token_from_prefill": engine.first_token_from_prefill,
        },
        "request": {name: pair(value) for name, value in lengths.items()},
        "arrival_rate": pair(rate),
    }


def _law(step_time: AbstractStepTime, limit: int) -> Record | None:
    """Return the step-time law as a certificate names it; None if it is not exact.

    A law of the token count that is not one of the three with a name is tabulated without its
    KV reads, which then have no price. They only add time, so prices that hold without them
    hold with them.
    """
    named: dict[str, Real]
    match step_time:
        case StaircaseStepTime(overhead=c, per_block=a, block=block):
            law, named = "staircase", {"overhead": c, "per_block": a, "block": block}
        case HingeStepTime(floor=c, per_token=a, knee=knee):
            law, named = "hinge", {"floor": c, "per_token": a, "knee": knee}
        case AffineStepTime(base=c, per_token=a, per_kv_token=slope):
            law, named = "affine", {"base": c, "per_token": a, "per_kv_token": slope}
        case _ if is_of_token_count(step_time):
            times = [step_time(n) for n in range(1, limit + 1)]
            exact = all(map(_is_exact, times))
            return {"law": "table", "seconds": [*map(pair, times)]} if exact else None
        case _:
            return None
    if step_time.kv_slope:
        named["per_kv_token"] = step_time.kv_slope
    if not all(map(_is_exact, named.values())):
        return None
    return {"law": law, **{name: pair(value) for name, value in named.items()}}


def _is_exact(value: object) -> bool:
    return isinstance(value, int | Fraction) and not isinstance(value, bool)
