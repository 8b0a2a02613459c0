"""The compiled network: engines under any :class:`BatchRule`, constant work per step.

**Time.** All engines share one clock of integer ticks. At each tick the sessions that arrive
come first, then the delays that end, then the batches that end, by engine; each event is
followed to its end, branch after branch, before the next. Then every engine without a batch
forms one. So the result does not depend on the order in which engines are looked at.

**Branches.** A session is one branch, a fork makes more. A branch is a *slot*: a row of
``slot`` with where it is, its context and its request. Slots, sessions and the frames that
remember open forks are taken from free lists. A tournament tree finds the engine whose batch
ends next, a heap the delay that ends next.

**Engines.** Waiting requests stand in a linked queue for each priority. Decode steps are
counted, ``k``: a request that begins to decode with ``r`` steps left finishes at step
``k + r`` if every step serves it, so a ring of chains, indexed by step, replaces the list of
decodes. Rules that may serve only some decodes serve the oldest: those are *active* and in
the ring, the others are *frozen*, with ``-r`` in ``FIN``; the boundary moves along a linked
list. Requests enter a chain in order of start and leave it from its newest end, so a chain is
a stack, and turning it around gives the order of start.

**Interruptions.** Before each small action the kernel makes sure that enough random numbers,
rows and space for logs are left; if not it returns what it needs, with its state stored, and
goes on exactly there when called again.

What runs once a step is inlined: a call that passes so many arrays costs more than it does.

**One file.** The compiled code is cached on disk by the time stamp of this file alone, so
everything that it calls is in it.

In the shape descriptions, ``N`` is the number of slots, ``E`` of engines, ``V`` of kinds of
visit, ``S`` of samples, ``P`` the power of two from ``E`` on, ``G`` the size of the ring.
"""

from typing import Any

import numpy as np
from numba import njit

DONE, NEEDS_ARRIVALS, NEEDS_LENGTHS, NEEDS_TURNS, NEEDS_UNIFORMS, NEEDS_DELAYS = range(6)
NEEDS_SPACE, NEEDS_LOG, NOT_CONSERVED, UNKNOWN_STEP = range(6, 10)
NEVER = 2**62
ENTER, TURN, SEND, LEAVE = range(4)

# Positions in the int64 state vector.
(
    CLOCK, CURSOR, CURRENT, STAGE, PENDING, FINISHED, WHERE, SEQUENCE, HEAPED,
    SLOTS, SLOT_FREE, SLOT_TOP, SESSION_FREE, SESSION_TOP, FRAMES, FRAME_FREE, FRAME_TOP,
    UNIFORM, WAIT, SAMPLE, ARRIVED, COMPLETED, STEPS, LOGGED, SESSIONS_LOGGED, BLOCKS_LOGGED,
    IDLE_COUNT, COMPLETE,
) = range(28)  # fmt: skip
STATE_SIZE = 28

# Columns of a slot: first those that an engine needs, in one line of the processor's cache.
(
    NEXT, CHAIN, FIN, VISIT, CONTEXT, PROMPT, OUTPUT, PREFILL,
    BEFORE, AFTER, SESSION, FRAME, TURNS, FRESH, SINCE,
) = range(15)  # fmt: skip
SLOT_SIZE = 16

# Columns of a session and of a frame; both begin with NEXT.
FIRST, BEGAN, LIVE, ANSWERED = 1, 2, 3, 4
SESSION_SIZE = 5
PARENT, EXPECTED, GATHERED, REFERENCES, FORK, FORKED, SUM_CONTEXT, SUM_FRESH = range(1, 9)
FRAME_SIZE = 9

# Columns of an engine.
(
    BEGIN, FLIGHT_X, FLIGHT_Y, DECODING, ACTIVE, STEP, PARTIAL, LEFT, FROZEN, LAST, KV,
    BACKLOG, QUEUE_LEFT, DECODE_LEFT, SERVED, BUSY, COUNT, SHORT, SHORT_END, IS_IDLE, KV_READ,
) = range(21)  # fmt: skip
ENGINE_SIZE = 21

# Columns of a rule.
MIXED, DECODE_FIRST, CHUNKED, EMITS, MOVES_BOUNDARY, BUDGET, MEMBERS, RESIDENTS = range(8)
FIRST_ROW, HAS_MORE, ON_GRID = 8, 9, 10
RULE_SIZE = 11


