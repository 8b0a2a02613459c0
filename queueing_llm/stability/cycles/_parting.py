r"""The time in which requests that start to decode together all finish.

Of ``J`` requests with independent numbers of decode steps :math:`D`, a binomial number
:math:`N_s \sim Bin(J, P(D \ge s))` takes part in step ``s``. The mean time is
:math:`\sum_{s \ge 1} E[t(N_s); N_s > 0] + \gamma J G`, where a request reads :math:`G` tokens
of KV cache. What the sum leaves out after some step is at most
:math:`J \max_n t(n)/n` times the mean steps that one request still takes.
"""

import numpy as np

from queueing_llm.model import Engine, Workload
from queueing_llm.stability.cycles._request_laws import has_known_lengths, survival

FIRST_STEPS = 256
MOST_TERMS = 4_000_000
TRUNCATION = 1e-13
RELATIVE_ERROR = 1e-11
"""Allowed for the binomial chances; the tests compare with exact fractions."""


def parting_seconds(
    engine: Engine, workload: Workload, together: int
) -> tuple[float, float] | None:
    """Return the mean decode time of ``together`` requests, and a bound of its error [s].

    None if the lengths are no i.i.d. laws of this package, the step time is no function of
    the token count plus a multiple of the KV tokens read, or the sum is too long.
    """
    slope, moments = engine.step_time.kv_slope, workload.moments
    fewest = engine.decode_steps(moments.shortest_output)
    if slope is None or fewest < 0 or not has_known_lengths(workload):
        return None
    alone = np.asarray(engine.step_time(0, np.arange(1, together + 1)), dtype=np.float64)
    dearest = together * float((alone / np.arange(1, together + 1)).max())
    steps_left = float(engine.decode_steps(moments.output))
    # One step has a chance of P(d > s - 1) or, with the first token from prefill, P(d > s).
    first, shift, value = 1, -engine.decode_steps(0), 0.0
    while True:
        steps = np.arange(first, 2 * max(first, FIRST_STEPS // 2))
        if len(steps) * np.count_nonzero(np.diff(alone, prepend=0)) > MOST_TERMS:
            return None
        active = survival(workload, "output", steps - 1 + shift)
        value += float(_mean_of_step(alone, active).sum())
        steps_left = max(0.0, steps_left - float(active.sum()))
        if dearest * steps_left <= TRUNCATION * value or active[-1] == 0:
            break
        first = int(steps[-1]) + 1
    reads = float(slope * moments.kv_reads(engine.decode_steps(0))) * together if slope else 0.0
    return value + reads, dearest * steps_left + RELATIVE_ERROR * (value + reads)


def _mean_of_step(alone: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Return the mean time of a step in which each request is active with some chance [s]."""
    from scipy.special import betainc

    together = len(alone)
    rises = np.diff(alone, prepend=0)
    at_least = np.flatnonzero(rises) + 1
    chances = betainc(at_least, together - at_least + 1.0, active[:, None])
    return np.asarray(chances @ rises[at_least - 1])
