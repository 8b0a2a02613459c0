"""Tokens, requests per batch and KV memory: which of the three binds, in closed form."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.bounds._lifetime import kv_lifetime
from queueing_llm.steptime import (
    AbstractStepTime,
    AffineStepTime,
    HingeStepTime,
    StaircaseStepTime,
)

Resource: TypeAlias = Literal["tokens", "requests per batch", "KV memory"]


@final
@dataclass(frozen=True, slots=True)
class ThreeResourceBound:
    """An arrival rate that no policy exceeds, and the resource that sets it.

    Parameters
    ----------
    requests_per_second : number
        The bound.
    binding_resource : str
        "tokens", "requests per batch" or "KV memory": of which a request needs the most
        batches.
    batches : number
        How many batches of that resource a request needs.

    Examples
    --------
    >>> ThreeResourceBound(4.8, binding_resource="KV memory", batches=6).binding_resource
    'KV memory'
    """

    requests_per_second: Real
    binding_resource: Resource
    batches: Real


def three_resource_bound(engine: Engine, workload: Workload) -> ThreeResourceBound | None:
    r"""Return a rate that no policy exceeds, in closed form, and the resource that binds.

    .. math:: \lambda \Bigl( \beta \bar w + \gamma G
       + c \max\Bigl( \frac{\bar w}{b}, \frac{E[D]}{k_{max}}, \frac{E[g]}{M} \Bigr) \Bigr)
       \le 1

    for step times :math:`t \ge c + \beta n + \gamma K`. A batch holds at most :math:`b`
    tokens, :math:`k_{max}` decode tokens and :math:`M` KV slots, so requests need at least
    so many batches, and each of these costs :math:`c` beside its tokens.

    Parameters
    ----------
    engine, workload
        The system; only the lengths of the workload matter.

    Returns
    -------
    ThreeResourceBound or None
        Exact for exact data; the first of equally binding resources. None if the law is
        neither affine, a staircase nor a hinge.

    Notes
    -----
    An upper bound, never below the linear programme of :func:`resource_prices`, of which it
    is a feasible point. Where a prefill yields a token, :math:`\gamma` is at most
    :math:`\beta`, since tokens can be recomputed instead of read. Ours; its first term is
    Theorem 2(a) of arXiv:2504.07347v3, its third with :math:`\beta = 0` the overload
    condition of arXiv:2605.04595.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.AffineStepTime(base=0.01128, per_token=0.03547 / 128)
    >>> engine = ql.Engine(step_time=step, token_budget=512, kv_capacity=20_000)
    >>> load = ql.Workload.poisson(1, prompt_tokens=100, output_tokens=400)
    >>> bound = three_resource_bound(engine, load)
    >>> bound.binding_resource, round(bound.requests_per_second, 3)
    ('KV memory', 4.845)
    """
    floor = _affine_floor(engine.step_time)
    if floor is None:
        return None
    base, per_token = floor
    moments = workload.moments
    steps = engine.decode_steps(moments.output)
    work = engine.work_tokens(moments.prompt, moments.output)
    needs: dict[Resource, Real] = {"tokens": ratio(work, engine.batch_tokens_limit())}
    if engine.max_batch_size is not None:
        needs["requests per batch"] = ratio(steps, engine.max_batch_size)
    if engine.kv_capacity is not None:
        needs["KV memory"] = ratio(kv_lifetime(engine, workload), engine.kv_capacity)
    binding = max(needs, key=needs.__getitem__)
    per_read = engine.step_time.kv_slope
    if engine.first_token_from_prefill:
        per_read = min(per_read, per_token)
    reads = per_read * moments.kv_reads(engine.decode_steps(0)) if per_read else 0
    seconds = per_token * work + base * needs[binding] + reads
    return ThreeResourceBound(ratio(1, seconds), binding, needs[binding])


def _affine_floor(law: AbstractStepTime) -> tuple[Real, Real] | None:
    r"""Return :math:`c` and :math:`\beta` with :math:`t(n) \ge c + \beta n`."""
    match law:
        case AffineStepTime(base=base, per_token=per_token):
            return base, per_token
        case StaircaseStepTime(overhead=overhead, per_block=per_block, block=block):
            return overhead, ratio(per_block, block)
        case HingeStepTime(floor=floor, per_token=per_token, knee=knee):
            if floor >= per_token * knee:
                return floor - per_token * knee, per_token
            return 0, ratio(floor, knee)
        case _:
            return None
