"""Hypothesis strategies for the states that an engine can be in.

Under any first-come-first-served rule the residents are the oldest requests present: some
decode, at most one more (the newest resident) is partly prefilled, the rest wait.
"""

import numpy as np
from hypothesis import strategies as st

from queueing_llm.policies import EngineState

counts = st.integers(1, 12)
decodes = st.lists(st.tuples(st.just(0), counts, counts), max_size=8)
partials = st.lists(st.tuples(counts, st.integers(0, 9), counts), max_size=1)
waiting = st.tuples(counts, st.integers(0, 9), st.just(0))
prompts_after = [st.lists(waiting, min_size=fewest, max_size=6) for fewest in (0, 1)]


def state_of(*, prompt_left, decode_left, stored, **limits) -> EngineState:
    """Return a state whose arrays nobody can write to."""
    columns = {
        "request": range(3, 3 + len(prompt_left)),
        "class_index": [0] * len(prompt_left),
        "prompt_left": prompt_left,
        "decode_left": decode_left,
        "stored": stored,
    }
    arrays = {name: np.array(list(values), dtype=np.int64) for name, values in columns.items()}
    for array in arrays.values():
        array.setflags(write=False)
    return EngineState(**arrays, **limits)


@st.composite
def engine_states(draw, *, limits=True, residents_fit=False) -> EngineState:
    """Draw a state with at least one request; every request fits in the KV cache alone.

    With ``residents_fit``, no more requests have started than ``max_batch_size`` allows, as
    under a rule that counts residents.
    """
    decoding = draw(decodes)
    partial = draw(partials)
    fewest = 0 if decoding or partial else 1
    rows = decoding + partial + draw(prompts_after[fewest])
    prompt_left, decode_left, stored = zip(*rows, strict=True)
    needed = max(sum(stored), *(sum(row) for row in rows))
    fewest_places = max(1, len(decoding) + len(partial)) if residents_fit else 1
    places = st.none() | st.integers(fewest_places, fewest_places + 8)
    capacity = st.none() | st.integers(needed, needed + 20)
    return state_of(
        prompt_left=prompt_left,
        decode_left=decode_left,
        stored=stored,
        token_budget=draw(st.integers(1, 16)),
        max_batch_size=draw(places) if limits else None,
        kv_capacity=draw(capacity) if limits else None,
    )


def reachable_by(rule, **choices):
    """Return the states that an engine under ``rule`` can be in."""
    return engine_states(residents_fit=rule.limit_counts == "residents", **choices)
