"""Classes of requests, and the requests themselves as columns."""

from dataclasses import dataclass
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, Real, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arguments import check_kind
from queueing_llm.model._joint_lengths import AbstractRequestLengths, LengthSampler


@final
@dataclass(frozen=True, slots=True)
class RequestClass:
    """Requests of one kind.

    Parameters
    ----------
    name : str
        What the class is called in tables and plots.
    lengths : AbstractRequestLengths
        Joint law of the prompt and output tokens.
    share : Real
        Weight of the class among all requests [1], above 0; only ratios matter.

    Raises
    ------
    InvalidArgument
        If the name is empty, ``lengths`` is not a joint law, or ``share`` is not positive.

    Examples
    --------
    >>> from queueing_llm.model import EmpiricalLengths, RequestClass
    >>> RequestClass("chat", EmpiricalLengths([129], [112]), share=3).share
    3
    """

    name: str
    lengths: AbstractRequestLengths
    share: Annotated[Real, Domain("q", "1", above=0)] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            msg = f"name must be a non-empty string, got name={self.name!r}."
            raise InvalidArgument(msg)
        check_kind(
            self.lengths, "lengths", kind=AbstractRequestLengths, such_as="IndependentLengths"
        )
        validate(self)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Consecutive requests of a workload, one row each.

    Parameters
    ----------
    arrival_times : float64 array, shape (n,)
        Nondecreasing arrival times [s].
    prompt_tokens, output_tokens : int64 array, shape (n,)
        Lengths [tokens].
    class_index : int64 array, shape (n,)
        Position of the request's class in ``Workload.classes``.
    think_times : float64 array, shape (n,), or None
        Of a closed workload, the times [s] that users think after the completion of as many
        requests, in order of completion; the arrival times are NaN then. None if open.

    Examples
    --------
    >>> import numpy as np
    >>> from queueing_llm.model import Workload
    >>> load = Workload.of_requests([0, 2], prompt_tokens=[3, 5], output_tokens=[1, 1])
    >>> next(load.chunks(np.random.default_rng(1), 10)).prompt_tokens
    array([3, 5])
    """

    arrival_times: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    class_index: np.ndarray
    think_times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.arrival_times)


def requests_of_one_class(times: np.ndarray, draw: LengthSampler) -> Requests:
    """Return one chunk of requests that arrive at the given times."""
    prompt, output = draw(len(times))
    return Requests(times, prompt, output, np.zeros(len(times), dtype=np.int64))


def requests_of_classes(
    times: np.ndarray,
    samplers: list[LengthSampler],
    *,
    marks: np.random.Generator,
    edges: np.ndarray,
) -> Requests:
    """Return one chunk of requests whose classes are drawn by cumulative share."""
    index = np.searchsorted(edges, marks.random(len(times)), side="right")
    prompt, output = np.empty_like(index), np.empty_like(index)
    for position, draw in enumerate(samplers):
        rows = np.flatnonzero(index == position)
        prompt[rows], output[rows] = draw(len(rows))
    return Requests(times, prompt, output, index)
