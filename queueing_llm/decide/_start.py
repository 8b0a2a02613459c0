"""An engine of equal requests that arrive evenly, followed from empty."""

from numbers import Rational

from queueing_llm._validate import Real
from queueing_llm.evidence import Capacity, CriticalRate, Evidence, Status, Verdict
from queueing_llm.model import (
    BatchArrivals,
    DeterministicArrivals,
    Engine,
    RenewalArrivals,
    ReplayArrivals,
    Workload,
)
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability import LimitCycle, limit_cycle

MOST_BATCHES = 1_000_000
MOST_BATCHES_OF_FLOATS = 100_000
"""A float stands for its binary value, with which a cycle is hardly ever found."""


def cycle_from_empty(engine: Engine, workload: Workload, policy: Policy) -> LimitCycle | None:
    """Return the cycle that the engine runs into from empty, if it is found."""
    is_exact = isinstance(workload.arrival_rate, Rational) and isinstance(
        engine.step_time(1), Rational
    )
    most = MOST_BATCHES if is_exact else MOST_BATCHES_OF_FLOATS
    return limit_cycle(engine, workload, policy=policy, start="empty", most_batches=most)


def start_matters(rate: Real, closed: CriticalRate | None, ceiling: Capacity) -> bool:
    """Whether an engine that starts empty may do better, or is all that can be followed.

    A closed rate is that of a saturated engine. If smaller batches serve more, arrivals
    above it may never saturate the engine: even ones need not.
    """
    if rate > ceiling.requests_per_second:
        return False
    return closed is None or rate >= closed.high


def is_even(workload: Workload) -> bool:
    """Whether arrivals may have no surges, however long one waits."""
    arrivals = workload.arrivals
    if isinstance(arrivals, BatchArrivals):
        arrivals = arrivals.batches
    return isinstance(arrivals, DeterministicArrivals | RenewalArrivals | ReplayArrivals)


def verdict_of_cycle(
    cycle: LimitCycle,
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    ceiling: Capacity,
    saturated: CriticalRate | None,
) -> Verdict:
    """Return the verdict on an engine that runs into a known cycle from empty.

    ``saturated`` is the rate of a saturated engine, if it is known: the arrivals reach it.
    """
    moments = workload.moments
    steps = engine.decode_steps(moments.output)
    assert cycle.growth is not None, "a cycle from empty has arrivals"
    waiting = cycle.growth - cycle.decode_growth
    repeats = (
        f"from empty the engine runs into a cycle of {cycle.batches:,} batches in "
        f"{float(cycle.seconds):.6g} s, with {_counted(cycle.completed)} completed"
    )
    return Verdict(
        status=Status.UNSTABLE if cycle.growth > 0 else Status.STABLE,
        evidence=Evidence.NUMERICAL,
        policy=name_of(policy),
        arrival_rate=workload.arrival_rate,
        critical_rate=CriticalRate(
            None,
            low=0,
            high=ceiling.requests_per_second,
            evidence=Evidence.NONE,
            basis="none that would not depend on how the engine was filled, since "
            + (
                "equal requests that decode in step stay in step"
                if saturated is None
                else f"once saturated it completes only {float(saturated.high):.5g} requests/s"
            ),
        ),
        capacity=ceiling,
        growth=moments.prompt * waiting + steps * cycle.growth,
        reason=f"{repeats}, {'fewer than' if cycle.growth > 0 else 'as many as'} arrive",
    )


def _counted(requests: int) -> str:
    return "1 request" if requests == 1 else f"{requests:,} requests"


def name_of(policy: Policy) -> str:
    if isinstance(policy, BatchRule):
        return policy.name
    return getattr(policy, "__name__", type(policy).__name__)
