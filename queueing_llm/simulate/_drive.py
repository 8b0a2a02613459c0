"""Feed the compiled kernel: load arrivals as it asks for them, keep memory flat.

Without per-request outputs only the requests that are still needed stay loaded: the buffer
is compacted whenever it is full, and grows only with the backlog. With outputs it grows
with the number of requests.
"""

from collections.abc import Callable, Iterator

import numpy as np

from queueing_llm.errors import ConservationViolated, InvalidArgument
from queueing_llm.model import Engine, Requests
from queueing_llm.policies import BatchRule
from queueing_llm.simulate import _kernel as kernel
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._outcome import LOG_COLUMNS, SAMPLE_COLUMNS, Outcome, RequestLog

UNLIMITED = 2**62
MOST_SECONDS = 1e9
SMALLEST_RING = 1024


def run_kernel(
    engine: Engine,
    rule: BatchRule,
    *,
    chunks: Iterator[Requests],
    clock: Clock,
    sample_at: np.ndarray,
    log_size: int = 0,
    keep_requests: bool = False,
    expected_requests: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run one replication of a rule until the last sample time.

    Parameters
    ----------
    engine, rule
        What to run.
    chunks : iterator of Requests
        Arrivals in order, in seconds.
    clock : Clock
        The step-time law in ticks.
    sample_at : int64 array, shape (S,)
        Sample times in increasing order [ticks]; the last one is the horizon.
    log_size : int
        How many batches to log.
    keep_requests : bool
        Whether to keep per-request times.
    expected_requests : int
        First guess of the number of requests, so that buffers need not grow.
    progress : callable, optional
        Told the fraction of the horizon that has been simulated, between chunks.

    Raises
    ------
    InvalidArgument
        If a request can never fit in the KV cache, or a batch lies outside a table.
    ConservationViolated
        If tokens are lost or invented.
    """
    loaded = _Loaded(
        engine, rule, keep=keep_requests, count_kv=log_size > 0, expected=expected_requests
    )
    state = np.zeros(kernel.STATE_SIZE, dtype=np.int64)
    state[kernel.DECODE_STEP] = kernel.FIRST_DECODE_STEP
    area = np.zeros(2)
    samples = np.zeros((len(sample_at), len(SAMPLE_COLUMNS)))
    log = np.zeros((log_size, len(LOG_COLUMNS)), dtype=np.int64)
    grids = (clock.form.prefill_grid, clock.form.decode_grid, clock.form.kv_grid)
    horizon, code = int(sample_at[-1]), kernel.NEEDS_ARRIVALS
    while code == kernel.NEEDS_ARRIVALS:
        loaded.take(next(chunks, None), state, clock)
        code = kernel.run(
            state,
            area,
            loaded.rule,
            (*loaded.limits, horizon, loaded.complete),
            *clock.rows,
            clock.ticks_per_kv,
            clock.tick,
            grids,
            clock.form.seconds,
            *loaded.columns(),
            sample_at,
            samples,
            log,
        )
        if progress is not None:
            progress(state[kernel.CLOCK] / horizon)
    if code == kernel.UNKNOWN_STEP:
        batch = (
            state[kernel.FLIGHT_TOKENS],
            state[kernel.FLIGHT_DONE],
            state[kernel.FLIGHT_KV],
        )
        _explain_unknown_step(clock, *(int(count) for count in batch))
    if code == kernel.NOT_CONSERVED or loaded.tokens_left(state) != _owed(state):
        msg = f"tokens were lost or invented at tick {state[kernel.CLOCK]}."
        raise ConservationViolated(msg)
    requests = loaded.log(state, horizon) if keep_requests else None
    return Outcome(samples, log[: state[kernel.LOGGED]], requests)


def _owed(state: np.ndarray) -> int:
    truncated = state[kernel.IN_FLIGHT] == kernel.TRUNCATED_FLIGHT
    in_flight = state[kernel.FLIGHT_TOKENS] if truncated else 0
    return int(state[kernel.BACKLOG] - in_flight)


def _explain_unknown_step(clock: Clock, x: int, y: int, kv: int) -> None:
    clock.form.seconds_of(x, y, kv)
    msg = f"the step time of {x} prefill, {y} decode and {kv} KV tokens is not positive."
    raise InvalidArgument(msg)


class _Loaded:
    """The requests in the kernel's memory, and the ring of their finishes."""

    def __init__(
        self, engine: Engine, rule: BatchRule, *, keep: bool, count_kv: bool, expected: int
    ) -> None:
        limit = engine.max_batch_size or UNLIMITED
        members = limit if rule.limit_counts == "members" else UNLIMITED
        residents = limit if rule.limit_counts == "residents" else UNLIMITED
        self.capacity = engine.kv_capacity or UNLIMITED
        self.limits = (engine.token_budget, members, residents, self.capacity)
        self.emits = engine.first_token_from_prefill
        is_limited = engine.kv_capacity is not None
        self.ordered = rule.first == "prefill" or is_limited
        self.counts_kv = is_limited or count_kv or engine.step_time.kv_slope != 0
        self.rule = (rule.first == "decode", rule.mixed, rule.chunked, self.emits)
        self.keep, self.complete, self.size, self.seen = keep, 0, 0, 0
        wanted = ["arrival", "prompt", "decode"]
        wanted += ["fin"] if self.ordered else []
        wanted += ["start", "first", "finish", "after", "before"] if keep else []
        self.copies = ["asked_prompt", "asked_decode"] if keep and is_limited else []
        self.copies += ["class_index"] if keep else []
        self.arrays: dict[str, np.ndarray] = {
            name: np.empty(expected if name in wanted + self.copies else 0, dtype=dtype)
            for name, dtype in _COLUMNS.items()
        }
        self.wanted = wanted + self.copies
        self.rings = _rings(SMALLEST_RING)

    def columns(self) -> list[np.ndarray | None]:
        """Return what the kernel sees: the loaded part of the columns, and the ring."""
        ring, ring_kv, chain = self.rings
        requests = [
            self.arrays[name][: self.size] if name in self.wanted else None
            for name in _KERNEL_COLUMNS
        ]
        return [*requests, ring, ring_kv if self.counts_kv else None, chain]

    def take(self, chunk: Requests | None, state: np.ndarray, clock: Clock) -> None:
        """Load one more chunk; no chunk means that no more requests will come."""
        if chunk is None:
            self.complete = 1
            return
        if len(chunk) == 0:
            return
        self._make_room(len(chunk), state)
        rows = slice(self.size, self.size + len(chunk))
        columns = [self.arrays[name][rows] for name in ("arrival", "prompt", "decode")]
        fewest, most, largest, row = kernel.load(
            chunk.arrival_times,
            chunk.prompt_tokens,
            chunk.output_tokens,
            clock.tick,
            self.emits,
            *columns,
        )
        self._check(chunk, int(fewest), int(largest), int(row))
        for name in set(self.wanted) & _BLANK.keys():
            self.arrays[name][rows] = _BLANK[name]
        for name, source in (("asked_prompt", 1), ("asked_decode", 2)):
            if name in self.wanted:
                self.arrays[name][rows] = columns[source]
        if "class_index" in self.wanted:
            self.arrays["class_index"][rows] = chunk.class_index
        self.size += len(chunk)
        self.seen += len(chunk)
        self._fit_ring(int(most), int(state[kernel.DECODE_STEP]))

    def _check(self, chunk: Requests, fewest: int, largest: int, row: int) -> None:
        if fewest < 0:
            row = int(np.argmin(chunk.output_tokens))
            msg = (
                "output_tokens must be at least 1 when the prefill yields the first token, "
                f"got {int(chunk.output_tokens[row])} for request {self.seen + row}."
            )
            raise InvalidArgument(msg)
        if largest > min(self.capacity, 2**31 - 1):
            msg = (
                f"request {self.seen + row} has {int(chunk.prompt_tokens[row])} prompt and "
                f"{int(chunk.output_tokens[row])} output tokens, more than "
                f"kv_capacity={self.capacity} can ever store: raise kv_capacity or shorten "
                "the requests."
            )
            raise InvalidArgument(msg)
        if not chunk.arrival_times[-1] < MOST_SECONDS:
            msg = f"arrival times must stay below {MOST_SECONDS:g} s."
            raise InvalidArgument(msg)

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
        for name in self.wanted:
            column = self.arrays[name]
            column[: self.size - oldest] = column[oldest : self.size].copy()
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
        for name in ("start", "first", "finish"):
            times = column[name]
            times[times > horizon] = -1
        return RequestLog(
            arrival=column["arrival"],
            start=column["start"],
            first=column["first"],
            finish=column["finish"],
            prompt_tokens=column.get("asked_prompt", column["prompt"]),
            decode_steps=column.get("asked_decode", column["decode"]),
            class_index=column["class_index"],
        )


_KERNEL_COLUMNS = (
    "arrival", "prompt", "decode", "fin", "start", "first", "finish", "after", "before",
)  # fmt: skip
_COLUMNS: dict[str, type] = {
    "arrival": np.int64,
    "prompt": np.int32,
    "decode": np.int32,
    "fin": np.int64,
    "start": np.int64,
    "first": np.int64,
    "finish": np.int64,
    "after": np.int32,
    "before": np.int32,
    "asked_prompt": np.int32,
    "asked_decode": np.int32,
    "class_index": np.int32,
}


_BLANK = {"fin": 0, "start": -1, "first": -1, "finish": -1, "after": -1, "before": -1}


def _rings(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an empty ring: counts, footprints, and chains of requests."""
    counts, footprints = np.zeros(size, dtype=np.int32), np.zeros(size, dtype=np.int64)
    return counts, footprints, np.full(size, -1, dtype=np.int32)
