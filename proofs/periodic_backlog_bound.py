"""Evenly spaced requests never leave more than a fixed backlog, up to load exactly 1.

**Setting.** Requests of p >= 1 prompt and D decode tokens, w = p + D, arrive A seconds apart
into an empty engine of budget b, whose batch of n tokens takes t(n). Every batch holds
min(b, demand) tokens, where the demand counts the prompt tokens left of each request, or 1 for
a decode; they leave at its end. The load is at most 1: w t(b) <= b A.
**Claim.** With X = w + max over 1 <= n < b of (n D + w t(n) / A), the backlog is below X at the
end of every batch and below X + b at every time, under every such policy; if b = 1 it is at
most w at the end of every batch. If t does not decrease, X <= b (D + 1) + p <= b w + 1. From
a backlog V above B = (b - 1) (D + 1), at load below 1, it takes at most
ceil((V + w - 1 - B) / (b - w t(b) / A)) batches until it is at most B, all of them full.
**Checked here.** The identities of the argument, as polynomials; the count of arrivals on all
small integers; the numbers that the shipped ``periodic_bound`` returns, on every state that
any work-conserving policy can reach, for ever, in each of about 1300 small systems, 191 of
them of load 1 and some whose t decreases; and that one system attains both bounds.
**Not checked here.** The argument itself, for larger systems.
**Argument.** Let c >= 1 be what a request counts in the demand: (1 + D) c exceeds its tokens
by D (c - 1), plus c less its prompt left, plus D less its decodes left, none of them negative.
So V <= (1 + D) n at the start of a batch that holds the whole demand n < b. Between that start
and the end of the j-th full batch after it come a < 1 + (t(n) + j t(b)) / A requests, and
V - n + w a - j b < X remains. If there was no such batch since the engine was empty, the first
request came at the start of the first of j full batches, a = floor(j t(b) / A) came after it,
and w + w a - j b <= w remains. Above B the demand exceeds b - 1, so N batches are full, and
V + w a - N b < V + w - N (b - w t(b) / A) remains.
**Source.** Derived here. A bound (b + 1) w is in a public formalisation of arXiv:2504.07347;
where t decreases it can fail.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import sympy

import queueing_llm as ql
from proofs._claim import require
from queueing_llm.stability.drift._periodic import periodic_bound

KIND = "theorem"

State: TypeAlias = tuple[tuple[int, int], ...]
"""Prompt and decode tokens left of each request, sorted: who they belong to is no matter."""


@dataclass(frozen=True)
class System:
    """One small engine and its requests, all times whole seconds."""

    prompt: int
    decode: int
    seconds: tuple[int, ...]
    gap: int

    @property
    def token_budget(self) -> int:
        """Tokens of a full batch."""
        return len(self.seconds)

    @property
    def work(self) -> int:
        """Tokens of a request."""
        return self.prompt + self.decode

    def claimed(self) -> tuple[int, int]:
        """Return the bounds of the shipped function, at ends of batches and at any time."""
        sizes = range(1, self.token_budget + 2)
        step = ql.TableStepTime.of_tokens(sizes, (*self.seconds, self.seconds[-1]))
        engine = ql.Engine(step_time=step, token_budget=self.token_budget)
        lengths = ql.IndependentLengths(
            ql.DeterministicLength(self.prompt), ql.DeterministicLength(self.decode)
        )
        load = ql.Workload.of(ql.DeterministicArrivals(Fraction(1, self.gap)), lengths)
        found = periodic_bound(engine, load, policy=ql.SARATHI)
        if found is None:
            return 0, 0
        return found.batch_end_tokens, found.any_time_tokens

    def reached(self, *, may_waste: int) -> Iterator[tuple[State, int, State]]:
        """Yield every batch that may ever run.

        Its start, the tokens present just before its end, and the state at its end.
        """
        new = (self.prompt, self.decode)
        todo: list[tuple[int, State]] = [(self.gap, (new,))]
        seen = set(todo)
        while todo:
            until_next, state = todo.pop()
            full = min(self.token_budget, sum(max(prompt, 1) for prompt, _ in state))
            for size in range(max(1, full - may_waste), full + 1):
                seconds = self.seconds[size - 1]
                before = _points(until_next, self.gap, seconds - 1)
                count = _points(until_next, self.gap, seconds)
                peak = _tokens(state) + before * self.work
                for left in set(_served(state, size)):
                    end = tuple(sorted((*left, *(new,) * count)))
                    yield state, peak, end
                    after = until_next + count * self.gap - seconds
                    node = (after, end) if end else (self.gap, (new,))
                    if node not in seen:
                        seen.add(node)
                        todo.append(node)


ATTAINED = System(prompt=2, decode=1, seconds=(8, 5), gap=8)


def prove(
    *,
    budgets: tuple[int, ...] = (1, 2, 3),
    may_waste: int = 0,
    claimed: Callable[[System], tuple[int, int]] = System.claimed,
) -> int:
    """Check the identities, the count of arrivals, and every state of the small systems."""
    comparisons = _check_identities() + _check_count()
    for system in (*(s for b in budgets for s in _systems(b)), ATTAINED):
        at_ends, at_any_time = claimed(system)
        most = most_at_any_time = 0
        for state, peak, end in system.reached(may_waste=may_waste):
            most = max(most, _tokens(state), _tokens(end))
            most_at_any_time = max(most_at_any_time, peak)
            require(most <= at_ends, f"{end} after {state} in {system}")
            require(most_at_any_time <= at_any_time, f"{peak} after {state} in {system}")
            comparisons += 2
        if system == ATTAINED:
            require((most, most_at_any_time) == (at_ends, at_any_time), "not attained")
    return comparisons


def _check_identities() -> int:
    p, D, n, b, c, V, j, a = sympy.symbols("p D n b c V j a")
    w, rate, t, T, left = sympy.symbols("w rate t T left")
    x = w + n * D + rate * w * t
    spare = (1 + D) * n - V
    late = w * (1 + rate * (t + j * T) - a)
    later = w * (1 + rate * (t + (j + 1) * T) - a)
    room = b - rate * w * T
    for name, one, other in (
        ("demand", (1 + D) * c - (p + left), D * (c - 1) + (c - p) + (D - left)),
        ("ends", x - (V - n + w * a - j * b), spare + late + j * room),
        ("any time", x + b - (V - n + w * a - j * b), spare + later + (j + 1) * room),
        ("first", x + b - (V + w * a), spare + w * (1 + rate * t - a) + (b - n)),
        (
            "steps",
            b * (D + 1) + p - x.subs(w, p + D),
            (b - 1 - n) * D + b - rate * (p + D) * t,
        ),
        (
            "return",
            V + w - j * room - (V - j * b + w * a),
            w * (1 + rate * j * T - a),
        ),
        ("short", b * (p + D) + 1 - (b * (D + 1) + p), (b - 1) * (p - 1)),
    ):
        require(sympy.expand(one - other) == 0, f"the identity of {name} fails")
    return 7


def _check_count() -> int:
    """Check that an interval that leaves out its start holds fewer than 1 + length / gap."""
    cases = list(itertools.product(range(1, 8), range(1, 8), range(25)))
    for gap, until_next, length in cases:
        if until_next <= gap:
            count = sum(1 for at in range(until_next, length + 1, gap))
            require(count == _points(until_next, gap, length), "the count is another one")
            require(count * gap < gap + length, "too many arrivals")
    return 2 * len(cases)


def _systems(token_budget: int) -> Iterator[System]:
    """Yield the systems of a budget whose load is at most 1."""
    most = 4 if token_budget < 3 else 3
    most_decode = 3 if token_budget < 3 else 2
    for prompt, decode, gap in itertools.product((1, 2), range(most_decode + 1), range(1, 7)):
        for seconds in itertools.product(range(1, most + 1), repeat=token_budget):
            if (prompt + decode) * seconds[-1] <= token_budget * gap:
                yield System(prompt, decode, seconds, gap)


def _points(until_next: int, gap: int, length: int) -> int:
    """Return how many of until_next, until_next + gap, ... are at most ``length``."""
    return max(0, (length - until_next) // gap + 1)


def _served(state: State, size: int) -> Iterator[State]:
    """Yield what a state leaves after every legal batch of ``size`` tokens."""
    if not state:
        if size == 0:
            yield ()
        return
    (prompt, decode), others = state[0], state[1:]
    for given in range(min(size, prompt or 1) + 1):
        one = (prompt - given, decode) if prompt else (0, decode - given)
        for rest in _served(others, size - given):
            yield tuple(sorted(rest if one == (0, 0) else (one, *rest)))


def _tokens(state: State) -> int:
    return sum(prompt + decode for prompt, decode in state)


def _published(system: System) -> tuple[int, int]:
    bound = (system.token_budget + 1) * system.work
    return bound, bound + system.token_budget


def _changed(at_ends: int, at_any_time: int) -> Callable[[System], tuple[int, int]]:
    return lambda system: (system.claimed()[0] + at_ends, system.claimed()[1] + at_any_time)


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(budgets=(2,), claimed=_published),
    lambda: prove(budgets=(), claimed=_changed(-1, 0)),
    lambda: prove(budgets=(), claimed=_changed(0, -1)),
    lambda: prove(budgets=(), claimed=_changed(1, 0)),
    # A policy that leaves room for one token now and then.
    lambda: prove(budgets=(2,), may_waste=1),
)
