"""The books of a play: who is present, what is left of them, and what the cache holds.

In the shape descriptions, ``R`` is the number of requests present.
"""

from dataclasses import fields
from typing import Any, final

import numpy as np

from queueing_llm.model import Engine
from queueing_llm.policies import Batch, EngineState
from queueing_llm.verify.plays._trial import Arrival

COLUMNS = ("request", "class_index", "prompt_left", "decode_left", "stored")
LIMITS = ("token_budget", "max_batch_size", "kv_capacity", "kv_block_size")


@final
class Books:
    """The requests in the system, in order of arrival; one array per field, shape (R,).

    Parameters
    ----------
    engine : Engine
        Its limits, and whether its prefills emit a token.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.columns = {name: np.zeros(0, dtype=np.int64) for name in COLUMNS}
        self.arrived = 0

    @property
    def is_empty(self) -> bool:
        """Whether no request is present."""
        return len(self.columns["request"]) == 0

    def join(self, arrival: Arrival) -> None:
        """Let a request arrive."""
        decode = int(self.engine.decode_steps(arrival.output_tokens))
        values = (self.arrived, arrival.class_index, arrival.prompt_tokens, decode, 0)
        self.arrived += 1
        for name, value in zip(COLUMNS, values, strict=True):
            self.columns[name] = np.append(self.columns[name], value)

    def state(self) -> EngineState:
        """Return what a policy sees."""
        limits = {name: getattr(self.engine, name) for name in LIMITS}
        values: dict[str, Any] = {**self.columns, **limits}
        return replaced(EngineState(**values))

    def serve(self, batch: Batch) -> None:
        """Take the batch off the work left, and drop who has nothing left."""
        columns, victims = self.columns, np.asarray(batch.preempted)
        lost = np.where(victims, columns["stored"], 0)
        # A decode has emitted one token more than it stored, if its prefill emitted one.
        emitted = victims & (columns["prompt_left"] == 0) & self.engine.first_token_from_prefill
        prompt_left = columns["prompt_left"] + lost + emitted
        decode_left = columns["decode_left"] - emitted
        in_prefill = prompt_left > 0
        columns["prompt_left"] = prompt_left - np.where(in_prefill, batch.tokens, 0)
        columns["decode_left"] = decode_left - np.where(in_prefill, 0, batch.tokens)
        columns["stored"] = columns["stored"] - lost + batch.tokens
        stay = (columns["prompt_left"] > 0) | (columns["decode_left"] > 0)
        for name in COLUMNS:
            columns[name] = columns[name][stay]


def replaced(state: EngineState, **changes: Any) -> EngineState:
    """Return a copy of a state with other columns or limits, which nobody can write to."""
    values = {field.name: getattr(state, field.name) for field in fields(EngineState)}
    values |= changes
    for name in COLUMNS:
        values[name] = np.array(values[name], dtype=np.int64)
        values[name].setflags(write=False)
    return EngineState(**values)


def same_state(one: EngineState, other: EngineState) -> bool:
    """Whether two states agree in every column and limit."""
    return state_key(one) == state_key(other)


def state_key(state: EngineState) -> tuple[Any, ...]:
    """Return what tells a state from every other one."""
    columns = (np.asarray(getattr(state, name)).tobytes() for name in COLUMNS)
    return (*columns, *(getattr(state, name) for name in LIMITS))


def victims(state: EngineState, batch: Batch) -> np.ndarray:
    """Which requests the batch preempts, bool array, shape (R,)."""
    if batch.preempted is None:
        return np.zeros(state.request.shape, dtype=np.bool_)
    return np.asarray(batch.preempted)
