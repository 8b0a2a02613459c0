"""What has a fluid limit that is known: everything else is refused, with the reason."""

from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import CriticalRate
from queueing_llm.fluid._service import exact_value
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy, check_policy
from queueing_llm.stability import (
    frozen_rate,
    prefill_burst_rate,
    replacement_rate,
    request_level_rate,
    work_conserving_rate,
)

ROUTES = (
    work_conserving_rate,
    frozen_rate,
    request_level_rate,
    prefill_burst_rate,
    replacement_rate,
)


def covered_rule(engine: Engine, workload: Workload, policy: Policy) -> BatchRule:
    """Return the policy if it is a rule, on an engine and workload that have a fluid limit.

    Raises
    ------
    InvalidArgument
        If not, with the reason.
    """
    check_policy(policy)
    if not isinstance(policy, BatchRule):
        msg = f"policy must be a BatchRule, whose priorities are known, got policy={policy!r}."
        raise InvalidArgument(msg)
    if not workload.is_endless:
        msg = (
            "workload must go on for ever: a finite list of requests has no fluid limit; "
            "use Workload.from_trace to repeat it."
        )
        raise InvalidArgument(msg)
    if workload.users is not None:
        # It refuses, and says that a closed workload has none.
        _ = workload.arrival_rate
    if engine.kv_capacity is not None:
        msg = (
            f"kv_capacity must be None, got kv_capacity={engine.kv_capacity}: what an engine "
            "serves while its cache is full depends on the history of what it holds."
        )
        raise InvalidArgument(msg)
    if engine.step_time.kv_slope is None:
        msg = (
            "step_time must be a law of the total tokens in a batch plus a multiple of the KV "
            f"tokens read, got step_time={engine.step_time!r}: otherwise the mix of single "
            "batches decides what is served."
        )
        raise InvalidArgument(msg)
    shortest = workload.moments.shortest_output
    if engine.decode_steps(shortest) < 0:
        msg = (
            "output_tokens must be at least 1 where the prefill yields the first token, got "
            f"requests with output_tokens={shortest}."
        )
        raise InvalidArgument(msg)
    return policy


def closed_critical_rate(engine: Engine, workload: Workload, rule: BatchRule) -> CriticalRate:
    """Return the critical rate of a rule, without simulation.

    Raises
    ------
    InvalidArgument
        If it has no closed form, or it is not known on which side of it the workload lies.
    """
    known = (route(engine, workload, rule) for route in ROUTES)
    critical = next((rate for rate in known if rate is not None), None)
    if critical is None:
        msg = (
            f"policy must have a critical rate in closed form, got policy={rule.name!r}: what "
            "it serves while prompts wait in bulk depends here on more than what waits "
            f"(max_batch_size={engine.max_batch_size}, prompts of random length, or a rule "
            "known by simulation only)."
        )
        raise InvalidArgument(msg)
    if critical.low < exact_value(workload.arrival_rate) < critical.high:
        msg = (
            "arrival_rate must lie outside the interval of the critical rate, from "
            f"{float(critical.low)!r} to {float(critical.high)!r} requests/s, got "
            f"arrival_rate={workload.arrival_rate!r}: the sign of the drift is not known."
        )
        raise InvalidArgument(msg)
    return critical
