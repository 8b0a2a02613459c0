"""What engines, kinds of visit and moves must satisfy together to be a network."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from queueing_llm._validate import decimal
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model._arguments import check_kind
from queueing_llm.model.agents._blocks import closure, fork_blocks
from queueing_llm.model.agents._visits import Move, NetworkEngine, Visit

Successors = tuple[tuple[Move, ...], ...]

_ROUNDING = Fraction(1, 10**12)
"""Floats that should sum to 1 miss it by less."""


def check_network(
    engines: Sequence[NetworkEngine], visits: Sequence[Visit], moves: Sequence[Move]
) -> None:
    """Raise :class:`InvalidArgument` unless the parts make a network that sessions can leave.

    The message names the visit or the move, and says what would be accepted.
    """
    for name, parts, kind in (
        ("engines", engines, NetworkEngine),
        ("visits", visits, Visit),
        ("moves", moves, Move),
    ):
        for part in parts:
            check_kind(part, name, kind=kind, such_as=kind.__name__)
    _check_names("engine", (engine.name for engine in engines))
    _check_names("visit", (visit.name for visit in visits))
    _check_engines(engines, visits)
    _check_targets(visits, moves)
    ways = ways_out(visits, moves)
    for at, visit in enumerate(visits):
        _check_probabilities(visit, ways[at], visits)
    _check_reached(visits, ways)
    leaves = [leaving_share(visit, ways[at]) > 0 for at, visit in enumerate(visits)]
    _check_leaves(visits, ways, leaves)
    fork_blocks(visits, ways, leaves)


def ways_out(visits: Sequence[Visit], moves: Sequence[Move]) -> Successors:
    """Return the moves from each visit that are ever taken."""
    ways: list[list[Move]] = [[] for _ in visits]
    for move in moves:
        if move.probability > 0:
            ways[move.source].append(move)
    return tuple(map(tuple, ways))


def leaving_share(visit: Visit, ways: Sequence[Move]) -> Fraction:
    """Return the share of the sessions that end after a visit, 0 from a fork with moves.

    Floats are read as the decimals that they print as; if these sum to 1 up to rounding,
    nobody leaves.
    """
    if visit.forks:
        return Fraction(not ways)
    rest = 1 - sum((decimal(move.probability, "probability") for move in ways), Fraction(0))
    has_floats = any(isinstance(move.probability, float) for move in ways)
    return Fraction(0) if has_floats and abs(rest) < _ROUNDING else rest


def _check_names(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            msg = f"two {what}s are called {name!r}: give every {what} its own name."
            raise InvalidArgument(msg)
        seen.add(name)


def _check_engines(engines: Sequence[NetworkEngine], visits: Sequence[Visit]) -> None:
    used: set[int] = set()
    for visit in visits:
        at = visit.engines
        if len(set(at)) < len(at) or not all(
            isinstance(i, int) and 0 <= i < len(engines) for i in at
        ):
            msg = (
                f"visit {visit.name!r} must name different engines by their positions "
                f"0 to {len(engines) - 1}, got {at!r}."
            )
            raise InvalidArgument(msg)
        used.update(at)
    for position, engine in enumerate(engines):
        if position not in used:
            msg = f"no agent uses engine {engine.name!r}: remove it, or give it an agent."
            raise InvalidArgument(msg)


def _check_targets(visits: Sequence[Visit], moves: Sequence[Move]) -> None:
    seen: set[tuple[int, int]] = set()
    for move in moves:
        way = (move.source, move.target)
        if not all(isinstance(i, int) and 0 <= i < len(visits) for i in way):
            msg = (
                f"a move must go between the positions 0 to {len(visits) - 1} of visits, "
                f"got source={move.source!r}, target={move.target!r}."
            )
            raise InvalidArgument(msg)
        if way in seen:
            source, target = (visits[i].name for i in way)
            msg = (
                f"two moves lead from {source!r} to {target!r}: add up their probabilities, or "
                "give each branch an agent of its own."
            )
            raise InvalidArgument(msg)
        seen.add(way)


def _check_probabilities(visit: Visit, ways: Sequence[Move], visits: Sequence[Visit]) -> None:
    for move in ways:
        if visit.forks and move.probability != 1:
            msg = (
                f"{visit.name!r} forks, so its move to {visits[move.target].name!r} must have "
                f"probability 1, got {move.probability!r}: every branch is taken."
            )
            raise InvalidArgument(msg)
    if leaving_share(visit, ways) < 0:
        listed = ", ".join(f"{visits[m.target].name!r}: {m.probability}" for m in ways)
        msg = (
            f"the probabilities of the moves from {visit.name!r} must sum to at most 1, "
            f"got {listed}; what is left out of 1 leaves the network."
        )
        raise InvalidArgument(msg)


def _check_reached(visits: Sequence[Visit], ways: Successors) -> None:
    entries = [at for at, visit in enumerate(visits) if visit.arrivals is not None]
    if not entries:
        msg = (
            "no session ever arrives: give an agent an arrival_rate, or a request class an "
            "arrival_rate and the agent that it enters at."
        )
        raise InvalidArgument(msg)
    reached = closure(entries, [[move.target for move in out] for out in ways])
    for at, visit in enumerate(visits):
        if at not in reached:
            msg = f"no session ever reaches {visit.name!r}: lead a move there, or remove it."
            raise InvalidArgument(msg)


def _check_leaves(visits: Sequence[Visit], ways: Successors, leaves: Sequence[bool]) -> None:
    before: list[list[int]] = [[] for _ in visits]
    for out in ways:
        for move in out:
            before[move.target].append(move.source)
    free = closure([at for at, may in enumerate(leaves) if may], before)
    kept = [visit.name for at, visit in enumerate(visits) if at not in free]
    if kept:
        msg = (
            f"a session never leaves once it is at {', '.join(map(repr, kept))}: leave some "
            "probability out of 1 on the moves from one of them, or lead one out."
        )
        raise InvalidArgument(msg)


def check_position(visit: object, visits: Sequence[Visit]) -> None:
    """Raise :class:`InvalidArgument` unless a visit is named by its position."""
    if isinstance(visit, bool) or visit not in range(len(visits)):
        msg = f"visit must be a position from 0 to {len(visits) - 1}, got visit={visit!r}."
        raise InvalidArgument(msg)


def check_named(
    name: object, accepted: Iterable[object], what: str, *, where: str = ""
) -> None:
    """Raise :class:`InvalidArgument` with the nearest name unless a name is accepted."""
    known = list(accepted)
    if name not in known:
        msg = f"there is no {what} {name!r}{where}: {nearest(str(name), map(str, known))}."
        raise InvalidArgument(msg)
