r"""Users who do not think, with requests that are all alike: a machine that repeats itself.

Whose requests end in one step ask again together, and are prefilled together if the budget
lets them. Such groups stay for ever, so phases do not spread and the mean over independent
phases is not what one run shows. The run itself is short: it is followed batch by batch, in
exact time, until a state comes back. If none does in many rounds of a request, the later half
of that run is the answer, and how its two parts differ the measure of its error.
"""

import math
from fractions import Fraction
from typing import final

from queueing_llm.closed._crowd import crowd_of
from queueing_llm.closed._operating_point import OperatingPoint
from queueing_llm.evidence import Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule
from queueing_llm.stability.cycles._equal_requests import Arrivals, EqualRequests, Shape

ROUNDS = 24
FEWEST_BATCHES = 10_000
MOST_BATCHES = 50_000
FEWEST_ROUNDS = 8


def equal_users_cycle(
    engine: Engine, workload: Workload, rule: BatchRule
) -> OperatingPoint | None:
    """Return what users with equal requests, who all begin at time 0, run into.

    Parameters
    ----------
    engine, workload, rule
        The system, closed, without thinking and without a KV limit that can bind.

    Returns
    -------
    OperatingPoint or None
        Evidence ``NUMERICAL`` for a cycle, exact but for the rounding of the result, and
        ``SIMULATED`` where no state came back. None if lengths vary, users begin one after
        the other, or a round takes too many batches.
    """
    crowd, moments = crowd_of(workload), workload.moments
    prompt, output = int(moments.prompt), int(moments.output)
    alike = (moments.prompt_squared, moments.output_squared) == (prompt**2, output**2)
    if not alike or crowd.think_time or crowd.ramp:
        return None
    if not rule.chunked and prompt > engine.token_budget:
        return None
    steps = int(engine.decode_steps(output))
    nobody = Arrivals(math.inf, 1)
    requests = EqualRequests(engine, rule, prompt=prompt, steps=steps, arrivals=nobody)
    requests.waiting = crowd.users
    rounds = ROUNDS * (steps + 1 + crowd.users * prompt // engine.token_budget)
    most = min(max(rounds, FEWEST_BATCHES), MOST_BATCHES)
    found = settled(requests, emits=engine.first_token_from_prefill, most=most)
    return None if found is None else _means(*found, workload)


@final
class Totals:
    """What has been since the start."""

    __slots__ = ("batches", "completed", "seconds", "tokens", "unanswered")

    def __init__(self) -> None:
        self.batches = self.completed = 0
        self.seconds = self.unanswered = Fraction(0)
        self.tokens = Shape(0, 0, 0)

    def add(self, shape: Shape, *, seconds: Fraction, unanswered: int, completed: int) -> None:
        self.batches += 1
        self.completed += completed
        self.seconds += seconds
        self.unanswered += unanswered * seconds
        self.tokens = Shape(*(a + b for a, b in zip(self.tokens, shape, strict=True)))

    @property
    def rate(self) -> float:
        """Requests completed per second."""
        return float(self.completed / self.seconds)

    def copy(self) -> "Totals":
        other = Totals()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def since(self, other: "Totals") -> "Totals":
        """Take off what had been when ``other`` was copied."""
        for name in ("batches", "completed", "seconds", "unanswered"):
            setattr(self, name, getattr(self, name) - getattr(other, name))
        pairs = zip(self.tokens, other.tokens, strict=True)
        self.tokens = Shape(*(a - b for a, b in pairs))
        return self


def settled(
    requests: EqualRequests, *, emits: bool, most: int
) -> tuple[Totals, float | None] | None:
    """Return the totals between two equal states, and None.

    If there are none within ``most`` batches, those of the later half of all rounds, and how
    much the throughputs of its two parts differ, relatively; None if there are too few rounds.
    """
    total, users = Totals(), int(requests.waiting)
    rounds: list[Totals] = []
    seen: dict[tuple[object, ...], Totals] = {}
    while total.batches < most:
        if _step(requests, total, emits=emits) == 0:
            continue
        # Users end in turn, so after as many ends as users the phase is the same again.
        if total.completed // users > len(rounds):
            rounds.append(total.copy())
        # Every cycle completes a request, so it is enough to look where one does.
        state = _state(requests)
        if state in seen:
            return total.since(seen[state]), None
        seen[state] = total.copy()
    if len(rounds) < FEWEST_ROUNDS:
        return None
    marks = (rounds[len(rounds) // 2], rounds[len(rounds) * 3 // 4], rounds[-1])
    parts = (marks[1].copy().since(marks[0]), marks[2].copy().since(marks[1]))
    apart = parts[1].rate / parts[0].rate - 1
    return marks[2].copy().since(marks[0]), abs(apart)


def _step(requests: EqualRequests, total: Totals, *, emits: bool) -> int:
    """Take a step, add it to the totals, and return how many requests it completes."""
    fresh = 0 if emits else requests.decodes.fresh
    unanswered = int(requests.waiting) + bool(requests.prompt_left) + fresh
    before, begun = requests.completed, requests.clock
    shape = requests.step()
    completed = requests.completed - before
    requests.waiting += completed
    seconds = requests.clock - begun
    total.add(shape, seconds=seconds, unanswered=unanswered, completed=completed)
    return completed


def _state(requests: EqualRequests) -> tuple[object, ...]:
    decodes = requests.decodes
    return (
        requests.waiting,
        requests.prompt_left,
        decodes.fresh,
        len(decodes.active),
        tuple(decodes.steps_left()),
    )


def _means(total: Totals, apart: float | None, workload: Workload) -> OperatingPoint:
    basis = (
        f"the cycle of {total.completed} requests in {total.batches} batches that equal "
        "requests run into from a common start, in exact time"
    )
    if apart is not None:
        basis = (
            f"{total.batches} batches of equal requests from a common start, which did not "
            f"repeat themselves; their two halves differ by {apart:.2%}"
        )
    prefill, decode, kv = (tokens / total.batches for tokens in total.tokens)
    return OperatingPoint.of(
        workload,
        throughput=total.rate,
        time_to_first_token=float(total.unanswered / total.completed),
        prefill_tokens=prefill,
        decode_tokens=decode,
        kv_tokens=kv,
        step_seconds=float(total.seconds / total.batches),
        utilisation=1.0,
        evidence=Evidence.NUMERICAL if apart is None else Evidence.SIMULATED,
        basis=basis,
        measured_error=apart or 0.0,
    )
