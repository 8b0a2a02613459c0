"""Throughput and latency of a fixed number of users, with bounds that hold for sure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from queueing_llm.closed._bounds import throughput_bounds
from queueing_llm.closed._crowd import crowd_of
from queueing_llm.closed._cycle import equal_users_cycle
from queueing_llm.closed._demand import Demand
from queueing_llm.closed._fixed_point import independent_phases, kind_of
from queueing_llm.closed._loop import ClosedLoop
from queueing_llm.closed._memory import memory_hardly_binds, memory_never_binds
from queueing_llm.closed._operating_point import OperatingPoint
from queueing_llm.closed._phases import phase_spread
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Evidence
from queueing_llm.model import EmpiricalLengths, Engine, Workload
from queueing_llm.model._arguments import check_kind
from queueing_llm.policies import BatchRule, Policy, check_policy

MOST_USERS = 2000
REGULAR = 0.5
LEAST_SPREAD = 0.5
UNRELATED = 0.15
LONGEST_THINK = 1e9


def closed_loop(engine: Engine, workload: Workload, *, policy: Policy) -> ClosedLoop:
    r"""Return what a fixed number of users gets through an engine.

    Parameters
    ----------
    engine : Engine
        The engine.
    workload : Workload
        A closed one, as of :meth:`Workload.closed`: :math:`N` users with mean think time
        :math:`Z` [s].
    policy : Policy
        The scheduler. Of one that is no :class:`BatchRule` only an upper bound is known.

    Returns
    -------
    ClosedLoop
        Bounds on the throughput (a theorem of ours, see ``closed/_bounds.py``) and, where it
        is known, the operating point with its measured error. For equal requests without
        thinking it is the cycle from a common start (``closed/_cycle.py``), otherwise the
        fixed point of users out of step (``closed/_fixed_point.py``).

    Raises
    ------
    InvalidArgument
        If the workload is not closed, an output is too short for the engine's accounting, or
        a batch has no known time.

    Notes
    -----
    The operating point is None, with the reason, where the policy is code, the KV cache may
    preempt, a prompt may never fit, or not for long beside decodes that go first (up to 490 %
    off), users are more than 2,000 or think a billion times longer than an answer takes alone;
    where a rule of groups cuts random prompts, or lengths are not independent (up to 83 %);
    and where several users fall into step or stay in it: think times of a squared coefficient
    of variation below 1/2 (up to 48 %), and without thinking outputs of one length, but for
    equal requests from a common start (up to 25 %), and under a rule that does not mix phases
    of nearly one or few (up to 46 %). The bounds hold all the same.

    With 2,000 users who think it takes up to half a minute, and a tenth of that with 500.

    Examples
    --------
    Sixteen users of a chat, who think for 5 seconds:

    >>> import queueing_llm as ql
    >>> from queueing_llm.closed import closed_loop
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.closed(
    ...     16,
    ...     think_time=5,
    ...     think_scv=1,
    ...     prompt_tokens=ql.GeometricLength(129),
    ...     output_tokens=ql.GeometricLength(112),
    ... )
    >>> loop = closed_loop(engine, load, policy=ql.VLLM_V1)
    >>> loop.low < loop.operating_point.throughput < loop.high
    True
    """
    check_policy(policy)
    check_kind(engine, "engine", kind=Engine, such_as="Engine(step_time=..., token_budget=512)")
    crowd = crowd_of(workload)
    _check_memory(engine, workload)
    bounds = throughput_bounds(engine, workload, policy)
    unknown, point = _unknown(engine, workload, policy), None
    if not unknown and float(crowd.think_time) > LONGEST_THINK * bounds.alone:
        unknown = "unknown for think times that leave an answer no digits: see the bounds"
    if not unknown:
        point = _settles(engine, workload, policy)
        unknown = "unknown: a round of these users takes too many steps to be followed"
    if point is not None:
        # A proven interval can only bring an approximation nearer to the truth.
        point = point.within(workload, low=bounds.low, high=bounds.high)
    return ClosedLoop(
        users=crowd.users,
        low=bounds.low,
        high=bounds.high,
        bounds_evidence=Evidence.THEOREM,
        hypotheses=bounds.hypotheses,
        knee=bounds.most * (float(crowd.think_time) + bounds.alone),
        operating_point=point,
        reason=point.basis if point else unknown,
    )


def closed_curve(
    engine: Engine, workload: Workload, *, users: Sequence[int], policy: Policy
) -> tuple[ClosedLoop, ...]:
    """Return the answers for several numbers of users, in their order.

    Parameters
    ----------
    engine, workload
        As for :func:`closed_loop`; the users of the workload do not matter.
    users : sequence of int
        Numbers of users, each at least 1.
    policy : Policy
        As for :func:`closed_loop`.

    Returns
    -------
    tuple of ClosedLoop
        One for each.

    Raises
    ------
    InvalidArgument
        As for :func:`closed_loop`, or if a number of users is not a positive integer.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.closed import closed_curve
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(4.0, 1.0), token_budget=16)
    >>> load = ql.Workload.closed(1, prompt_tokens=3, output_tokens=9)
    >>> curve = closed_curve(engine, load, users=[1, 4, 16, 64], policy=ql.SARATHI)
    >>> [round(loop.operating_point.throughput, 3) for loop in curve]
    [0.019, 0.045, 0.067, 0.067]
    """
    crowd = crowd_of(workload)
    check_kind(users, "users", kind=Iterable, such_as="[1, 4, 16]")
    loads = [replace(workload, arrivals=replace(crowd, users=count)) for count in users]
    return tuple(closed_loop(engine, load, policy=policy) for load in loads)


def _check_memory(engine: Engine, workload: Workload) -> None:
    longest, capacity = workload.longest_request, engine.kv_capacity
    if capacity is not None and longest is not None and longest > capacity:
        msg = (
            f"kv_capacity={capacity} tokens cannot hold the longest request of {longest} "
            "tokens: raise kv_capacity or shorten the requests."
        )
        raise InvalidArgument(msg)


def _unknown(engine: Engine, workload: Workload, policy: Policy) -> str:
    """Return why the operating point is not known, empty if it is."""
    if not isinstance(policy, BatchRule):
        return "unknown for a policy given as code: simulate it"
    moments, crowd = workload.moments, crowd_of(workload)
    keeps_step = crowd.think_time == 0 and moments.output_squared == moments.output**2
    # Users in step need the most memory all at once.
    holds = memory_never_binds if keeps_step else memory_hardly_binds
    if not holds(engine, workload):
        return (
            f"unknown: kv_capacity={engine.kv_capacity} tokens may preempt requests of "
            f"{workload.users} users, and what is computed again is not counted: simulate it"
        )
    longest = workload.longest_prompt
    if not policy.chunked and (longest is None or longest > engine.token_budget):
        return "unknown: a whole prompt above token_budget blocks all behind it for ever"
    if crowd.think_time > 0 and crowd.think_scv < REGULAR and crowd.users > 1:
        return (
            f"unknown for think times as even as think_scv={crowd.think_scv}: users fall into "
            "step with each other; simulate it"
        )
    if crowd.users > MOST_USERS:
        return f"unknown for more than {MOST_USERS:,} users: see its bounds"
    alike = moments.prompt_squared == moments.prompt**2 and crowd.ramp == 0
    if keeps_step and not alike and crowd.users > 1:
        return (
            "unknown for outputs of one length without thinking: users stay in the step in "
            "which they began, or nearly so; simulate it"
        )
    return _unlike_the_chain(engine, workload, policy) if crowd.users > 1 else ""


def _unlike_the_chain(engine: Engine, workload: Workload, rule: BatchRule) -> str:
    """Return what of several users the fixed point does not look at, empty if nothing."""
    moments, crowd = workload.moments, crowd_of(workload)
    is_group, varies = kind_of(rule) == "groups", moments.prompt_squared > moments.prompt**2
    keeps_step = crowd.think_time == 0 and moments.output_squared == moments.output**2
    if keeps_step and not varies:
        # These are followed step by step.
        return ""
    if is_group and rule.chunked and varies:
        return "unknown for a rule that cuts random prompts between its groups: simulate it"
    if is_group and _is_related(workload):
        return (
            "unknown for a rule of groups and lengths that are recorded in order, or "
            "correlated: simulate it"
        )
    longest = workload.longest_prompt
    decodes = min(crowd.users - 1, engine.max_batch_size or crowd.users)
    is_last = rule.mixed and rule.first == "decode" and not rule.chunked
    if is_last and (longest is None or longest + decodes > engine.token_budget):
        return (
            f"unknown: {decodes} decodes that go first leave no room for a whole prompt of "
            f"{longest} tokens; simulate it"
        )
    if rule.mixed or crowd.think_time > 0:
        return ""
    if phase_spread(Demand.of(engine, workload)) < LEAST_SPREAD:
        return (
            "unknown for outputs of nearly one or few lengths without thinking: users come "
            "out of step too slowly; simulate it"
        )
    return ""


def _is_related(workload: Workload) -> bool:
    """Whether a length tells about the other one of its request, or about the next ones."""
    moments = workload.moments
    spread = (moments.prompt_squared - moments.prompt**2) * (
        moments.output_squared - moments.output**2
    )
    shared = float(moments.product - moments.prompt * moments.output)
    laws = [c.lengths for c in workload.classes]
    ordered = any(isinstance(law, EmpiricalLengths) and law.in_order for law in laws)
    return ordered or shared**2 > UNRELATED**2 * float(spread)


def _settles(engine: Engine, workload: Workload, rule: Policy) -> OperatingPoint | None:
    """Return the operating point, None if a run of equal requests is too long to follow."""
    assert isinstance(rule, BatchRule)
    moments, crowd = workload.moments, crowd_of(workload)
    squares = (moments.prompt_squared, moments.output_squared)
    alike = squares == (moments.prompt**2, moments.output**2)
    if alike and crowd.think_time == 0 and crowd.users > 1:
        return equal_users_cycle(engine, workload, rule)
    return independent_phases(engine, workload, rule)
