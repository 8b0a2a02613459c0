"""The deterministic experiment at vertex C, replayed in integers with the shipped rule.

One CodeLlama-34B engine on one A100, t(n) = 11.28 ms + 35.47 ms * ceil(n / 128), at most 100
requests in a batch, 290 prompt and 990 output tokens. Times are ticks of 10 microseconds, so
that every time here is an integer. An arrival at the end of a batch joins the next one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import queueing_llm as ql

PROMPT, OUTPUT, MEMBERS = 290, 990, 100
OVERHEAD, PER_BLOCK, BLOCK = 1128, 3547, 128
GAP = 46_750
"""Ticks between arrivals at vertex C: 467.5 ms."""


@dataclass(frozen=True)
class Moment:
    """What the rule saw when it formed a batch, and what it answered."""

    tick: int
    state: ql.EngineState
    tokens: np.ndarray

    @property
    def begun(self) -> tuple[tuple[int, int], ...]:
        """Prompt and decode tokens left of the requests that have started, oldest first."""
        state, started = self.state, self.state.stored > 0
        left = zip(state.prompt_left[started], state.decode_left[started], strict=True)
        return tuple((int(prompt), int(decode)) for prompt, decode in left)

    @property
    def waiting(self) -> int:
        """How many requests have not started."""
        return int((self.state.stored == 0).sum())

    @property
    def starting(self) -> int:
        """How many requests start with this batch."""
        return int(((self.state.stored == 0) & (self.tokens > 0)).sum())

    @property
    def batch(self) -> tuple[int, int]:
        """Prefill and decode tokens of the batch."""
        in_prefill = self.state.prompt_left > 0
        return int(self.tokens[in_prefill].sum()), int(self.tokens[~in_prefill].sum())

    @property
    def backlog(self) -> int:
        """Tokens left of all requests."""
        return int(self.state.prompt_left.sum() + self.state.decode_left.sum())


def replay(rule: ql.BatchRule, *, budget: int, gap: int) -> Iterator[Moment]:
    """Yield every batch of an engine that starts empty; arrivals at gap, 2 gap, ..."""
    tick, upcoming = 0, gap
    prompt, decode, stored = (np.zeros(0, dtype=np.int64) for _ in range(3))
    while True:
        while upcoming <= tick:
            prompt, decode = np.append(prompt, PROMPT), np.append(decode, OUTPUT)
            stored, upcoming = np.append(stored, 0), upcoming + gap
        if not len(prompt):
            tick = upcoming
            continue
        state = state_of(prompt, decode, stored, budget=budget)
        tokens = rule(state).tokens
        yield Moment(tick, state, tokens)
        tick += OVERHEAD + PER_BLOCK * -(-int(tokens.sum()) // BLOCK)
        in_prefill = prompt > 0
        prompt, decode = prompt - tokens * in_prefill, decode - tokens * ~in_prefill
        stored, stay = stored + tokens, prompt + decode > 0
        prompt, decode, stored = prompt[stay], decode[stay], stored[stay]


def state_of(
    prompt: np.ndarray, decode: np.ndarray, stored: np.ndarray, *, budget: int
) -> ql.EngineState:
    """Return the state of requests in order of arrival."""
    number = np.arange(len(prompt))
    limits = {"token_budget": budget, "max_batch_size": MEMBERS}
    return ql.EngineState(number, np.zeros_like(number), prompt, decode, stored, **limits)