@njit(cache=True, nogil=True)
def _multilinear(e: Any, x: Any, y: Any, kv: Any, shapes: Any, grids: Any, seconds: Any) -> Any:
    """Interpolate a step time on the grid of an engine; negative outside."""
    nx, ny, nk = shapes[e, 0], shapes[e, 1], shapes[e, 2]
    at, base = shapes[e, 3], shapes[e, 4]
    xs, ys = grids[at : at + nx], grids[at + nx : at + nx + ny]
    kvs = grids[at + nx + ny : at + nx + ny + nk]
    if x > xs[-1] or y > ys[-1] or kv > kvs[-1]:
        return -1.0
    i, a = _cell(xs, x)
    j, b = _cell(ys, y)
    m, c = _cell(kvs, kv)
    total = 0.0
    for di in range(2):
        for dj in range(2):
            for dm in range(2):
                weight = (
                    (a if di else 1.0 - a) * (b if dj else 1.0 - b) * (c if dm else 1.0 - c)
                )
                total += weight * seconds[base + ((i + di) * ny + j + dj) * nk + m + dm]
    return total


@njit(cache=True, nogil=True)
def _cell(grid: Any, value: Any) -> Any:
    i = np.searchsorted(grid, value, side="right") - 1
    i = min(max(i, 0), grid.shape[0] - 2)
    return i, (value - grid[i]) / (grid[i + 1] - grid[i])


@njit(cache=True, nogil=True, inline="always")
def _replay(tree: Any, ends: Any, e: Any) -> None:
    """Find the next end again after that of one engine has changed; ties: first engine."""
    i = (ends.shape[0] + e) >> 1
    while i >= 1:
        a, b = tree[2 * i], tree[2 * i + 1]
        tree[i] = a if ends[a] <= ends[b] else b
        i >>= 1


@njit(cache=True, nogil=True)
def _heap_push(heap: Any, size: Any, time: Any, sequence: Any, value: Any) -> None:
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if heap[up, 0] <= time:
            break
        heap[i] = heap[up]
        i = up
    heap[i, 0] = time
    heap[i, 1] = sequence
    heap[i, 2] = value


@njit(cache=True, nogil=True)
def _is_before(heap: Any, i: Any, j: Any) -> Any:
    if heap[i, 0] != heap[j, 0]:
        return heap[i, 0] < heap[j, 0]
    return heap[i, 1] < heap[j, 1]


@njit(cache=True, nogil=True)
def _heap_pop(heap: Any, size: Any) -> Any:
    """Take the top of a heap of ``size`` rows; return its value."""
    value = heap[0, 2]
    last = size - 1
    i = 0
    while True:
        child = 2 * i + 1
        if child >= last:
            break
        if child + 1 < last and _is_before(heap, child + 1, child):
            child += 1
        if not _is_before(heap, child, last):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = heap[last]
    return value


@njit(cache=True, nogil=True, inline="always")
def _retire(e: Any, engine: Any, slot: Any, ring: Any, moves_boundary: Any, emits: Any) -> Any:
    """End the batch of an engine; return the chain of requests that finished."""
    mask = ring.shape[1] - 1
    done = np.int64(-1)
    tail = np.int64(-1)
    if engine[e, FLIGHT_Y] > 0:
        bucket = engine[e, STEP] & mask
        i = np.int64(ring[e, bucket])
        ring[e, bucket] = -1
        tail = i
        while i >= 0:
            before = slot[i, CHAIN]
            slot[i, CHAIN] = done
            done = i
            engine[e, DECODING] -= 1
            engine[e, ACTIVE] -= 1
            engine[e, KV] -= slot[i, CONTEXT] + slot[i, PROMPT] + slot[i, OUTPUT] - emits
            if moves_boundary:
                if slot[i, BEFORE] >= 0:
                    slot[slot[i, BEFORE], AFTER] = slot[i, AFTER]
                if slot[i, AFTER] >= 0:
                    slot[slot[i, AFTER], BEFORE] = slot[i, BEFORE]
                else:
                    engine[e, LAST] = slot[i, BEFORE]
            i = before
    if engine[e, SHORT] >= 0:
        if tail >= 0:
            slot[tail, CHAIN] = engine[e, SHORT]
        else:
            done = engine[e, SHORT]
        engine[e, SHORT] = -1
        engine[e, SHORT_END] = -1
    return done


