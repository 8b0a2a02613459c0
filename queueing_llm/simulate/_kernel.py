"""The compiled engine: every :class:`BatchRule`, constant work per step.

Requests are numbered in order of arrival and served first come, first served, so three
pointers into that order say almost everything: requests below ``head`` have entered decode
(or finished), ``head`` itself may be partly prefilled, those up to ``nxt`` wait. Residents
are always the oldest requests present, also after preemptions, because victims are the
newest residents and go back to the head of the queue.

**No list of decodes.** Count decode steps: ``k``. A request that enters decode with ``r``
steps left finishes at decode step ``k + r`` if every decode step serves it, so a ring of
counts ``ring[(k + r) & mask]`` replaces the list; popping a bucket finishes its requests.
Rules that may serve only some decodes (prefill first, or a KV limit) serve the oldest:
requests below the boundary ``bound`` are *active* and in the ring, those from ``bound`` to
``head`` are *frozen* with their remaining steps kept aside as ``fin = -r``. Moving the
boundary costs one ring operation per request moved.

``fin[i]`` is 0 while request ``i`` waits, ``-r`` while it is frozen, and the decode step
of its finish once it is active; it has finished iff ``0 < fin[i] <= k``.

**Blocks.** If the KV cache is given out in blocks of ``B`` tokens, ``used`` and the capacity
count blocks. An active decode stores one token more after each decode step, so it needs a
block at decode step ``k`` iff its ``(stored - k) mod B``, which stays the same, is that of
``-k``: ``by_residue`` counts active decodes by it. What a finish takes from these counts is
known request by request, so the chains of the ring are kept, too. There are never more active
decodes than a step may serve; frozen ones among these are looked at one by one.

**Events.** Each turn of the loop runs the clock to ``target`` (the end of the batch in
flight, the next arrival if idle, or the horizon), then forms the next batch. When the
arrivals loaded so far do not reach beyond ``target`` the kernel returns ``NEEDS_ARRIVALS``
with its state stored, and goes on exactly there when called again.

**Users.** In a closed workload the next arrival is the least of ``returns``, a heap of the
times at which thinking users come back; ``arrival[nxt]`` is kept equal to it, so the rest of
the loop need not know. Users are alike, so whose request finishes does not matter: whoever
sees completion ``c`` thinks for ``think[c]``. Who comes back at the very end of a batch joins
the next one: the loop takes a turn in which no time passes.

**One file.** The compiled code is cached on disk by the time stamp of this file alone, so
everything that it calls is in it: a change elsewhere would leave a stale cache behind.

All times are integer ticks. In the shape descriptions, ``W`` is the number of requests
loaded, ``G`` the (power of two) size of the ring, ``S`` the number of samples.
"""

from typing import Any

import numpy as np
from numba import njit

DONE, NEEDS_ARRIVALS, NOT_CONSERVED, UNKNOWN_STEP = 0, 1, 2, 3
TRUNCATED_FLIGHT = 2
LAST_TICK = float(2**62)  # later arrivals are after every horizon
FIRST_DECODE_STEP = 1  # so that no finish is at 0, which means waiting

# Positions in the int64 state vector.
(
    CLOCK, TARGET, IN_FLIGHT, FLIGHT_TOKENS, FLIGHT_DONE, FLIGHT_KV,
    NEXT, HEAD, LEFT, BOUND, DECODING, ACTIVE, DECODE_STEP, FIRST_TOKEN,
    BACKLOG, PRESENT, QUEUE_LEFT, DECODE_LEFT, USED, KV_ACTIVE, LAST,
    ARRIVED, WORK_IN, RECOMPUTED, IDLE, STEPS, PREEMPTIONS, SAMPLE, LOGGED,
) = range(29)  # fmt: skip
STATE_SIZE = 29


@njit(cache=True, nogil=True)
def multilinear(x: Any, y: Any, kv: Any, xs: Any, ys: Any, kvs: Any, seconds: Any) -> float:
    """Interpolate a step time on its grid; the caller guarantees that it lies inside."""
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
                total += weight * seconds[i + di, j + dj, m + dm]
    return total


@njit(cache=True, nogil=True)
def _cell(grid: Any, value: Any) -> Any:
    i = np.searchsorted(grid, value, side="right") - 1
    i = min(max(i, 0), grid.shape[0] - 2)
    return i, (value - grid[i]) / (grid[i + 1] - grid[i])


