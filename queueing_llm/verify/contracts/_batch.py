"""What one batch must hold: functions of the state and the batch.

Each returns what is wrong, with numbers, or None. Batches have one entry per request of the
state, at least 0, and say who is preempted. In the shape descriptions, ``R`` is the number
of requests present.
"""

from collections.abc import Callable

import numpy as np

from queueing_llm.policies import Batch, EngineState
from queueing_llm.verify.plays._books import victims


def token_budget(state: EngineState, batch: Batch) -> str | None:
    """Check (6d) of arXiv:2504.07347v3."""
    total = sum(batch.tokens.tolist())  # never wraps, however many tokens a policy grants
    if total <= state.token_budget:
        return None
    return f"{total} tokens in a batch of at most {state.token_budget}"


def prefill_before_decode(state: EngineState, batch: Batch) -> str | None:
    """Check (6a) of arXiv:2504.07347v3."""
    bad = (state.prompt_left > 0) & (batch.tokens > state.prompt_left)
    return _about(state, bad, "gets {} tokens with {} of its prompt left", batch.tokens)


def one_decode_token(state: EngineState, batch: Batch) -> str | None:
    """Check (6c) of arXiv:2504.07347v3."""
    bad = (state.prompt_left == 0) & (batch.tokens > 1)
    return _about(state, bad, "gets {} decode tokens in one step", batch.tokens)


def no_more_than_is_left(state: EngineState, batch: Batch) -> str | None:
    """Check that nobody is served beyond the end."""
    left = state.prompt_left + state.decode_left
    return _about(
        state, batch.tokens > left, "gets {} tokens, more than it has left", batch.tokens
    )


def batch_size(state: EngineState, batch: Batch) -> str | None:
    """Check the limit on the members of a batch."""
    members = int((batch.tokens > 0).sum())
    if state.max_batch_size is None or members <= state.max_batch_size:
        return None
    return f"{members} requests in a batch of at most {state.max_batch_size}"


def residents(state: EngineState, batch: Batch) -> str | None:
    """Check the limit on requests that have started, the other way to read it."""
    if state.max_batch_size is None:
        return None
    starting = int(((state.stored == 0) & (batch.tokens > 0)).sum())
    started = int((state.stored > 0).sum())
    if starting == 0 or started + starting <= state.max_batch_size:
        return None
    return f"{starting} start beside {started} residents, at most {state.max_batch_size}"


def kv_capacity(state: EngineState, batch: Batch) -> str | None:
    """Check what the KV cache holds after the step."""
    held = sum(_blocks(state, batch, of=~victims(state, batch)))
    if state.kv_blocks is None or held <= state.kv_blocks:
        return None
    return f"{held} {_unit(state)} in a KV cache of {state.kv_blocks}"


def whole_prompt_fits(state: EngineState, batch: Batch) -> str | None:
    """Check admission by the whole prompt, not by its first chunk."""
    if state.kv_blocks is None:
        return None
    held = sum(_blocks(state, batch, of=~victims(state, batch)))
    needed = held - state.blocks_of(batch.tokens) + state.blocks_of(state.prompt_left)
    bad = (state.stored == 0) & (batch.tokens > 0) & (needed > state.kv_blocks)
    text = f"starts, but {{}} > {state.kv_blocks} {_unit(state)} would not fit"
    return _about(state, bad, text, needed)


def preempts_residents(state: EngineState, batch: Batch) -> str | None:
    """Check that only who has something to lose is preempted, and is not served."""
    lost = victims(state, batch)
    stranger = _about(
        state, lost & (state.stored == 0), "is preempted and holds {}", state.stored
    )
    return stranger or _about(
        state, lost & (batch.tokens > 0), "is preempted and gets {} tokens", batch.tokens
    )


def preempts_nobody(state: EngineState, batch: Batch) -> str | None:
    """Check that who has started keeps what is computed."""
    return _about(state, victims(state, batch), "loses {} stored tokens", state.stored)


def preempts_on_overflow(state: EngineState, batch: Batch) -> str | None:
    """Check that not all victims could have stayed, served if they decode."""
    lost = victims(state, batch)
    if not lost.any():
        return None
    served = batch.tokens + (lost & (state.prompt_left == 0))
    held = int(state.blocks_of(state.stored + served).sum())
    if state.kv_blocks is not None and held > state.kv_blocks:
        return None
    who = ", ".join(str(n) for n in state.request[lost])
    all_of_them = f"all {held} {_unit(state)} fit in {state.kv_blocks}"
    return f"request {who} is preempted, but {all_of_them}"


def admits_without_victims(state: EngineState, batch: Batch) -> str | None:
    """Check that nobody starts in a batch for which another request has to go."""
    starting = (state.stored == 0) & (batch.tokens > 0)
    if not victims(state, batch).any():
        return None
    return _about(
        state, starting, "starts with {} tokens while another is preempted", batch.tokens
    )


def newest_preempted_first(state: EngineState, batch: Batch) -> str | None:
    """Check that no victim is older than a resident that stays."""
    lost = victims(state, batch)[state.stored > 0]
    stays = np.flatnonzero(~lost)
    if not lost.any() or not len(stays) or np.argmax(lost) > stays[-1]:
        return None
    numbers = state.request[state.stored > 0]
    return f"request {numbers[np.argmax(lost)]} is preempted and {numbers[stays[-1]]} stays"


