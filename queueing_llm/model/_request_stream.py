"""The requests of a workload, drawn chunk by chunk."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.model._arrivals import AbstractArrivals
from queueing_llm.model._closed_arrivals import ClosedArrivals
from queueing_llm.model._requests import (
    RequestClass,
    Requests,
    requests_of_classes,
    requests_of_one_class,
)


def request_chunks(
    arrivals: AbstractArrivals,
    classes: Sequence[RequestClass],
    *,
    shares: Sequence[Real],
    rng: np.random.Generator,
    size: int,
    phase: Real,
) -> Iterator[Requests]:
    """Return the requests in order of arrival; times, classes and lengths have own streams."""
    clock, marks, *streams = rng.spawn(2 + len(classes))
    samplers = [
        c.lengths.sampler(stream, phase=phase)
        for c, stream in zip(classes, streams, strict=True)
    ]
    edges = np.cumsum([float(share) for share in shares])[:-1]

    def at(times: np.ndarray) -> Requests:
        if len(samplers) == 1:
            return requests_of_one_class(times, samplers[0])
        return requests_of_classes(times, samplers, marks=marks, edges=edges)

    if isinstance(arrivals, ClosedArrivals):
        thinks = arrivals.think_times(clock, size)
        return (replace(at(np.full(size, np.nan)), think_times=chunk) for chunk in thinks)
    return map(at, arrivals.chunks(clock, size, phase=phase))
