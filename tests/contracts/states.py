"""States of an engine for tests: written down by columns, or drawn."""

import numpy as np

from queueing_llm.policies import EngineState
from queueing_llm.verify.strategies import engine_states

__all__ = ["engine_states", "reachable_by", "state_of"]


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


def reachable_by(rule, **choices):
    """Return states like those that an engine under ``rule`` can be in."""
    return engine_states(residents_fit=rule.limit_counts == "residents", **choices)
