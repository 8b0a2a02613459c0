"""A recorded list of requests: what the trace readers produce."""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.errors import InvalidArgument


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in order of arrival, as recorded by a serving system.

    In the shape descriptions, ``N`` is the number of requests.

    Parameters
    ----------
    name : str
        What the trace is called in tables and plots.
    prompt_tokens : int64 array, shape (N,)
        Prompt length of each request [tokens], at least 1.
    output_tokens : int64 array, shape (N,)
        Output length of each request [tokens], at least 0.
    arrival_times : float64 array, shape (N,), or None
        Nondecreasing arrival times from the first request [s]; None if the source recorded
        lengths only.
    skipped : dict of str to int
        Rows that were left out, by reason. Rows in the file = ``N`` + the sum of these.

    Raises
    ------
    InvalidArgument
        If the trace is empty, the arrays differ in length, or a value is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from queueing_llm.model import Trace
    >>> trace = Trace("two", np.array([5, 7]), np.array([1, 2]), np.array([0.0, 0.5]), {})
    >>> trace.arrival_rate
    2.0
    """

    name: str
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    arrival_times: np.ndarray | None
    skipped: dict[str, int]

    def __post_init__(self) -> None:
        size = len(self.prompt_tokens)
        if size == 0:
            msg = f"trace {self.name!r} is empty: at least one request is needed."
            raise InvalidArgument(msg)
        for field, values, least in (
            ("prompt_tokens", self.prompt_tokens, 1),
            ("output_tokens", self.output_tokens, 0),
        ):
            if len(values) != size:
                msg = f"{field} has {len(values)} rows, prompt_tokens has {size}."
                raise InvalidArgument(msg)
            if values.dtype != np.int64 or values.min() < least:
                msg = f"{field} must be int64 and at least {least}, got {values.min()!r}."
                raise InvalidArgument(msg)
        times = self.arrival_times
        if times is None:
            return
        if len(times) != size or not np.isfinite(times).all() or (np.diff(times) < 0).any():
            msg = f"arrival_times of trace {self.name!r} must be {size} nondecreasing numbers."
            raise InvalidArgument(msg)

    def __len__(self) -> int:
        return len(self.prompt_tokens)

    @property
    def arrival_rate(self) -> float:
        """Requests per second: gaps over time between the first and the last arrival."""
        times = self.arrival_times
        if times is None or len(times) < 2 or times[-1] == times[0]:
            msg = f"trace {self.name!r} has no arrival rate: it spans no time."
            raise InvalidArgument(msg)
        return float((len(times) - 1) / (times[-1] - times[0]))
