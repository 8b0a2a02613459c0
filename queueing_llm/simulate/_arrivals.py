"""Requests on their way into an engine: what is refused, and the units of the drivers."""

from collections.abc import Iterator

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Requests
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._outcome import Arrival

LONGEST_REQUEST = 2**31 - 1


def one_by_one(
    chunks: Iterator[Requests], engine: Engine, *, clock: Clock
) -> Iterator[Arrival]:
    """Yield the requests of ``chunks`` singly, as the transparent driver takes them.

    Raises
    ------
    InvalidArgument
        If the engine can never serve a request.
    """
    seen = 0
    for chunk in chunks:
        decode = engine.decode_steps(chunk.output_tokens)
        footprint = chunk.prompt_tokens + decode
        for row in np.flatnonzero((decode < 0) | (footprint > most_tokens(engine)))[:1]:
            refuse(chunk, int(row), engine, number=seen + int(row))
        ticks = clock.arrival_ticks(chunk.arrival_times)
        columns = (ticks, chunk.prompt_tokens, decode, chunk.class_index)
        for values in zip(*(column.tolist() for column in columns), strict=True):
            yield Arrival(*values)
        seen += len(chunk)


def most_tokens(engine: Engine) -> int:
    """Return the most tokens that one request can ever hold."""
    return min(engine.kv_capacity or LONGEST_REQUEST, LONGEST_REQUEST)


def refuse(chunk: Requests, row: int, engine: Engine, *, number: int) -> None:
    """Raise :class:`InvalidArgument` about a request that the engine can never serve."""
    prompt, output = int(chunk.prompt_tokens[row]), int(chunk.output_tokens[row])
    if engine.decode_steps(output) < 0:
        msg = (
            "output_tokens must be at least 1 when the prefill yields the first token, "
            f"got {output} for request {number}."
        )
        raise InvalidArgument(msg)
    limit = "what one request may hold" if engine.kv_capacity is None else "kv_capacity"
    msg = (
        f"request {number} has {prompt} prompt and {output} output tokens, more than "
        f"{limit}={most_tokens(engine)} can ever store: raise kv_capacity or shorten it."
    )
    raise InvalidArgument(msg)