@njit(cache=True, nogil=True)
def _move_boundary(e: Any, y: Any, engine: Any, slot: Any, ring: Any, emits: Any) -> None:
    """Make the ``y`` oldest decodes the active ones."""
    mask = ring.shape[1] - 1
    k = engine[e, STEP]
    while engine[e, ACTIVE] > y:
        frozen = engine[e, FROZEN]
        i = slot[frozen, BEFORE] if frozen >= 0 else engine[e, LAST]
        left = slot[i, FIN] - k
        ring[e, slot[i, FIN] & mask] = slot[i, CHAIN]
        slot[i, FIN] = -left
        engine[e, KV] -= slot[i, CONTEXT] + slot[i, PROMPT] + slot[i, OUTPUT] - emits - left
        engine[e, ACTIVE] -= 1
        engine[e, FROZEN] = i
    while engine[e, ACTIVE] < y:
        i = engine[e, FROZEN]
        left = -slot[i, FIN]
        slot[i, FIN] = k + left
        bucket = (k + left) & mask
        slot[i, CHAIN] = ring[e, bucket]
        ring[e, bucket] = i
        engine[e, KV] += slot[i, CONTEXT] + slot[i, PROMPT] + slot[i, OUTPUT] - emits - left
        engine[e, ACTIVE] += 1
        engine[e, FROZEN] = slot[i, AFTER]


@njit(cache=True, nogil=True)
def _begin_decodes(
    e: Any, entering: Any, engine: Any, slot: Any, ring: Any, moves_boundary: Any, emits: Any
) -> None:
    """Let requests whose prompt is done decode, or finish if they have nothing to decode."""
    mask = ring.shape[1] - 1
    k = engine[e, STEP]
    i = entering
    while i >= 0:
        following = slot[i, CHAIN]
        left = slot[i, OUTPUT] - emits
        engine[e, QUEUE_LEFT] -= left
        if left == 0:
            slot[i, CHAIN] = -1
            if engine[e, SHORT] < 0:
                engine[e, SHORT] = i
            else:
                slot[engine[e, SHORT_END], CHAIN] = i
            engine[e, SHORT_END] = i
            i = following
            continue
        engine[e, DECODING] += 1
        engine[e, DECODE_LEFT] += left
        if moves_boundary:
            last = engine[e, LAST]
            slot[i, FIN] = -left
            slot[i, BEFORE] = last
            slot[i, AFTER] = -1
            if last >= 0:
                slot[last, AFTER] = i
            engine[e, LAST] = i
            if engine[e, FROZEN] < 0:
                engine[e, FROZEN] = i
        else:
            bucket = (k + left) & mask
            slot[i, CHAIN] = ring[e, bucket]
            ring[e, bucket] = i
            engine[e, ACTIVE] += 1
            engine[e, KV] += slot[i, CONTEXT] + slot[i, PROMPT]
        i = following


@njit(cache=True, nogil=True, inline="always")
def _form(
    e: Any, engine: Any, rule: Any, slot: Any, ring: Any, queue: Any, first_queue: Any,
    ticks_by_tokens: Any, more_ticks: Any, per_kv: Any, shapes: Any, grids: Any, seconds: Any,
    tick: Any,
) -> Any:  # fmt: skip
    """Form the next batch of an engine; return its length in ticks, 0 if there is none.

    -1 if the step time is not known, -2 if tokens were lost.
    """
    mixed, decode_first = rule[e, MIXED] == 1, rule[e, DECODE_FIRST] == 1
    chunked, emits = rule[e, CHUNKED] == 1, rule[e, EMITS]
    moves_boundary = rule[e, MOVES_BOUNDARY] == 1
    decoding = engine[e, DECODING]
    room, places = rule[e, BUDGET], rule[e, MEMBERS]
    wanted = min(decoding, room, places)
    if mixed and decode_first:
        room -= wanted
        places -= wanted
    x = np.int64(0)
    entering = np.int64(-1)
    newest = np.int64(-1)
    if mixed or not decode_first or wanted == 0:
        partial, left = engine[e, PARTIAL], engine[e, LEFT]
        residents = decoding + (1 if partial >= 0 else 0)
        q, q_end = first_queue[e], first_queue[e + 1]
        while room > 0 and places > 0:
            if partial < 0:
                while q < q_end and queue[q, 0] < 0:
                    q += 1
                if q == q_end or residents >= rule[e, RESIDENTS]:
                    break
                i = queue[q, 0]
                left = slot[i, PREFILL]
                if left > room and not chunked:
                    break
                queue[q, 0] = slot[i, NEXT]
                if queue[q, 0] < 0:
                    queue[q, 1] = -1
                residents += 1
                partial = i
            take = min(left, room)
            room -= take
            places -= 1
            x += take
            left -= take
            if left > 0:
                break
            slot[partial, CHAIN] = -1
            if newest >= 0:
                slot[newest, CHAIN] = partial
            else:
                entering = partial
            newest = partial
            partial = np.int64(-1)
        engine[e, PARTIAL], engine[e, LEFT] = partial, left
    if mixed:
        y = wanted if decode_first else min(wanted, min(room, places))
    else:
        y = wanted if x == 0 else np.int64(0)
    if x + y == 0:
        return np.int64(0)
    read = np.int64(0)
    if y > 0:
        if moves_boundary:
            _move_boundary(e, y, engine, slot, ring, emits)
        read = engine[e, KV]
    engine[e, FLIGHT_X], engine[e, FLIGHT_Y], engine[e, KV_READ] = x, y, read
    if rule[e, ON_GRID] == 1:
        length = _multilinear(e, x, y, read, shapes, grids, seconds)
        ticks = np.int64(np.rint(length / tick)) if length > 0 else np.int64(0)
    else:
        row = rule[e, FIRST_ROW] + x + y
        ticks = ticks_by_tokens[row]
        if per_kv[e, 0] != 0.0:
            ticks += np.int64(np.rint(per_kv[e, 0] * read))
        if rule[e, HAS_MORE] == 1:
            other = more_ticks[row] + np.int64(np.rint(per_kv[e, 1] * read))
            ticks = max(ticks, other)
    if ticks <= 0:
        return np.int64(-1)
    if y > 0:
        engine[e, STEP] += 1
        engine[e, KV] += y
        engine[e, DECODE_LEFT] -= y
    engine[e, QUEUE_LEFT] -= x
    if entering >= 0:
        _begin_decodes(e, entering, engine, slot, ring, moves_boundary, emits)
    if engine[e, QUEUE_LEFT] + engine[e, DECODE_LEFT] != engine[e, BACKLOG] - x - y:
        return np.int64(-2)
    return ticks


