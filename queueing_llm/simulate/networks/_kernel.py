"""The compiled network: engines under any :class:`BatchRule`, constant work per step.

**Time.** All engines share one clock of integer ticks. At each tick the sessions that arrive
come first, then the delays that end, then the batches that end, by engine; each event is
followed to its end, branch after branch, before the next. Then every engine without a batch
forms one. So the result does not depend on the order in which engines are looked at.

**Branches.** A session is one branch, a fork makes more. A branch is a *slot*: a row of
``slot`` with where it is, its context and its request. Slots, sessions and the frames that
remember open forks are taken from free lists; a session has a row only from its first fork
on. Tournament trees find the source whose session arrives next and the engine whose batch
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

**Areas.** The time integral of a number is kept as ``area + number * (clock - base)``, so a
change of the number at ``clock`` takes ``change * (clock - base)`` off ``area``. The base is
the last sample, which keeps the terms small enough to be exact.

**No references.** Nothing here allocates, so Numba need not count references to arrays, two
locked instructions for each array at each call: that took a quarter of the time.

**One file.** The compiled code is cached on disk by the time stamp of this file alone, so
everything that it calls is in it.

In the shape descriptions, ``N`` is the number of slots, ``E`` of engines, ``V`` of kinds of
visit, ``A`` of pairs of a visit and its engine, ``M`` of moves, ``C`` of sources of sessions,
``S`` of samples, ``G`` the size of the ring.
"""

from typing import Any

import numpy as np
from numba import njit

COMPILED: Any = {"cache": True, "nogil": True, "_nrt": False}
INLINED: Any = {**COMPILED, "forceinline": True}

DONE, NEEDS_ARRIVALS, NEEDS_LENGTHS, NEEDS_TURNS, NEEDS_UNIFORMS, NEEDS_DELAYS = range(6)
NEEDS_SPACE, NEEDS_LOG, NOT_CONSERVED, UNKNOWN_STEP = range(6, 10)
NEVER = 2**62
ENTER, TURN, SEND, LEAVE = range(4)

# Positions in the int64 state vector.
(
    CLOCK, BASE, CURRENT, STAGE, PENDING, FINISHED, WHERE, SEQUENCE, HEAPED,
    SLOT_FREE, SLOT_TOP, SESSION_FREE, SESSION_TOP, FRAME_FREE, FRAME_TOP,
    UNIFORM, WAIT, SAMPLE, ARRIVED, COMPLETED, LOGGED, SESSIONS_LOGGED, BLOCKS_LOGGED,
    IDLE_COUNT,
) = range(24)  # fmt: skip
STATE_SIZE = 24

# Columns of a slot: what every branch needs, in one line of the processor's cache, and what
# only those need that wait for others, fork, take turns or are kept.
LINK, FIN, VISIT, CONTEXT, PROMPT, OUTPUT, FRESH, SINCE = range(8)
BEFORE, AFTER, SESSION, FRAME, TURNS, BEGAN, FIRST = range(7)
SLOT_SIZE, EXTRA_SIZE = 8, 7

# Columns of a session and of a frame; both begin with LINK.
SESSION_BEGAN, SESSION_FIRST, LIVE, ANSWERED = range(1, 5)
SESSION_SIZE = 5
PARENT, EXPECTED, GATHERED, REFERENCES, FORK, FORKED, SUM_CONTEXT, SUM_FRESH = range(1, 9)
FRAME_SIZE = 9

# Columns of a source of sessions.
ENTRY, TAKEN, READY = range(3)

# Columns of an engine.
(
    BEGIN, FLIGHT_X, FLIGHT_Y, DECODING, ACTIVE, STEP, PARTIAL, LEFT, FROZEN, LAST, KV,
    BACKLOG, QUEUE_LEFT, DECODE_LEFT, SERVED, BUSY, COUNT, SHORT, SHORT_END, IS_IDLE, KV_READ,
) = range(21)  # fmt: skip
ENGINE_SIZE = 24

