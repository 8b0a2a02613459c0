"""How context travels: what sessions carry along from visit to visit, on average."""

from fractions import Fraction
from typing import NamedTuple

from queueing_llm.model import LengthMoments
from queueing_llm.model.agents import Visit
from queueing_llm.networks._classes_flow import SessionFlow
from queueing_llm.networks._classes_turns import Turns
from queueing_llm.networks._traffic import solve_flow


class Context(NamedTuple):
    """Mean context that a request begins with."""

    tokens: Fraction
    """All that was carried along [tokens]."""
    prefilled: Fraction
    """The part that is not in the prefix cache and is prefilled again [tokens]."""


class Leaving(NamedTuple):
    """How a visit changes the mean context: to ``added + kept`` times that of its start."""

    added: Fraction
    kept: Fraction


def leaving_of(visit: Visit, moments: LengthMoments | None, turns: Turns) -> Leaving:
    """Return how a visit changes the mean context of the session that makes it."""
    grown = Fraction(0) if moments is None else moments.prompt + moments.output
    if visit.turn_carries_context:
        return Leaving(turns.mean * grown, Fraction(1))
    return Leaving(grown, turns.once)


def first_contexts(flow: SessionFlow, leaving: list[Leaving]) -> list[Context]:
    """Return the mean context at the first turn of each visit."""
    rates = flow.entry_rates
    added = [Fraction(0)] * len(rates)
    rows: list[list[tuple[int, Fraction]]] = [[] for _ in rates]
    for source, out in enumerate(flow.ways):
        for way in out:
            if way.carries_context:
                # A join carries on the sum of its branches, so nothing is divided here.
                added[way.target] += way.share * rates[source] * leaving[source].added
                rows[way.target].append((source, way.share * leaving[source].kept))
    names = [visit.name for visit in flow.visits]
    endless = "moves must not make contexts grow without bound on average, as they do at"
    kept = [[(source, factor) for source, factor in row if factor] for row in rows]
    totals = solve_flow(added, kept, names=names, otherwise=endless)
    missed = [Fraction(0)] * len(rates)
    for source, out in enumerate(flow.ways):
        brought = rates[source] * leaving[source].added + leaving[source].kept * totals[source]
        for way in out:
            if way.carries_context:
                missed[way.target] += way.share * way.missed * brought
    return [
        Context(tokens / rate, prefilled / rate) if rate else Context(Fraction(0), Fraction(0))
        for tokens, prefilled, rate in zip(totals, missed, rates, strict=True)
    ]


def varied_visits(
    flow: SessionFlow,
    contexts: list[Context],
    *,
    leaving: list[Leaving],
    turns: list[Turns],
) -> list[bool]:
    """Return at which visits the mean context depends on where a session has been."""
    inflows = _inflows(flow, contexts, leaving)
    carrying = [
        (source, way.target)
        for source, out in enumerate(flow.ways)
        for way in out
        if way.carries_context
    ]
    varied = [len(set(brought)) > 1 for brought in inflows]
    depends = [
        turns[at].is_random
        and (way.added if visit.turn_carries_context else way.kept * contexts[at].tokens) > 0
        for at, (visit, way) in enumerate(zip(flow.visits, leaving, strict=True))
    ]
    changed = True
    while changed:
        changed = False
        for source, target in carrying:
            passes_on = depends[source] or (varied[source] and leaving[source].kept > 0)
            if passes_on and not varied[target]:
                varied[target] = changed = True
    return varied


def _inflows(
    flow: SessionFlow, contexts: list[Context], leaving: list[Leaving]
) -> list[list[Context | None]]:
    """Return the mean contexts with which sessions come to each visit, one per way in.

    A join with as many ways in as branches has the one sum of them; with more, which of them
    the branches took makes a difference, if any carries something.
    """
    nothing = Context(Fraction(0), Fraction(0))
    inflows: list[list[Context | None]] = [
        [nothing] if rate else [] for rate in flow.arrival_rates
    ]
    for source, out in enumerate(flow.ways):
        brought = leaving[source].added + leaving[source].kept * contexts[source].tokens
        for way in out:
            carried = Context(brought, way.missed * brought)
            inflows[way.target].append(carried if way.carries_context else nothing)
    for way in (way for out in flow.ways for way in out):
        if way.branches > 1 and len(inflows[way.target]) == way.branches:
            inflows[way.target] = [None]
    return inflows
