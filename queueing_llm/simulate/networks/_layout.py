"""A network of engines as flat tables: what both drivers read.

In the shape descriptions, ``V`` is the number of kinds of visit, ``E`` of engines, ``M`` of
moves, ``A`` of pairs of a visit and an engine that can serve it, ``Q`` of queues: an engine
has one for each priority that waits there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, final

import numpy as np

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model.agents import AgentNetwork, NetworkEngine
from queueing_llm.policies import BatchRule
from queueing_llm.simulate._clock import Clock

UNLIMITED = 2**62
ALL, ANY = 1, 2
ROUNDING = 1e-12
Shares = Mapping[str, Sequence[Any]]


class Ways(NamedTuple):
    """Everything about visits and moves, one column each.

    Parameters
    ----------
    first_engine, first_move : int64 arrays, shape (V + 1,)
        Where the engines and the moves of each visit begin.
    engine, queue, share : int64, int64, float64 arrays, shape (A,)
        Engine, queue there, and cumulative probability of a dispatch.
    target, edge, carries, miss : int64, float64, bool, float64 arrays, shape (M,)
        Next visit, cumulative probability, whether the context goes along, and the share of
        it that must be prefilled again.
    delay : int64 array, shape (V,)
        Constant delay [ticks], or -1 if it is random.
    mean_delay : float64 array, shape (V,)
        Mean of the random delay [ticks].
    has_turns, turn_carries, turn_miss : bool, bool, float64 arrays, shape (V,)
        As for moves, between the visits in a row.
    shortest, forks, join : bool, bool, int64 arrays, shape (V,)
        Dispatch, fork, and 0 without a join, else ``ALL`` or ``ANY``.
    """

    first_engine: np.ndarray
    first_move: np.ndarray
    engine: np.ndarray
    queue: np.ndarray
    share: np.ndarray
    target: np.ndarray
    edge: np.ndarray
    carries: np.ndarray
    miss: np.ndarray
    delay: np.ndarray
    mean_delay: np.ndarray
    has_turns: np.ndarray
    turn_carries: np.ndarray
    turn_miss: np.ndarray
    shortest: np.ndarray
    forks: np.ndarray
    join: np.ndarray


@final
@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A network with one clock.

    Parameters
    ----------
    network : AgentNetwork
        What it stands for.
    clocks : tuple of Clock
        Step-time law of every engine, all with the same tick.
    ways : Ways
        Visits and moves.
    first_queue : int64 array, shape (E + 1,)
        Where the queues of each engine begin, most urgent first.
    """

    network: AgentNetwork
    clocks: tuple[Clock, ...]
    ways: Ways
    first_queue: np.ndarray

    @classmethod
    def of(cls, network: AgentNetwork, *, shares: Shares | None, tick: float) -> "Layout":
        """Return the layout of a network; visits not in ``shares`` use all engines equally."""
        if not network.engines:
            msg = "network must have an engine to simulate, got none."
            raise InvalidArgument(msg)
        shares = shares or {}
        names = [visit.name for visit in network.visits]
        for name in shares:
            if name not in names:
                msg = f"shares has no visit {name!r}: {nearest(str(name), names)}."
                raise InvalidArgument(msg)
        clocks = tuple(Clock.of(part.engine, tick=tick) for part in network.engines)
        ranks = [
            sorted({visit.priority for visit in network.visits if e in visit.engines})
            for e in range(len(clocks))
        ]
        first_queue = _starts([len(rank) for rank in ranks])
        queue = [
            int(first_queue[e]) + ranks[e].index(visit.priority)
            for visit in network.visits
            for e in visit.engines
        ]
        dispatch = [
            edge
            for visit in network.visits
            for edge in _edges(_shares_of(visit.name, len(visit.engines), shares))
        ]
        ways = _ways(network, queue=queue, dispatch=dispatch, tick=tick)
        return cls(network, clocks, ways, first_queue)

    @property
    def clock(self) -> Clock:
        """A clock with the common tick."""
        return self.clocks[0]

    @property
    def most_moves(self) -> int:
        """The most moves out of one visit, at least 1."""
        return max(1, int(np.diff(self.ways.first_move).max()))

    @property
    def has_forks(self) -> bool:
        """Whether a session can have several branches."""
        return bool(self.ways.forks.any() or self.ways.join.any())


def is_compilable(part: NetworkEngine) -> bool:
    """Whether the compiled kernel can run an engine: a rule, and no limit of KV memory."""
    return isinstance(part.policy, BatchRule) and part.engine.kv_capacity is None


def _ways(
    network: AgentNetwork, *, queue: list[int], dispatch: list[float], tick: float
) -> Ways:
    visits = network.visits
    rows = [[move for move in network.moves if move.source == v] for v in range(len(visits))]
    moves = [move for row in rows for move in row]
    delays = [float(visit.delay) / tick for visit in visits]
    is_random = [visit.has_random_delay and visit.delay > 0 for visit in visits]
    return Ways(
        first_engine=_starts([len(visit.engines) for visit in visits]),
        first_move=_starts([len(row) for row in rows]),
        engine=np.array([e for visit in visits for e in visit.engines], dtype=np.int64),
        queue=np.array(queue, dtype=np.int64),
        share=np.array(dispatch, dtype=np.float64),
        target=np.array([move.target for move in moves], dtype=np.int64),
        edge=np.array(
            [edge for row in rows for edge in _edges([move.probability for move in row])],
            dtype=np.float64,
        ),
        carries=np.array([move.carries_context for move in moves], dtype=np.bool_),
        miss=np.array([1 - float(m.prefix_cache_hit) for m in moves], dtype=np.float64),
        delay=np.where(is_random, -1, np.rint(delays)).astype(np.int64),
        mean_delay=np.array(delays),
        has_turns=np.array([visit.turns is not None for visit in visits]),
        turn_carries=np.array([visit.turn_carries_context for visit in visits]),
        turn_miss=np.array([1 - float(visit.turn_prefix_cache_hit) for visit in visits]),
        shortest=np.array([visit.dispatch == "shortest" for visit in visits]),
        forks=np.array([visit.forks for visit in visits]),
        join=np.array([{None: 0, "all": ALL, "any": ANY}[visit.join] for visit in visits]),
    )


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _edges(shares: Sequence[Any]) -> list[float]:
    """Return cumulative probabilities; infinity for the last if nothing is left over."""
    edges = [float(sum(shares[: i + 1])) for i in range(len(shares))]
    if edges and edges[-1] >= 1 - ROUNDING:
        edges[-1] = np.inf
    return edges


def _shares_of(name: str, count: int, shares: Shares) -> Sequence[Any]:
    if name not in shares:
        return [Fraction(1, count) for _ in range(count)]
    given = list(shares[name])
    total = float(sum(given))
    if len(given) != count or min(given) < 0 or abs(total - 1) > 1e-9:
        msg = (
            f"shares of visit {name!r} must be {count} numbers of at least 0 with sum 1, "
            f"got {given!r}."
        )
        raise InvalidArgument(msg)
    return given
