"""A smaller workload of which something still holds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from queueing_llm.policies.field import FieldRequest
from queueing_llm.verify.adapters._fuzz_workload import FieldWorkload

MOST_TRIES = 400
LENGTHS = ("prompt_tokens", "output_tokens", "most_output_tokens")


def shrunk(
    workload: FieldWorkload,
    still_holds: Callable[[FieldWorkload], bool],
    *,
    most_tries: int = MOST_TRIES,
) -> FieldWorkload:
    """Return a workload that cannot be made smaller in one of our ways, of which it holds.

    Parameters
    ----------
    workload : FieldWorkload
        Of which it holds.
    still_holds : callable
        Asked about smaller workloads, whose settings are the same.
    most_tries : int
        How often it may be asked.

    Returns
    -------
    FieldWorkload
        With fewer requests, shorter ones, fewer wishes, or earlier arrivals.

    Examples
    --------
    >>> from queueing_llm.policies.field import FieldRequest, VllmV1Config
    >>> config = VllmV1Config(64, 2, num_blocks=100)
    >>> rows = ((0, FieldRequest("a", 5, 9)), (3, FieldRequest("b", 70, 2)))
    >>> def has_requests(small):
    ...     return len(small.requests) > 0
    >>> print(shrunk(FieldWorkload(config, rows), has_requests))
    FieldWorkload(VllmV1Config(max_num_batched_tokens=64, max_num_seqs=2, num_blocks=100), (
        (0, FieldRequest(name='b', prompt_tokens=1, output_tokens=1)),
    ))
    """
    tries, is_smaller = 0, True
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(workload):
            tries += 1
            if tries > most_tries:
                return workload
            if still_holds(candidate):
                workload, is_smaller = candidate, True
                break
    return workload


def _smaller(workload: FieldWorkload) -> Iterator[FieldWorkload]:
    """Yield smaller workloads, the boldest first."""
    arrivals = workload.arrivals
    size = len(arrivals) // 2
    while size:
        for start in range(0, len(arrivals), size):
            yield replace(workload, arrivals=arrivals[:start] + arrivals[start + size :])
        size //= 2
    for index, (step, request) in enumerate(arrivals):
        ways = [(0, request)] if step else []
        ways += [(step, replace(request, prefix=None))] if request.prefix else []
        ways += [(step, replace(request, priority=0))] if request.priority else []
        ways += [(step, shorter) for shorter in _shorter(request)]
        for way in ways:
            changed = [*arrivals[:index], way, *arrivals[index + 1 :]]
            yield replace(workload, arrivals=tuple(sorted(changed, key=lambda row: row[0])))


def _shorter(request: FieldRequest) -> Iterator[FieldRequest]:
    for length in LENGTHS:
        # Nobody may promise less than comes, or share more than there is.
        least = request.output_tokens if length == "most_output_tokens" else 1
        least = request.prefix[1] if request.prefix and length == "prompt_tokens" else least
        value = getattr(request, length) or 0
        for less in (least, (least + value) // 2, value - 1):
            if least <= less < value:
                fields: Any = {length: less}
                yield replace(request, **fields)