@njit(cache=True, nogil=True)
def tokens_left(engine: Any, slot: Any, ring: Any, queues: Any, emits: Any) -> Any:
    """Count anew the tokens that an engine has yet to serve, after the batch in flight.

    Parameters are the rows of one engine, as for :func:`run`; ``queues`` holds the heads.
    """
    total = np.int64(0)
    for q in range(queues.shape[0]):
        i = queues[q]
        while i >= 0:
            total += slot[i, PREFILL] + slot[i, OUTPUT] - emits
            i = slot[i, NEXT]
    if engine[PARTIAL] >= 0:
        total += engine[LEFT] + slot[engine[PARTIAL], OUTPUT] - emits
    mask = ring.shape[0] - 1
    for distance in range(1, ring.shape[0]):
        i = np.int64(ring[(engine[STEP] + distance) & mask])
        while i >= 0:
            total += distance
            i = slot[i, CHAIN]
    i = engine[FROZEN]
    while i >= 0:
        total -= slot[i, FIN]
        i = slot[i, AFTER]
    return total


@njit(cache=True, nogil=True)
def _record(
    samples: Any, by_engine: Any, by_visit: Any, row: Any, at: Any, state: Any, engine: Any,
    ends: Any, areas: Any, changed: Any, here: Any, visited: Any, sojourn: Any,
) -> None:  # fmt: skip
    samples[row, 0] = at
    samples[row, 1] = state[ARRIVED]
    samples[row, 2] = state[COMPLETED]
    samples[row, 3] = state[STEPS]
    for e in range(engine.shape[0]):
        running = at - engine[e, BEGIN] if ends[e] < NEVER else 0
        by_engine[row, e, 0] = engine[e, BACKLOG]
        by_engine[row, e, 1] = engine[e, SERVED]
        by_engine[row, e, 2] = 0.0
        by_engine[row, e, 3] = engine[e, BUSY] + running
        by_engine[row, e, 4] = areas[e] + engine[e, BACKLOG] * float(at - changed[e])
        by_engine[row, e, 5] = engine[e, COUNT]
    for v in range(here.shape[0]):
        by_visit[row, v, 0] = here[v, 0]
        by_visit[row, v, 1] = visited[v]
        by_visit[row, v, 2] = visited[v] - here[v, 0]
        by_visit[row, v, 3] = sojourn[v, 0] + here[v, 0] * float(at - here[v, 1])
        by_visit[row, v, 4] = sojourn[v, 1]


