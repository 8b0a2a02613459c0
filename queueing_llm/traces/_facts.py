"""What is worth knowing about a trace, in one value."""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Trace


@final
@dataclass(frozen=True, slots=True)
class LengthFacts:
    """Moments and quantiles of a length.

    Parameters
    ----------
    mean : float
        :math:`E[X]` [tokens].
    second_moment : float
        :math:`E[X^2]` [tokens^2].
    median, p90, p99 : int
        Smallest lengths that at least 50, 90 and 99 % of the requests do not exceed
        [tokens].

    Examples
    --------
    >>> from queueing_llm.traces import preset
    >>> preset("azure-conv-2023").facts.output.median
    129
    """

    mean: float
    second_moment: float
    median: int
    p90: int
    p99: int


@final
@dataclass(frozen=True, slots=True)
class TraceFacts:
    r"""Rate, burstiness and lengths of a trace, :math:`P` prompt and :math:`D` output tokens.

    The facts about time are None for a trace without arrival times; an index of dispersion
    also for a trace shorter than its window, a correlation where a length is constant.

    Parameters
    ----------
    duration : float or None
        From the first to the last arrival [s].
    arrival_rate : float or None
        :math:`\lambda` [requests/s], gaps per duration.
    gap_scv : float or None
        Variance of the gaps between arrivals over their squared mean [1]; 1 if Poisson.
    dispersion_10s, dispersion_60s : float or None
        Variance over mean of the number of arrivals in the whole windows of 10 and 60 s [1];
        1 if Poisson.
    prompt, output : LengthFacts
        The lengths by themselves.
    product_moment : float
        :math:`E[P D]` [tokens^2].
    pearson, spearman : float or None
        Correlation of the lengths, and of their ranks [1].
    kv_reads : float
        :math:`E[P D + D (D + 1) / 2]` [tokens], the KV cache of a request summed over its
        decode steps, the token being decoded included.

    Examples
    --------
    >>> from queueing_llm.traces import preset
    >>> round(preset("azure-code-2023").facts.gap_scv)
    173
    """

    duration: float | None
    arrival_rate: float | None
    gap_scv: float | None
    dispersion_10s: float | None
    dispersion_60s: float | None
    prompt: LengthFacts
    output: LengthFacts
    product_moment: float
    pearson: float | None
    spearman: float | None
    kv_reads: float


def trace_facts(trace: Trace) -> TraceFacts:
    """Return rate, burstiness, length moments and correlations of a trace.

    Parameters
    ----------
    trace : Trace
        The requests.

    Returns
    -------
    TraceFacts
        The facts; see there for the definitions.

    Raises
    ------
    InvalidArgument
        If the trace has arrival times that span no time, or is no :class:`Trace`.

    Examples
    --------
    >>> import numpy as np
    >>> from queueing_llm.model import Trace
    >>> tokens = np.array([1, 2, 3])
    >>> times = np.array([0.0, 1.0, 4.0])
    >>> trace_facts(Trace("t", tokens, tokens, times, {})).gap_scv
    0.25
    """
    _refuse_other_than_trace(trace)
    from scipy.stats import rankdata

    p, d, times = trace.prompt_tokens, trace.output_tokens, trace.arrival_times
    gaps = None if times is None else np.diff(times)
    return TraceFacts(
        duration=None if times is None else float(times[-1] - times[0]),
        arrival_rate=None if times is None else trace.arrival_rate,
        gap_scv=None if gaps is None else float(np.var(gaps) / np.mean(gaps) ** 2),
        dispersion_10s=_dispersion(times, window=10),
        dispersion_60s=_dispersion(times, window=60),
        prompt=length_facts(p),
        output=length_facts(d),
        product_moment=float(np.mean(p * d)),
        pearson=_correlation(p, d),
        spearman=_correlation(rankdata(p), rankdata(d)),
        kv_reads=float(np.mean(p * d + d * (d + 1) // 2)),
    )


def _refuse_other_than_trace(trace: object) -> None:
    if not isinstance(trace, Trace):
        msg = f"trace must be a Trace, as read_trace returns it, got trace={trace!r}."
        raise InvalidArgument(msg)


def length_facts(tokens: np.ndarray) -> LengthFacts:
    median, p90, p99 = np.percentile(tokens, [50, 90, 99], method="inverted_cdf")
    return LengthFacts(
        mean=float(np.mean(tokens)),
        second_moment=float(np.mean(tokens * tokens)),
        median=int(median),
        p90=int(p90),
        p99=int(p99),
    )


def _dispersion(times: np.ndarray | None, *, window: int) -> float | None:
    """Return the variance over the mean of the counts in whole windows."""
    if times is None or times[-1] - times[0] < window:
        return None
    since = times - times[0]
    whole = int(since[-1] // window)
    counts = np.bincount((since // window).astype(np.int64))[:whole]
    return float(np.var(counts) / np.mean(counts))


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    constant = np.ptp(x) == 0 or np.ptp(y) == 0
    return None if constant else float(np.corrcoef(x, y)[0, 1])