# Columns of a rule.
MIXED, DECODE_FIRST, CHUNKED, EMITS, MOVES_BOUNDARY, BUDGET, MEMBERS, RESIDENTS = range(8)
FIRST_ROW, HAS_MORE, ON_GRID, QUEUE, QUEUE_END = range(8, 13)
RULE_SIZE = 16

# Columns of a kind of visit: what changes first, then what it is.
(
    HERE, ENTERED, USED_LENGTHS, USED_TURNS, HAS_TURNS, JOIN, DELAY, WAY,
    WAY_END, SHORTEST, MOVE, MOVE_END, IS_CERTAIN, FORKS, TURN_CARRIES,
) = range(15)  # fmt: skip
VISIT_SIZE = 16
ALL = 1


@njit(**COMPILED)
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


@njit(**COMPILED)
def _cell(grid: Any, value: Any) -> Any:
    i = np.searchsorted(grid, value, side="right") - 1
    i = min(max(i, 0), grid.shape[0] - 2)
    return i, (value - grid[i]) / (grid[i + 1] - grid[i])


@njit(**INLINED)
def replay(times: Any, winner: Any, leaf: Any, time: Any) -> None:
    """Give a leaf of a tournament another time; ``winner[1]`` is the first of the earliest.

    Node ``i`` has the children ``2 i`` and ``2 i + 1``, and the leaves are the last nodes.
    """
    best, who = time, np.int64(leaf)
    i = (times.shape[0] >> 1) + leaf
    times[i] = best
    while i > 1:
        other = times[i ^ 1]
        # Nobody can predict who wins, so there is no branch: all ones if the other does.
        loses = (other - best - (i & 1)) >> 63
        best ^= (best ^ other) & loses
        who ^= (who ^ winner[i ^ 1]) & loses
        i >>= 1
        times[i] = best
        winner[i] = who


@njit(**COMPILED)
def _heap_push(heap: Any, size: Any, time: Any, sequence: Any, value: Any) -> None:
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if heap[up, 0] <= time:
            break
        _heap_copy(heap, i, up)
        i = up
    heap[i, 0] = time
    heap[i, 1] = sequence
    heap[i, 2] = value


@njit(**INLINED)
def _heap_copy(heap: Any, i: Any, j: Any) -> None:
    heap[i, 0], heap[i, 1], heap[i, 2] = heap[j, 0], heap[j, 1], heap[j, 2]


@njit(**COMPILED)
def _is_before(heap: Any, i: Any, j: Any) -> Any:
    if heap[i, 0] != heap[j, 0]:
        return heap[i, 0] < heap[j, 0]
    return heap[i, 1] < heap[j, 1]


@njit(**COMPILED)
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
        _heap_copy(heap, i, child)
        i = child
    _heap_copy(heap, i, last)
    return value


@njit(**INLINED)
def _retire(
    e: Any, engine: Any, slot: Any, extra: Any, ring: Any, moves_boundary: Any, emits: Any
) -> Any:
    """End the batch of an engine; return the chain of requests that finished."""
    mask = ring.shape[1] - 1
    done = np.int64(-1)
    tail = np.int64(-1)
    count, stored = np.int64(0), np.int64(0)
    if engine[e, FLIGHT_Y] > 0:
        bucket = engine[e, STEP] & mask
        i = np.int64(ring[e, bucket])
        ring[e, bucket] = -1
        tail = i
        while i >= 0:
            before = slot[i, LINK]
            slot[i, LINK] = done
            done = i
            count += 1
            stored += slot[i, CONTEXT] + slot[i, PROMPT] + slot[i, OUTPUT] - emits
            if moves_boundary:
                if extra[i, BEFORE] >= 0:
                    extra[extra[i, BEFORE], AFTER] = extra[i, AFTER]
                if extra[i, AFTER] >= 0:
                    extra[extra[i, AFTER], BEFORE] = extra[i, BEFORE]
                else:
                    engine[e, LAST] = extra[i, BEFORE]
            i = before
        engine[e, DECODING] -= count
        engine[e, ACTIVE] -= count
        engine[e, KV] -= stored
    if engine[e, SHORT] >= 0:
        if tail >= 0:
            slot[tail, LINK] = engine[e, SHORT]
        else:
            done = engine[e, SHORT]
        engine[e, SHORT] = -1
        engine[e, SHORT_END] = -1
    return done


