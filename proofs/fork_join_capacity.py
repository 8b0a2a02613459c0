"""A planner, two workers and an aggregator carry 3.34 workflows per second, and not 3.35.

**Setting.** Four engines of CodeLlama-34B on an A100, budget 512, t(512) = 153.16 ms. Workflows
ask the planner for 500 tokens, then both workers at once, for 1000 and 900, then the
aggregator, for 750, each on its own engine; so a visit of w tokens takes w t(512) / 512.
**Claim.** At 3.34 workflows per second the fluid model of every non-idling policy is stable. At
3.35 no policy keeps up, as the first worker carries at most 512 / (1000 t(512)) = 3.342909...
**Checked here.** The stored certificates, in integers, by the trusted checker: at 3.34 that
work moves forward through the engines, that it leaves, and that each load is below 1; at 3.35
that work worth more than one second per second arrives at the price of the first worker. That
both are about this network; the capacity.
**Not checked here.** That a join passes on as much as each of its branches brings, in the long
run; Dai's theorem (1995) that a network is stable if its fluid model is; that an engine serves
at most 512 / t(512) tokens per second, which is ``rate_bound_staircase``.
**Argument.** An engine whose inflow has settled below its capacity drains, whatever it serves
first, and then passes on what it gets. So the engines settle one after the other.
**Source.** Step times of arXiv:2504.07347v3, whose theory covers fork-join workflows; numbers
and certificates ours.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from proofs._claim import NotProved, require
from queueing_llm.certificates import (
    Certificate,
    Rejected,
    certify_feed_forward,
    certify_network_overload,
    check,
    check_network_certificate,
    read_certificate,
)
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks import plan_static

KIND = "theorem"

DATA = Path(__file__).parent / "data"
TOKENS = (500, 1000, 900, 750)
SECONDS_PER_TOKEN = Fraction(15_316, 100_000) / 512
CAPACITY = 1 / (1000 * SECONDS_PER_TOKEN)
CALM, LOADED = Fraction(334, 100), Fraction(335, 100)
TINY = Fraction(1, 10**9)


def workflow(rate: Fraction) -> MulticlassNetwork:
    """Return the network; half of what reaches the join comes from each worker."""
    half = Fraction(1, 2)
    return MulticlassNetwork(
        stations=range(4),
        mean_service=[tokens * SECONDS_PER_TOKEN for tokens in TOKENS],
        arrival_rates=[rate, 0, 0, 0],
        routing=[[(1, 1), (2, 1)], [(3, half)], [(3, half)], []],
        station_names=["planner", "worker 1", "worker 2", "aggregator"],
    )


def found(case: str) -> Certificate | None:
    """Return the certificate that the library finds; what is stored is a copy of it."""
    if case == "stable":
        return certify_feed_forward(workflow(CALM))
    network = workflow(LOADED)
    own = zip(network.stations, network.mean_service, strict=True)
    servers = [[(station, seconds)] for station, seconds in own]
    plan = plan_static(network.arrival_rates, network.routing, servers=servers)
    return certify_network_overload(network, plan)


def prove(*, calm: Fraction = CALM, loaded: Fraction = LOADED) -> int:
    """Check the stored certificates against the network at both rates."""
    require(CALM < CAPACITY < LOADED, f"the capacity is {CAPACITY}")
    comparisons = 2
    for case, rate in (("stable", calm), ("overload", loaded)):
        certificate = read_certificate(DATA / f"fork_join_capacity.{case}.json")
        try:
            checked = check_network_certificate(certificate, workflow(rate))
        except Rejected as reason:
            raise NotProved(str(reason)) from reason
        comparisons += checked.comparisons
    return comparisons


def changed(case: str, **fields: object) -> int:
    """Check a stored certificate with another claim."""
    stored = read_certificate(DATA / f"fork_join_capacity.{case}.json").document
    try:
        return check({**stored, **fields}).comparisons
    except Rejected as reason:
        raise NotProved(str(reason)) from reason


def arriving(case: str, rate: Fraction) -> dict[str, object]:
    """Return a stored network at another rate."""
    stored = read_certificate(DATA / f"fork_join_capacity.{case}.json").document["network"]
    return {**stored, "arrival_rates": [[*rate.as_integer_ratio()], [0, 1], [0, 1], [0, 1]]}


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(calm=LOADED),
    lambda: prove(loaded=CALM),
    lambda: prove(calm=CALM + TINY),
    lambda: changed("stable", network=arriving("stable", CAPACITY)),
    lambda: changed("overload", network=arriving("overload", CAPACITY), excess=[1, 10**9]),
    lambda: changed("stable", order=[1, 0, 2, 3]),
    lambda: changed("stable", slack=[1, 1000]),
    lambda: changed("overload", prices=[[0, 1], [1, 1], [1, 10**9], [0, 1]]),
    lambda: changed("overload", excess=[3, 1000]),
)
