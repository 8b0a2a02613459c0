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
from queueing_llm.simulate.networks._tables import tables

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
        self._lay_out_visits(len(layout.network.visits))
        sizes = (kernel.SLOT_SIZE, kernel.SESSION_SIZE, kernel.FRAME_SIZE, 3)
        self.rows = [np.zeros((ROWS, size), dtype=np.int64) for size in sizes]
        self._grow()
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
        self._arrivals = streams.arrivals(chunk)
        self._prepare_randomness()

    def _lay_out_engines(self, count: int) -> None:
        self.engine = np.zeros((count, kernel.ENGINE_SIZE), dtype=np.int64)
        for column in (kernel.PARTIAL, kernel.FROZEN, kernel.LAST):
            self.engine[:, column] = EMPTY
        self.engine[:, (kernel.SHORT, kernel.SHORT_END)] = EMPTY
        leaves = 1
        while leaves < count:
            leaves *= 2
        self.ends = np.full(leaves, kernel.NEVER, dtype=np.int64)
        self.tree = np.zeros(2 * leaves, dtype=np.int64)
        self.tree[leaves:] = np.arange(leaves)
        for node in range(leaves - 1, 0, -1):
            self.tree[node] = self.tree[2 * node]
        self.idle, self.changed = np.zeros((2, count), dtype=np.int64)
        self.areas = np.zeros(count)
        self.queue = np.full((self.layout.first_queue[-1], 2), EMPTY, dtype=np.int64)
        self.ring = np.full((count, SMALLEST_RING), EMPTY, dtype=np.int32)

    def _lay_out_visits(self, count: int) -> None:
        self.here = np.zeros((count, 2), dtype=np.int64)
        self.visited = np.zeros(count, dtype=np.int64)
        self.sojourn = np.zeros((count, 2))

    def _prepare_randomness(self) -> None:
        visits = len(self.layout.network.visits)
        self.used = np.full((visits, 2), self.chunk, dtype=np.int64)
        self.lengths = np.zeros((2, visits, self.chunk), dtype=np.int64)
        has_turns = bool(self.layout.ways.has_turns.any())
        self.turns = np.zeros((visits, self.chunk if has_turns else 0), dtype=np.int64)
        self.uniforms, self.delays = np.zeros(0), np.zeros(0)
        self._more_arrivals()

    def engines(self) -> tuple[Any, ...]:
        """Return the arguments of the kernel about engines and visits."""
        rule, *steps = self.tables
        own = (self.ends, self.tree, self.idle, self.areas, self.changed)
        visits = (self.here, self.visited, self.sojourn)
        return (self.engine, rule, self.layout.first_queue, self.queue, *steps, *own, *visits)

    def branches(self) -> tuple[Any, ...]:
        """Return the arguments of the kernel about branches."""
        return (*self.rows, self.ring)

    def randomness(self) -> tuple[Any, ...]:
        """Return the random numbers drawn and not yet all used."""
        drawn = (*self.arrivals, *self.lengths, self.turns)
        return (*drawn, self.uniforms, self.delays, self.used)

    def records(self) -> tuple[Any, ...]:
        """Return where the kernel records."""
        return (self.sample_at, self.samples, self.by_engine, self.by_visit, *self.logs)

    def supply(self, code: int) -> None:
        """Give the kernel what it asked for."""
        where = int(self.state[kernel.WHERE])
        if code == kernel.NEEDS_ARRIVALS:
            self._more_arrivals()
        elif code == kernel.NEEDS_LENGTHS:
            self.lengths[:, where] = self.streams.lengths(where, self.chunk)
            self.used[where, 0] = 0
            self._widen_ring(int(self.lengths[1, where].max()))
        elif code == kernel.NEEDS_TURNS:
            self.turns[where] = self.streams.turns(where, self.chunk)
            self.used[where, 1] = 0
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

    def _more_arrivals(self) -> None:
        none = np.zeros(0, dtype=np.int64)
        more = next(self._arrivals, None)
        self.state[kernel.COMPLETE] = more is None
        self.arrivals = (none, none) if more is None else more
        self.state[kernel.CURSOR] = 0

    def _grow(self) -> None:
        """Make room for twice as many branches."""
        for n, rows in enumerate(self.rows):
            more = np.zeros((len(rows) + self.layout.most_moves, rows.shape[1]), dtype=np.int64)
            self.rows[n] = np.concatenate([rows, more])

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
        sessions = np.unique(self.rows[0][live, kernel.SESSION])
        if len(live) != state[kernel.SLOTS]:
            return "branches"
        if state[kernel.ARRIVED] != state[kernel.COMPLETED] + len(sessions):
            return "sessions"
        owed = self.engine[:, kernel.BACKLOG].copy()
        in_flight = self.engine[:, (kernel.FLIGHT_X, kernel.FLIGHT_Y)].sum(axis=1)
        owed -= np.where(self.ends[: len(owed)] < kernel.NEVER, in_flight, 0)
        left = [self._tokens_left(e) for e in range(len(owed))]
        return "" if (owed == left).all() else "tokens"

    def _tokens_left(self, e: int) -> int:
        queues = self.queue[self.layout.first_queue[e] : self.layout.first_queue[e + 1], 0]
        emits = self.tables.rule[e, kernel.EMITS]
        return int(
            kernel.tokens_left(self.engine[e], self.rows[0], self.ring[e], queues, emits)
        )

    def _live_slots(self) -> np.ndarray:
        is_free = np.zeros(self.state[kernel.SLOT_TOP], dtype=np.bool_)
        free = self.state[kernel.SLOT_FREE]
        while free >= 0:
            is_free[free] = True
            free = self.rows[0][free, kernel.NEXT]
        return np.flatnonzero(~is_free)

    def outcome(self) -> NetworkOutcome:
        """Return everything recorded."""
        self._keep_logs()
        log, sessions, blocks = (np.concatenate(parts) for parts in self.full)
        return NetworkOutcome(
            self.samples, self.by_engine, self.by_visit, in_order(log), sessions, blocks
        )
