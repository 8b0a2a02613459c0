"""The compiled kernel's memory: requests loaded so far, and the ring of their finishes.

Without per-request outputs only the requests that are still needed stay loaded: the columns
are compacted whenever they are full, and grow only with the backlog. With outputs they grow
with the number of requests.
"""

import numpy as np

from queueing_llm.model import Engine, Requests
from queueing_llm.policies import BatchRule
from queueing_llm.simulate import _kernel as kernel
from queueing_llm.simulate._arrivals import most_tokens, refuse
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._outcome import RequestLog

UNLIMITED = 2**62
SMALLEST_RING = 1024
TIMES = ("start", "first", "finish")
KERNEL_COLUMNS = (
    "arrival", "prompt", "decode", "fin", "start", "first", "finish", "after", "before",
    "think",
)  # fmt: skip
COLUMNS: dict[str, type] = {
    "arrival": np.int64,
    "prompt": np.int32,
    "decode": np.int32,
    "fin": np.int64,
    "start": np.int64,
    "first": np.int64,
    "finish": np.int64,
    "after": np.int32,
    "before": np.int32,
    "think": np.int64,
    "asked_prompt": np.int32,
    "asked_decode": np.int32,
    "class_index": np.int32,
}
BLANK = {"fin": 0, "start": -1, "first": -1, "finish": -1, "after": -1, "before": -1}


