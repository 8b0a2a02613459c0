"""What requests ask of engines: against sessions followed one by one, and by hand."""

from dataclasses import replace
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.networks._service import service_means
from queueing_llm.steptime import AbstractStepTime
from tests.reference.traffic import random_network, walk

GPU = NetworkEngine(
    "gpu", ql.Engine(ql.AffineStepTime(F(1), F(1, 4), F(1, 100)), token_budget=16)
)
SIX_TWO = ql.IndependentLengths(ql.DeterministicLength(6), ql.DeterministicLength(2))


def visit(name, **changes):
    fields = {"engines": (0,), "lengths": SIX_TWO} | changes
    return Visit(name, name, "session", **fields)


def tool(name, **changes):
    return Visit(name, name, "session", **changes)


def means(visits, moves=()):
    first = replace(visits[0], arrivals=visits[0].arrivals or ql.PoissonArrivals(1))
    return service_means(AgentNetwork.of([GPU], [first, *visits[1:]], moves))


@pytest.mark.parametrize("seed", range(6))
def test_means_are_those_of_sessions_followed_one_by_one(seed):
    """Forks, joins of both kinds, retries, choices, turns, contexts, and cache hits at once."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, depth=2)
    found = service_means(network)
    sessions = 800
    counted = np.array([walk(network, rng) for _ in range(sessions)])
    total = float(sum(found.flow.arrival_rates))
    expected = np.zeros((len(network.visits), 4))
    for at, kind in enumerate(found.visits):
        if network.visits[at].engines:
            work = kind.work(found.flow.engines[network.visits[at].engines[0]])
            each = (1, work.prefill, work.decode, work.kv_reads)
            expected[at] = [float(kind.request_rate * number) / total for number in each]
    errors = counted.std(axis=0) / np.sqrt(sessions)
    assert (np.abs(counted.mean(axis=0) - expected) <= 4.5 * errors + 1e-9).all()


@pytest.mark.parametrize(
    "law",
    [
        ql.UniformLength(1, 5),
        ql.DeterministicLength(4),
        ql.EmpiricalLength([1, 2, 9], weights=[3, 2, 1]),
    ],
)
@pytest.mark.parametrize("carries", [False, True])
def test_turns_add_up_context_by_context(law, carries):
    """E[N] and E[N^2] against the sum over all numbers of turns and all turns."""
    start = visit("start")
    loop = visit("loop", turns=law, turn_carries_context=carries, turn_prefix_cache_hit=F(1, 4))
    after = visit("after")
    found = means(
        [start, loop, after],
        [Move(0, 1, 1, True, F(1, 2)), Move(1, 2, 1, True, F(1, 3))],
    ).visits
    numbers = list(range(1, 10))
    above = [F(float(law.survival(np.array([n]))[0])).limit_denominator(60) for n in range(10)]
    chances = [above[n - 1] - above[n] for n in numbers]
    prefill = stored = left = F(0)
    for n, chance in zip(numbers, chances, strict=True):
        context = F(8)
        prefill += chance * (6 + F(1, 2) * context)
        stored += chance * context
        for _ in range(1, n):
            context = context + 8 if carries else F(0)
            prefill += chance * (6 + F(3, 4) * context)
            stored += chance * context
        left += chance * (context + 8)
    work = found[1].work(GPU.engine)
    assert found[1].request_rate == law.mean
    assert work.prefill * law.mean == prefill
    assert found[1].mean.tokens * law.mean == stored
    # Two decode steps read the context, the prompt, and in the second the first token.
    assert work.kv_reads * law.mean == 2 * stored + (2 * 6 + 1) * law.mean
    assert found[2].first == (left, F(2, 3) * left)
    assert found[2].is_varied == (law.largest != law.smallest)


def test_a_join_of_all_branches_carries_the_sum_of_them():
    visits = [
        visit("plan", forks=True),
        visit("left"),
        visit("right", turns=ql.DeterministicLength(2), turn_carries_context=True),
        visit("merge", join="all"),
    ]
    moves = [
        Move(0, 1, 1, True),
        Move(0, 2, 1, False),
        Move(1, 3, 1, True, F(1, 2)),
        Move(2, 3, 1, True, F(3, 4)),
    ]
    found = means(visits, moves).visits
    assert [kind.entry_rate for kind in found] == [1, 1, 1, 1]
    # 8 of the plan and 8 more on the left, twice 8 on the right.
    assert found[3].first == (32, 8 + 4)
    assert not any(kind.is_varied for kind in found)
    alone = means(visits, [*moves[:3], replace(moves[3], carries_context=False)]).visits
    assert alone[3].first == (16, 8)


def test_contexts_of_a_retry_grow_like_a_geometric_number_of_turns():
    retry = means([visit("agent")], [Move(0, 0, F(3, 5), True, F(1, 4))]).visits[0]
    turns = means(
        [
            visit(
                "agent",
                turns=ql.GeometricLength(F(5, 2)),
                turn_carries_context=True,
                turn_prefix_cache_hit=F(1, 4),
            )
        ]
    ).visits[0]
    assert retry.request_rate == turns.request_rate == F(5, 2)
    assert retry.mean == turns.mean
    assert retry.is_varied
    assert not turns.is_varied


def test_a_loop_whose_joins_double_the_context_must_leave_often_enough():
    visits = [
        visit("plan", forks=True),
        visit("left"),
        visit("right"),
        visit("merge", join="all"),
    ]

    def looping(again):
        start = tool("start", arrivals=ql.PoissonArrivals(1))
        ways = [Move(1, 2, 1, True), Move(1, 3, 1, True), Move(2, 4, 1, True)]
        ways += [Move(0, 1), Move(3, 4, 1, True), Move(4, 1, again, True)]
        return means([start, *visits], ways).visits

    # Each round doubles what came in, so the mean is finite only below one half.
    assert looping(F(2, 5))[1].first.tokens == F(2, 5) * (2 * 8 + 16 + 8) / (1 - F(4, 5))
    with pytest.raises(ql.InvalidArgument, match=r"contexts grow without bound.*'plan'"):
        looping(F(1, 2))


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_floats_are_read_as_the_decimals_that_they_print_as(seed):
    network = random_network(np.random.default_rng(seed), depth=1)
    exact = service_means(network)
    assert exact.is_exact
    moves = [replace(m, prefix_cache_hit=float(m.prefix_cache_hit)) for m in network.moves]
    arrivals = [
        v
        if v.arrivals is None
        else replace(v, arrivals=v.arrivals.scaled_to(float(v.arrivals.rate)))
        for v in network.visits
    ]
    rounded = service_means(AgentNetwork.of(network.engines, arrivals, moves))
    assert not rounded.is_exact
    assert rounded.visits == exact.visits


def test_only_moments_that_matter_cost_exactness():
    """The second moment of a Poisson law is irrational, but only KV reads need it."""
    poisson = ql.IndependentLengths(ql.PoissonLength(32), ql.PoissonLength(32))
    reading = AgentNetwork.of(
        [GPU], [visit("agent", lengths=poisson, arrivals=ql.PoissonArrivals(1))]
    )
    assert not service_means(reading).is_exact
    engine = ql.Engine(ql.AffineStepTime(1, 1), token_budget=16)
    assert service_means(reading.with_engines({"gpu": engine})).is_exact


def test_thirds_that_print_as_less_than_one_leave_nobody_behind():
    visits = [
        tool("start", arrivals=ql.PoissonArrivals(1)),
        *(visit(name) for name in "abc"),
        visit("end"),
    ]
    moves = [Move(0, k, 1 / 3) for k in (1, 2, 3)] + [Move(k, 4) for k in (1, 2, 3)]
    found = service_means(AgentNetwork.of([GPU], visits, moves))
    assert found.visits[4].entry_rate == 1
    assert not found.is_exact


def test_a_law_of_the_users_own_that_answers_in_floats_is_not_exact():
    class Square(AbstractStepTime):
        kv_slope = 0

        def _seconds(self, x, y, kv):
            return (x + y) ** 0.5

    network = AgentNetwork.of(
        [NetworkEngine("gpu", ql.Engine(Square(), token_budget=16))],
        [visit("agent", arrivals=ql.PoissonArrivals(1))],
    )
    assert not service_means(network).is_exact
    whole = network.with_engines({"gpu": replace(GPU.engine, token_budget=9)})
    assert service_means(whole).is_exact