def progress(state: EngineState, batch: Batch) -> str | None:
    """Check that an engine with work does some."""
    if batch.tokens.any():
        return None
    return f"an empty batch with requests present: {len(state.request)}"


def work_conserving(state: EngineState, batch: Batch) -> str | None:
    """Check (8)-(9) of arXiv:2504.07347v3, where no limit but the token budget is set."""
    total, full = int(batch.tokens.sum()), min(state.token_budget, state.demand)
    if total >= full:
        return None
    return f"batch of {total} where token budget and demand allow {full}"


def work_conserving_within_limits(state: EngineState, batch: Batch) -> str | None:
    """Check that nobody gets less than it could take while the limits leave room.

    What stops a request: the budget; the batch-size limit, by members or by residents; the
    KV cache, for one that waits with its whole prompt; a preemption in the step; or an older
    request of its phase that was stopped itself, since nobody has to be overtaken.
    """
    total = int(batch.tokens.sum())
    if total >= min(state.token_budget, state.demand) or victims(state, batch).any():
        return None
    for positions in (state.decoding, state.prefilling):
        for i in positions:
            if batch.tokens[i] < max(1, int(state.prompt_left[i])):
                if not _is_stopped(state, batch, int(i)):
                    return f"request {state.request[i]} could get more than {batch.tokens[i]}"
                break
    return None


def _is_stopped(state: EngineState, batch: Batch, i: int) -> bool:
    """Whether the batch-size limit or the KV cache leaves no token for one more request."""
    limit = state.max_batch_size
    started = (state.stored > 0) | (batch.tokens > 0)
    no_place = limit is not None and (
        (batch.tokens[i] == 0 and int((batch.tokens > 0).sum()) >= limit)
        or (not started[i] and int(started.sum()) >= limit)
    )
    if no_place or state.kv_blocks is None:
        return no_place
    stored = state.stored + batch.tokens
    wanted = int(stored[i]) + 1 if started[i] else int(state.prompt_left[i])
    lacking = state.blocks_of(wanted) - state.blocks_of(int(stored[i]))
    return lacking > state.kv_blocks - int(state.blocks_of(stored).sum())


def first_come_first_served(state: EngineState, batch: Batch) -> str | None:
    """Check that in each phase nobody is served before an older request has its fill."""
    for positions in (state.decoding, state.prefilling):
        gets = batch.tokens[positions]
        if len(gets) < 2:
            continue
        satisfied = gets >= np.maximum(state.prompt_left[positions], 1)
        overtaken = ~satisfied[:-1] & (np.cumsum(gets[::-1])[::-1][1:] > 0)
        if overtaken.any():
            i = int(np.argmax(overtaken))
            younger = positions[i + 1 :][gets[i + 1 :] > 0][0]
            served = f"request {state.request[younger]} gets {batch.tokens[younger]}"
            return f"{served} while request {state.request[positions[i]]} gets {gets[i]}"
    return None


def window_of(most: int) -> Callable[[EngineState, Batch], str | None]:
    """Return the check that at most so many prompts are partly processed after a batch."""

    def few_partial_prompts(state: EngineState, batch: Batch) -> str | None:
        has_started = (state.stored + batch.tokens > 0) & ~victims(state, batch)
        partial = int((has_started & (state.prompt_left > batch.tokens)).sum())
        return f"{partial} prompts are partly processed" if partial > most else None

    return few_partial_prompts


def oldest_first(state: EngineState, batch: Batch) -> str | None:
    """Check that the oldest request gets something whenever anybody does."""
    if batch.tokens[0] > 0 or not batch.tokens.any():
        return None
    served = int(np.argmax(batch.tokens > 0))
    oldest, younger = state.request[0], state.request[served]
    return f"request {oldest}, the oldest, gets nothing while request {younger} is served"


def stall_free(state: EngineState, batch: Batch) -> str | None:
    """Check that no decode waits while a prompt is processed."""
    prefills = (state.prompt_left > 0) & (batch.tokens > 0)
    waits = (state.prompt_left == 0) & (batch.tokens == 0) & ~victims(state, batch)
    if not (prefills.any() and waits.any()):
        return None
    decode, prompt = int(np.argmax(waits)), int(np.argmax(prefills))
    who = f"request {state.request[prompt]} gets {batch.tokens[prompt]} prompt tokens"
    return f"{who} while request {state.request[decode]} waits for its next token"


def _blocks(state: EngineState, batch: Batch, *, of: np.ndarray) -> list[int]:
    """Return the KV blocks that some requests hold after the step.

    In Python's integers, which never wrap, however many tokens a policy grants.
    """
    stored, tokens = state.stored[of].tolist(), batch.tokens[of].tolist()
    return [state.blocks_of(s + n) for s, n in zip(stored, tokens, strict=True)]


def _unit(state: EngineState) -> str:
    size = state.kv_block_size
    return "tokens" if size == 1 else f"blocks of {size} tokens"


def _about(state: EngineState, bad: np.ndarray, text: str, number: np.ndarray) -> str | None:
    """Return a sentence about the first bad request, with its number."""
    if not bad.any():
        return None
    i = int(np.argmax(bad))
    said = text.format(int(number[i]), int(state.prompt_left[i]))
    return f"request {int(state.request[i])} {said}"
