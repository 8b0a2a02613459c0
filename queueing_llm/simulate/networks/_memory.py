"""Everything that the compiled network works on, and what it is given when it asks."""

from typing import Any

import numpy as np

from queueing_llm.simulate.networks import _kernel as kernel
from queueing_llm.simulate.networks._layout import Layout
from queueing_llm.simulate.networks._outcome import (
    BLOCK_COLUMNS,
    ENGINE_COLUMNS,
    LOG_COLUMNS,
    SESSION_COLUMNS,
    TOTALS,
    VISIT_COLUMNS,
    NetworkOutcome,
    in_order,
)
from queueing_llm.simulate.networks._streams import Streams
from queueing_llm.simulate.networks._tables import aligned, tables, tournament, visits

SMALLEST_RING = 64
ROWS = 256
LOGGED_AT_ONCE = 4096
EMPTY = -1


class Memory:
    """The arrays of one replication; parameters as for ``run_kernel``."""

    def __init__(
        self,
        layout: Layout,
        streams: Streams,
        *,
        sample_at: np.ndarray,
        chunk: int,
        log_batches: bool,
        keep_sessions: bool,
    ) -> None:
        self.layout, self.streams, self.chunk = layout, streams, chunk
        self.sample_at = sample_at
        self.tables = tables(layout)
        self.state = np.zeros(kernel.STATE_SIZE, dtype=np.int64)
        free = ("CURRENT", "PENDING", "FINISHED", "SLOT_FREE", "SESSION_FREE", "FRAME_FREE")
        for name in free:
            self.state[getattr(kernel, name)] = EMPTY
        self._lay_out_engines(len(layout.clocks))
        self.visit, self.law, self.roads = visits(layout)
        self.sojourn = np.zeros_like(self.law)
        sizes = (
            kernel.SLOT_SIZE,
            kernel.EXTRA_SIZE,
            kernel.SESSION_SIZE,
            kernel.FRAME_SIZE,
            3,
        )
        self.rows = [aligned(ROWS + layout.most_moves, size) for size in sizes]
        shape = len(sample_at), len(self.engine), len(layout.network.visits)
        self.samples = np.zeros((shape[0], len(TOTALS)))
        self.by_engine = np.zeros((*shape[:2], len(ENGINE_COLUMNS)))
        self.by_visit = np.zeros((shape[0], shape[2], len(VISIT_COLUMNS)))
        kept = LOGGED_AT_ONCE * np.array([log_batches, keep_sessions, keep_sessions])
        widths = len(LOG_COLUMNS), len(SESSION_COLUMNS), len(BLOCK_COLUMNS)
        self.logs = [
            np.zeros((n, width), dtype=np.int64) for n, width in zip(kept, widths, strict=True)
        ]
        self.full: list[list[np.ndarray]] = [[log[:0]] for log in self.logs]
        self._lay_out_sources()
        self._prepare_randomness()

    def _lay_out_engines(self, count: int) -> None:
        self.engine = aligned(count, kernel.ENGINE_SIZE)
        for column in (kernel.PARTIAL, kernel.FROZEN, kernel.LAST):
            self.engine[:, column] = EMPTY
        self.engine[:, (kernel.SHORT, kernel.SHORT_END)] = EMPTY
        self.ends, self.first_end = tournament(np.full(count, kernel.NEVER))
        self.idle, self.areas = np.zeros(count, dtype=np.int64), np.zeros(count)
        self.queue = np.full((self.layout.first_queue[-1], 2), EMPTY, dtype=np.int64)
        self.ring = np.full((count, SMALLEST_RING), EMPTY, dtype=np.int32)

    def _lay_out_sources(self) -> None:
        sources = self.streams.arrivals(self.chunk)
        self._arrivals = [ticks for _, ticks in sources]
        self.source = np.zeros((len(sources), 3), dtype=np.int64)
        self.source[:, kernel.ENTRY] = [visit for visit, _ in sources]
        self.arrival = np.zeros((len(sources), self.chunk), dtype=np.int64)
        first = [self._more_arrivals(number) for number in range(len(sources))]
        self.comes, self.first_source = tournament(np.array(first, dtype=np.int64))

    def _prepare_randomness(self) -> None:
        count = len(self.visit)
        self.visit[:, (kernel.USED_LENGTHS, kernel.USED_TURNS)] = self.chunk
        self.lengths = np.zeros((count, self.chunk, 2), dtype=np.int32)
        has_turns = bool(self.visit[:, kernel.HAS_TURNS].any())
        self.turns = np.zeros((count, self.chunk if has_turns else 0), dtype=np.int64)
        self.uniforms, self.delays = np.zeros(0), np.zeros(0)

    def arguments(self) -> tuple[Any, ...]:
        """Return the arguments of the kernel after those that are no arrays."""
        rule, *steps = self.tables
        ends = (self.areas, self.ends, self.first_end, self.idle)
        return (
            *(self.visit, self.law, self.sojourn, *self.roads),
            *(self.engine, rule, self.queue, self.ring, *ends, *steps),
            *self.rows,
            *(self.source, self.arrival, self.comes, self.first_source),
            *(self.lengths, self.turns, self.uniforms, self.delays),
            *(self.sample_at, self.samples, self.by_engine, self.by_visit, *self.logs),
        )

    def supply(self, code: int) -> None:
        """Give the kernel what it asked for."""
        where = int(self.state[kernel.WHERE])
        if code == kernel.NEEDS_ARRIVALS:
            kernel.replay(self.comes, self.first_source, where, self._more_arrivals(where))
        elif code == kernel.NEEDS_LENGTHS:
            prompt, output = self.streams.lengths(where, self.chunk)
            self.lengths[where, :, 0], self.lengths[where, :, 1] = prompt, output
            self.visit[where, kernel.USED_LENGTHS] = 0
            self._widen_ring(int(output.max()))
        elif code == kernel.NEEDS_TURNS:
            self.turns[where] = self.streams.turns(where, self.chunk)
            self.visit[where, kernel.USED_TURNS] = 0
        elif code == kernel.NEEDS_UNIFORMS:
            left = self.uniforms[self.state[kernel.UNIFORM] :]
            more = self.streams.uniforms(self.chunk + self.layout.most_moves + 1)
            self.uniforms = np.concatenate([left, more])
            self.state[kernel.UNIFORM] = 0
        elif code == kernel.NEEDS_DELAYS:
            self.delays = self.streams.delays(self.chunk)
            self.state[kernel.WAIT] = 0
        elif code == kernel.NEEDS_SPACE:
            self._grow()
        elif code == kernel.NEEDS_LOG:
            self._keep_logs()

    def _more_arrivals(self, number: int) -> int:
        """Take the next sessions of a source; return when the first of them arrives."""
        ticks = next(self._arrivals[number], np.array([kernel.NEVER]))
        if len(ticks) > self.arrival.shape[1]:
            wider = np.zeros((len(self.arrival), len(ticks)), dtype=np.int64)
            wider[:, : self.arrival.shape[1]] = self.arrival
            self.arrival = wider
        self.arrival[number, : len(ticks)] = ticks
        self.source[number, (kernel.TAKEN, kernel.READY)] = 0, len(ticks)
        return int(ticks[0])

    def _grow(self) -> None:
        """Make room for twice as many branches."""
        for n, rows in enumerate(self.rows):
            more = aligned(2 * len(rows), rows.shape[1])
            more[: len(rows)] = rows
            self.rows[n] = more

    def _widen_ring(self, longest: int) -> None:
        """Make the ring longer than the most decode steps."""
        old = self.ring.shape[1]
        size = old
        while size <= longest:
            size *= 2
        if size == old:
            return
        ring = np.full((len(self.ring), size), EMPTY, dtype=np.int32)
        step = self.engine[:, kernel.STEP, np.newaxis]
        # A batch in flight still holds the chain of its own step.
        at = step + np.arange(old)
        rows = np.arange(len(ring))[:, np.newaxis]
        ring[rows, at % size] = self.ring[rows, at % old]
        self.ring = ring

    def _keep_logs(self) -> None:
        counts = (kernel.LOGGED, kernel.SESSIONS_LOGGED, kernel.BLOCKS_LOGGED)
        for n, count in enumerate(counts):
            self.full[n].append(self.logs[n][: self.state[count]].copy())
            self.state[count] = 0

    def difference(self) -> str:
        """Count branches and tokens anew; return what does not match, if anything."""
        state = self.state
        live = self._live_slots()
        if len(live) != self.visit[:, kernel.HERE].sum():
            return "branches"
        if state[kernel.ARRIVED] != state[kernel.COMPLETED] + self._live_sessions(live):
            return "sessions"
        owed = self.engine[:, kernel.BACKLOG].copy()
        in_flight = self.engine[:, (kernel.FLIGHT_X, kernel.FLIGHT_Y)].sum(axis=1)
        owed -= np.where(
            self.ends[len(self.ends) // 2 :][: len(owed)] < kernel.NEVER, in_flight, 0
        )
        left = [self._tokens_left(e) for e in range(len(owed))]
        return "" if (owed == left).all() else "tokens"

    def _tokens_left(self, e: int) -> int:
        queues = self.queue[self.layout.first_queue[e] : self.layout.first_queue[e + 1], 0]
        emits = self.tables.rule[e, kernel.EMITS]
        return int(
            kernel.tokens_left(self.engine[e], *self.rows[:2], self.ring[e], queues, emits)
        )

    def _live_slots(self) -> np.ndarray:
        is_free = np.zeros(self.state[kernel.SLOT_TOP], dtype=np.bool_)
        free = self.state[kernel.SLOT_FREE]
        while free >= 0:
            is_free[free] = True
            free = self.rows[0][free, kernel.LINK]
        return np.flatnonzero(~is_free)

    def _live_sessions(self, live: np.ndarray) -> int:
        if not self.layout.has_forks:
            return len(live)
        of = self.rows[1][live, kernel.SESSION]
        return int((of < 0).sum()) + len(np.unique(of[of >= 0]))

    def outcome(self) -> NetworkOutcome:
        """Return everything recorded."""
        self._keep_logs()
        log, sessions, blocks = (np.concatenate(parts) for parts in self.full)
        return NetworkOutcome(
            self.samples, self.by_engine, self.by_visit, in_order(log), sessions, blocks
        )
