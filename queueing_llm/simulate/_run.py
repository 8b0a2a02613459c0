"""The result of a simulation: paths, means with confidence, per-request latencies.

In the shape descriptions, ``R`` is the number of replications, ``S`` of samples, ``N`` of
requests that arrived.
"""

from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import Policy
from queueing_llm.simulate._estimate import Estimate, Method
from queueing_llm.simulate._outcome import LOG_COLUMNS, SAMPLE_COLUMNS, Outcome, RequestLog

BATCHES = 20
LATENCIES = ("ttft", "tpot", "end_to_end", "queue_time")
Latency = Literal["ttft", "tpot", "end_to_end", "queue_time"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What :func:`simulate` returns.

    Parameters
    ----------
    engine, workload, policy
        What was simulated.
    horizon, warmup : float
        Length of every replication, and of the part that means leave out [s].
    tick : float
        Length of a clock tick [s].
    outcomes : tuple of Outcome
        One per replication, in ticks.
    """

    engine: Engine
    workload: Workload
    policy: Policy
    horizon: float
    warmup: float
    tick: float
    outcomes: tuple[Outcome, ...]

    @property
    def times(self) -> np.ndarray:
        """Sample times, float64 array, shape (S,) [s]."""
        return self.outcomes[0].samples[:, 0] * self.tick

    @property
    def backlog_tokens(self) -> np.ndarray:
        """Tokens of work in the system, float64 array, shape (R, S) [tokens]."""
        return self._column("backlog_tokens")

    @property
    def requests_in_system(self) -> np.ndarray:
        """Requests in the system, float64 array, shape (R, S) [requests]."""
        return self._column("requests")

    @property
    def steps(self) -> int:
        """Batches completed in all replications."""
        return int(self._column("steps")[:, -1].sum())

    @property
    def arrived(self) -> int:
        """Requests that arrived in all replications."""
        return int(self._column("arrived")[:, -1].sum())

    @property
    def preemptions(self) -> int:
        """Preemptions in all replications."""
        return int(self._column("preemptions")[:, -1].sum())

    @property
    def throughput(self) -> Estimate:
        """Requests completed per second after the warm-up [requests/s]."""
        return self._rate("completed")

    @property
    def token_throughput(self) -> Estimate:
        """Tokens processed per second after the warm-up [tokens/s]."""
        return self._rate("served_tokens")

    @property
    def utilisation(self) -> Estimate:
        """Share of time that a batch was running [1]."""
        return self._rate("busy", scale=self.tick)

    @property
    def mean_requests(self) -> Estimate:
        """Time average of the requests in the system [requests]."""
        return self._rate("requests_area", scale=self.tick)

    @property
    def mean_backlog_tokens(self) -> Estimate:
        """Time average of the backlog [tokens]."""
        return self._rate("backlog_area", scale=self.tick)

    @property
    def growth(self) -> Estimate:
        """Growth of the backlog over the second half of the run [tokens/s].

        Near 0 for a stable system; see ``check_stability`` for a verdict, which this is not.
        """
        return self._rate("backlog_tokens", since=self.horizon / 2)

    @property
    def grows(self) -> bool:
        """Whether the backlog clearly grew: by 4 standard errors and 1 % of the arrivals.

        That of a closed workload cannot, once all its users have begun.
        """
        if self.workload.users is not None:
            return False
        growth = self.growth
        work = float(self.engine.work_tokens(*_mean_lengths(self.workload)))
        offered = work * self._column("arrived")[:, -1].mean() / self.horizon
        error = 0.0 if np.isnan(growth.standard_error) else growth.standard_error
        return bool(growth.value > max(4 * error, 0.01 * offered))

    def latency(
        self, kind: Latency, *, percentile: float | None = None, transient: bool = False
    ) -> Estimate:
        """Return the mean, or a percentile, of a latency of the finished requests.

        Parameters
        ----------
        kind : {"ttft", "tpot", "end_to_end", "queue_time"}
            Time to first output token, time per output token after the first, time from
            arrival to finish, time from arrival to the first batch [s].
        percentile : float, optional
            Between 0 and 100 (linear interpolation); the mean if left out.
        transient : bool
            Whether to answer also if the backlog grows, when there is no steady state and
            the answer describes only the requests that finished before the horizon.

        Raises
        ------
        InvalidArgument
            If requests were not kept, or the backlog grows and ``transient`` is false.
        """
        if not transient and self.grows:
            msg = (
                f"the backlog grows by {self.growth.value:.4g} tokens/s, so the {kind} of the "
                "steady state does not exist: pass transient=True for that of this horizon."
            )
            raise InvalidArgument(msg)
        groups: list[np.ndarray] = [self.latencies(kind, i) for i in range(len(self.outcomes))]
        method: Method = "replications"
        if len(groups) == 1:
            groups, method = np.array_split(groups[0], BATCHES), "batch means"
        values = [_summary(group, percentile) for group in groups if len(group)]
        estimate = Estimate.of(np.array(values), method)
        if method == "replications" or not values:
            return estimate
        return replace(estimate, value=_summary(np.concatenate(groups), percentile))

    def latencies(self, kind: Latency, replication: int = 0) -> np.ndarray:
        """Return a latency of every finished request, float64 array [s].

        Requests that arrived during the warm-up are left out, and for ``tpot`` those with
        fewer than two output tokens. Order of arrival.
        """
        if kind not in LATENCIES:
            msg = f"there is no latency {kind!r}: {nearest(str(kind), LATENCIES)}."
            raise InvalidArgument(msg)
        log = self.requests(replication)
        kept = (log.finish >= 0) & (log.arrival * self.tick >= self.warmup)
        output = log.decode_steps + self.engine.first_token_from_prefill
        if kind in ("ttft", "tpot"):
            kept &= log.first >= 0
        if kind == "tpot":
            kept &= output >= 2
            gaps = (log.finish[kept] - log.first[kept]) * self.tick
            return np.asarray(gaps / (output[kept] - 1))
        end = {"ttft": log.first, "end_to_end": log.finish, "queue_time": log.start}[kind]
        return np.asarray((end[kept] - log.arrival[kept]) * self.tick)

    def requests(self, replication: int = 0) -> RequestLog:
        """Return the per-request times of one replication [ticks].

        Raises
        ------
        InvalidArgument
            If the run did not keep them.
        """
        log = self.outcomes[replication].requests
        if log is None:
            msg = "this run kept no requests: simulate(..., keep_requests=True)."
            raise InvalidArgument(msg)
        return log

    def batches(self, replication: int = 0) -> dict[str, np.ndarray]:
        """Return the batches logged, one int64 array for each column [ticks, tokens]."""
        log = self.outcomes[replication].log
        return {name: log[:, i] for i, name in enumerate(LOG_COLUMNS)}

    def _column(self, name: str) -> np.ndarray:
        index = SAMPLE_COLUMNS.index(name)
        return np.stack([outcome.samples[:, index] for outcome in self.outcomes])

    def _rate(self, column: str, *, scale: float = 1.0, since: float | None = None) -> Estimate:
        """Estimate the rate of increase of a column after a time."""
        begin = self.warmup if since is None else since
        first = int(np.searchsorted(self.times, begin * (1 - 1e-12)))
        values, times = self._column(column)[:, first:] * scale, self.times[first:]
        if len(times) < 2:
            msg = f"no samples after {begin:g} s: use more samples or a shorter warm-up."
            raise InvalidArgument(msg)
        if len(values) > 1:
            rates = (values[:, -1] - values[:, 0]) / (times[-1] - times[0])
            return Estimate.of(rates, "replications")
        marks = np.linspace(0, len(times) - 1, min(BATCHES, len(times) - 1) + 1).astype(int)
        rates = np.diff(values[0, marks]) / np.diff(times[marks])
        overall = (values[0, -1] - values[0, 0]) / (times[-1] - times[0])
        return replace(Estimate.of(rates, "batch means"), value=float(overall))


def _mean_lengths(workload: Workload) -> tuple[float, float]:
    return float(workload.mean_prompt_tokens), float(workload.mean_output_tokens)


def _summary(values: np.ndarray, percentile: float | None) -> float:
    return float(values.mean() if percentile is None else np.percentile(values, percentile))
