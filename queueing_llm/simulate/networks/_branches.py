"""How branches of sessions move through a network, in plain Python.

The compiled kernel does the same; the order in which random numbers are used is part of what
both agree on.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from queueing_llm.simulate.networks._layout import ALL, Layout
from queueing_llm.simulate.networks._streams import Streams


@dataclass(slots=True)
class Session:
    """A session: where and when it began, branches under way, when a branch last left."""

    visit: int
    began: int
    live: int = 1
    answered: int = -1


@dataclass(slots=True)
class Fork:
    """An open fork: the one around it, branches sent and gathered, and their contexts."""

    around: "Fork | None"
    visit: int
    began: int
    branches: int
    gathered: int = 0
    context: int = 0
    fresh: int = 0


@dataclass(slots=True, eq=False)
class Branch:
    """One branch, and its request while it has one.

    ``fresh`` is the part of the carried ``context`` that must be prefilled again.
    """

    session: Session
    visit: int
    fork: Fork | None = None
    turns: int = 0
    context: int = 0
    fresh: int = 0
    prompt: int = 0
    output: int = 0
    since: int = 0


class Draws:
    """The random numbers of a replication one by one."""

    def __init__(self, streams: Streams, size: int) -> None:
        self._streams, self._size = streams, size
        self._lengths: dict[int, Iterator[tuple[int, int]]] = {}
        self._turns: dict[int, Iterator[int]] = {}
        self._uniforms = self._endless(streams.uniforms)
        self._delays = self._endless(streams.delays)

    def lengths(self, visit: int) -> tuple[int, int]:
        """Return the prompt and output tokens of the next request of a kind of visit."""
        if visit not in self._lengths:
            self._lengths[visit] = self._pairs(visit)
        return next(self._lengths[visit])

    def turns(self, visit: int) -> int:
        """Return how many visits in a row a session makes."""
        if visit not in self._turns:
            self._turns[visit] = self._endless(lambda size: self._streams.turns(visit, size))
        return next(self._turns[visit])

    def uniform(self) -> float:
        """Return the next uniform number."""
        return next(self._uniforms)

    def delay(self) -> float:
        """Return the next random delay, in units of its mean."""
        return next(self._delays)

    def arrivals(self) -> Iterator[tuple[int, int]]:
        """Yield the tick and the kind of visit of every session."""
        sources = [
            self._sessions(order, visit, chunks)
            for order, (visit, chunks) in enumerate(self._streams.arrivals(self._size))
        ]
        for tick, _, visit in heapq.merge(*sources):
            yield tick, visit

    def _sessions(
        self, order: int, visit: int, chunks: Iterator[np.ndarray]
    ) -> Iterator[tuple[int, int, int]]:
        for ticks in chunks:
            for tick in ticks.tolist():
                yield tick, order, visit

    def _pairs(self, visit: int) -> Iterator[tuple[int, int]]:
        while True:
            prompt, output = self._streams.lengths(visit, self._size)
            yield from zip(prompt.tolist(), output.tolist(), strict=True)

    def _endless(self, draw: Callable[[int], np.ndarray]) -> Iterator[Any]:
        while True:
            yield from draw(self._size).tolist()


@dataclass(slots=True)
class Branches:
    """All branches on their way; ``send`` gives a request to an engine.

    Parameters
    ----------
    layout, draws
        Where branches can go, and the randomness.
    send : function of a branch and a position among the pairs of visit and engine
        Called when a request reaches an engine.
    backlog : function of an engine
        Tokens of work left there.
    """

    layout: Layout
    draws: Draws
    send: Callable[[Branch, int], None]
    backlog: Callable[[int], int]
    clock: int = 0
    arrived: int = 0
    completed: int = 0
    paused: list[tuple[int, int, Branch]] = field(default_factory=list)
    sequence: int = 0
    visits: np.ndarray = field(init=False)
    changed: np.ndarray = field(init=False)
    sessions: list[tuple[int, ...]] = field(default_factory=list)
    blocks: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.layout.network.visits)
        self.visits, self.changed = np.zeros((count, 5)), np.zeros(count, dtype=np.int64)

    def arrive(self, visit: int) -> None:
        """Let a session begin."""
        self.arrived += 1
        self._follow([Branch(Session(visit, self.clock), visit)])

    def wake(self) -> None:
        """Let the first delay end."""
        _, _, branch = heapq.heappop(self.paused)
        if self._request(branch):
            self._follow(self._leave(branch))

    def finish(self, branch: Branch) -> None:
        """Go on after the request of a branch is finished."""
        self._follow(self._leave(branch))

    def _follow(self, entering: list[Branch]) -> None:
        """Follow branches, each to its end before the next, depth first."""
        stack = entering[::-1]
        while stack:
            branch = stack.pop()
            if self._enter(branch) and self._take_turn(branch):
                stack += self._leave(branch)[::-1]

    def _enter(self, branch: Branch) -> bool:
        """Enter a kind of visit; return whether the branch goes on."""
        ways, v = self.layout.ways, branch.visit
        fork = branch.fork
        if ways.join[v] and fork is not None:
            fork.gathered += 1
            fork.context += branch.context
            fork.fresh += branch.fresh
            if fork.gathered != (fork.branches if ways.join[v] == ALL else 1):
                self._end(branch)
                return False
            if ways.join[v] == ALL:
                branch.context, branch.fresh = fork.context, fork.fresh
            self.blocks.append((fork.visit, fork.began, self.clock))
            branch.fork = fork.around
        branch.turns = self.draws.turns(v) - 1 if ways.has_turns[v] else 0
        branch.since = self.clock
        self._count(v, +1)
        return True

    def _take_turn(self, branch: Branch) -> bool:
        """Wait for the delay and make a request; return whether both are over at once."""
        ways, v = self.layout.ways, branch.visit
        pause = int(ways.delay[v])
        if pause < 0:
            pause = int(np.rint(min(ways.mean_delay[v] * self.draws.delay(), 2.0**61)))
        if pause > 0:
            heapq.heappush(self.paused, (self.clock + pause, self.sequence, branch))
            self.sequence += 1
            return False
        return self._request(branch)

    def _request(self, branch: Branch) -> bool:
        """Send the request to an engine; return whether there is none."""
        ways, v = self.layout.ways, branch.visit
        choices = range(int(ways.first_engine[v]), int(ways.first_engine[v + 1]))
        if not choices:
            branch.prompt = branch.output = 0
            return True
        way = choices[0]
        if len(choices) > 1 and ways.shortest[v]:
            way = min(choices, key=lambda a: self.backlog(int(ways.engine[a])))
        elif len(choices) > 1:
            u = self.draws.uniform()
            way = next(a for a in choices if u < ways.share[a])
        branch.prompt, branch.output = self.draws.lengths(v)
        self.send(branch, way)
        return False

    def _leave(self, branch: Branch) -> list[Branch]:
        """Take another turn, a fork, a move, or the way out; return who enters a visit."""
        ways, v = self.layout.ways, branch.visit
        known = branch.context + branch.prompt + branch.output
        while branch.turns > 0:
            branch.turns -= 1
            carries, miss = bool(ways.turn_carries[v]), float(ways.turn_miss[v])
            branch.context, branch.fresh = self._carried(known, carries, miss)
            if not self._take_turn(branch):
                return []
            known = branch.context + branch.prompt + branch.output
        self.visits[v, 4] += self.clock - branch.since
        self._count(v, -1)
        moves = range(int(ways.first_move[v]), int(ways.first_move[v + 1]))
        if ways.forks[v] and moves:
            fork = Fork(branch.fork, v, self.clock, len(moves))
            branch.session.live += len(moves) - 1
            return [self._moved(branch, m, known, fork) for m in moves]
        chosen: int | None = moves[0] if moves else None
        if moves and not (len(moves) == 1 and ways.edge[moves[0]] == np.inf):
            u = self.draws.uniform()
            chosen = next((m for m in moves if u < ways.edge[m]), None)
        if chosen is not None:
            return [self._moved(branch, chosen, known, branch.fork)]
        branch.session.answered = self.clock
        self._end(branch)
        return []

    def _moved(self, branch: Branch, move: int, known: int, fork: Fork | None) -> Branch:
        ways = self.layout.ways
        carries, miss = bool(ways.carries[move]), float(ways.miss[move])
        context, fresh = self._carried(known, carries, miss)
        return Branch(branch.session, int(ways.target[move]), fork, 0, context, fresh)

    def _carried(self, known: int, carries: bool, miss: float) -> tuple[int, int]:  # noqa: FBT001
        """Return the context that goes along, and how much of it is prefilled again."""
        if not carries or known == 0 or miss == 1:
            return known * carries, known * carries
        return known, int(np.floor(miss * known + self.draws.uniform())) if miss > 0 else 0

    def _end(self, branch: Branch) -> None:
        session = branch.session
        session.live -= 1
        if session.live == 0:
            self.completed += 1
            line = (session.began, session.visit, session.answered, self.clock)
            self.sessions.append(line)

    def _count(self, visit: int, change: int) -> None:
        row = self.visits[visit]
        row[3] += row[0] * float(self.clock - self.changed[visit])
        self.changed[visit] = self.clock
        row[0] += change
        row[1 if change > 0 else 2] += 1
