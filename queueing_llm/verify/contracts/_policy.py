"""What the answer may depend on: functions that ask the policy something else beside.

Each gets the policy, a state that it was asked about and what it answered then, and returns
what is wrong or None.
"""

from collections.abc import Callable

import numpy as np

from queueing_llm.policies import Batch, EngineState, Policy
from queueing_llm.verify.plays._ask import ask
from queueing_llm.verify.plays._books import replaced, victims


def deterministic(policy: Policy, state: EngineState, batch: Batch) -> str | None:
    """Check that the same question has the same answer, whatever was asked between."""
    return _difference(policy, state, batch, what="asked again")


def blind_to_numbers(policy: Policy, state: EngineState, batch: Batch) -> str | None:
    """Check that only the order of arrival matters, not the numbers of the requests."""
    renumbered = replaced(state, request=3 * state.request + 7)
    return _difference(policy, renumbered, batch, what="for requests 7, 10, 13, ...")


def blind_to_output_lengths(policy: Policy, state: EngineState, batch: Batch) -> str | None:
    """Check that the answer does not depend on how long an output will be."""
    left = state.decode_left
    mirrored = np.where(left > 0, int(left.max()) + 1 - left, 0)
    # Which end of the mirror moves differs, so policies with a threshold are found out too.
    others = mirrored + (mirrored == left)
    if state.kv_capacity is not None:
        # A request that would not fit in the cache alone cannot be there.
        others = np.minimum(others, state.kv_capacity - state.prompt_left - state.stored)
    changed = replaced(state, decode_left=others)
    return _difference(policy, changed, batch, what="with other outputs left")


def blind_to_the_young(policy: Policy, state: EngineState, batch: Batch) -> str | None:
    """Check that the youngest request that waits takes nothing from the others."""
    if len(state.request) < 2 or state.stored[-1] > 0:
        return None
    columns = ("request", "class_index", "prompt_left", "decode_left", "stored")
    without = replaced(state, **{name: getattr(state, name)[:-1] for name in columns})
    before = ask(policy, without).batch
    if before is None:
        return None
    taken = batch.tokens[:-1] < before.tokens
    if not taken.any():
        return None
    i = int(np.argmax(taken))
    return (
        f"request {state.request[i]} gets {batch.tokens[i]}, and {before.tokens[i]} "
        f"without request {state.request[-1]}"
    )


def agreement_with(other: Policy) -> Callable[[Policy, EngineState, Batch], str | None]:
    """Return the check that another policy answers the same."""

    def same_batch(policy: Policy, state: EngineState, batch: Batch) -> str | None:
        return _difference(other, state, batch, what="by the other policy")

    return same_batch


def _difference(policy: Policy, state: EngineState, batch: Batch, *, what: str) -> str | None:
    again = ask(policy, state)
    if again.batch is None:
        return f"{what}: {again.failure}"
    if not np.array_equal(again.batch.tokens, batch.tokens):
        return f"tokens {batch.tokens.tolist()}, but {again.batch.tokens.tolist()} {what}"
    one, two = victims(state, batch), victims(state, again.batch)
    if not np.array_equal(one, two):
        return f"preempts {one.tolist()}, but {two.tolist()} {what}"
    return None
