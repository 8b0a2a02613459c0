"""FasterTransformer and vanilla vLLM are unstable at a load that the engine can carry.

**Setting.** Every batch takes 1 s. Requests arrive periodically, all alike, into an empty
engine. FasterTransformer: budget 2, 2 prompt + 1 output tokens, one request every 7/4 s, load
6/7. Vanilla vLLM: budget 4, 1 prompt + 3 output tokens, one every 5/4 s, load 4/5.
**Claim.** Under SARATHI at most a fixed number of tokens is ever present. Under
FASTER_TRANSFORMER 3 tokens more are present after every 14 s, and under VANILLA_VLLM 24
tokens more after every 15 s, for ever.
**Checked here.** The exact trajectories, on an integer clock: after a start-up the state at
the end of a period is the state at its beginning with a fixed number of identical requests
inserted among those that nothing touched, and the batches of the period are the same; for
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

    def shapes(self, policy: ql.BatchRule, periods: int) -> list[tuple[Shape, list[list[int]]]]:
        """Return the state at the start of each period and the batches formed in it."""
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
        found: list[tuple[Shape, list[list[int]]]] = []
        for step in ql.watch(engine, load, policy=policy, horizon=horizon):
            seconds, rest = divmod(step.start, 10**9)
            require(rest == 0, "a batch does not start at a whole second")
            if seconds >= self.start and (seconds - self.start) % self.period == 0:
                state = step.state
                left = zip(state.prompt_left, state.decode_left, strict=True)
                found.append((tuple((int(p), int(d)) for p, d in left), []))
            if found:
                found[-1][1].append([int(tokens) for tokens in step.batch.tokens])
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
        grown = example.shapes(example.policy, periods=6)
        for (shape, batches), (later, later_batches) in itertools.pairwise(grown):
            require(_tokens(later) - _tokens(shape) == example.grows_by, "wrong growth")
            require(_inserts(shape, later), "the period changed more than it inserted")
            require(_oldest(batches) == _oldest(later_batches), "the batches differ")
            comparisons += 3
        calm = example.shapes(ql.SARATHI, periods=4)
        require(len({shape for shape, _ in calm}) == 1, "Sarathi's state does not recur")
        comparisons += 1
    return comparisons


def _tokens(shape: Shape) -> int:
    return sum(prompt + decode for prompt, decode in shape)


def _inserts(shape: Shape, later: Shape) -> bool:
    """Whether ``later`` is ``shape`` with equal requests inserted at one place."""
    more = len(later) - len(shape)
    for at in range(len(shape) + 1):
        kept = shape[:at] == later[:at] and shape[at:] == later[at + more :]
        if more > 0 and kept and len(set(later[at : at + more])) == 1:
            return True
    return False


def _oldest(batches: list[list[int]]) -> list[tuple[int, ...]]:
    """Return what each batch gives, without the requests that get nothing."""
    return [tuple(tokens for tokens in batch if tokens) for batch in batches]


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove((Example(ql.SARATHI, 4, 1, 3, Fraction(5, 4), 15, 105, 24),)),
    lambda: prove((Example(ql.VANILLA_VLLM, 4, 1, 3, Fraction(5, 4), 15, 105, 25),)),
    lambda: prove((Example(ql.VANILLA_VLLM, 4, 1, 3, Fraction(5, 6), 15, 105, 24),)),
)
