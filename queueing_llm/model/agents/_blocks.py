"""Forks and joins: which join a fork waits at, and whether all its branches get there.

A branch remembers the forks that it came through and that no join has closed yet, latest
last. A join closes the latest one. A fork is a *block* if some branch of it can come to a
join that closes it; else its branches go their own ways and the session ends with the last.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

from queueing_llm._validate import decimal
from queueing_llm.errors import InvalidArgument
from queueing_llm.model.agents._visits import Move, Visit

Ways = Sequence[Sequence[Move]]


def fork_blocks(visits: Sequence[Visit], ways: Ways, leaves: Sequence[bool]) -> dict[int, int]:
    """Return the join that closes each block, by the position of its fork.

    Raises
    ------
    InvalidArgument
        If the branches of a block need not all come to one and the same join, a visit is
        reached from inside and from outside of a block, a join has no fork, a context is
        carried into a join of any branch, or forks in a cycle multiply sessions.
    """
    _check_joins(visits, ways)
    joins = _closing_joins(visits, ways)
    for fork, closing in joins.items():
        if len(closing) > 1:
            names = " and ".join(repr(visits[at].name) for at in sorted(closing))
            msg = (
                f"the branches of fork {visits[fork].name!r} end in different joins, {names}: "
                "lead them all into one."
            )
            raise InvalidArgument(msg)
    blocks = {fork: min(closing) for fork, closing in joins.items() if closing}
    _check_nesting(visits, ways, leaves, blocks)
    for fork in joins.keys() - blocks.keys():
        targets = [[move.target for move in out] for out in ways]
        if fork in closure(targets[fork], targets):
            _check_offspring(visits, ways, blocks, fork=fork)
    return blocks


def _check_joins(visits: Sequence[Visit], ways: Ways) -> None:
    for visit, out in zip(visits, ways, strict=True):
        if visit.forks and len(out) < 2:
            msg = f"{visit.name!r} forks, so it needs at least 2 ways out, got {len(out)}."
            raise InvalidArgument(msg)
        for move in out:
            target = visits[move.target]
            if target.join == "any" and move.carries_context:
                msg = (
                    f"the move from {visit.name!r} to {target.name!r} must not carry its "
                    "context: the join takes whichever branch comes first. Use join='all', or "
                    "carries_context=False."
                )
                raise InvalidArgument(msg)


def _closing_joins(visits: Sequence[Visit], ways: Ways) -> dict[int, set[int]]:
    """Return the joins at which some branch of each fork can close it.

    ``ends[v]`` are the joins at which a branch that goes on from ``v`` can close the fork that
    is the latest one there; the smallest sets that satisfy the equations below.
    """
    ends: list[set[int]] = [set() for _ in visits]
    closing: dict[int, set[int]] = {at: set() for at, v in enumerate(visits) if v.forks}
    changed = True
    while changed:
        changed = False
        for at, out in enumerate(ways):
            met: set[int] = set()
            for move in out:
                met |= {move.target} if visits[move.target].join else ends[move.target]
            if at in closing:
                closing[at] = met
                met = set().union(*(ends[join] for join in met))
            if not met <= ends[at]:
                ends[at] |= met
                changed = True
    return closing


def _check_nesting(
    visits: Sequence[Visit], ways: Ways, leaves: Sequence[bool], blocks: dict[int, int]
) -> None:
    """Check that joins have forks, and that no branch of a block leaves."""
    for at, forks in enumerate(_open_forks(visits, ways, blocks)):
        name = visits[at].name
        if visits[at].join and not forks:
            msg = (
                f"{name!r} joins branches, but sessions come there without a fork: remove "
                "join, or set fork=True where the branches begin."
            )
            raise InvalidArgument(msg)
        still_open = forks[:-1] if visits[at].join else forks
        if still_open and leaves[at]:
            fork = still_open[-1]
            msg = (
                f"a branch of fork {visits[fork].name!r} may leave the network at {name!r}, "
                f"but {visits[blocks[fork]].name!r} waits for it: lead all of it to the join."
            )
            raise InvalidArgument(msg)


def _open_forks(
    visits: Sequence[Visit], ways: Ways, blocks: dict[int, int]
) -> list[tuple[int, ...]]:
    """Return the blocks that each visit lies in, the same whichever way it is reached."""
    inside: dict[int, tuple[int, ...]] = {}
    todo: deque[tuple[int, tuple[int, ...]]] = deque(
        (at, ()) for at, visit in enumerate(visits) if visit.arrivals is not None
    )
    while todo:
        at, forks = todo.popleft()
        if at in inside:
            if inside[at] != forks:
                raise InvalidArgument(_entered(visits, at, inside[at], forks))
            continue
        inside[at] = forks
        if visits[at].join:
            forks = forks[:-1]
        if at in blocks:
            forks = (*forks, at)
        todo.extend((move.target, forks) for move in ways[at])
    return [inside[at] for at in range(len(visits))]


def _entered(
    visits: Sequence[Visit], at: int, one: tuple[int, ...], other: tuple[int, ...]
) -> str:
    """Return what to say of a visit that is reached within two different lists of forks."""
    name = visits[at].name
    if at in one + other and visits[at].forks:
        return (
            f"fork {name!r} is reached again before its branches were joined, so its sessions "
            "multiply: join them first, or leave the join out."
        )
    ours, theirs = (
        f"inside the block of fork {visits[forks[-1]].name!r}" if forks else "outside of it"
        for forks in sorted((one, other), key=len, reverse=True)
    )
    return (
        f"{name!r} is reached {ours} and also {theirs}: a session must come there through the "
        "same forks on every way. Use two agents."
    )


def _check_offspring(
    visits: Sequence[Visit], ways: Ways, blocks: dict[int, int], *, fork: int
) -> None:
    r"""Check that a fork without a join, in a cycle, does not multiply sessions for ever.

    With :math:`R` the mean moves, the mean number of visits is finite iff some
    :math:`x > 0` has :math:`x > R x`. Floats propose it, fractions check it.
    """
    branches = {join: len(ways[opened]) for opened, join in blocks.items()}
    shares = [
        [
            (m.target, decimal(m.probability, "probability") / branches.get(m.target, 1))
            for m in out
        ]
        for out in ways
    ]
    system = np.eye(len(shares))
    for at, row in enumerate(shares):
        for target, share in row:
            system[at, target] -= float(share)
    try:
        proposed = np.linalg.solve(system, np.ones(len(shares)))
    except np.linalg.LinAlgError:
        proposed = np.zeros(len(shares))
    visited = [Fraction(float(number)) for number in np.nan_to_num(proposed)]
    if not all(
        own > 0 and own > sum(share * visited[target] for target, share in row)
        for own, row in zip(visited, shares, strict=True)
    ):
        msg = (
            f"fork {visits[fork].name!r} multiplies sessions for ever: its branches "
            "come back to it at least once each time on average. Let more of them leave, "
            "or join them."
        )
        raise InvalidArgument(msg)


def closure(start: Iterable[int], after: Sequence[Sequence[int]]) -> set[int]:
    """Return what can be reached from the start, itself included."""
    reached = set(start)
    frontier = list(reached)
    while frontier:
        fresh = set(after[frontier.pop()]) - reached
        reached |= fresh
        frontier.extend(fresh)
    return reached
