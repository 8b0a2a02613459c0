"""On every path, under every policy: S(T) <= r* T, and V(T) is at least a fluid server's work.

**Setting.** An empty engine of budget b, whose batch of n tokens takes t(n); r* = max n / t(n).
S(T) tokens have left by time T, at the ends of their batches; V(T) are still present, those of
the batch in flight included. A(T) arrived. V_ref is the work of a server that works at r* on
the same arrivals: V_ref(T) = max(0, the largest of A(T) - A(s) - r* (T - s) over s <= T, with
what arrives at s itself counted as arriving after it).
**Claim.** S(T) <= r* T and V(T) >= V_ref(T) at every T, whatever the policy does, idling
included. So where more than r* tokens per second arrive, the backlog grows by at least the
difference: Theorem 2(a).
**Checked here.** The identity of the argument, as polynomials; and the claim itself, in each of
999 small systems for 12 s, at the end of every batch that any policy can reach: every legal
batch, or none for a second, at every decision. Between ends of batches V - V_ref never falls.
**Not checked here.** The law of large numbers that turns rates into growth; policies that
preempt, which only adds tokens to V. The argument covers larger systems.
**Argument.** A batch of n tokens takes at least n / r*, and batches do not overlap: after a
time s at most n + r* (T - s) tokens leave, n <= V(s) being those in flight at s, and n = 0 at
s = 0. As V(T) = V(s) + A - S with A and S counted from s,
V(T) - (A - r* (T - s)) = (V(s) - n) + (n + r* (T - s) - S) >= 0.
**Source.** Theorem 2(a) of arXiv:2504.07347v3 with r* = b / t(b); V_ref is derived here.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import sympy

from proofs._claim import require

KIND = "theorem"

State: TypeAlias = tuple[tuple[int, int], ...]
"""Prompt and decode tokens left of each request, sorted: who they belong to is no matter."""
HORIZON = 12


@dataclass(frozen=True)
class System:
    """One small engine and the requests that come to it, all times whole seconds."""

    seconds: tuple[int, ...]
    requests: tuple[tuple[int, int, int], ...]

    def arriving(self, after: int, until: int) -> State:
        """Return the requests that come after a time and not after another."""
        return tuple((p, d) for at, p, d in self.requests if after < at <= until)

    def tokens_until(self, time: int) -> int:
        """Return A(T)."""
        return _tokens(self.arriving(-1, time))

    def reference(self, rate: Fraction) -> list[Fraction]:
        """Return V_ref at the times 0, 1, ..., step by step."""
        work = [Fraction(_tokens(self.arriving(-1, 0)))]
        for time in range(1, HORIZON + 1):
            arrived = _tokens(self.arriving(time - 1, time))
            work.append(max(Fraction(0), work[-1] - rate) + arrived)
        return work

    def reached(self, *, extra: int) -> Iterator[tuple[int, State]]:
        """Yield every time and state at which a batch can end or a policy can decide."""
        todo = [(0, self.arriving(-1, 0))]
        seen = set(todo)
        lasting = (1, *self.seconds, *self.seconds[-1:] * extra)
        while todo:
            time, state = todo.pop()
            yield time, state
            most = min(len(self.seconds) + extra, _tokens(state))
            for size in range(most + 1):
                end = time + lasting[size]
                new = self.arriving(time, end)
                for left in _served(state, size):
                    node = (end, tuple(sorted((*left, *new))))
                    if end <= HORIZON and node not in seen:
                        seen.add(node)
                        todo.append(node)


def prove(*, slower: Fraction = Fraction(0), extra: int = 0, early: bool = False) -> int:
    """Check the identity, and every moment of every policy in the small systems."""
    _check_identity()
    comparisons = 1
    for system in _systems():
        rate = max(Fraction(n, t) for n, t in enumerate(system.seconds, start=1)) - slower
        least = system.reference(rate)
        require(least == _largest_excess(system, rate), "the two forms of V_ref differ")
        fewest: dict[int, int] = {}
        for time, state in system.reached(extra=extra):
            backlog = _tokens(state) - (min(1, len(state)) if early else 0)
            fewest[time] = min(backlog, fewest.get(time, backlog))
            comparisons += 1
        for time, backlog in fewest.items():
            served = system.tokens_until(time) - backlog
            require(served <= rate * time, f"{served} tokens left by {time} s in {system}")
            require(backlog >= least[time], f"{backlog} tokens at {time} s in {system}")
    return comparisons


def _check_identity() -> None:
    start, arrived, served, n, r, elapsed = sympy.symbols("V_s A S n r elapsed")
    difference = (start + arrived - served) - (arrived - r * elapsed)
    parts = (start - n) + (n + r * elapsed - served)
    require(sympy.expand(difference - parts) == 0, "the identity fails")


def _largest_excess(system: System, rate: Fraction) -> list[Fraction]:
    """Return V_ref at the times 0, 1, ... by its definition."""
    return [
        max(
            Fraction(0),
            *(
                _tokens(system.arriving(since - 1, time)) - rate * (time - since)
                for since in range(time + 1)
            ),
        )
        for time in range(HORIZON + 1)
    ]


def _systems() -> Iterator[System]:
    shapes = ((1, 0), (1, 1), (2, 1))
    for gaps in itertools.product((0, 2), repeat=2):
        times = tuple(itertools.accumulate((1, *gaps)))
        for kinds in itertools.product(shapes, repeat=3):
            requests = tuple((at, *kind) for at, kind in zip(times, kinds, strict=True))
            for seconds in itertools.product((1, 2, 3), repeat=2):
                yield System(seconds, requests)
    for seconds in itertools.product((1, 2, 3), repeat=3):
        yield System(seconds, ((0, 2, 1), (0, 1, 2), (2, 2, 1)))


@functools.cache
def _served(state: State, size: int) -> frozenset[State]:
    """Return what a state can leave after a legal batch of ``size`` tokens."""
    if not state:
        return frozenset({()} if size == 0 else ())
    (prompt, decode), others = state[0], state[1:]
    left = set()
    for given in range(min(size, prompt or 1) + 1):
        one = (prompt - given, decode) if prompt else (0, decode - given)
        for rest in _served(others, size - given):
            left.add(tuple(sorted(rest if one == (0, 0) else (one, *rest))))
    return frozenset(left)


def _tokens(state: State) -> int:
    return sum(prompt + decode for prompt, decode in state)


CONTROLS: tuple[Callable[[], int], ...] = (
    # A smaller rate, one token more than the budget, and a token that leaves early.
    lambda: prove(slower=Fraction(1, 10**9)),
    lambda: prove(extra=1),
    lambda: prove(early=True),
)
