"""The result of a simulation of a network: paths, means with confidence, latencies.

In the shape descriptions, ``R`` is the number of replications, ``S`` of samples, ``E`` of
engines, ``V`` of kinds of visit.
"""

from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model.agents import AgentNetwork
from queueing_llm.simulate._estimate import Estimate, Method
from queueing_llm.simulate.networks._outcome import (
    ENGINE_COLUMNS,
    TOTALS,
    VISIT_COLUMNS,
    NetworkOutcome,
)
from queueing_llm.simulate.networks._trend import is_clear, trend

BATCHES = 20
SessionLatency = Literal["end_to_end", "makespan", "fork_join"]
LATENCIES: tuple[SessionLatency, ...] = ("end_to_end", "makespan", "fork_join")


@final
@dataclass(frozen=True, slots=True, eq=False)
class NetworkRun:
    """What :func:`simulate_network` returns.

    Parameters
    ----------
    network : AgentNetwork
        What was simulated.
    horizon, warmup : float
        Length of every replication, and of the part that means leave out [s].
    tick : float
        Length of a clock tick [s].
    is_transparent : bool
        Whether the transparent driver ran it.
    keeps_sessions : bool
        Whether the times of sessions and forks were kept.
    outcomes : tuple of NetworkOutcome
        One per replication, in ticks.
    """

    network: AgentNetwork
    horizon: float
    warmup: float
    tick: float
    is_transparent: bool
    keeps_sessions: bool
    outcomes: tuple[NetworkOutcome, ...]

    @property
    def times(self) -> np.ndarray:
        """Sample times, float64 array, shape (S,) [s]."""
        return self.outcomes[0].totals[:, 0] * self.tick

    @property
    def backlog_tokens(self) -> np.ndarray:
        """Work of the requests at each engine, float64 array, shape (R, S, E) [tokens].

        Only requests that have been sent count, not what their sessions will ask for later.
        """
        return self._of_engines("backlog_tokens")

    @property
    def total_backlog_tokens(self) -> np.ndarray:
        """Work at all engines together, float64 array, shape (R, S) [tokens]."""
        total: np.ndarray = self.backlog_tokens.sum(axis=-1)
        return total

    @property
    def sessions_in_system(self) -> np.ndarray:
        """Sessions that have arrived and not finished, float64 array, shape (R, S)."""
        return self._totals("arrived") - self._totals("completed")

    @property
    def present(self) -> np.ndarray:
        """Branches at each kind of visit, delays included, float64 array, shape (R, S, V)."""
        return self._of_visits("present")

    @property
    def steps(self) -> int:
        """Batches completed by all engines in all replications."""
        return int(self._totals("steps")[:, -1].sum())

    @property
    def arrived(self) -> int:
        """Sessions that arrived in all replications, those present at time 0 included."""
        return int(self._totals("arrived")[:, -1].sum())

    @property
    def completed(self) -> int:
        """Sessions that finished in all replications: all their branches have ended."""
        return int(self._totals("completed")[:, -1].sum())

    @property
    def throughput(self) -> Estimate:
        """Sessions finished per second after the warm-up [sessions/s]."""
        return self._rate(self._totals("completed"), since=self.warmup)

    @property
    def utilisation(self) -> tuple[Estimate, ...]:
        """Share of time that each engine ran a batch after the warm-up [1]."""
        return self._rates(self._of_engines("busy") * self.tick)

    @property
    def token_throughput(self) -> tuple[Estimate, ...]:
        """Tokens that each engine processed per second after the warm-up [tokens/s]."""
        return self._rates(self._of_engines("served_tokens"))

    @property
    def mean_backlog_tokens(self) -> tuple[Estimate, ...]:
        """Time average of the work at each engine after the warm-up [tokens]."""
        return self._rates(self._of_engines("backlog_area") * self.tick)

    @property
    def mean_present(self) -> tuple[Estimate, ...]:
        """Time average of the branches at each kind of visit after the warm-up [1]."""
        return self._rates(self._of_visits("present_area") * self.tick)

    @property
    def visit_rate(self) -> tuple[Estimate, ...]:
        """Branches that enter each kind of visit per second after the warm-up [1/s].

        Visits in a row count once.
        """
        return self._rates(self._of_visits("entered"))

    @property
    def mean_time_at(self) -> tuple[Estimate, ...]:
        """Mean time at each kind of visit of those that left after the warm-up [s].

        From entering, delay included, until the last of the visits in a row is over.
        """
        spent = self._of_visits("time_spent") * self.tick
        left = self._of_visits("left")
        pairs = zip(np.moveaxis(spent, -1, 0), np.moveaxis(left, -1, 0), strict=True)
        return tuple(self._ratio(*pair, since=self.warmup) for pair in pairs)

    @property
    def growth(self) -> Estimate:
        """Growth of the work at all engines after the warm-up [tokens/s].

        Mean of the second half less that of the first, over half the time: the slope, if the
        growth is steady, and hardly disturbed by a backlog that swings. Near 0 for a stable
        network, but no verdict.
        """
        return self._trend(self._of_engines("backlog_area"))

    @property
    def branch_growth(self) -> Estimate:
        """The same of the branches of sessions in the network [1/s]."""
        return self._trend(self._of_visits("present_area"))

    @property
    def grows(self) -> bool:
        """Whether the work, or the number of branches, clearly grew.

        By 4 standard errors and 1 % of what arrived. The work of sessions that make many
        calls is mostly still to come, so their number tells more.
        """
        columns = "served_tokens", "backlog_tokens", "recomputed_tokens"
        served, left, again = (self._of_engines(name)[:, -1] for name in columns)
        offered = float((served + left - again).sum(axis=-1).mean()) / self.horizon
        started = self.arrived / len(self.outcomes) / self.horizon
        return is_clear(self.growth, offered) or is_clear(self.branch_growth, started)

    def latency(
        self,
        kind: SessionLatency,
        *,
        visit: str | None = None,
        percentile: float | None = None,
        transient: bool = False,
    ) -> Estimate:
        """Return the mean, or a percentile, of a latency of what finished.

        Parameters
        ----------
        kind : {"end_to_end", "makespan", "fork_join"}
            From arrival until the session leaves the network; until its last branch has
            ended, also one that came too late for a join; from a fork until its join goes
            on [s].
        visit : str, optional
            Only sessions that start here, or forks here; all if left out.
        percentile : float, optional
            Between 0 and 100 (linear interpolation); the mean if left out.
        transient : bool
            Whether to answer also if the backlog grows, when there is no steady state.

        Raises
        ------
        InvalidArgument
            If sessions were not kept, a name is unknown, or the backlog grows and
            ``transient`` is false.
        """
        if not transient and self.grows:
            msg = (
                f"the backlog grows by {self.growth.value:.4g} tokens/s and "
                f"{self.branch_growth.value:.4g} branches/s, so the {kind} of the steady state "
                "does not exist: pass transient=True for that of this horizon."
            )
            raise InvalidArgument(msg)
        replications = range(len(self.outcomes))
        groups = [self.latencies(kind, visit=visit, replication=i) for i in replications]
        method: Method = "replications"
        if len(groups) == 1:
            groups, method = np.array_split(groups[0], BATCHES), "batch means"
        values = [_summary(group, percentile) for group in groups if len(group)]
        estimate = Estimate.of(np.array(values), method)
        if method == "replications" or not values:
            return estimate
        return replace(estimate, value=_summary(np.concatenate(groups), percentile))

    def latencies(
        self, kind: SessionLatency, *, visit: str | None = None, replication: int = 0
    ) -> np.ndarray:
        """Return a latency of all that finished, float64 array [s], in order of the end.

        What began during the warm-up is left out.
        """
        if kind not in LATENCIES:
            msg = f"there is no latency {kind!r}: {nearest(str(kind), LATENCIES)}."
            raise InvalidArgument(msg)
        if not self.keeps_sessions:
            msg = "this run kept no sessions: simulate_network(..., keep_sessions=True)."
            raise InvalidArgument(msg)
        outcome = self.outcomes[replication]
        if kind == "fork_join":
            at, began, ended = outcome.blocks.T
        else:
            began, at, answered, finished = outcome.sessions.T
            ended = answered if kind == "end_to_end" else finished
        kept = (began * self.tick >= self.warmup) & (ended >= 0)
        if visit is not None:
            kept &= at == self._visit_named(visit)
        return np.asarray((ended[kept] - began[kept]) * self.tick)

    def _visit_named(self, name: str) -> int:
        names = [visit.name for visit in self.network.visits]
        if name not in names:
            msg = f"there is no visit {name!r}: {nearest(str(name), names)}."
            raise InvalidArgument(msg)
        return names.index(name)

    def _totals(self, name: str) -> np.ndarray:
        column = TOTALS.index(name)
        return np.stack([outcome.totals[:, column] for outcome in self.outcomes])

    def _of_engines(self, name: str) -> np.ndarray:
        column = ENGINE_COLUMNS.index(name)
        return np.stack([outcome.engines[:, :, column] for outcome in self.outcomes])

    def _trend(self, area: np.ndarray) -> Estimate:
        first, last = self._window(self.warmup)
        window = slice(first, last + 1)
        return trend(area.sum(axis=-1)[:, window] * self.tick, self.times[window])

    def _of_visits(self, name: str) -> np.ndarray:
        column = VISIT_COLUMNS.index(name)
        return np.stack([outcome.visits[:, :, column] for outcome in self.outcomes])

    def _rates(self, values: np.ndarray) -> tuple[Estimate, ...]:
        columns = np.moveaxis(values, -1, 0)
        return tuple(self._rate(column, since=self.warmup) for column in columns)

    def _rate(self, values: np.ndarray, *, since: float) -> Estimate:
        """Estimate the rate of increase of paths, shape (R, S), after a time."""
        return self._ratio(values, np.broadcast_to(self.times, values.shape), since=since)

    def _ratio(self, top: np.ndarray, bottom: np.ndarray, *, since: float) -> Estimate:
        """Estimate the increase of paths over that of others, shape (R, S), after a time."""
        first, last = self._window(since)
        several = len(top) > 1
        pieces = 1 if several else min(BATCHES, last - first)
        marks = np.linspace(first, last, pieces + 1).astype(int)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.diff(top[:, marks]) / np.diff(bottom[:, marks])
            overall = np.diff(top[0, [first, last]]) / np.diff(bottom[0, [first, last]])
        if several:
            return Estimate.of(ratios[:, 0], "replications")
        return replace(Estimate.of(ratios[0], "batch means"), value=float(overall[0]))

    def _window(self, since: float) -> tuple[int, int]:
        """Return the first and the last sample after a time."""
        first = int(np.searchsorted(self.times, since * (1 - 1e-12)))
        last = len(self.times) - 1
        if last <= first:
            msg = f"no samples after {since:g} s: use more samples or a shorter warm-up."
            raise InvalidArgument(msg)
        return first, last


def _summary(values: np.ndarray, percentile: float | None) -> float:
    return float(values.mean() if percentile is None else np.percentile(values, percentile))