@njit(cache=True, nogil=True)
def _record(
    samples: Any, row: Any, at: Any, backlog: Any, present: Any, arrived: Any, work_in: Any,
    recomputed: Any, backlog_area: Any, requests_area: Any, idle: Any, steps: Any,
    preemptions: Any,
) -> None:  # fmt: skip
    samples[row, 0] = at
    samples[row, 1] = backlog
    samples[row, 2] = present
    samples[row, 3] = arrived
    samples[row, 4] = arrived - present
    samples[row, 5] = work_in + recomputed - backlog
    samples[row, 6] = recomputed
    samples[row, 7] = backlog_area
    samples[row, 8] = requests_area
    samples[row, 9] = at - idle
    samples[row, 10] = steps
    samples[row, 11] = preemptions


@njit(cache=True, nogil=True)
def load(
    times: Any, prompts: Any, outputs: Any, tick: Any, emits: Any,
    arrival: Any, prompt: Any, decode: Any,
) -> Any:  # fmt: skip
    """Copy a chunk into the loaded columns; return its extremes.

    Returns
    -------
    tuple of int
        Fewest decode steps, most decode steps, largest footprint, and its row.
    """
    fewest, most, largest, row = np.int64(2**62), np.int64(-1), np.int64(-1), 0
    for i in range(times.shape[0]):
        arrival[i] = np.int64(min(np.rint(times[i] / tick), LAST_TICK))
        steps = outputs[i] - emits
        fewest, most = min(fewest, steps), max(most, steps)
        if prompts[i] + steps > largest:
            largest, row = prompts[i] + steps, i
        prompt[i] = prompts[i]
        decode[i] = steps
    return fewest, most, largest, row


@njit(cache=True, nogil=True)
def _link(i: Any, bucket: Any, chain: Any, after: Any, before: Any) -> None:
    after[i] = chain[bucket]
    before[i] = -1
    if chain[bucket] >= 0:
        before[chain[bucket]] = i
    chain[bucket] = i


@njit(cache=True, nogil=True)
def _unlink(i: Any, bucket: Any, chain: Any, after: Any, before: Any) -> None:
    if before[i] >= 0:
        after[before[i]] = after[i]
    else:
        chain[bucket] = after[i]
    if after[i] >= 0:
        before[after[i]] = before[i]


