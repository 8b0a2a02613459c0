"""The classes of a network of agents laid out: each visit's turns, phases and engines."""

from collections.abc import Iterator
from fractions import Fraction
from typing import TypeAlias

from queueing_llm.networks._classes_nodes import Draft, Phase, RequestKind, Turn
from queueing_llm.networks._service import RequestWork, ServiceMeans

Parts: TypeAlias = tuple[tuple[int, Fraction], ...]
"""Nodes or engines, and the share of each."""


def laid_out(
    means: ServiceMeans,
    turns: list[list[Turn] | None],
    *,
    shares: list[Parts],
    split_phases: bool,
) -> Draft:
    """Return the draft with a node for each class and each visit without an engine."""
    draft = Draft()
    laid = [
        _laid(draft, means, at, steps=steps or [], shares=shares[at], split_phases=split_phases)
        for at, steps in enumerate(turns)
    ]
    for at, out in enumerate(means.flow.ways):
        begins, ends = laid[at]
        for node, part in begins:
            draft.arrivals[node] += means.flow.arrival_rates[at] * part
        for way in out:
            for node, left in ends:
                draft.lead(node, laid[way.target][0], left * way.share / way.branches)
    return draft


def _laid(
    draft: Draft,
    means: ServiceMeans,
    at: int,
    *,
    steps: list[Turn],
    shares: Parts,
    split_phases: bool,
) -> tuple[Parts, Parts]:
    """Add the nodes of a visit; return where it begins, and the shares with which it ends."""
    if not shares:
        alone = ((draft.add(None, Fraction(0)), Fraction(1)),)
        return alone, alone
    begins: list[Parts] = []
    last: list[list[int]] = []
    for turn, step in enumerate(steps, start=1):
        chains = [
            [
                draft.add(RequestKind(at, turn, phase, j), seconds)
                for phase, seconds in _phases(means, at, j, step=step, split=split_phases)
            ]
            for j, _ in shares
        ]
        for prefill, *decode in chains:
            draft.lead(prefill, [(node, Fraction(1)) for node in decode], Fraction(1))
        begins.append(
            tuple((chain[0], part) for chain, (_, part) in zip(chains, shares, strict=True))
        )
        last.append([chain[-1] for chain in chains])
    for turn, step in enumerate(steps):
        for node in last[turn] if step.again else []:
            draft.lead(node, begins[turn if step.repeats else turn + 1], step.again)
    ends = [
        (node, 1 - step.again)
        for step, nodes in zip(steps, last, strict=True)
        for node in nodes
    ]
    return begins[0], tuple(ends)


def _phases(
    means: ServiceMeans, at: int, station: int, *, step: Turn, split: bool
) -> Iterator[tuple[Phase, Fraction]]:
    """Yield the phases of a request with their mean times at full batches."""
    engine = means.flow.engines[station]
    work = means.visits[at].work(engine, context=step.context)
    if not split:
        parts: list[tuple[Phase, RequestWork]] = [("both", work)]
    else:
        none = Fraction(0)
        parts = [
            ("prefill", RequestWork(work.prefill, none, none)),
            ("decode", RequestWork(none, work.decode, work.kv_reads)),
        ]
    for phase, part in parts:
        seconds = part.full_seconds(engine)
        assert seconds is not None, "checked before"
        if seconds:
            yield phase, seconds