@njit(**COMPILED)
def _move_boundary(
    e: Any, y: Any, engine: Any, slot: Any, extra: Any, ring: Any, emits: Any
) -> None:
    """Make the ``y`` oldest decodes the active ones."""
    mask = ring.shape[1] - 1
    k = engine[e, STEP]
    while engine[e, ACTIVE] > y:
        frozen = engine[e, FROZEN]
        i = extra[frozen, BEFORE] if frozen >= 0 else engine[e, LAST]
        left = slot[i, FIN] - k
        ring[e, slot[i, FIN] & mask] = slot[i, LINK]
        slot[i, FIN] = -left
        engine[e, KV] -= slot[i, CONTEXT] + slot[i, PROMPT] + slot[i, OUTPUT] - emits - left
        engine[e, ACTIVE] -= 1
        engine[e, FROZEN] = i
    while engine[e, ACTIVE] < y:
        i = engine[e, FROZEN]
        left = -slot[i, FIN]
        slot[i, FIN] = k + left
        bucket = (k + left) & mask
        slot[i, LINK] = ring[e, bucket]
        ring[e, bucket] = i
        engine[e, KV] += slot[i, CONTEXT] + slot[i, PROMPT] + slot[i, OUTPUT] - emits - left
        engine[e, ACTIVE] += 1
        engine[e, FROZEN] = extra[i, AFTER]


@njit(**COMPILED)
def _begin_decodes(
    e: Any,
    entering: Any,
    engine: Any,
    slot: Any,
    extra: Any,
    ring: Any,
    moves_boundary: Any,
    emits: Any,
) -> None:
    """Let requests whose prompt is done decode, or finish if they have nothing to decode."""
    mask = ring.shape[1] - 1
    k = engine[e, STEP]
    count, work, stored = np.int64(0), np.int64(0), np.int64(0)
    i = entering
    while i >= 0:
        following = slot[i, LINK]
        left = slot[i, OUTPUT] - emits
        work += left
        if left == 0:
            slot[i, LINK] = -1
            if engine[e, SHORT] < 0:
                engine[e, SHORT] = i
            else:
                slot[engine[e, SHORT_END], LINK] = i
            engine[e, SHORT_END] = i
            i = following
            continue
        count += 1
        if moves_boundary:
            last = engine[e, LAST]
            slot[i, FIN] = -left
            extra[i, BEFORE] = last
            extra[i, AFTER] = -1
            if last >= 0:
                extra[last, AFTER] = i
            engine[e, LAST] = i
            if engine[e, FROZEN] < 0:
                engine[e, FROZEN] = i
        else:
            bucket = (k + left) & mask
            slot[i, LINK] = ring[e, bucket]
            ring[e, bucket] = i
            stored += slot[i, CONTEXT] + slot[i, PROMPT]
        i = following
    engine[e, QUEUE_LEFT] -= work
    engine[e, DECODE_LEFT] += work
    engine[e, DECODING] += count
    if not moves_boundary:
        engine[e, ACTIVE] += count
        engine[e, KV] += stored


