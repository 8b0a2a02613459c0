r"""Requests that are all alike in one engine, moved batch by batch in exact time.

Rules serve both phases first come, first served, so few numbers say everything: the prompts
not begun and the tokens left of the one begun; of the decodes, oldest first, the steps left of
those served before, and how many were never served. No request overtakes another that is
like it, hence steps left never fall from the oldest to the newest.

**Insertion.** One more prompt at the end of the queue changes a batch only if the rule ran out
of prompts with tokens and places to spare; one more decode that was never served only if it
ran out of decodes. ``lacked_prompts`` and ``lacked_decodes`` note these events, so that a
queue which neither matters to any batch nor shrinks over a cycle is known never to matter.
Derived here; ``tests/agree/test_limit_cycle.py`` checks it against the rules.
"""

import functools
import math
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from typing import NamedTuple, final

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.policies import BatchRule
from queueing_llm.stability.bounds._batches import reads_kv

UNLIMITED = 2**62


class Arrivals(NamedTuple):
    """Evenly spaced arrivals: the time of the first and the gap between them [s]."""

    first: Real
    gap: Real


ENDLESS = Arrivals(math.inf, math.inf)
"""No arrivals at all: endless prompts wait from the start."""


class Shape(NamedTuple):
    """What decides the time of a batch: prefill, decode and KV tokens [tokens]."""

    prefill_tokens: int
    decode_tokens: int
    kv_tokens: int


IDLE = Shape(0, 0, 0)


@final
class Decodes:
    """Equal requests in decode, oldest first.

    ``active`` were served last time and hold the number of the decode batch that finishes
    them; ``paused``, behind them, hold the steps they have left; ``fresh`` counts those
    that were never served.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.active: deque[int] = deque()
        self.paused: deque[int] = deque()
        self.fresh = self.served_batches = 0

    @property
    def begun(self) -> int:
        """How many were served before."""
        return len(self.active) + len(self.paused)

    @property
    def count(self) -> int:
        """How many there are."""
        return self.begun + self.fresh

    def steps_left(self) -> Iterator[int]:
        """Yield the decode steps left of those served before, oldest first."""
        return chain((finish - self.served_batches for finish in self.active), self.paused)

    def stored(self, count: int, *, prompt: int) -> int:
        """Return the tokens that the oldest ``count`` hold in the KV cache [tokens]."""
        self._activate(count)
        left = sum(self.active) - count * self.served_batches
        return count * (prompt + self.steps) - left

    def serve(self, count: int) -> int:
        """Give one step to the oldest ``count``, at least one; return how many finish."""
        self._activate(count)
        self.served_batches += 1
        finished = 0
        while self.active and self.active[0] == self.served_batches:
            self.active.popleft()
            finished += 1
        return finished

    def _activate(self, count: int) -> None:
        active, paused, now = self.active, self.paused, self.served_batches
        while len(active) > count:
            paused.appendleft(active.pop() - now)
        while len(active) < count and paused:
            active.append(paused.popleft() + now)
        new = count - len(active)
        self.fresh -= new
        active.extend([now + self.steps] * new)


@final
class EqualRequests:
    """An engine, a rule, and requests that are all alike.

    Parameters
    ----------
    engine, rule
        The engine, without a KV limit, and its scheduler.
    prompt, steps : int
        Prompt tokens and decode steps of each request [tokens].
    arrivals : Arrivals
        When requests come; ``ENDLESS`` if they all wait from the start.
    """

    def __init__(
        self, engine: Engine, rule: BatchRule, *, prompt: int, steps: int, arrivals: Arrivals
    ) -> None:
        limit = engine.max_batch_size or UNLIMITED
        members = rule.limit_counts == "members"
        self.rule, self.budget, self.prompt = rule, engine.token_budget, prompt
        self.member_limit = limit if members else UNLIMITED
        self.resident_limit = UNLIMITED if members else limit
        self.seconds_of = _exact_law(engine)
        self.reads_kv = reads_kv(engine.step_time)
        self.decodes = Decodes(steps)
        self.prompt_left = 0
        self.clock, self.gap, self.next_arrival = Fraction(0), arrivals.gap, arrivals.first
        self.waiting: Real = math.inf if arrivals == ENDLESS else 0
        self.prefilled = self.completed = 0
        self.lacked_prompts = self.lacked_decodes = False
        self._join()

    def step(self) -> Shape:
        """Form and complete the next batch, or idle until the next arrival."""
        prefill, decode, prefilled = self._batch()
        shape = Shape(prefill, decode, self._stored(decode))
        if decode:
            self.completed += self.decodes.serve(decode)
        if self.decodes.steps:
            self.decodes.fresh += prefilled
        else:
            self.completed += prefilled
        self.prefilled += prefilled
        if shape == IDLE:
            self.clock = self.next_arrival
        else:
            self.clock += self.seconds_of(*shape)
        self._join()
        return shape

    def _batch(self) -> tuple[int, int, int]:
        """Return prefill and decode tokens of the next batch, and the prompts it completes."""
        budget, places = self.budget, self.member_limit
        if self.rule.first == "decode":
            decode = self._decode(budget, places)
            if decode and not self.rule.mixed:
                return 0, decode, 0
            prefill, _, prefilled = self._prefill(budget - decode, places - decode)
            return prefill, decode, prefilled
        prefill, members, prefilled = self._prefill(budget, places)
        if prefill and not self.rule.mixed:
            return prefill, 0, prefilled
        return prefill, self._decode(budget - prefill, places - members), prefilled

    def _decode(self, room: int, places: int) -> int:
        most = min(room, places)
        self.lacked_decodes |= self.decodes.count < most
        return min(most, self.decodes.count)

    def _prefill(self, room: int, places: int) -> tuple[int, int, int]:
        """Take prompts in order; return tokens, members, and the prompts completed."""
        if room <= 0 or places <= 0:
            return 0, 0, 0
        residents = self.decodes.count + bool(self.prompt_left)
        tokens = min(self.prompt_left, room)
        begun = int(tokens > 0)
        self.prompt_left -= tokens
        # A prompt that is not done yet has taken all the room.
        left, prompt = room - tokens, self.prompt
        fit = -(-left // prompt) if self.rule.chunked else left // prompt
        fit = max(0, min(fit, places - begun, self.resident_limit - residents))
        self.lacked_prompts |= self.waiting < fit
        new = int(min(fit, self.waiting))
        self.waiting -= new
        taken = min(new * prompt, left)
        if new:
            self.prompt_left = new * prompt - taken
        prefilled = begun + new - bool(self.prompt_left)
        return tokens + taken, begun + new, prefilled

    def _stored(self, decode: int) -> int:
        return (
            self.decodes.stored(decode, prompt=self.prompt) if self.reads_kv and decode else 0
        )

    def _join(self) -> None:
        if self.next_arrival <= self.clock:
            new = (self.clock - self.next_arrival) // self.gap + 1
            self.waiting += new
            self.next_arrival += new * self.gap


def _exact_law(engine: Engine) -> Callable[[int, int, int], Fraction]:
    @functools.lru_cache(maxsize=2**16)
    def seconds_of(prefill: int, decode: int, kv: int) -> Fraction:
        seconds = engine.step_time(prefill, decode, kv)
        try:
            return Fraction(seconds)
        except TypeError:
            msg = f"step_time must give numbers, got {seconds!r}: substitute its symbols first."
            raise InvalidArgument(msg) from None

    return seconds_of
