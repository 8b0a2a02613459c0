"""What would make a network of engines stable."""

import math
from collections.abc import Iterator
from typing import Literal

from queueing_llm.decide._network_fluid import FluidReading
from queueing_llm.decide._network_verdict import NetworkVerdict
from queueing_llm.evidence import Status
from queueing_llm.model.agents import AgentNetwork
from queueing_llm.networks import (
    FluidClasses,
    NetworkLoad,
    Unmodelled,
    applicable_theorems,
    stabilising_priorities,
    stability_pieces,
)
from queueing_llm.policies import BatchRule

MOST_PRIORITIES = 200
MOST_CLASSES = 16
EFFORT = 40_000
"""Priorities tried, times the square of engines times classes: what each of them costs."""


def network_advice(
    network: AgentNetwork,
    load: NetworkLoad,
    reading: FluidReading | Unmodelled,
    verdict: NetworkVerdict,
) -> Iterator[str]:
    """Yield sentences, the most useful first."""
    needed, capacity = load.least_plan.load, "its capacity"
    if needed < 1 and load.plan is not None:
        needed, capacity = load.plan.load, "what its full batches serve"
    if needed >= 1:
        heavy = [
            (busy.name, busy.least_load if load.least_plan.load >= 1 else busy.load)
            for busy in load.engines
        ]
        needs = [
            f"{name} needs {float(share):.4g} times {capacity}: share its visits among "
            f"{math.floor(share) + 1} such engines"
            for name, share in heavy
            if share is not None and share >= 1
        ]
        yield f"{'; '.join(needs)}; or scale the arrival rates below {float(1 / needed):.4g}"
        return
    for engine in network.engines:
        rule = engine.policy
        if not (isinstance(rule, BatchRule) and rule.is_work_conserving):
            yield f"{engine.name}: take a rule that fills its batches, such as sarathi"
        elif rule.first != "decode" and verdict.status is not Status.STABLE:
            yield f"{engine.name}: serve decodes first, so that requests finish in order"
    if verdict.status is Status.STABLE or isinstance(reading, Unmodelled):
        return
    if reading.classes.averages:
        yield (
            "write loops that carry contexts as a class with a route and rounds, or as turns: "
            "then a context does not depend on the way"
        )
    if not reading.holds:
        return
    own = reading.own
    if own is None or own.has_joins:
        return
    change = _priority_change(own)
    if change is not None:
        yield change
    yield (
        "max pressure is stable below load 1 in the fluid model (Dai and Lin 2005): serve "
        "first where the backlog of a visit most exceeds that of what follows it"
    )


def _priority_change(own: FluidClasses) -> str | None:
    """Say which priorities would be stable, with the fewest changes from the present ones."""
    network = own.network
    if network.class_count > MOST_CLASSES:
        return None

    def classify(ranks: tuple[int, ...]) -> Literal["stable", "undecided"]:
        if applicable_theorems(network, priority=ranks):
            return "stable"
        pieces = stability_pieces(network, priority=ranks)
        return "undecided" if pieces is None else "stable"

    most = EFFORT // (network.station_count * network.class_count) ** 2
    present = own.priority or tuple(range(network.class_count))
    better = stabilising_priorities(
        network, priority=present, classify=classify, most=min(most, MOST_PRIORITIES)
    )
    found = next(better, None)
    if found is None:
        return None
    ranks, _ = found
    orders = []
    for station, name in enumerate(network.station_names):
        line = sorted(network.classes_at(station), key=ranks.__getitem__)
        before = sorted(line, key=present.__getitem__)
        if len(line) > 1 and (line != before or own.priority is None):
            orders.append(f"at {name} {' before '.join(network.class_names[k] for k in line)}")
    return f"stable with these priorities: {'; '.join(orders)}"