@njit(**INLINED)
def _form(
    e: Any, engine: Any, rule: Any, slot: Any, extra: Any, ring: Any, queue: Any,
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
        q, q_end = rule[e, QUEUE], rule[e, QUEUE_END]
        while room > 0 and places > 0:
            if partial < 0:
                while q < q_end and queue[q, 0] < 0:
                    q += 1
                if q == q_end or residents >= rule[e, RESIDENTS]:
                    break
                i = queue[q, 0]
                left = slot[i, PROMPT] + slot[i, FRESH]
                if left > room and not chunked:
                    break
                queue[q, 0] = slot[i, LINK]
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
            slot[partial, LINK] = -1
            if newest >= 0:
                slot[newest, LINK] = partial
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
            _move_boundary(e, y, engine, slot, extra, ring, emits)
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
        _begin_decodes(e, entering, engine, slot, extra, ring, moves_boundary, emits)
    if engine[e, QUEUE_LEFT] + engine[e, DECODE_LEFT] != engine[e, BACKLOG] - x - y:
        return np.int64(-2)
    return ticks


@njit(**COMPILED)
def tokens_left(engine: Any, slot: Any, extra: Any, ring: Any, queues: Any, emits: Any) -> Any:
    """Count anew the tokens that an engine has yet to serve, after the batch in flight.

    Parameters are the rows of one engine, as for :func:`run`; ``queues`` holds the heads.
    """
    total = np.int64(0)
    for q in range(queues.shape[0]):
        i = queues[q]
        while i >= 0:
            total += slot[i, PROMPT] + slot[i, FRESH] + slot[i, OUTPUT] - emits
            i = slot[i, LINK]
    if engine[PARTIAL] >= 0:
        total += engine[LEFT] + slot[engine[PARTIAL], OUTPUT] - emits
    mask = ring.shape[0] - 1
    for distance in range(1, ring.shape[0]):
        i = np.int64(ring[(engine[STEP] + distance) & mask])
        while i >= 0:
            total += distance
            i = slot[i, LINK]
    i = engine[FROZEN]
    while i >= 0:
        total -= slot[i, FIN]
        i = extra[i, AFTER]
    return total


@njit(**COMPILED)
def _record(
    samples: Any, by_engine: Any, by_visit: Any, row: Any, at: Any, base: Any, arrived: Any,
    completed: Any, engine: Any, ends: Any, areas: Any, visit: Any, sojourn: Any,
) -> Any:  # fmt: skip
    """Record a sample, and let the areas begin anew there."""
    samples[row, 0] = at
    samples[row, 1] = arrived
    samples[row, 2] = completed
    samples[row, 3] = 0.0
    passed = float(at - base)
    leaf = ends.shape[0] >> 1
    for e in range(engine.shape[0]):
        samples[row, 3] += engine[e, COUNT]
        running = at - engine[e, BEGIN] if ends[leaf + e] < NEVER else 0
        areas[e] += engine[e, BACKLOG] * passed
        by_engine[row, e, 0] = engine[e, BACKLOG]
        by_engine[row, e, 1] = engine[e, SERVED]
        by_engine[row, e, 2] = 0.0
        by_engine[row, e, 3] = engine[e, BUSY] + running
        by_engine[row, e, 4] = areas[e]
        by_engine[row, e, 5] = engine[e, COUNT]
    for v in range(visit.shape[0]):
        sojourn[v, 0] += visit[v, HERE] * passed
        by_visit[row, v, 0] = visit[v, HERE]
        by_visit[row, v, 1] = visit[v, ENTERED]
        by_visit[row, v, 2] = visit[v, ENTERED] - visit[v, HERE]
        by_visit[row, v, 3] = sojourn[v, 0]
        by_visit[row, v, 4] = sojourn[v, 1]
    return at


@njit(**INLINED)
def _carried(known: Any, carries: Any, miss: Any, uniforms: Any, uniform: Any) -> Any:
    """Return the context that goes along, what of it is prefilled again, the next uniform."""
    if carries == 0 or known == 0:
        return np.int64(0), np.int64(0), uniform
    if miss == 1.0:
        return known, known, uniform
    if miss == 0.0:
        return known, np.int64(0), uniform
    return known, np.int64(np.floor(miss * known + uniforms[uniform])), uniform + 1


@njit(**INLINED)
def _release(frame: Any, state: Any, held: Any) -> None:
    """Let a branch go of a frame, and of those around it that only this one held."""
    while held >= 0:
        frame[held, REFERENCES] -= 1
        if frame[held, REFERENCES] > 0:
            break
        above = frame[held, PARENT]
        frame[held, LINK] = state[FRAME_FREE]
        state[FRAME_FREE] = held
        held = above


@njit(**INLINED)
def _end_branch(
    current: Any, clock: Any, slot: Any, extra: Any, session: Any, state: Any,
    session_log: Any, has_forks: Any,
) -> None:  # fmt: skip
    """Let a branch end, and its session if it was the last of it."""
    s = extra[current, SESSION] if has_forks else np.int64(-1)
    is_last = True
    if s >= 0:
        session[s, LIVE] -= 1
        is_last = session[s, LIVE] == 0
    if is_last:
        state[COMPLETED] += 1
        if session_log.shape[0] > 0:
            line = state[SESSIONS_LOGGED]
            session_log[line, 0] = (
                session[s, SESSION_BEGAN] if s >= 0 else extra[current, BEGAN]
            )
            session_log[line, 1] = (
                session[s, SESSION_FIRST] if s >= 0 else extra[current, FIRST]
            )
            session_log[line, 2] = session[s, ANSWERED] if s >= 0 else clock
            session_log[line, 3] = clock
            state[SESSIONS_LOGGED] += 1
        if s >= 0:
            session[s, LINK] = state[SESSION_FREE]
            state[SESSION_FREE] = s
    slot[current, LINK] = state[SLOT_FREE]
    state[SLOT_FREE] = current


@njit(**INLINED)
def _new_row(rows: Any, state: Any, free: Any, top: Any) -> Any:
    """Take a row from a free list, or the next one that was never used."""
    i = state[free]
    if i >= 0:
        state[free] = rows[i, LINK]
    else:
        i = state[top]
        state[top] += 1
    return i


@njit(**COMPILED)
def run(
    state: Any, horizon: Any, tick: Any, most_moves: Any, has_forks: Any,
    visit: Any, law: Any, sojourn: Any, way: Any, share: Any, move: Any, edge: Any,
    engine: Any, rule: Any, queue: Any, ring: Any, areas: Any, ends: Any, first_end: Any,
    idle: Any,
    ticks_by_tokens: Any, more_ticks: Any, per_kv: Any, shapes: Any, grids: Any, seconds: Any,
    slot: Any, extra: Any, session: Any, frame: Any, heap: Any,
    source: Any, arrival: Any, comes: Any, first_source: Any,
    lengths: Any, turns: Any, uniforms: Any, delays: Any,
    sample_at: Any, samples: Any, by_engine: Any, by_visit: Any,
    log: Any, session_log: Any, block_log: Any,
) -> int:  # fmt: skip
    """Run the network until the horizon or until something is needed.

    Parameters
    ----------
    state : int64 (STATE_SIZE,)
        Everything that survives between calls and has no array of its own; updated.
    horizon, tick, most_moves, has_forks : int, float, int, bool
        End [ticks], length of a tick [s], most moves out of one visit, whether any forks.
    visit, law, sojourn : int64 (V, VISIT_SIZE), float64 (V, 2), float64 (V, 2)
        Kinds of visit; mean of a random delay and share of the context lost between turns;
        area of the branches there, and time spent by those that left.
    way, share : int64 (A, 2), float64 (A,)
        Engine and queue of each way to serve a visit, and cumulative probability.
    move, edge : int64 (M, 2), float64 (M, 2)
        Next visit and whether the context goes along; cumulative probability, share lost.
    engine, rule, queue, ring : int64 (E, ENGINE_SIZE), (E, RULE_SIZE), (Q, 2), int32 (E, G)
        State and rule of the engines; head and tail of every queue; newest request of the
        chain of each decode step.
    areas, ends, first_end, idle : float64 (E,), int64 (2 P,), int64 (2 P,), int64 (E,)
        Area of the backlog; tournament of the ends of batches, ``NEVER`` without one; who is
        to form a batch.
    ticks_by_tokens, more_ticks, per_kv : int64 (T,), int64 (T,), float64 (E, 2)
        Step-time rows of the engines one after the other, and ticks per KV token.
    shapes, grids, seconds : int64 (E, 5), float64, float64
        Grids of the engines one after the other: three lengths, and where each begins.
    slot, extra, session, frame, heap : int64 (N, 8), (N, 7), (N, 5), (N, 9), (N, 3)
        Branches, the rest of them, sessions, open forks, and delays by their end.
    source, arrival, comes, first_source : int64 (C, 3), (C, n), (2 P,), (2 P,)
        Sources of sessions, when those to come arrive, and the tournament of the next ones.
    lengths, turns, uniforms, delays : int32 (V, n, 2), int64 (V, n), float64 x 2
        Random numbers.
    sample_at, samples, by_engine, by_visit : int64 (S,), float64 (S, 4), (S, E, 6), (S, V, 5)
        Sample times in order (the last one is the horizon), and what is recorded.
    log, session_log, block_log : int64 (L, 6), (L, 4), (L, 3)
        Batches, finished sessions, joined forks; without rows if not kept.
    """
    clock, base = state[CLOCK], state[BASE]
    current, stage = state[CURRENT], state[STAGE]
    pending, finished = state[PENDING], state[FINISHED]
    row = state[SAMPLE]
    uniform, wait = state[UNIFORM], state[WAIT]
    slots, frames = slot.shape[0], frame.shape[0]
    leaf = ends.shape[0] >> 1
    sample_next = sample_at[row] if row < sample_at.shape[0] else NEVER
    keeps_sessions = session_log.shape[0] > 0
    passed = float(clock - base)
    code = DONE
    while True:
        if current < 0:
            if pending >= 0:
                current, stage = pending, ENTER
                pending = slot[current, LINK]
            elif finished >= 0:
                current, stage = finished, LEAVE
                finished = slot[current, LINK]
        if current < 0:
            # The next event, or the next batches if nothing more happens at this tick.
            come, end = comes[1], ends[1]
            release = heap[0, 0] if state[HEAPED] > 0 else NEVER
            if come == clock:
                if state[SLOT_TOP] + most_moves > slots:
                    code = NEEDS_SPACE
                    break
                s = first_source[1]
                current, stage = _new_row(slot, state, SLOT_FREE, SLOT_TOP), ENTER
                slot[current, VISIT] = source[s, ENTRY]
                slot[current, CONTEXT], slot[current, FRESH] = 0, 0
                if has_forks:
                    extra[current, SESSION], extra[current, FRAME] = -1, -1
                if keeps_sessions:
                    extra[current, BEGAN], extra[current, FIRST] = clock, source[s, ENTRY]
                state[ARRIVED] += 1
                taken = source[s, TAKEN] + 1
                source[s, TAKEN] = taken
                if taken == source[s, READY]:
                    code = NEEDS_ARRIVALS
                    state[WHERE] = s
                    break
                replay(comes, first_source, s, arrival[s, taken])
            elif release == clock:
                current, stage = _heap_pop(heap, state[HEAPED]), SEND
                state[HEAPED] -= 1
            elif end == clock:
                e = first_end[1]
                tokens = engine[e, FLIGHT_X] + engine[e, FLIGHT_Y]
                areas[e] += float(tokens) * passed
                engine[e, BACKLOG] -= tokens
                engine[e, SERVED] += tokens
                engine[e, BUSY] += clock - engine[e, BEGIN]
                engine[e, COUNT] += 1
                finished = _retire(
                    e, engine, slot, extra, ring, rule[e, MOVES_BOUNDARY] == 1, rule[e, EMITS]
                )
                replay(ends, first_end, e, NEVER)
                idle[state[IDLE_COUNT]] = e
                engine[e, IS_IDLE] = 1
                state[IDLE_COUNT] += 1
                continue
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
                            e, engine, rule, slot, extra, ring, queue, ticks_by_tokens,
                            more_ticks, per_kv, shapes, grids, seconds, tick,
                        )  # fmt: skip
                        if ticks < 0:
                            failed = np.int64(UNKNOWN_STEP if ticks == -1 else NOT_CONSERVED)
                            state[WHERE] = e
                            break
                        if ticks == 0:
                            continue
                        engine[e, BEGIN] = clock
                        replay(ends, first_end, e, clock + ticks)
                        if log.shape[0] > 0:
                            line = state[LOGGED]
                            log[line, 0] = e
                            log[line, 1] = clock
                            log[line, 2] = clock + ticks
                            log[line, 3] = engine[e, FLIGHT_X]
                            log[line, 4] = engine[e, FLIGHT_Y]
                            log[line, 5] = engine[e, KV_READ]
                            state[LOGGED] += 1
                    if failed > 0:
                        code = int(failed)
                        break
                    end = ends[1]
                upcoming = min(come, min(release, min(end, horizon)))
                while sample_next < upcoming:
                    base = _record(
                        samples, by_engine, by_visit, row, sample_next, base, state[ARRIVED],
                        state[COMPLETED], engine, ends, areas, visit, sojourn,
                    )  # fmt: skip
                    row += 1
                    sample_next = sample_at[row] if row < sample_at.shape[0] else NEVER
                clock = upcoming
                passed = float(clock - base)
                continue

        v = slot[current, VISIT]
        if stage == ENTER:
            if visit[v, HAS_TURNS] and visit[v, USED_TURNS] == turns.shape[1]:
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
            if visit[v, JOIN] > 0 and extra[current, FRAME] >= 0:
                f = extra[current, FRAME]
                frame[f, GATHERED] += 1
                gathered = frame[f, GATHERED]
                frame[f, SUM_CONTEXT] += slot[current, CONTEXT]
                frame[f, SUM_FRESH] += slot[current, FRESH]
                goes_on = gathered == (frame[f, EXPECTED] if visit[v, JOIN] == ALL else 1)
                if goes_on:
                    if visit[v, JOIN] == ALL:
                        slot[current, CONTEXT] = frame[f, SUM_CONTEXT]
                        slot[current, FRESH] = frame[f, SUM_FRESH]
                    if keeps_sessions:
                        line = state[BLOCKS_LOGGED]
                        block_log[line, 0] = frame[f, FORK]
                        block_log[line, 1] = frame[f, FORKED]
                        block_log[line, 2] = clock
                        state[BLOCKS_LOGGED] += 1
                    above = frame[f, PARENT]
                    extra[current, FRAME] = above
                    if above >= 0:
                        frame[above, REFERENCES] += 1
                _release(frame, state, f)
                if not goes_on:
                    _end_branch(
                        current, clock, slot, extra, session, state, session_log, has_forks
                    )
                    current = np.int64(-1)
                    continue
            if visit[v, HAS_TURNS]:
                extra[current, TURNS] = turns[v, visit[v, USED_TURNS]] - 1
                visit[v, USED_TURNS] += 1
            slot[current, SINCE] = clock
            sojourn[v, 0] -= passed
            visit[v, HERE] += 1
            visit[v, ENTERED] += 1
            stage = TURN

        if stage == TURN:
            pause = visit[v, DELAY]
            if pause < 0:
                if wait == delays.shape[0]:
                    code = NEEDS_DELAYS
                    break
                pause = np.int64(np.rint(min(law[v, 0] * delays[wait], 2.0**61)))
                wait += 1
            if pause > 0:
                _heap_push(heap, state[HEAPED], clock + pause, state[SEQUENCE], current)
                state[HEAPED] += 1
                state[SEQUENCE] += 1
                current = np.int64(-1)
                continue
            stage = SEND

        if stage == SEND:
            at, at_end = visit[v, WAY], visit[v, WAY_END]
            if at < at_end:
                drawn = visit[v, USED_LENGTHS]
                if drawn == lengths.shape[1]:
                    code = NEEDS_LENGTHS
                    state[WHERE] = v
                    break
                if at_end - at > 1:
                    if uniform == uniforms.shape[0]:
                        code = NEEDS_UNIFORMS
                        break
                    if visit[v, SHORTEST]:
                        for other in range(at + 1, at_end):
                            if engine[way[other, 0], BACKLOG] < engine[way[at, 0], BACKLOG]:
                                at = other
                    else:
                        u = uniforms[uniform]
                        uniform += 1
                        while u >= share[at]:
                            at += 1
                e, q = way[at, 0], way[at, 1]
                visit[v, USED_LENGTHS] = drawn + 1
                prompt, output = np.int64(lengths[v, drawn, 0]), np.int64(lengths[v, drawn, 1])
                slot[current, PROMPT], slot[current, OUTPUT] = prompt, output
                work = prompt + slot[current, FRESH] + output - rule[e, EMITS]
                areas[e] -= float(work) * passed
                engine[e, BACKLOG] += work
                engine[e, QUEUE_LEFT] += work
                slot[current, LINK] = -1
                if queue[q, 1] >= 0:
                    slot[queue[q, 1], LINK] = current
                else:
                    queue[q, 0] = current
                queue[q, 1] = current
                if ends[leaf + e] == NEVER and engine[e, IS_IDLE] == 0:
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
        if visit[v, HAS_TURNS] and extra[current, TURNS] > 0:
            extra[current, TURNS] -= 1
            slot[current, CONTEXT], slot[current, FRESH], uniform = _carried(
                known, visit[v, TURN_CARRIES], law[v, 1], uniforms, uniform
            )
            stage = TURN
            continue
        if state[SLOT_TOP] + most_moves > slots or state[FRAME_TOP] + 1 > frames:
            code = NEEDS_SPACE
            break
        if keeps_sessions and state[SESSIONS_LOGGED] == session_log.shape[0]:
            code = NEEDS_LOG
            break
        sojourn[v, 0] += passed
        sojourn[v, 1] += float(clock - slot[current, SINCE])
        visit[v, HERE] -= 1
        m, m_end = visit[v, MOVE], visit[v, MOVE_END]
        if visit[v, FORKS] and m < m_end:
            f = _new_row(frame, state, FRAME_FREE, FRAME_TOP)
            frame[f, PARENT], frame[f, EXPECTED] = extra[current, FRAME], m_end - m
            frame[f, GATHERED], frame[f, REFERENCES] = 0, m_end - m
            frame[f, FORK], frame[f, FORKED] = v, clock
            frame[f, SUM_CONTEXT], frame[f, SUM_FRESH] = 0, 0
            s = extra[current, SESSION]
            if s < 0:
                s = _new_row(session, state, SESSION_FREE, SESSION_TOP)
                session[s, LIVE], session[s, ANSWERED] = 1, -1
                session[s, SESSION_BEGAN] = extra[current, BEGAN]
                session[s, SESSION_FIRST] = extra[current, FIRST]
            session[s, LIVE] += m_end - m - 1
            newest = np.int64(-1)
            for n in range(m, m_end):
                i = current if n == m else _new_row(slot, state, SLOT_FREE, SLOT_TOP)
                slot[i, CONTEXT], slot[i, FRESH], uniform = _carried(
                    known, move[n, 1], edge[n, 1], uniforms, uniform
                )
                slot[i, VISIT], extra[i, SESSION], extra[i, FRAME] = move[n, 0], s, f
                # Branches go on in the order of the moves.
                if newest < 0:
                    slot[i, LINK] = pending
                    pending = i
                else:
                    slot[i, LINK] = slot[newest, LINK]
                    slot[newest, LINK] = i
                newest = i
            current = np.int64(-1)
            continue
        if m < m_end and not visit[v, IS_CERTAIN]:
            u = uniforms[uniform]
            uniform += 1
            while m < m_end and u >= edge[m, 0]:
                m += 1
        if m < m_end:
            slot[current, CONTEXT], slot[current, FRESH], uniform = _carried(
                known, move[m, 1], edge[m, 1], uniforms, uniform
            )
            slot[current, VISIT] = move[m, 0]
            stage = ENTER
            continue
        if has_forks:
            _release(frame, state, extra[current, FRAME])
            if extra[current, SESSION] >= 0:
                session[extra[current, SESSION], ANSWERED] = clock
        _end_branch(current, clock, slot, extra, session, state, session_log, has_forks)
        current = np.int64(-1)
    if code == DONE:
        while row < sample_at.shape[0]:
            base = _record(
                samples, by_engine, by_visit, row, sample_at[row], base, state[ARRIVED],
                state[COMPLETED], engine, ends, areas, visit, sojourn,
            )  # fmt: skip
            row += 1
    state[CLOCK], state[BASE] = clock, base
    state[CURRENT], state[STAGE] = current, stage
    state[PENDING], state[FINISHED] = pending, finished
    state[SAMPLE], state[UNIFORM], state[WAIT] = row, uniform, wait
    return code
