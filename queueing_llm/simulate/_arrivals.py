"""Requests on their way into an engine: what is refused, and the units of the drivers."""

import heapq
from collections import deque
from collections.abc import Iterator
from typing import final

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

    Those of a closed workload come with ``ticks`` 0: :class:`Upcoming` knows when they come.

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
        ticks = thinks = np.zeros(len(chunk), dtype=np.int64)
        if chunk.think_times is None:
            ticks = clock.arrival_ticks(chunk.arrival_times)
        else:
            thinks = clock.arrival_ticks(chunk.think_times)
        columns = (ticks, chunk.prompt_tokens, decode, chunk.class_index, thinks)
        for values in zip(*(column.tolist() for column in columns), strict=True):
            yield Arrival(*values)
        seen += len(chunk)


@final
class Upcoming:
    """What the transparent driver has yet to see: requests at known times, or of users.

    Parameters
    ----------
    requests : iterator of Arrival
        In order of arrival.
    starts : int64 array, shape (N,), or None
        When the users of a closed workload send their first requests [ticks]; None if the
        workload is open.
    """

    def __init__(self, requests: Iterator[Arrival], starts: np.ndarray | None) -> None:
        self._requests, self._next = requests, next(requests, None)
        self._returns = None if starts is None else sorted(starts.tolist())
        self._thinks: deque[int] = deque()

    @property
    def ticks(self) -> int | None:
        """When the next request comes; None if none does, or none before one is finished."""
        if self._next is None or self._returns is None:
            return None if self._next is None else self._next.ticks
        return self._returns[0] if self._returns else None

    def due(self, now: int) -> Iterator[Arrival]:
        """Yield the requests that come until ``now``."""
        while self._next is not None and (at := self.ticks) is not None and at <= now:
            arrival, self._next = self._next, next(self._requests, None)
            if self._returns is not None:
                self._thinks.append(arrival.think_ticks)
                arrival = arrival._replace(ticks=heapq.heappop(self._returns))
            yield arrival

    def finish(self, now: int, count: int) -> None:
        """Let the users think whose requests are finished."""
        if self._returns is not None:
            for _ in range(count):
                heapq.heappush(self._returns, now + self._thinks.popleft())


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
