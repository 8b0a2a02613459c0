"""Bookkeeping of the transparent engine: samples, batches, and per-request times."""

import numpy as np

from queueing_llm.errors import ConservationViolated
from queueing_llm.simulate._outcome import Arrival, Outcome, RequestLog


class Recorder:
    """Totals of one replication, kept in plain Python integers.

    Parameters
    ----------
    sample_at : sequence of int
        Sample times in increasing order [ticks]; the last one is the horizon.
    log_size : int
        How many batches to log.
    """

    def __init__(self, sample_at: np.ndarray, *, log_size: int = 0) -> None:
        self.horizon = int(sample_at[-1])
        self._pending = [int(t) for t in sample_at]
        self._samples: list[tuple[float, ...]] = []
        self._log: list[tuple[int, ...]] = []
        self._log_size = log_size
        self._arrivals: list[Arrival] = []
        self._start: list[int] = []
        self._first: list[int] = []
        self._finish: list[int] = []
        self.last = self.backlog = self.present = 0
        self.completed = self.served = self.recomputed = 0
        self.backlog_area = self.requests_area = 0.0
        self.busy = self.steps = self.preemptions = 0
        self._running_since: int | None = None

    def arrive(self, arrival: Arrival) -> int:
        """Add one request; return its number."""
        self._sample(before=arrival.ticks)
        self._integrate(arrival.ticks)
        self.backlog += arrival.prompt_tokens + arrival.decode_steps
        self.present += 1
        self._arrivals.append(arrival)
        for times in (self._start, self._first, self._finish):
            times.append(-1)
        return len(self._arrivals) - 1

    def advance(self, now: int) -> None:
        """Let time pass until just before the batch in flight ends."""
        self._sample(before=now)
        self._integrate(now)

    def form(self, line: tuple[int, ...], *, recomputed: int) -> None:
        """Note a new batch: start, end, prefill, decode and KV tokens, preemptions."""
        start, _, _, _, _, preempted = line
        self.backlog += recomputed
        self.recomputed += recomputed
        self.preemptions += preempted
        self._running_since = start
        if len(self._log) < self._log_size:
            self._log.append(line)

    def stamp(self, request: int, *, start: int, first: int | None, finish: int | None) -> None:
        """Note when a request was served; the first of each kind counts."""
        if self._start[request] < 0:
            self._start[request] = start
        if first is not None and self._first[request] < 0:
            self._first[request] = first
        if finish is not None:
            self._finish[request] = finish

    def complete(self, now: int, *, tokens: int, finished: int) -> None:
        """End the batch in flight."""
        assert self._running_since is not None
        self.backlog -= tokens
        self.present -= finished
        self.served += tokens
        self.completed += finished
        self.busy += now - self._running_since
        self.steps += 1
        self._running_since = None

    def settle(self, now: int, *, tokens_left: int) -> None:
        """Take the samples that fall on ``now``, after checking that no token is lost."""
        if tokens_left != self.backlog:
            msg = f"at tick {now} the requests hold {tokens_left} tokens, not {self.backlog}."
            raise ConservationViolated(msg)
        self._sample(before=now + 1)

    def outcome(self) -> Outcome:
        """Return everything recorded."""
        arrivals = np.array(self._arrivals, dtype=np.int64).reshape(-1, len(Arrival._fields))
        times = [np.array(t, dtype=np.int64) for t in (self._start, self._first, self._finish)]
        times = [np.where(t > self.horizon, -1, t) for t in times]
        requests = RequestLog(
            arrival=arrivals[:, 0],
            start=times[0],
            first=times[1],
            finish=times[2],
            prompt_tokens=arrivals[:, 1].astype(np.int32),
            decode_steps=arrivals[:, 2].astype(np.int32),
            class_index=arrivals[:, 3].astype(np.int32),
        )
        log = np.array(self._log, dtype=np.int64).reshape(-1, 6)
        return Outcome(np.array(self._samples, dtype=np.float64), log, requests)

    def _integrate(self, now: int) -> None:
        self.backlog_area += float(self.backlog) * (now - self.last)
        self.requests_area += float(self.present) * (now - self.last)
        self.last = now

    def _sample(self, *, before: int) -> None:
        while self._pending and self._pending[0] < before:
            at = self._pending.pop(0)
            running = 0 if self._running_since is None else at - self._running_since
            self._samples.append(
                (
                    at,
                    self.backlog,
                    self.present,
                    len(self._arrivals),
                    self.completed,
                    self.served,
                    self.recomputed,
                    self.backlog_area + float(self.backlog) * (at - self.last),
                    self.requests_area + float(self.present) * (at - self.last),
                    self.busy + running,
                    self.steps,
                    self.preemptions,
                )
            )