class Loaded:
    """The requests in the kernel's memory, and the ring of their finishes.

    Parameters
    ----------
    engine, rule
        What will run; they decide which columns are needed.
    keep : bool
        Whether per-request times are kept; nothing is dropped then.
    count_kv : bool
        Whether KV tokens are counted even if neither engine nor step time asks for them.
    expected : int
        First guess of the number of requests.
    starts : int64 array, shape (N,), or None
        When the users of a closed workload send their first requests, in order [ticks].
    """

    def __init__(
        self,
        engine: Engine,
        rule: BatchRule,
        *,
        keep: bool,
        count_kv: bool,
        expected: int,
        starts: np.ndarray | None,
    ) -> None:
        limit = engine.max_batch_size or UNLIMITED
        members = limit if rule.limit_counts == "members" else UNLIMITED
        residents = limit if rule.limit_counts == "residents" else UNLIMITED
        self.engine, self.most_tokens = engine, most_tokens(engine)
        is_limited = engine.kv_capacity is not None
        capacity = engine.kv_blocks or UNLIMITED
        self.limits = (engine.token_budget, members, residents, capacity)
        self.emits = engine.first_token_from_prefill
        self.ordered = rule.first == "prefill" or is_limited
        self.counts_kv = is_limited or count_kv or engine.step_time.kv_slope != 0
        self.rule = (rule.first == "decode", rule.mixed, rule.chunked, self.emits)
        self.keep, self.complete, self.size, self.seen = keep, 0, 0, 0
        self.wanted = ["arrival", "prompt", "decode"]
        self.wanted += ["fin"] if self.ordered else []
        self.wanted += [*TIMES, "class_index"] if keep else []
        in_blocks = engine.kv_block_size > 1
        self.wanted += ["after", "before"] if keep or in_blocks else []
        self.by_residue = np.zeros(engine.kv_block_size, dtype=np.int64) if in_blocks else None
        # Preemption changes prompt and decode, so what was asked for is kept apart.
        self.wanted += ["asked_prompt", "asked_decode"] if keep and is_limited else []
        self.wanted += [] if starts is None else ["think"]
        # Sorted times are a heap.
        self.returns = None if starts is None else starts.copy()
        self.arrays: dict[str, np.ndarray] = {
            name: np.empty(expected if name in self.wanted else 0, dtype=dtype)
            for name, dtype in COLUMNS.items()
        }
        self.rings = _rings(SMALLEST_RING)

    def columns(self) -> list[np.ndarray | None]:
        """Return what the kernel sees: the loaded part of the columns, and the ring."""
        ring, ring_kv, chain = self.rings
        requests = [
            self.arrays[name][: self.size] if name in self.wanted else None
            for name in KERNEL_COLUMNS
        ]
        return [
            *requests,
            self.returns,
            self.by_residue,
            ring,
            ring_kv if self.counts_kv else None,
            chain,
        ]

    def take(self, chunk: Requests | None, state: np.ndarray, clock: Clock) -> None:
        """Load one more chunk; no chunk means that no more requests will come."""
        if chunk is None:
            self.complete = 1
            return
        if len(chunk) == 0:
            return
        self._make_room(len(chunk), state)
        rows = slice(self.size, self.size + len(chunk))
        is_open = self.returns is None
        when = "arrival" if is_open else "think"
        columns = [self.arrays[name][rows] for name in (when, "prompt", "decode")]
        fewest, most, largest, row = kernel.load(
            chunk.arrival_times if is_open else chunk.think_times,
            chunk.prompt_tokens,
            chunk.output_tokens,
            clock.tick,
            self.emits,
            *columns,
        )
        if fewest < 0 or largest > self.most_tokens:
            row = int(np.argmin(chunk.output_tokens)) if fewest < 0 else int(row)
            refuse(chunk, row, self.engine, number=self.seen + row)
        for name in set(self.wanted) & BLANK.keys():
            self.arrays[name][rows] = BLANK[name]
        for name, source in (("asked_prompt", 1), ("asked_decode", 2)):
            if name in self.wanted:
                self.arrays[name][rows] = columns[source]
        if "class_index" in self.wanted:
            self.arrays["class_index"][rows] = chunk.class_index
        self.size += len(chunk)
        self.seen += len(chunk)
        self._fit_ring(int(most), int(state[kernel.DECODE_STEP]))

    def _make_room(self, more: int, state: np.ndarray) -> None:
        needed = self.size + more
        if needed <= len(self.arrays["arrival"]):
            return
        if not self.keep:
            self._compact(state)
            needed = 2 * self.size + more
        else:
            needed = max(needed, self.size + self.size // 8)
        for name in self.wanted:
            self.arrays[name].resize(needed, refcheck=False)

    def _compact(self, state: np.ndarray) -> None:
        head = int(state[kernel.HEAD])
        oldest = head
        if self.ordered:
            fin = self.arrays["fin"][:head]
            unfinished = (fin < 0) | (fin > state[kernel.DECODE_STEP])
            oldest = int(np.argmax(unfinished)) if unfinished.any() else head
            oldest = min(oldest, int(state[kernel.BOUND]))
        if self.returns is not None:
            completed = int(state[kernel.NEXT] - state[kernel.PRESENT])
            oldest = min(oldest, completed)
        for name in self.wanted:
            column = self.arrays[name]
            column[: self.size - oldest] = column[oldest : self.size].copy()
        for links in (self.rings[2], self.arrays["after"], self.arrays["before"]):
            links[links >= 0] -= oldest
        self.size -= oldest
        for pointer in (kernel.HEAD, kernel.NEXT, kernel.BOUND):
            state[pointer] -= oldest
        if not self.ordered:
            state[kernel.BOUND] = 0

    def _fit_ring(self, longest: int, k: int) -> None:
        """Let the ring hold every finish up to ``longest`` decode steps ahead."""
        ring, ring_kv, chain = self.rings
        size = len(ring)
        if longest < size:
            return
        larger = _rings(1 << (longest + 1).bit_length())
        ahead = k + 1 + np.arange(size)
        for old, new in zip((ring, ring_kv, chain), larger, strict=True):
            new[ahead & (len(new) - 1)] = old[ahead & (size - 1)]
        self.rings = larger

    def tokens_left(self, state: np.ndarray) -> int:
        """Count the tokens left, request by request and bucket by bucket."""
        head, nxt = int(state[kernel.HEAD]), int(state[kernel.NEXT])
        k = int(state[kernel.DECODE_STEP])
        waiting = slice(head, nxt)
        work = self.arrays["prompt"][waiting].astype(np.int64) + self.arrays["decode"][waiting]
        ring = self.rings[0]
        ahead = k + 1 + np.arange(len(ring))
        total = int((ring[ahead & (len(ring) - 1)] * (ahead - k)).sum())
        if self.ordered:
            fin = self.arrays["fin"][:nxt]
            work = work[fin[waiting] == 0]
            total -= int(fin[:head][fin[:head] < 0].sum())
        left = int(state[kernel.LEFT])
        progress = int(self.arrays["prompt"][head]) - left if left > 0 else 0
        return total + int(work.sum()) - progress

    def log(self, state: np.ndarray, horizon: int) -> RequestLog:
        """Return the per-request times of everything that has arrived."""
        size = int(state[kernel.NEXT])
        column = {name: self.arrays[name][:size] for name in self.wanted}
        for name in TIMES:
            column[name][column[name] > horizon] = -1
        return RequestLog(
            arrival=column["arrival"],
            start=column["start"],
            first=column["first"],
            finish=column["finish"],
            prompt_tokens=column.get("asked_prompt", column["prompt"]),
            decode_steps=column.get("asked_decode", column["decode"]),
            class_index=column["class_index"],
        )


def _rings(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an empty ring: counts, footprints, and chains of requests."""
    counts, footprints = np.zeros(size, dtype=np.int32), np.zeros(size, dtype=np.int64)
    return counts, footprints, np.full(size, -1, dtype=np.int32)
