"""Rules and step times of all engines, laid end to end for compiled code."""

from typing import NamedTuple

import numpy as np

from queueing_llm.policies import BatchRule
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate.networks import _kernel as kernel
from queueing_llm.simulate.networks._layout import UNLIMITED, Layout

LINE = 64


class Tables(NamedTuple):
    """What the kernel knows about its engines; its docstring has the shapes."""

    rule: np.ndarray
    ticks_by_tokens: np.ndarray
    more_ticks: np.ndarray
    per_kv: np.ndarray
    shapes: np.ndarray
    grids: np.ndarray
    seconds: np.ndarray


def tables(layout: Layout) -> Tables:
    """Return the rules and step times of a network whose policies are all rules."""
    count = len(layout.clocks)
    rule = aligned(count, kernel.RULE_SIZE)
    shapes = np.zeros((count, 5), dtype=np.int64)
    rows: list[np.ndarray] = [np.zeros((2, 0), dtype=np.int64)]
    grids: list[np.ndarray] = [np.zeros(0)]
    seconds: list[np.ndarray] = [np.zeros(0)]
    # Engines with the same law share one table.
    known: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
    for e, (part, clock) in enumerate(zip(layout.network.engines, layout.clocks, strict=True)):
        assert isinstance(part.policy, BatchRule)
        limits = _limits(part.policy, part.engine.max_batch_size)
        key = id(part.engine.step_time), part.engine.token_budget
        if key not in known:
            at = sum(block.shape[1] for block in rows)
            known[key] = at, _shape(clock, grids, seconds)
            rows.append(clock.ticks_by_tokens)
            grids.append(np.concatenate(_axes(clock)))
            seconds.append(clock.form.seconds.ravel())
        rule[e, :13] = (
            part.policy.mixed,
            part.policy.first == "decode",
            part.policy.chunked,
            part.engine.first_token_from_prefill,
            part.policy.first == "prefill",
            part.engine.token_budget,
            *limits,
            known[key][0],
            clock.rows[1] is not None,
            clock.form.seconds.size > 0,
            *layout.first_queue[e : e + 2],
        )
        shapes[e] = known[key][1]
    first, second = np.concatenate(rows, axis=1)
    per_kv = np.array([clock.ticks_per_kv for clock in layout.clocks]).reshape(-1, 2)
    parts = (np.concatenate(grids), np.concatenate(seconds))
    return Tables(rule, np.ascontiguousarray(first), second.copy(), per_kv, shapes, *parts)


def _axes(clock: Clock) -> tuple[np.ndarray, ...]:
    return clock.form.prefill_grid, clock.form.decode_grid, clock.form.kv_grid


def _shape(clock: Clock, grids: list[np.ndarray], seconds: list[np.ndarray]) -> np.ndarray:
    lengths = [len(axis) for axis in _axes(clock)]
    return np.array([*lengths, sum(map(len, grids)), sum(map(len, seconds))])


def _limits(rule: BatchRule, most: int | None) -> tuple[int, int]:
    """Return the most members of a batch, and the most residents."""
    limit = most or UNLIMITED
    counts_members = rule.limit_counts == "members"
    return (limit, UNLIMITED) if counts_members else (UNLIMITED, limit)


def visits(layout: Layout) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Return kinds of visit, their real numbers, and the ways and moves, as for the kernel."""
    ways = layout.ways
    count = len(ways.delay)
    visit = aligned(count, kernel.VISIT_SIZE)
    first, last = ways.first_move[:-1], ways.first_move[1:]
    ends = np.append(ways.edge, 0.0)[first] == np.inf
    columns = {
        kernel.HAS_TURNS: ways.has_turns,
        kernel.JOIN: ways.join,
        kernel.DELAY: ways.delay,
        kernel.WAY: ways.first_engine[:-1],
        kernel.WAY_END: ways.first_engine[1:],
        kernel.SHORTEST: ways.shortest,
        kernel.MOVE: first,
        kernel.MOVE_END: last,
        kernel.IS_CERTAIN: (last - first == 1) & ends,
        kernel.FORKS: ways.forks,
        kernel.TURN_CARRIES: ways.turn_carries,
    }
    for column, values in columns.items():
        visit[:, column] = values
    law = np.stack([ways.mean_delay, ways.turn_miss], axis=1)
    way = np.stack([ways.engine, ways.queue], axis=1)
    move = np.stack([ways.target, ways.carries.astype(np.int64)], axis=1)
    edge = np.stack([ways.edge, ways.miss], axis=1)
    return visit, law, (way, ways.share, move, edge)


def aligned(rows: int, columns: int) -> np.ndarray:
    """Return zeros, int64, shape (rows, columns), that begin at a line of the cache."""
    block = np.zeros(rows * columns + LINE // 8, dtype=np.int64)
    first = -block.ctypes.data % LINE // 8
    return block[first : first + rows * columns].reshape(rows, columns)


def tournament(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a tournament of times: the best time and leaf below every node.

    Node ``i`` has the children ``2 i`` and ``2 i + 1``; the leaves are the last nodes.
    """
    leaves = 1
    while leaves < len(times):
        leaves *= 2
    nodes = np.full(2 * leaves, kernel.NEVER, dtype=np.int64)
    winner = np.concatenate([np.zeros(leaves, dtype=np.int64), np.arange(leaves)])
    for leaf, time in enumerate(times.tolist()):
        kernel.replay(nodes, winner, leaf, time)
    return nodes, winner
