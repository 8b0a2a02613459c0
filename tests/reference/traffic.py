"""Slow twins of traffic, contexts and loads: floats, power series, and sessions one by one.

``walk`` follows one session of an agent network through all its visits, with drawn lengths,
turns and ways, and counts what it asks of each visit. ``random_network`` makes networks of
retries, choices and nested forks with joins, contexts carried at random.
"""

from collections import defaultdict
from fractions import Fraction as F

import numpy as np

import queueing_llm as ql
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit


def dense(network):
    """Return the routing matrix R of a multiclass network, in floats."""
    matrix = np.zeros((network.class_count, network.class_count))
    for k, row in enumerate(network.routing):
        for l, number in row:
            matrix[k, l] = number
    return matrix


def solved_rates(network):
    """Return the visit rates by a dense linear solve."""
    routing = dense(network)
    return np.linalg.solve(
        np.eye(len(routing)) - routing.T, np.array(network.arrival_rates, float)
    )


def summed_rates(network, terms):
    """Return the visit rates of jobs that have made fewer than so many visits before."""
    routing, wave = dense(network), np.array(network.arrival_rates, float)
    total = np.zeros_like(wave)
    for _ in range(terms):
        total, wave = total + wave, routing.T @ wave
    return total


def walk(network, rng):
    """Return what one session asks of each visit: rows of requests, prefill, decode, reads."""
    out = defaultdict(list)
    for move in network.moves:
        out[move.source].append(move)
    width = {join: len(out[fork]) for fork, join in network.blocks}
    closed = {fork for fork, _ in network.blocks}
    totals = np.zeros((len(network.visits), 4))
    waiting = {}
    entries = np.array([float(network.visits[at].arrivals.rate) for at in network.entries])
    entry = int(rng.choice(network.entries, p=entries / entries.sum()))
    todo = [(entry, 0.0, 0.0, ())]
    born = 0
    while todo:
        at, context, missed, inside = todo.pop()
        visit = network.visits[at]
        if visit.join:
            *inside, block = inside
            inside = tuple(inside)
            arrived = waiting.setdefault((at, block), [])
            arrived.append((context, missed))
            first_of_any = visit.join == "any" and len(arrived) == 1
            if not first_of_any and (visit.join == "any" or len(arrived) < width[at]):
                continue
            if visit.join == "all":
                context, missed = np.sum(arrived, axis=0)
        count = 1 if visit.turns is None else int(visit.turns.sample(rng, 1)[0])
        for turn in range(count):
            if turn > 0:
                context = context if visit.turn_carries_context else 0.0
                missed = (1 - float(visit.turn_prefix_cache_hit)) * context
            if visit.engines:
                ((prompt,), (output,)) = visit.lengths.sample(rng, 1)
                engine = network.engines[visit.engines[0]].engine
                steps = int(engine.decode_steps(output))
                reads = sum(context + prompt + j for j in range(steps))
                totals[at] += 1, prompt + missed, steps, reads
                context += prompt + output
        if at in closed:
            born += 1
            inside = (*inside, born)
        ways = out[at]
        if not visit.forks and ways:
            chances = [float(move.probability) for move in ways]
            pick = rng.random()
            edges = np.cumsum(chances)
            ways = [
                m for m, e, p in zip(ways, edges, chances, strict=True) if e - p <= pick < e
            ]
        for move in ways:
            carried = context if move.carries_context else 0.0
            missing = (1 - float(move.prefix_cache_hit)) * carried
            todo.append((move.target, carried, missing, inside))
    return totals


def random_network(rng, *, engines=3, depth=3, growing=True, kv=F(0), choice_of_engines=False):
    """Return a random network of agents in exact numbers, and stations that serve it."""
    draft = _Draft(rng, engines, growing=growing, choice_of_engines=choice_of_engines)
    start, end = draft.part(depth)
    rate = ql.PoissonArrivals(F(int(rng.integers(1, 5)), 100))
    draft.visits[start]["arrivals"] = rate
    if draft.visits[end]["turns"] is None and not draft.visits[end]["forks"]:
        draft.move(end, start, F(int(rng.integers(0, 4)), 10))
    used = sorted({j for visit in draft.visits for j in visit["engines"]})
    place = {j: at for at, j in enumerate(used)}
    stations = [
        NetworkEngine(
            f"gpu{j}",
            ql.Engine(
                ql.AffineStepTime(
                    F(int(rng.integers(1, 9))), F(1, int(rng.integers(2, 9))), kv
                ),
                token_budget=int(rng.integers(8, 64)),
            ),
        )
        for j in used
    ]
    visits = [
        Visit(**{**visit, "engines": tuple(place[j] for j in visit["engines"])})
        for visit in draft.visits
    ]
    return AgentNetwork.of(stations, visits, draft.moves)


class _Draft:
    """Visits and moves of a network that is made of nested parts."""

    def __init__(self, rng, engines, *, growing, choice_of_engines):
        self.rng, self.engines, self.growing = rng, engines, growing
        self.choice_of_engines = choice_of_engines
        self.visits, self.moves = [], []

    def move(self, source, target, probability, *, may_carry=True):
        if probability:
            hit = F(int(self.rng.integers(0, 5)), 4)
            carries = bool(self.rng.integers(0, 2)) and self.growing and may_carry
            self.moves.append(Move(source, target, probability, carries, hit))

    def visit(self, *, tool=False, **changes):
        rng = self.rng
        laws = (
            None,
            ql.UniformLength(1, 4),
            ql.DeterministicLength(2),
            ql.GeometricLength(F(5, 2)),
            ql.EmpiricalLength([1, 3, 4], weights=[2, 1, 1]),
        )
        engine = sorted(
            rng.choice(self.engines, 1 + int(self.choice_of_engines), replace=False)
        )
        self.visits.append(
            {
                "name": f"v{len(self.visits)}",
                "agent": len(self.visits),
                "request_class": "session",
                "engines": () if tool else tuple(map(int, engine)),
                "lengths": None
                if tool
                else ql.IndependentLengths(
                    ql.UniformLength(1, int(rng.integers(2, 9))),
                    ql.UniformLength(1, int(rng.integers(2, 9))),
                ),
                "turns": None if tool else laws[int(rng.integers(0, len(laws)))],
                "turn_carries_context": self.growing and bool(rng.integers(0, 2)),
                "turn_prefix_cache_hit": F(int(rng.integers(0, 5)), 4),
                "forks": False,
                "join": None,
                "arrivals": None,
                **changes,
            }
        )
        return len(self.visits) - 1

    def part(self, depth):
        """Add a part and return where it begins and ends."""
        kind = int(self.rng.integers(0, 4)) if depth else 0
        if kind == 0:
            alone = self.visit()
            return alone, alone
        if kind == 1:
            first, last = self.part(depth - 1), self.part(depth - 1)
            tool = self.visit(tool=True)
            self.move(first[1], tool, F(1))
            self.move(tool, last[0], F(9, 10))
            self.move(tool, first[0], F(1, 10))
            return first[0], last[1]
        begin = self.visit(tool=bool(self.rng.integers(0, 2)), forks=kind == 2)
        branches = [self.part(depth - 1) for _ in range(int(self.rng.integers(2, 4)))]
        join = ("all", "all", "any")[int(self.rng.integers(0, 3))] if kind == 2 else None
        end = self.visit(join=join)
        for first, last in branches:
            self.move(begin, first, F(1) if kind == 2 else F(1, len(branches)))
            self.move(last, end, F(1), may_carry=join != "any")
        return begin, end
