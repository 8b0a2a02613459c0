"""Requests on their way into an engine, in the units of the two drivers."""

from collections.abc import Iterator

from queueing_llm.model import Engine, Requests
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._outcome import Arrival


def one_by_one(
    chunks: Iterator[Requests], engine: Engine, *, clock: Clock
) -> Iterator[Arrival]:
    """Yield the requests of ``chunks`` singly, as the transparent driver takes them."""
    for chunk in chunks:
        columns = (
            clock.ticks(chunk.arrival_times),
            chunk.prompt_tokens,
            engine.decode_steps(chunk.output_tokens),
            chunk.class_index,
        )
        for row in zip(*(column.tolist() for column in columns), strict=True):
            yield Arrival(*row)