@njit(cache=True, nogil=True)
def run(
    state: Any, horizon: Any, tick: Any, most_moves: Any,
    ways: Any, engine: Any, rule: Any, first_queue: Any, queue: Any,
    ticks_by_tokens: Any, more_ticks: Any, per_kv: Any, shapes: Any, grids: Any, seconds: Any,
    ends: Any, tree: Any, idle: Any, areas: Any, changed: Any,
    here: Any, visited: Any, sojourn: Any,
    slot: Any, session: Any, frame: Any, heap: Any, ring: Any,
    arrival: Any, arrival_visit: Any, prompts: Any, outputs: Any, turns: Any, uniforms: Any,
    delays: Any, used: Any,
    sample_at: Any, samples: Any, by_engine: Any, by_visit: Any,
    log: Any, session_log: Any, block_log: Any,
) -> int:  # fmt: skip
    """Run the network until the horizon or until something is needed.

    Parameters
    ----------
    state : int64 (STATE_SIZE,)
        Everything that survives between calls and has no array of its own; updated.
    horizon, tick, most_moves : int, float, int
        End [ticks], length of a tick [s], most moves out of one visit.
    ways : Ways
        Visits and moves.
    engine, rule, first_queue, queue : int64 (E, ENGINE_SIZE), (E, RULE_SIZE), (E+1,), (Q, 2)
        State and rule of the engines; head and tail of every queue.
    ticks_by_tokens, more_ticks, per_kv : int64 (T,), int64 (T,), float64 (E, 2)
        Step-time rows of the engines one after the other, and ticks per KV token.
    shapes, grids, seconds : int64 (E, 5), float64, float64
        Grids of the engines one after the other: three lengths, and where each begins.
    ends, tree, idle : int64 (P,), int64 (2 P,), int64 (E,)
        End of the batch of every engine, ``NEVER`` without one, who is first, and who is to
        form a batch.
    areas, changed : float64 (E,), int64 (E,)
        Time integral of the backlog, and when it changed last.
    here, visited, sojourn : int64 (V, 2), int64 (V,), float64 (V, 2)
        Branches at each visit and when that changed last; how many entered; time integral
        of the branches there, and the time spent by those that left.
    slot, session, frame, heap : int64 (N, 16), (N, 5), (F, 9), (N, 3)
        Branches, sessions, open forks, and delays by their end.
    ring : int32 (E, G)
        Newest request of the chain of each decode step.
    arrival, arrival_visit : int64 (A,) x 2
        Sessions to come, in order.
    prompts, outputs, turns, uniforms, delays, used : int64 (V, n) x 3, float64 x 2, (V, 2)
        Random numbers, and how many lengths and turns of each visit are used.
    sample_at, samples, by_engine, by_visit : int64 (S,), float64 (S, 4), (S, E, 6), (S, V, 5)
        Sample times in order (the last one is the horizon), and what is recorded.
    log, session_log, block_log : int64 (L, 6), (L, 4), (L, 3)
        Batches, finished sessions, joined forks; without rows if not kept.
    """
    (
        first_engine, first_move, engine_of, queue_of, share, target, edge, carries, miss,
        delay, mean_delay, has_turns, turn_carries, turn_miss, shortest, forks, join,
    ) = ways  # fmt: skip
    clock, cursor = state[CLOCK], state[CURSOR]
    current, stage = state[CURRENT], state[STAGE]
    pending, finished = state[PENDING], state[FINISHED]
    row = state[SAMPLE]
    uniform, wait = state[UNIFORM], state[WAIT]
    complete = state[COMPLETE] == 1
    slots, frames_end = slot.shape[0], frame.shape[0]
    sample_next = sample_at[row] if row < sample_at.shape[0] else NEVER
    keeps_sessions = session_log.shape[0] > 0
    code = DONE
    while True:
        if current < 0:
            if pending >= 0:
                current, stage = pending, ENTER
                pending = slot[current, NEXT]
            elif finished >= 0:
                current, stage = finished, LEAVE
                finished = slot[current, CHAIN]
        if current < 0:
            # The next event, or the next batches if nothing more happens at this tick.
            if cursor == arrival.shape[0] and not complete:
                code = NEEDS_ARRIVALS
                break
            come = arrival[cursor] if cursor < arrival.shape[0] else NEVER
            release = heap[0, 0] if state[HEAPED] > 0 else NEVER
            end = ends[tree[1]]
            if come == clock:
                if state[SLOTS] + most_moves > slots:
                    code = NEEDS_SPACE
                    break
                v = arrival_visit[cursor]
                cursor += 1
                s = state[SESSION_FREE]
                if s >= 0:
                    state[SESSION_FREE] = session[s, NEXT]
                else:
                    s = state[SESSION_TOP]
                    state[SESSION_TOP] += 1
                session[s, FIRST], session[s, BEGAN] = v, clock
                session[s, LIVE], session[s, ANSWERED] = 1, -1
                i = state[SLOT_FREE]
                if i >= 0:
                    state[SLOT_FREE] = slot[i, NEXT]
                else:
                    i = state[SLOT_TOP]
                    state[SLOT_TOP] += 1
                state[SLOTS] += 1
                state[ARRIVED] += 1
                slot[i, VISIT], slot[i, SESSION], slot[i, FRAME] = v, s, -1
                slot[i, CONTEXT], slot[i, FRESH] = 0, 0
                current, stage = i, ENTER
            elif release == clock:
                current, stage = _heap_pop(heap, state[HEAPED]), SEND
                state[HEAPED] -= 1
            elif end == clock:
                e = tree[1]
                areas[e] += engine[e, BACKLOG] * float(clock - changed[e])
                changed[e] = clock
                tokens = engine[e, FLIGHT_X] + engine[e, FLIGHT_Y]
                engine[e, BACKLOG] -= tokens
                engine[e, SERVED] += tokens
                engine[e, BUSY] += clock - engine[e, BEGIN]
                engine[e, COUNT] += 1
                state[STEPS] += 1
                finished = _retire(
                    e, engine, slot, ring, rule[e, MOVES_BOUNDARY] == 1, rule[e, EMITS]
                )
                ends[e] = NEVER
                _replay(tree, ends, e)
                idle[state[IDLE_COUNT]] = e
                engine[e, IS_IDLE] = 1
                state[IDLE_COUNT] += 1
            else:
                if clock >= horizon:
                    break
                if state[IDLE_COUNT] > 0:
                    failed = np.int64(0)
                    while state[IDLE_COUNT] > 0:
                        if 0 < log.shape[0] <= state[LOGGED]:
                            failed = np.int64(NEEDS_LOG)
                            break
                        state[IDLE_COUNT] -= 1
                        e = idle[state[IDLE_COUNT]]
                        engine[e, IS_IDLE] = 0
                        ticks = _form(
                            e, engine, rule, slot, ring, queue, first_queue, ticks_by_tokens,
                            more_ticks, per_kv, shapes, grids, seconds, tick,
                        )  # fmt: skip
                        if ticks < 0:
                            failed = np.int64(UNKNOWN_STEP if ticks == -1 else NOT_CONSERVED)
                            state[WHERE] = e
                            break
                        if ticks == 0:
                            continue
                        engine[e, BEGIN] = clock
                        ends[e] = clock + ticks
                        _replay(tree, ends, e)
                        if log.shape[0] > 0:
                            line = state[LOGGED]
                            log[line, 0] = e
                            log[line, 1] = clock
                            log[line, 2] = ends[e]
                            log[line, 3] = engine[e, FLIGHT_X]
                            log[line, 4] = engine[e, FLIGHT_Y]
                            log[line, 5] = engine[e, KV_READ]
                            state[LOGGED] += 1
                    if failed > 0:
                        code = int(failed)
                        break
                    end = ends[tree[1]]
                upcoming = min(come, min(release, min(end, horizon)))
                while sample_next < upcoming:
                    _record(
                        samples, by_engine, by_visit, row, sample_next, state, engine, ends,
                        areas, changed, here, visited, sojourn,
                    )  # fmt: skip
                    row += 1
                    sample_next = sample_at[row] if row < sample_at.shape[0] else NEVER
                clock = upcoming
            continue

        v = slot[current, VISIT]
        if stage == ENTER:
            if has_turns[v] and used[v, 1] == turns.shape[1]:
                code = NEEDS_TURNS
                state[WHERE] = v
                break
            if keeps_sessions:
                if state[BLOCKS_LOGGED] == block_log.shape[0]:
                    code = NEEDS_LOG
                    break
                if state[SESSIONS_LOGGED] == session_log.shape[0]:
                    code = NEEDS_LOG
                    break
            f = slot[current, FRAME]
            if join[v] > 0 and f >= 0:
                frame[f, GATHERED] += 1
                gathered = frame[f, GATHERED]
                frame[f, SUM_CONTEXT] += slot[current, CONTEXT]
                frame[f, SUM_FRESH] += slot[current, FRESH]
                goes_on = gathered == (frame[f, EXPECTED] if join[v] == 1 else 1)
                if goes_on:
                    if join[v] == 1:
                        slot[current, CONTEXT] = frame[f, SUM_CONTEXT]
                        slot[current, FRESH] = frame[f, SUM_FRESH]
                    if keeps_sessions:
                        line = state[BLOCKS_LOGGED]
                        block_log[line, 0] = frame[f, FORK]
                        block_log[line, 1] = frame[f, FORKED]
                        block_log[line, 2] = clock
                        state[BLOCKS_LOGGED] += 1
                    above = frame[f, PARENT]
                    slot[current, FRAME] = above
                    if above >= 0:
                        frame[above, REFERENCES] += 1
                # The branch lets go of the frame, and of those that only this one held.
                released = f
                while released >= 0:
                    frame[released, REFERENCES] -= 1
                    if frame[released, REFERENCES] > 0:
                        break
                    above = frame[released, PARENT]
                    frame[released, NEXT] = state[FRAME_FREE]
                    state[FRAME_FREE] = released
                    state[FRAMES] -= 1
                    released = above
                if not goes_on:
                    s = slot[current, SESSION]
                    session[s, LIVE] -= 1
                    if session[s, LIVE] == 0:
                        state[COMPLETED] += 1
                        if keeps_sessions:
                            line = state[SESSIONS_LOGGED]
                            session_log[line, 0] = session[s, BEGAN]
                            session_log[line, 1] = session[s, FIRST]
                            session_log[line, 2] = session[s, ANSWERED]
                            session_log[line, 3] = clock
                            state[SESSIONS_LOGGED] += 1
                        session[s, NEXT] = state[SESSION_FREE]
                        state[SESSION_FREE] = s
                    slot[current, NEXT] = state[SLOT_FREE]
                    state[SLOT_FREE] = current
                    state[SLOTS] -= 1
                    current = np.int64(-1)
                    continue
            slot[current, TURNS] = 0
            if has_turns[v]:
                slot[current, TURNS] = turns[v, used[v, 1]] - 1
                used[v, 1] += 1
            slot[current, SINCE] = clock
            sojourn[v, 0] += here[v, 0] * float(clock - here[v, 1])
            here[v, 0] += 1
            here[v, 1] = clock
            visited[v] += 1
            stage = TURN

        if stage == TURN:
            pause = delay[v]
            if pause < 0:
                if wait == delays.shape[0]:
                    code = NEEDS_DELAYS
                    break
                pause = np.int64(np.rint(min(mean_delay[v] * delays[wait], 2.0**61)))
                wait += 1
            if pause > 0:
                _heap_push(heap, state[HEAPED], clock + pause, state[SEQUENCE], current)
                state[HEAPED] += 1
                state[SEQUENCE] += 1
                current = np.int64(-1)
                continue
            stage = SEND

        if stage == SEND:
            choices = first_engine[v + 1] - first_engine[v]
            if choices > 0:
                if used[v, 0] == prompts.shape[1]:
                    code = NEEDS_LENGTHS
                    state[WHERE] = v
                    break
                if uniform == uniforms.shape[0]:
                    code = NEEDS_UNIFORMS
                    break
                way = first_engine[v]
                if choices > 1:
                    if shortest[v]:
                        for other in range(way + 1, first_engine[v + 1]):
                            if (
                                engine[engine_of[other], BACKLOG]
                                < engine[engine_of[way], BACKLOG]
                            ):
                                way = other
                    else:
                        u = uniforms[uniform]
                        uniform += 1
                        while u >= share[way]:
                            way += 1
                e, q = engine_of[way], queue_of[way]
                prompt, output = prompts[v, used[v, 0]], outputs[v, used[v, 0]]
                used[v, 0] += 1
                slot[current, PROMPT], slot[current, OUTPUT] = prompt, output
                slot[current, PREFILL] = prompt + slot[current, FRESH]
                work = slot[current, PREFILL] + output - rule[e, EMITS]
                areas[e] += engine[e, BACKLOG] * float(clock - changed[e])
                changed[e] = clock
                engine[e, BACKLOG] += work
                engine[e, QUEUE_LEFT] += work
                slot[current, NEXT] = -1
                if queue[q, 1] >= 0:
                    slot[queue[q, 1], NEXT] = current
                else:
                    queue[q, 0] = current
                queue[q, 1] = current
                if ends[e] == NEVER and engine[e, IS_IDLE] == 0:
                    idle[state[IDLE_COUNT]] = e
                    engine[e, IS_IDLE] = 1
                    state[IDLE_COUNT] += 1
                current = np.int64(-1)
                continue
            slot[current, PROMPT], slot[current, OUTPUT] = 0, 0
            stage = LEAVE

        # The request is finished: another turn, a fork, a move, or the end.
        if uniform + most_moves + 1 > uniforms.shape[0]:
            code = NEEDS_UNIFORMS
            break
        known = slot[current, CONTEXT] + slot[current, PROMPT] + slot[current, OUTPUT]
        if slot[current, TURNS] > 0:
            slot[current, TURNS] -= 1
            context = known if turn_carries[v] else np.int64(0)
            fresh = context
            if context > 0 and turn_miss[v] < 1.0:
                if turn_miss[v] > 0.0:
                    fresh = np.int64(np.floor(turn_miss[v] * context + uniforms[uniform]))
                    uniform += 1
                else:
                    fresh = np.int64(0)
            slot[current, CONTEXT], slot[current, FRESH] = context, fresh
            stage = TURN
            continue
        if state[SLOTS] + most_moves > slots or state[FRAMES] + 1 > frames_end:
            code = NEEDS_SPACE
            break
        if keeps_sessions and state[SESSIONS_LOGGED] == session_log.shape[0]:
            code = NEEDS_LOG
            break
        sojourn[v, 0] += here[v, 0] * float(clock - here[v, 1])
        here[v, 0] -= 1
        here[v, 1] = clock
        sojourn[v, 1] += clock - slot[current, SINCE]
        way, way_end = first_move[v], first_move[v + 1]
        if forks[v] and way < way_end:
            f = state[FRAME_FREE]
            if f >= 0:
                state[FRAME_FREE] = frame[f, NEXT]
            else:
                f = state[FRAME_TOP]
                state[FRAME_TOP] += 1
            state[FRAMES] += 1
            frame[f, PARENT], frame[f, EXPECTED] = slot[current, FRAME], way_end - way
            frame[f, GATHERED], frame[f, REFERENCES] = 0, way_end - way
            frame[f, FORK], frame[f, FORKED] = v, clock
            frame[f, SUM_CONTEXT], frame[f, SUM_FRESH] = 0, 0
            s = slot[current, SESSION]
            session[s, LIVE] += way_end - way - 1
            newest = np.int64(-1)
            for m in range(way, way_end):
                if m == way:
                    i = current
                else:
                    i = state[SLOT_FREE]
                    if i >= 0:
                        state[SLOT_FREE] = slot[i, NEXT]
                    else:
                        i = state[SLOT_TOP]
                        state[SLOT_TOP] += 1
                    state[SLOTS] += 1
                context = known if carries[m] else np.int64(0)
                fresh = context
                if context > 0 and miss[m] < 1.0:
                    if miss[m] > 0.0:
                        fresh = np.int64(np.floor(miss[m] * context + uniforms[uniform]))
                        uniform += 1
                    else:
                        fresh = np.int64(0)
                slot[i, VISIT], slot[i, SESSION], slot[i, FRAME] = target[m], s, f
                slot[i, CONTEXT], slot[i, FRESH] = context, fresh
                # Branches go on in the order of the moves.
                if newest < 0:
                    slot[i, NEXT] = pending
                    pending = i
                else:
                    slot[i, NEXT] = slot[newest, NEXT]
                    slot[newest, NEXT] = i
                newest = i
            current = np.int64(-1)
            continue
        if way < way_end and not (way_end - way == 1 and edge[way] == np.inf):
            u = uniforms[uniform]
            uniform += 1
            while way < way_end and u >= edge[way]:
                way += 1
        if way < way_end and not forks[v]:
            context = known if carries[way] else np.int64(0)
            fresh = context
            if context > 0 and miss[way] < 1.0:
                if miss[way] > 0.0:
                    fresh = np.int64(np.floor(miss[way] * context + uniforms[uniform]))
                    uniform += 1
                else:
                    fresh = np.int64(0)
            slot[current, VISIT] = target[way]
            slot[current, CONTEXT], slot[current, FRESH] = context, fresh
            stage = ENTER
            continue
        released = slot[current, FRAME]
        while released >= 0:
            frame[released, REFERENCES] -= 1
            if frame[released, REFERENCES] > 0:
                break
            above = frame[released, PARENT]
            frame[released, NEXT] = state[FRAME_FREE]
            state[FRAME_FREE] = released
            state[FRAMES] -= 1
            released = above
        s = slot[current, SESSION]
        session[s, ANSWERED] = clock
        session[s, LIVE] -= 1
        if session[s, LIVE] == 0:
            state[COMPLETED] += 1
            if keeps_sessions:
                line = state[SESSIONS_LOGGED]
                session_log[line, 0] = session[s, BEGAN]
                session_log[line, 1] = session[s, FIRST]
                session_log[line, 2] = clock
                session_log[line, 3] = clock
                state[SESSIONS_LOGGED] += 1
            session[s, NEXT] = state[SESSION_FREE]
            state[SESSION_FREE] = s
        slot[current, NEXT] = state[SLOT_FREE]
        state[SLOT_FREE] = current
        state[SLOTS] -= 1
        current = np.int64(-1)
    if code == DONE:
        while row < sample_at.shape[0]:
            _record(
                samples, by_engine, by_visit, row, sample_at[row], state, engine, ends, areas,
                changed, here, visited, sojourn,
            )  # fmt: skip
            row += 1
    state[CLOCK], state[CURSOR] = clock, cursor
    state[CURRENT], state[STAGE] = current, stage
    state[PENDING], state[FINISHED] = pending, finished
    state[SAMPLE], state[UNIFORM], state[WAIT] = row, uniform, wait
    return code
