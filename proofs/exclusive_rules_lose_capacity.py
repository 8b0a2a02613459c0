"""FasterTransformer and vanilla vLLM are unstable at a load that the engine can carry.

**Setting.** Every batch takes 1 s. Requests arrive periodically, all alike, into an empty
engine. FasterTransformer: budget 2, 2 prompt + 1 output tokens, one request every 7/4 s, load
6/7. Vanilla vLLM: budget 4, 1 prompt + 3 output tokens, one every 5/4 s, load 4/5.
**Claim.** Under SARATHI at most a fixed number of tokens is ever present. Under
FASTER_TRANSFORMER 3 tokens more are present after every 14 s, and under VANILLA_VLLM 24
tokens more after every 15 s, for ever.
**Checked here.** The exact trajectories, on an integer clock: after a start-up the state at
the end of a period is the state at its beginning with a fixed number of identical requests
inserted, to which the next period gives nothing; the batches of all periods are the same; for
SARATHI the state itself recurs.
**Not checked here.** That equal visible parts make equal decisions for ever: both rules serve
the oldest first, so requests in the middle of the queue that were not touched in one period
do not matter to it.
**Argument.** A recurring state recurs for ever. If a period only inserts requests that its
batches do not touch, the next period sees the same oldest and newest requests, hence forms
the same batches and inserts as many again.
**Source.** Derived here; that the two rules are not throughput-optimal is stated in
arXiv:2504.07347v3.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import queueing_llm as ql
from proofs._claim import require

KIND = "counterexample"

Shape = tuple[tuple[int, int], ...]


@dataclass
class Period:
    """The requests at its start, by tokens left and by number, and whom its batches serve."""

    shape: Shape
    requests: list[int]
    batches: list[list[int]]
    served: set[int]


@dataclass(frozen=True)
class Example:
    """One engine and one stream of equal requests."""

    policy: ql.BatchRule
    token_budget: int
    prompt_tokens: int
    output_tokens: int
    gap: Fraction
    period: int
    start: int
    grows_by: int

    def periods(self, policy: ql.BatchRule, periods: int) -> list[Period]:
        """Return what the rule does, period by period."""
        engine = ql.Engine(
            step_time=ql.HingeStepTime(floor=1, per_token=1, knee=self.token_budget),
            token_budget=self.token_budget,
        )
        count = int((self.start + periods * self.period) / self.gap) + 2
        load = ql.Workload.of_requests(
            [float(i * self.gap) for i in range(count)],
            prompt_tokens=[self.prompt_tokens] * count,
            output_tokens=[self.output_tokens] * count,
        )
        horizon = self.start + periods * self.period
        found: list[Period] = []
        for step in ql.watch(engine, load, policy=policy, horizon=horizon):
            seconds, rest = divmod(step.start, 10**9)
            require(rest == 0, "a batch does not start at a whole second")
            if seconds >= self.start and (seconds - self.start) % self.period == 0:
                state = step.state
                left = zip(state.prompt_left, state.decode_left, strict=True)
                shape = tuple((int(p), int(d)) for p, d in left)
                found.append(Period(shape, state.request.tolist(), [], set()))
            if found:
                tokens = step.batch.tokens
                found[-1].batches.append(tokens[tokens > 0].tolist())
                found[-1].served.update(step.state.request[tokens > 0].tolist())
        return found[:periods]


EXAMPLES = (
    Example(ql.FASTER_TRANSFORMER, 2, 2, 1, Fraction(7, 4), period=14, start=140, grows_by=3),
    Example(ql.VANILLA_VLLM, 4, 1, 3, Fraction(5, 4), period=15, start=105, grows_by=24),
)


def prove(examples: tuple[Example, ...] = EXAMPLES) -> int:
    """Check growth under the rule of each example, and recurrence under Sarathi."""
    comparisons = 0
    for example in examples:
        load = Fraction(example.prompt_tokens + example.output_tokens) / example.gap
        require(load < example.token_budget, "the load exceeds what the engine can carry")
        grown = example.periods(example.policy, periods=6)
        for period, later in itertools.pairwise(grown):
            growth = _tokens(later.shape) - _tokens(period.shape)
            require(growth == example.grows_by, "wrong growth")
            require(_inserts(period, later), "the period changed more than it inserted")
            require(period.batches == later.batches, "the batches differ")
            comparisons += 3
        calm = example.periods(ql.SARATHI, periods=4)
        require(len({period.shape for period in calm}) == 1, "Sarathi's state does not recur")
        comparisons += 1
    return comparisons


def _tokens(shape: Shape) -> int:
    return sum(prompt + decode for prompt, decode in shape)


def _inserts(period: Period, later: Period) -> bool:
    """Whether equal requests were inserted at one place, and nothing serves them later."""
    shape, more = period.shape, len(later.shape) - len(period.shape)
    for at in range(len(shape) + 1):
        kept = shape[:at] == later.shape[:at] and shape[at:] == later.shape[at + more :]
        alike = more > 0 and len(set(later.shape[at : at + more])) == 1
        if kept and alike and later.served.isdisjoint(later.requests[at : at + more]):
            return True
    return False


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove((Example(ql.SARATHI, 4, 1, 3, Fraction(5, 4), 15, 105, 24),)),
    lambda: prove((Example(ql.VANILLA_VLLM, 4, 1, 3, Fraction(5, 4), 15, 105, 25),)),
    lambda: prove((Example(ql.VANILLA_VLLM, 4, 1, 3, Fraction(5, 6), 15, 105, 24),)),
)