@njit(cache=True, nogil=True)
def _blocks(tokens: Any, size: Any) -> Any:
    return -(-np.int64(tokens) // size)


@njit(cache=True, nogil=True)
def _lacking(
    wanted: Any, active: Any, bound: Any, k: Any, prompt: Any, decode: Any, fin: Any,
    by_residue: Any,
) -> Any:  # fmt: skip
    """Count the blocks that the oldest ``wanted`` decodes lack for one more token each."""
    size = by_residue.shape[0]
    lacking, i = by_residue[-k % size], bound
    while active < wanted:
        if fin[i] < 0:
            active += 1
            if (np.int64(prompt[i]) + decode[i] + fin[i]) % size == 0:
                lacking += 1
        i += 1
    return lacking


@njit(cache=True, nogil=True)
def _push(heap: Any, size: Any, value: Any) -> None:
    """Put a value into the heap of the first ``size`` entries, least first."""
    i = size
    while i > 0 and heap[(i - 1) // 2] > value:
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = value


@njit(cache=True, nogil=True)
def _pop(heap: Any, size: Any) -> None:
    """Take the least of the first ``size`` entries out of the heap."""
    value, i = heap[size - 1], 0
    while 2 * i + 1 < size - 1:
        child = 2 * i + 1
        if child + 1 < size - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = value


@njit(cache=True, nogil=True)
def _coast(
    clock: Any, until: Any, k: Any, decoding: Any, backlog: Any, present: Any, steps: Any,
    backlog_area: Any, requests_area: Any, ring: Any, ticks_by_tokens: Any, returns: Any,
) -> Any:  # fmt: skip
    """Take the steps that only decode and end before ``until``, with nothing else to do."""
    mask = ring.shape[0] - 1
    while decoding > 0:
        if returns is not None:
            if ring[(k + 1) & mask] > 0:
                break
        length = ticks_by_tokens[decoding]
        if length <= 0 or clock + length >= until:
            break
        clock += length
        k += 1
        backlog_area += backlog * float(length)
        requests_area += present * float(length)
        backlog -= decoding
        finished = np.int64(ring[k & mask])
        ring[k & mask] = 0
        present -= finished
        decoding -= finished
        steps += 1
    return clock, k, decoding, backlog, present, steps, backlog_area, requests_area


@njit(cache=True, nogil=True)
def run(
    state: Any, area: Any, rule: Any, limits: Any,
    ticks_by_tokens: Any, more_ticks: Any, ticks_per_kv: Any, tick: Any, grids: Any,
    seconds: Any,
    arrival: Any, prompt: Any, decode: Any, fin: Any,
    start: Any, first: Any, finish: Any, after: Any, before: Any,
    think: Any, returns: Any,
    by_residue: Any, ring: Any, ring_kv: Any, chain: Any,
    sample_at: Any, samples: Any, log: Any,
) -> int:  # fmt: skip
    """Run the engine until the horizon or until more arrivals are needed.

    Parameters
    ----------
    state, area : int64 (STATE_SIZE,), float64 (2,)
        Everything that survives between calls; updated.
    rule : tuple of bool
        decode_first, mixed, chunked, first_token_from_prefill.
    limits : tuple of int
        token budget, member limit, resident limit, KV capacity in blocks, horizon, 1 if no
        more arrivals will come.
    ticks_by_tokens, more_ticks, ticks_per_kv, tick, grids, seconds
        The step-time law, see ``Clock``; no second row if the first is the law.
    arrival, prompt, decode : int64 (W,), int32 (W,), int32 (W,)
        Requests loaded; ``decode`` holds decode steps. Changed by preemption.
    fin : int64 (W,) or None
        None if every decode step serves every decode, and nothing is preempted.
    start, first, finish : int64 (W,) x 3, or all None
        Per-request times; None unless kept.
    after, before : int32 (W,) x 2, or both None
        The doubly linked chains of the ring; None unless times are kept or blocks counted.
    think, returns : int64 (W,), int64 (N,), or both None
        Ticks that a user thinks after each completion, and the heap of the users' returns;
        None if the workload is open. ``arrival`` is written then.
    by_residue : int64 (B,) or None
        Active decodes by their stored tokens less ``k``, modulo the size of a block; None if
        a block is one token.
    ring, ring_kv, chain : int32 (G,), int64 (G,) or None, int32 (G,)
        Requests, their footprints, and their chain, by decode step of finish; no footprints
        if neither a limit nor the step time asks for the KV cache.
    sample_at, samples, log : int64 (S,), float64 (S, 12), int64 (L, 6)
        Sample times in order (the last one is the horizon), and what is recorded.
    """
    decode_first, mixed, chunked, emits = rule
    budget, member_limit, resident_limit, capacity, horizon, complete = limits
    loaded, mask = arrival.shape[0], ring.shape[0] - 1
    on_grid = seconds.shape[0] > 0
    reads_kv = ticks_per_kv[0] != 0.0 or ticks_per_kv[1] != 0.0
    clock, target, idle = state[CLOCK], state[TARGET], state[IDLE]
    in_flight = state[IN_FLIGHT]
    flight_tokens, flight_done = state[FLIGHT_TOKENS], state[FLIGHT_DONE]
    nxt, head, left, bound = state[NEXT], state[HEAD], state[LEFT], state[BOUND]
    decoding, active, k = state[DECODING], state[ACTIVE], state[DECODE_STEP]
    backlog, present, last = state[BACKLOG], state[PRESENT], state[LAST]
    queue_left, decode_left = state[QUEUE_LEFT], state[DECODE_LEFT]
    used, kv_active, row = state[USED], state[KV_ACTIVE], state[SAMPLE]
    first_token, steps = state[FIRST_TOKEN], state[STEPS]
    work_in, recomputed = state[WORK_IN], state[RECOMPUTED]
    preemptions = state[PREEMPTIONS]
    backlog_area, requests_area = area[0], area[1]
    base = state[ARRIVED] - nxt
    never = np.int64(2**62)
    decode_limit = min(budget, member_limit)
    sample_next = sample_at[row] if row < sample_at.shape[0] else never
    code = DONE
    if returns is not None:
        if nxt < loaded:
            arrival[nxt] = returns[0] if present < returns.shape[0] else never
    while True:
        # Run the clock to the target.
        while nxt < loaded and arrival[nxt] <= target:
            now = arrival[nxt]
            while sample_next < now:
                passed = float(sample_next - last)
                _record(
                    samples, row, sample_next, backlog, present, base + nxt, work_in,
                    recomputed, backlog_area + backlog * passed,
                    requests_area + present * passed,
                    idle if in_flight else idle + sample_next - clock, steps, preemptions,
                )  # fmt: skip
                row += 1
                sample_next = sample_at[row] if row < sample_at.shape[0] else never
            passed = float(now - last)
            backlog_area += backlog * passed
            requests_area += present * passed
            last = now
            work = np.int64(prompt[nxt]) + decode[nxt]
            work_in += work
            backlog += work
            queue_left += work
            present += 1
            nxt += 1
            if returns is not None:
                _pop(returns, returns.shape[0] - present + 1)
                if nxt < loaded:
                    arrival[nxt] = returns[0] if present < returns.shape[0] else never
        if nxt == loaded and not complete:
            code = NEEDS_ARRIVALS
            break
        while sample_next < target:
            passed = float(sample_next - last)
            _record(
                samples, row, sample_next, backlog, present, base + nxt, work_in,
                recomputed, backlog_area + backlog * passed,
                requests_area + present * passed,
                idle if in_flight else idle + sample_next - clock, steps, preemptions,
            )  # fmt: skip
            row += 1
            sample_next = sample_at[row] if row < sample_at.shape[0] else never
        passed = float(target - last)
        backlog_area += backlog * passed
        requests_area += present * passed
        last = target
        if in_flight == 1:
            backlog -= flight_tokens
            present -= flight_done
            steps += 1
            if returns is not None:
                for i in range(flight_done):
                    size = returns.shape[0] - present - flight_done + i
                    _push(returns, size, target + think[nxt - present - flight_done + i])
                if flight_done > 0 and nxt < loaded:
                    arrival[nxt] = returns[0]
                    if returns[0] <= target:
                        clock = target
                        in_flight = np.int64(0)
                        continue
        elif in_flight == 0:
            idle += target - clock
        clock = target
        while sample_next <= clock:
            _record(
                samples, row, sample_next, backlog, present, base + nxt, work_in,
                recomputed, backlog_area, requests_area, idle, steps, preemptions,
            )  # fmt: skip
            row += 1
            sample_next = sample_at[row] if row < sample_at.shape[0] else never
        if clock >= horizon:
            break

        # Nothing to prefill, count or note: run ahead to the next event.
        if fin is None and ring_kv is None and start is None and more_ticks is None:
            if head == nxt and not on_grid:
                until = min(sample_next, horizon + 1)
                if nxt < loaded:
                    until = min(until, arrival[nxt])
                before_coasting = backlog
                (
                    clock, k, decoding, backlog, present, steps, backlog_area, requests_area,
                ) = _coast(
                    clock, until, k, decoding, backlog, present, steps, backlog_area,
                    requests_area, ring, ticks_by_tokens, returns,
                )  # fmt: skip
                decode_left -= before_coasting - backlog
                active = decoding
                last = clock

        # Form the next batch.
        preempted = 0
        skip_prefill = False
        while True:
            wanted = min(decoding, decode_limit)
            reserved = wanted
            if fin is not None and ring_kv is not None:
                if by_residue is not None:
                    reserved = _lacking(
                        wanted, active, bound, k, prompt, decode, fin, by_residue
                    )
                makes_room = mixed or decode_first or skip_prefill
                while makes_room and reserved > capacity - used:
                    preempted += 1
                    if left > 0 and left < prompt[head]:
                        stored = np.int64(prompt[head]) - left
                        queue_left += stored
                    else:
                        i = head - 1
                        while not (fin[i] < 0 or fin[i] > k):
                            i -= 1
                        footprint = np.int64(prompt[i]) + decode[i]
                        if fin[i] < 0:
                            r = -fin[i]
                        else:
                            r = fin[i] - k
                            bucket = fin[i] & mask
                            ring[bucket] -= 1
                            ring_kv[bucket] -= footprint
                            active -= 1
                            kv_active -= footprint - r
                            bound = min(bound, i)
                            if by_residue is not None:
                                by_residue[(footprint - fin[i]) % by_residue.shape[0]] -= 1
                            if after is not None:
                                _unlink(i, bucket, chain, after, before)
                        stored = footprint - r
                        decode_left -= r
                        queue_left += stored + r
                        prompt[i] = stored + emits
                        decode[i] = r - emits
                        fin[i] = 0
                        decoding -= 1
                        head = i
                    left = np.int64(prompt[head])
                    if by_residue is not None:
                        used -= _blocks(stored, by_residue.shape[0])
                    else:
                        used -= stored
                    backlog += stored
                    recomputed += stored
                    wanted = min(decoding, decode_limit)
                    reserved = wanted
                    if by_residue is not None:
                        reserved = _lacking(
                            wanted, active, bound, k, prompt, decode, fin, by_residue
                        )
            room, places, slots = budget, member_limit, never
            if ring_kv is not None:
                slots = capacity - used
            if mixed:
                if ring_kv is not None:
                    slots -= reserved
                if decode_first:
                    room -= wanted
                    places -= wanted
            x = np.int64(0)
            grown = np.int64(0)
            entering = head
            if (
                preempted == 0
                and not skip_prefill
                and (mixed or not decode_first or wanted == 0)
            ):
                residents = decoding
                if left > 0 and left < prompt[head]:
                    residents += 1
                while room > 0 and places > 0:
                    if left == 0:
                        if fin is not None:
                            while head < nxt and fin[head] != 0:
                                head += 1
                        if head >= nxt:
                            break
                        left = np.int64(prompt[head])
                    if left == prompt[head]:
                        if residents >= resident_limit:
                            break
                        residents += 1
                        if by_residue is not None:
                            if _blocks(left, by_residue.shape[0]) > slots:
                                break
                        elif ring_kv is not None:
                            if left > slots:
                                break
                    take = min(left, room)
                    held = np.int64(0)
                    if by_residue is not None:
                        stored = np.int64(prompt[head]) - left
                        held = _blocks(stored, by_residue.shape[0])
                        take = min(take, (held + slots) * by_residue.shape[0] - stored)
                    elif ring_kv is not None:
                        take = min(take, slots)
                    if take <= 0 or (take < left and not chunked):
                        break
                    if start is not None:
                        if start[head] < 0:
                            start[head] = clock
                    if by_residue is not None:
                        stored = np.int64(prompt[head]) - left + take
                        more = _blocks(stored, by_residue.shape[0]) - held
                        slots -= more
                        grown += more
                    elif ring_kv is not None:
                        slots -= take
                    room -= take
                    places -= 1
                    x += take
                    left -= take
                    if left > 0:
                        break
                    head += 1
            if mixed:
                y = wanted if decode_first else min(wanted, min(room, places))
            elif x > 0:
                y = np.int64(0)
            else:
                y = wanted
                if ring_kv is not None:
                    if not skip_prefill and reserved > capacity - used:
                        skip_prefill = True
                        continue
            break
        if x + y == 0:
            target = min(arrival[nxt] if nxt < loaded else horizon, horizon)
            in_flight = np.int64(0)
            continue

        # Serve the oldest y decodes.
        finished = np.int64(0)
        kv_read = np.int64(0)
        if y > 0:
            if fin is not None:
                while active > y:
                    bound -= 1
                    if fin[bound] > k:
                        bucket = fin[bound] & mask
                        r = fin[bound] - k
                        ring[bucket] -= 1
                        active -= 1
                        fin[bound] = -r
                        if ring_kv is not None:
                            footprint = np.int64(prompt[bound]) + decode[bound]
                            ring_kv[bucket] -= footprint
                            kv_active -= footprint - r
                            if by_residue is not None:
                                by_residue[(footprint - k - r) % by_residue.shape[0]] -= 1
                        if after is not None:
                            _unlink(bound, bucket, chain, after, before)
                while active < y:
                    if fin[bound] < 0:
                        r = -fin[bound]
                        bucket = (k + r) & mask
                        ring[bucket] += 1
                        active += 1
                        fin[bound] = k + r
                        if ring_kv is not None:
                            footprint = np.int64(prompt[bound]) + decode[bound]
                            ring_kv[bucket] += footprint
                            kv_active += footprint - r
                            if by_residue is not None:
                                by_residue[(footprint - k - r) % by_residue.shape[0]] += 1
                        if after is not None:
                            _link(bound, bucket, chain, after, before)
                    bound += 1
            kv_read = kv_active
        tokens = x + y
        ticks = np.int64(0)
        if on_grid:
            if x <= grids[0][-1] and y <= grids[1][-1] and kv_read <= grids[2][-1]:
                length = multilinear(x, y, kv_read, grids[0], grids[1], grids[2], seconds)
                ticks = np.int64(np.rint(length / tick))
        else:
            ticks = ticks_by_tokens[tokens]
            if reads_kv:
                ticks += np.int64(np.rint(ticks_per_kv[0] * kv_read))
            if more_ticks is not None:
                other = more_ticks[tokens]
                if reads_kv:
                    other += np.int64(np.rint(ticks_per_kv[1] * kv_read))
                ticks = max(ticks, other)
        if ticks <= 0:
            flight_tokens, flight_done = x, y
            state[FLIGHT_KV] = kv_read
            code = UNKNOWN_STEP
            break
        end = clock + ticks
        if y > 0:
            if by_residue is not None:
                grown += by_residue[-k % by_residue.shape[0]]
            k += 1
            bucket = k & mask
            finished = np.int64(ring[bucket])
            ring[bucket] = 0
            active -= finished
            decoding -= finished
            decode_left -= y
            if ring_kv is not None:
                freed = ring_kv[bucket]
                ring_kv[bucket] = 0
                kv_active += y - freed
                if by_residue is None:
                    used += y - freed
            if after is not None:
                i = chain[bucket]
                chain[bucket] = -1
                while i >= 0:
                    if start is not None:
                        finish[i] = end
                    if by_residue is not None:
                        footprint = np.int64(prompt[i]) + decode[i]
                        used -= _blocks(footprint, by_residue.shape[0])
                        by_residue[(footprint - k) % by_residue.shape[0]] -= 1
                    i = after[i]
            if start is not None:
                if not emits:
                    served_below = bound if fin is not None else entering
                    while first_token < served_below:
                        if first[first_token] < 0 and decode[first_token] > 0:
                            first[first_token] = end
                        first_token += 1
        queue_left -= x
        if by_residue is not None:
            used += grown
        elif ring_kv is not None:
            used += x
        for i in range(entering, head):
            if fin is not None:
                if fin[i] != 0:
                    continue
            r = np.int64(decode[i])
            queue_left -= r
            decode_left += r
            if start is not None:
                if emits and first[i] < 0:
                    first[i] = end
            if r == 0:
                finished += 1
                if by_residue is not None:
                    used -= _blocks(prompt[i], by_residue.shape[0])
                elif ring_kv is not None:
                    used -= prompt[i]
                if fin is not None:
                    fin[i] = k
                if start is not None:
                    finish[i] = end
                continue
            decoding += 1
            if fin is not None:
                fin[i] = -r
                continue
            bucket = (k + r) & mask
            ring[bucket] += 1
            active += 1
            if ring_kv is not None:
                ring_kv[bucket] += prompt[i] + r
                kv_active += prompt[i]
            if after is not None:
                _link(i, bucket, chain, after, before)
        if queue_left + decode_left != backlog - tokens:
            code = NOT_CONSERVED
            break
        if state[LOGGED] < log.shape[0]:
            line = state[LOGGED]
            log[line, 0] = clock
            log[line, 1] = end
            log[line, 2] = x
            log[line, 3] = y
            log[line, 4] = kv_read
            log[line, 5] = preempted
            state[LOGGED] += 1
        preemptions += preempted
        flight_tokens, flight_done = tokens, finished
        if end <= horizon:
            in_flight = np.int64(1)
            target = end
        else:
            in_flight = np.int64(TRUNCATED_FLIGHT)
            target = horizon
    state[CLOCK], state[TARGET], state[IDLE] = clock, target, idle
    state[IN_FLIGHT] = in_flight
    state[FLIGHT_TOKENS], state[FLIGHT_DONE] = flight_tokens, flight_done
    state[NEXT], state[HEAD], state[LEFT], state[BOUND] = nxt, head, left, bound
    state[DECODING], state[ACTIVE], state[DECODE_STEP] = decoding, active, k
    state[BACKLOG], state[PRESENT], state[LAST] = backlog, present, last
    state[QUEUE_LEFT], state[DECODE_LEFT] = queue_left, decode_left
    state[USED], state[KV_ACTIVE], state[SAMPLE] = used, kv_active, row
    state[FIRST_TOKEN], state[STEPS] = first_token, steps
    state[WORK_IN], state[RECOMPUTED] = work_in, recomputed
    state[PREEMPTIONS], state[ARRIVED] = preemptions, base + nxt
    area[0], area[1] = backlog_area, requests_area
    return code
