"""A closed system as a plain event loop: users, one engine, any policy.

Each user sends a request, waits for its last token, thinks, and sends the next one. The policy
sees the same state as in the package; everything else is done request by request, in whatever
numbers the step time answers (exact ones stay exact).
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from queueing_llm.policies import EngineState


@dataclass
class Request:
    """What is left of a request, and when things happened to it."""

    number: int
    user: int
    arrived: Any
    prompt_left: int
    decode_left: int
    stored: int = 0
    first: Any = None
    finished: Any = None


@dataclass
class Batch:
    """One batch: seconds, and prefill, decode and KV tokens."""

    seconds: Any
    prefill: int
    decode: int
    kv: int


def play(engine, policy, *, starts, lengths, thinks, completions):
    """Return the finished requests, in order, and the batches formed.

    Parameters
    ----------
    engine, policy
        What to run.
    starts : list of number
        When each user sends the first request [s].
    lengths : iterator of (int, int)
        Prompt and output tokens of the requests, in order of arrival.
    thinks : iterator of number
        Think times, in order of completion [s].
    completions : int
        After how many finished requests to stop.
    """
    upcoming = sorted((when, user) for user, when in enumerate(starts))
    present, done, batches = [], [], []
    now, number = 0, 0
    while len(done) < completions:
        if not present and upcoming[0][0] > now:
            now = upcoming[0][0]
        while upcoming and upcoming[0][0] <= now:
            when, user = upcoming.pop(0)
            prompt, output = next(lengths)
            steps = int(engine.decode_steps(output))
            present.append(Request(number, user, when, prompt, steps))
            number += 1
        present.sort(key=attrgetter("number"))
        batch = _serve(engine, policy, present)
        batches.append(batch)
        now += batch.seconds
        for request in [r for r in present if r.finished]:
            present.remove(request)
            request.finished = now
            request.first = now if request.first in (None, True) else request.first
            done.append(request)
            upcoming.append((now + next(thinks), request.user))
        for request in present:
            request.first = now if request.first is True else request.first
        upcoming.sort()
    return done, batches


def _serve(engine, policy, present):
    """Form a batch and take it off; mark what it finishes with True."""
    state = _state(engine, present)
    answer = policy(state)
    tokens = np.asarray(answer.tokens)
    lost = np.zeros(len(present), bool) if answer.preempted is None else answer.preempted
    for request, preempted in zip(present, lost, strict=True):
        if preempted:
            again = request.prompt_left == 0 and engine.first_token_from_prefill
            request.prompt_left += request.stored + again
            request.decode_left -= again
            request.stored = 0
    batch = Batch(0, 0, 0, 0)
    for request, count in zip(present, tokens.tolist(), strict=True):
        if count == 0:
            continue
        if request.prompt_left:
            request.prompt_left -= count
            batch.prefill += count
            emits = engine.first_token_from_prefill and request.prompt_left == 0
        else:
            request.decode_left -= 1
            batch.decode += 1
            batch.kv += request.stored
            emits = True
        request.stored += count
        request.first = True if emits and request.first is None else request.first
        request.finished = request.prompt_left == request.decode_left == 0 or None
    batch.seconds = engine.step_time(batch.prefill, batch.decode, batch.kv)
    return batch


def _state(engine, present):
    columns = [
        [r.number for r in present],
        [0] * len(present),
        [r.prompt_left for r in present],
        [r.decode_left for r in present],
        [r.stored for r in present],
    ]
    return EngineState(
        *np.array(columns, dtype=np.int64),
        token_budget=engine.token_budget,
        max_batch_size=engine.max_batch_size,
        kv_capacity=engine.kv_capacity,
        kv_block_size=engine.kv_block_size,
    )
