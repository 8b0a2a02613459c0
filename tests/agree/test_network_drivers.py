"""The compiled network and its transparent twin agree batch by batch and tick by tick."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from queueing_llm.model import (
    DeterministicArrivals,
    DeterministicLength,
    EmpiricalLengths,
    Engine,
    GeometricLength,
    IndependentLengths,
    PoissonArrivals,
    ScheduledArrivals,
    UniformLength,
    Workload,
)
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.policies import BatchRule
from queueing_llm.simulate import simulate
from queueing_llm.simulate.networks import simulate_network
from queueing_llm.simulate.networks._drive import advance, run_kernel
from queueing_llm.simulate.networks._kernel import (
    ARRIVED,
    BACKLOG,
    DONE,
    HERE,
    NEEDS_SPACE,
)
from queueing_llm.simulate.networks._layout import Layout
from queueing_llm.simulate.networks._memory import Memory
from queueing_llm.simulate.networks._reference import Reference
from queueing_llm.simulate.networks._streams import Streams
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

rules = st.builds(
    BatchRule,
    name=st.just("any"),
    first=st.sampled_from(["decode", "prefill"]),
    mixed=st.booleans(),
    chunked=st.booleans(),
    limit_counts=st.sampled_from(["members", "residents"]),
)
step_times = st.sampled_from(
    [
        StaircaseStepTime(overhead=Fraction(1, 10), per_block=Fraction(3, 10), block=4),
        AffineStepTime(base=0.2, per_token=0.05, per_kv_token=0.01),
        TableStepTime.of_tokens([1, 2, 5, 9, 60], [1.0, 0.8, 1.1, 1.1, 3.0]),
        TableStepTime.of_batches(
            [0, 3, 60], [0, 20, 60], [0, 90_000], np.arange(2, 20).reshape(3, 3, 2) / 7
        ),
    ]
)
numbers = st.sampled_from([DeterministicLength(3), UniformLength(1, 5), GeometricLength(2)])
lengths = st.builds(
    IndependentLengths, st.one_of(numbers, st.just(UniformLength(1, 9))), numbers
)
shares = st.sampled_from([0, Fraction(1, 3), 0.5, 1])
HORIZON = 40.0


@st.composite
def engines(draw):
    engine = Engine(
        step_time=draw(step_times),
        token_budget=draw(st.integers(2, 12)),
        max_batch_size=draw(st.none() | st.integers(1, 6)),
        first_token_from_prefill=draw(st.booleans()),
    )
    return engine, draw(rules)


@st.composite
def networks(draw):
    """A chain, a fork-join block and a feedback loop, in any dress."""
    count = draw(st.integers(1, 3))
    parts = tuple(NetworkEngine(f"e{i}", *draw(engines())) for i in range(count))

    def visit(name, **more):
        at = tuple(draw(st.lists(st.integers(0, count - 1), max_size=2, unique=True)))
        turns = draw(st.sampled_from([None, None, UniformLength(1, 3)]))
        return Visit(
            name,
            name,
            "jobs",
            at,
            draw(lengths) if at else None,
            priority=draw(st.integers(0, 2)),
            delay=draw(st.sampled_from([0, 0, 0.7, 2])),
            has_random_delay=draw(st.booleans()),
            turns=turns,
            turn_carries_context=draw(st.booleans()),
            turn_prefix_cache_hit=draw(shares),
            dispatch=draw(st.sampled_from(["planned", "shortest"])),
            **more,
        )

    def move(source, target, probability=1, *, carries=None):
        carries = draw(st.booleans()) if carries is None else carries
        return Move(source, target, probability, carries, draw(shares))

    arrivals = draw(st.sampled_from([DeterministicArrivals(2), PoissonArrivals(0.5)]))
    more = draw(st.sampled_from([None, DeterministicArrivals(1), PoissonArrivals(0.2)]))
    join = draw(st.sampled_from(["all", "any"]))
    inner = draw(st.sampled_from(["all", "any"]))
    visits = (
        visit("start", arrivals=arrivals),
        visit("fork", forks=True),
        visit("left"),
        visit("inner fork", forks=True),
        visit("one"),
        visit("two"),
        visit("inner join", join=inner),
        visit("join", join=join),
        visit("loop"),
        visit("spawn", forks=True, arrivals=more),
        visit("tail"),
    )
    moves = (
        move(0, 1, Fraction(3, 4)),
        move(0, 8, Fraction(1, 8)),
        move(1, 2),
        move(1, 3),
        move(3, 4),
        move(3, 5),
        move(4, 6, carries=False if inner == "any" else None),
        move(5, 6, carries=False if inner == "any" else None),
        move(2, 7, carries=False if join == "any" else None),
        move(6, 7, carries=False if join == "any" else None),
        move(7, 8, Fraction(2, 3)),
        move(8, 8, 0.25),
        move(9, 10),
        move(9, 8),
        move(10, 8, 0.5),
    )
    if more is None:
        moves, visits = moves[:12], visits[:9]
    return network_of(parts, visits, moves)


def network_of(parts, visits, moves):
    """Drop the engines that nobody uses; the last visit uses the first if nobody else does."""
    used = sorted({e for visit in visits for e in visit.engines})
    if not used:
        law = IndependentLengths(DeterministicLength(3), DeterministicLength(2))
        visits = (*visits[:-1], replace(visits[-1], engines=(0,), lengths=law))
        used = [0]
    visits = (replace(v, engines=tuple(used.index(e) for e in v.engines)) for v in visits)
    return AgentNetwork.of(tuple(parts[e] for e in used), tuple(visits), moves)


def both(network, *, seed=0, horizon=HORIZON, start=None, chunk=3):
    layout = Layout.of(network, shares=None, tick=1e-9)
    sample_at = layout.clock.ticks(np.linspace(0.0, horizon, 7))

    def streams():
        rng = np.random.default_rng(seed)
        return Streams(network, rng, clock=layout.clock, start=start or {})

    fast, lean = (
        run_kernel(
            layout,
            streams(),
            sample_at=sample_at,
            chunk=size,
            log_batches=keep,
            keep_sessions=keep,
        )
        for size, keep in ((chunk, True), (50, False))
    )
    reference = Reference(layout, streams(), sample_at=sample_at, chunk=7)
    taken = list(reference.steps())
    return fast, lean, reference.outcome(), taken


def assert_equal(fast, lean, slow):
    for field in ("log", "sessions", "blocks"):
        np.testing.assert_array_equal(getattr(fast, field), getattr(slow, field), err_msg=field)
    for field in ("totals", "engines", "visits"):
        np.testing.assert_array_equal(getattr(lean, field), getattr(fast, field), err_msg=field)
        np.testing.assert_array_equal(getattr(slow, field), getattr(fast, field), err_msg=field)


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(0, 5), st.sampled_from([{}, {0: 7}]))
def test_any_network_gives_the_same_batches_times_and_totals(case, seed, start):
    fast, lean, slow, _ = both(case, seed=seed, start=start)
    assert_equal(fast, lean, slow)


@pytest.mark.parametrize("first", ["decode", "prefill"])
@pytest.mark.parametrize("mixed", [True, False])
def test_a_long_busy_run_agrees(first, mixed):
    """The boundary between served and frozen decodes moves, queues hold several priorities."""
    engine = Engine(
        step_time=AffineStepTime(base=0.05, per_token=0.002, per_kv_token=1e-5),
        token_budget=24,
        max_batch_size=10,
    )
    rule = BatchRule("any", first=first, mixed=mixed, chunked=True)
    parts = tuple(NetworkEngine(name, engine, rule) for name in "ab")
    law = IndependentLengths(UniformLength(1, 40), GeometricLength(8))
    visits = (
        Visit("plan", "p", "jobs", (0,), law, PoissonArrivals(1.2), priority=2, forks=True),
        Visit("work", "w", "jobs", (0, 1), law, priority=1, dispatch="shortest", delay=0.3),
        Visit("read", "r", "jobs", (1, 0), law, has_random_delay=True, delay=1),
        Visit("join", "p", "jobs", (1,), law, priority=0, join="all"),
        Visit("again", "a", "jobs", (0,), law, priority=1),
    )
    moves = (
        Move(0, 1, carries_context=True, prefix_cache_hit=0.7),
        Move(0, 2),
        Move(1, 3, carries_context=True),
        Move(2, 3, carries_context=True, prefix_cache_hit=1),
        Move(3, 4),
        Move(4, 4, 0.2),
    )
    network = AgentNetwork.of(parts, visits, moves)
    fast, lean, slow, taken = both(network, horizon=60.0, chunk=32)
    assert len(taken) > 500
    assert len(fast.blocks) > 25
    assert (fast.log[:, 5] > 0).any()
    assert_equal(fast, lean, slow)


requests = st.lists(
    st.tuples(st.sampled_from([0.0, 0.4, 0.4, 1.0, 3.0]), st.integers(1, 9), st.integers(1, 9)),
    min_size=1,
    max_size=14,
)


@example(
    rows=[(0.0, 1, 1), (0.0, 1, 9), (0.0, 5, 1), (0.0, 6, 5), (0.0, 6, 3), (0.0, 7, 9)],
    part=(
        Engine(
            step_time=StaircaseStepTime(Fraction(1, 10), Fraction(3, 10), 4),
            token_budget=7,
            max_batch_size=1,
            first_token_from_prefill=True,
        ),
        BatchRule("prompts first", first="prefill", mixed=False, chunked=False),
    ),
    kv=1,
)
@given(requests, engines(), st.sampled_from([None, 1, 3]))
def test_one_engine_with_one_visit_is_the_engine_simulation(rows, part, kv):
    """Batch by batch, also with a KV limit and preemptions (on the transparent driver).

    Regression: a sample at the tick of a preemption counted what is computed again.
    """
    gaps, prompt, output = zip(*rows, strict=True)
    largest = max(p + d for p, d in zip(prompt, output, strict=True))
    engine = replace(part[0], kv_capacity=None if kv is None else kv * largest)
    times = np.cumsum(gaps)
    alone = simulate(
        engine,
        Workload.of_requests(times, prompt_tokens=prompt, output_tokens=output),
        policy=part[1],
        horizon=HORIZON,
        keep_requests=True,
        log_batches=1000,
        samples=5,
    )
    law = EmpiricalLengths(prompt, output, in_order=True)
    visit = Visit("v", "a", "jobs", (0,), law, ScheduledArrivals(times))
    network = AgentNetwork.of((NetworkEngine("e", engine, part[1]),), (visit,), ())
    run = simulate_network(
        network, horizon=HORIZON, samples=5, log_batches=True, keep_sessions=True
    )
    assert run.is_transparent == (kv is not None)
    np.testing.assert_array_equal(run.outcomes[0].log[:, 1:], alone.outcomes[0].log[:, :5])
    np.testing.assert_array_equal(run.total_backlog_tokens, alone.backlog_tokens)
    finish = alone.requests().finish
    ends = np.sort(run.outcomes[0].sessions[:, 3])
    np.testing.assert_array_equal(ends, np.sort(finish[finish >= 0]))


def ordinary(**changes):
    """Return two visits on one engine, and change the second."""
    engine = Engine(step_time=StaircaseStepTime(0.1, 0.1, 8), token_budget=8)
    law = IndependentLengths(UniformLength(3, 9), UniformLength(1, 5))
    second = Visit("b", "b", "jobs", (0,), law, priority=1)
    visits = (
        Visit("a", "a", "jobs", (0,), law, DeterministicArrivals(1)),
        replace(second, **changes),
    )
    return AgentNetwork.of((NetworkEngine("e", engine),), visits, (Move(0, 1),))


@pytest.mark.parametrize(
    "changes", [{"priority": -1}, {"delay": 1e-9}, {"turns": DeterministicLength(2)}]
)
def test_a_small_change_is_seen(changes):
    """Control: another priority, a tick of delay, one visit more change the batches."""
    before, after = (both(ordinary(**c), horizon=20.0)[0].log for c in ({}, changes))
    assert not np.array_equal(before, after)


@pytest.mark.parametrize(
    ("tokens", "hit", "lost"),
    [(1, 0, {1}), (1, 0.5, {0, 1}), (1, 1, {0}), (2, 0, {2}), (2, 0.5, {1}), (2, 1, {0})],
)
def test_the_smallest_contexts_go_along(tokens, hit, lost):
    """A prompt of one token without an answer is the smallest context that there is."""
    step = AffineStepTime(base=0.1, per_token=0.1, per_kv_token=0.01)
    short = IndependentLengths(DeterministicLength(tokens), DeterministicLength(0))
    long = IndependentLengths(DeterministicLength(1), DeterministicLength(2))
    visits = (
        Visit("a", "a", "jobs", (0,), short, DeterministicArrivals(0.2)),
        Visit("b", "b", "jobs", (0,), long),
    )
    part = NetworkEngine("e", Engine(step_time=step, token_budget=4))
    move = Move(0, 1, carries_context=True, prefix_cache_hit=hit)
    fast, lean, slow, _ = both(AgentNetwork.of((part,), visits, (move,)), horizon=60.0)
    assert_equal(fast, lean, slow)
    first, second, once, twice = (fast.log[i::4, 3:6].tolist() for i in range(4))
    assert first == [[tokens, 0, 0]] * len(first)
    assert {prefill - 1 for prefill, _, _ in second} == lost
    assert once == [[0, 1, tokens + 1]] * len(once)
    assert twice == [[0, 1, tokens + 2]] * len(twice)


def test_a_lost_token_is_noticed():
    """Control: the kernel's own count of tokens is compared with a new one."""
    layout = Layout.of(ordinary(), shares=None, tick=1e-9)
    streams = Streams(layout.network, np.random.default_rng(0), clock=layout.clock, start={})
    sample_at = layout.clock.ticks([9.0])
    memory = Memory(
        layout, streams, sample_at=sample_at, chunk=64, log_batches=False, keep_sessions=False
    )
    code = NEEDS_SPACE
    while code != DONE:
        code = advance(memory, layout, int(sample_at[-1]))
        memory.supply(code)
    assert memory.difference() == ""
    memory.engine[0, BACKLOG] += 1
    assert memory.difference() == "tokens"
    memory.engine[0, BACKLOG] -= 1
    memory.state[ARRIVED] += 1
    assert memory.difference() == "sessions"
    memory.visit[0, HERE] += 1
    assert memory.difference() == "branches"


def test_batches_that_end_at_once_are_followed_engine_by_engine():
    """Two engines in step send their requests to a third at the same ticks."""
    engine = Engine(step_time=AffineStepTime(base=0.25, per_token=0), token_budget=6)
    law = IndependentLengths(UniformLength(1, 4), UniformLength(1, 4))
    every_second = DeterministicArrivals(1)
    visits = (
        Visit("a", "a", "jobs", (0,), law, every_second),
        Visit("b", "b", "jobs", (1,), law, every_second),
        Visit("c", "c", "jobs", (2,), law),
    )
    parts = tuple(NetworkEngine(name, engine) for name in "xyz")
    network = AgentNetwork.of(parts, visits, (Move(0, 2), Move(1, 2)))
    fast, lean, slow, _ = both(network, chunk=16)
    ends = fast.log[fast.log[:, 0] < 2][:, 2]
    assert len(np.unique(ends)) < len(ends)
    assert_equal(fast, lean, slow)
