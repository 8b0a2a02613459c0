"""When a state of an engine of equal requests has come back, for ever.

Brent's method: a marked state is compared with those after it, and the mark moves on
whenever the distance has doubled. Two states with the same tokens left of all requests begun
close a cycle if the prompts waiting and the time to the next arrival are the same; or if more
prompts wait and no batch between them ran out of prompts. In the latter case, arrivals over
an equal time differ by at most one, so the next cycle finds at least as many prompts as the
last did at each of its batches: it does not run out either, whatever the arrivals' phase.
Decodes that were never served may have grown in the same way, unless a limit on residents
counts them.
"""

import operator
from collections import Counter
from fractions import Fraction
from typing import NamedTuple, final

from queueing_llm._validate import Real
from queueing_llm.stability.cycles._equal_requests import UNLIMITED, EqualRequests, Shape


@final
class Mark(NamedTuple):
    """The state at the time of a mark, and the totals until then."""

    prompt_left: int
    begun: int
    steps_left: tuple[int, ...]
    fresh: int
    waiting: Real
    until_arrival: Real
    clock: Fraction
    prefilled: int
    completed: int

    @classmethod
    def of(cls, requests: EqualRequests) -> "Mark":
        decodes = requests.decodes
        return cls(
            prompt_left=requests.prompt_left,
            begun=decodes.begun,
            steps_left=tuple(decodes.steps_left()),
            fresh=decodes.fresh,
            waiting=requests.waiting,
            until_arrival=requests.next_arrival - requests.clock,
            clock=requests.clock,
            prefilled=requests.prefilled,
            completed=requests.completed,
        )

    def is_repeated_by(self, now: EqualRequests) -> bool:
        """Whether what happened since the mark will happen again and again."""
        # Cheap comparisons first: this is asked after every batch.
        if now.prompt_left != self.prompt_left or now.decodes.begun != self.begun:
            return False
        never_lacked = not now.lacked_decodes and now.resident_limit == UNLIMITED
        more_fresh = now.decodes.fresh > self.fresh and never_lacked
        if now.decodes.fresh != self.fresh and not more_fresh:
            return False
        if now.waiting == self.waiting:
            if now.next_arrival - now.clock != self.until_arrival:
                return False
        elif now.waiting < self.waiting or now.lacked_prompts:
            return False
        return all(map(operator.eq, self.steps_left, now.decodes.steps_left()))


def first_recurrence(
    requests: EqualRequests, most_batches: int
) -> tuple[Mark, Counter[Shape]] | None:
    """Move the requests on until a state recurs; return its mark and what happened since."""
    taken, until = 0, 1
    while taken < most_batches:
        mark, seen = Mark.of(requests), Counter[Shape]()
        requests.lacked_prompts = requests.lacked_decodes = False
        while taken < min(until, most_batches):
            seen[requests.step()] += 1
            taken += 1
            if mark.is_repeated_by(requests):
                return mark, seen
        until *= 2
    return None
