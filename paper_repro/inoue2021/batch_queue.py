r"""The queue of arXiv:1912.06322: whoever waits when the server is free forms the next batch.

A batch of :math:`b` jobs takes :math:`\tau(b) = \alpha b + \tau_0` seconds, jobs are Poisson.
The sizes of the batches are a Markov chain, whose stationary law gives everything else:
here by renewal reward, in the paper by its Eq. 36, which is written down beside it.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

import queueing_llm as ql

NEGLIGIBLE = 1e-14


@final
@dataclass(frozen=True, slots=True)
class Server:
    """A GPU whose batch times are affine in the size of the batch.

    Parameters
    ----------
    per_job, base : number
        Seconds per job and per batch [s].
    largest_batch : int or None
        Most jobs in a batch [jobs]; None: as many as wait.

    Examples
    --------
    >>> Server(0.1, 0.2).batch_seconds(3)
    0.5
    """

    per_job: Any
    base: Any
    largest_batch: int | None = None

    def batch_seconds(self, jobs: Any) -> Any:
        """Return how long a batch of so many jobs takes [s]."""
        return self.base + self.per_job * jobs

    def engine(self, *, most_jobs: int = 1 << 20) -> ql.Engine:
        """Return the same server in the words of the library: one token, one step a job."""
        law = ql.AffineStepTime(base=self.base, per_token=self.per_job)
        budget = self.largest_batch or most_jobs
        return ql.Engine(step_time=law, token_budget=budget, first_token_from_prefill=True)


def jobs(arrival_rate: Any) -> ql.Workload:
    """Return Poisson jobs of one token each, which one step serves."""
    return ql.Workload.poisson(arrival_rate, prompt_tokens=1, output_tokens=1)


@final
@dataclass(frozen=True, slots=True)
class Stationary:
    """The queue in the long run.

    Parameters
    ----------
    latency : float
        Mean time from arrival to the end of the batch [s].
    utilisation : float
        Share of time that a batch runs [1].
    batch, batch_squared : float
        Mean size of a batch, and of its square [jobs], [jobs^2].
    """

    latency: float
    utilisation: float
    batch: float
    batch_squared: float


def stationary(server: Server, arrival_rate: float, *, most_waiting: int = 1500) -> Stationary:
    r"""Return the means of the queue, from the chain of those who wait when a batch begins.

    With :math:`q` waiting a batch of :math:`b = \min(q, b_{\max})` runs for :math:`\tau(b)`,
    so that :math:`q \tau + \lambda \tau^2 / 2` job-seconds pass; then :math:`q - b` and the
    Poisson arrivals wait. If nobody does, the server idles until one comes.

    Parameters
    ----------
    server : Server
        The GPU.
    arrival_rate : float
        :math:`\lambda` [jobs/s], below the rate of the largest batches.
    most_waiting : int
        Where the chain is cut off [jobs]; longer queues are left out.

    Returns
    -------
    Stationary
        Exact but for the cut.

    Examples
    --------
    >>> round(stationary(Server(0.1, 0.2), 2.0).latency, 4)
    0.4229
    """
    from scipy.stats import poisson

    waiting = np.arange(1, most_waiting + 1)
    batch = np.minimum(waiting, server.largest_batch or most_waiting)
    seconds = np.asarray(server.batch_seconds(batch), dtype=float)
    counts = waiting[None, :] - (waiting - batch)[:, None]
    arrivals = arrival_rate * seconds[:, None]
    chances = poisson.pmf(counts, arrivals)
    empty = poisson.pmf(0, arrivals[:, 0]) * (waiting == batch)
    chances[:, 0] += empty
    chances /= chances.sum(axis=1, keepdims=True)
    share = _stationary_law(chances)
    idle = share @ empty / arrival_rate
    busy = share @ seconds
    area = share @ (waiting * seconds + arrival_rate * seconds**2 / 2)
    cycle = busy + idle
    return Stationary(
        latency=float(area / cycle / arrival_rate),
        utilisation=float(busy / cycle),
        batch=float(share @ batch),
        batch_squared=float(share @ batch**2),
    )


def _stationary_law(chances: np.ndarray) -> np.ndarray:
    """Return the stationary law of a finite chain, float64 array, shape (Q,)."""
    size = len(chances)
    balance = chances.T - np.eye(size)
    balance[-1] = 1.0
    total = np.zeros(size)
    total[-1] = 1.0
    share = np.linalg.solve(balance, total)
    # Rounding, which the square of a long queue would multiply by millions.
    share[share < NEGLIGIBLE] = 0.0
    return np.asarray(share / share.sum())


def latency_by_equation_36(server: Server, arrival_rate: Any, found: Stationary) -> float:
    """Return the mean latency by Eq. 36, from two moments of the batch size [s]."""
    excess = found.batch_squared / found.batch - 1
    load = arrival_rate * server.per_job
    return float(server.batch_seconds(1) + (1 + 2 * load) * excess / (2 * arrival_rate))


def latency_if_mean_batch(server: Server, arrival_rate: Any, batch: Any) -> Any:
    r"""Return the mean latency that a mean batch size would imply [s].

    Balance of the second moment, :math:`E B^2 (1 - \lambda^2 \alpha^2) = E B (1 + 2 \lambda^2
    \alpha \tau_0) + \lambda^2 \tau_0^2`, put into Eq. 36. It falls in :math:`E B`, so a lower
    bound of the mean batch gives an upper bound of the latency: 1 gives :math:`\phi_0`, and
    :math:`\lambda \tau_0 / (1 - \lambda \alpha)`, a server that never idles, :math:`\phi_1`.
    """
    load, fixed = arrival_rate * server.per_job, arrival_rate * server.base
    ratio = (1 + 2 * load * fixed + fixed**2 / batch) / (1 - load**2)
    return server.batch_seconds(1) + (1 + 2 * load) * (ratio - 1) / (2 * arrival_rate)


def bounds(server: Server, arrival_rate: Any) -> tuple[Any, Any]:
    r"""Return :math:`\phi_0` and :math:`\phi_1`, Eqs. 41 and 42: mean latency at most [s].

    Examples
    --------
    >>> [round(bound, 5) for bound in bounds(Server(0.1, 0.2), 2.0)]
    [0.43125, 0.48958]
    """
    a, c, rate = server.per_job, server.base, arrival_rate
    load = rate * a
    first = (a + c) / (2 * (1 - load)) * (1 + 2 * rate * c + (1 - rate * c) / (1 + load))
    second = 3 * c / (2 * (1 - load)) + a * (load + 2) / (2 * (1 - load**2))
    return first, second
