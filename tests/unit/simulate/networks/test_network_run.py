"""Networks whose behaviour is known: by hand, by theory, by conservation."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    DeterministicArrivals,
    DeterministicLength,
    Engine,
    GeometricLength,
    IndependentLengths,
    PoissonArrivals,
    ScheduledArrivals,
    UniformLength,
)
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.policies import SARATHI, BatchRule
from queueing_llm.simulate.networks import simulate_network
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

ONE_TOKEN_A_SECOND = Engine(step_time=AffineStepTime(base=0, per_token=1), token_budget=1)
PUBLISHED = Engine(
    step_time=StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128),
    token_budget=512,
)


def fixed(prompt, output):
    return IndependentLengths(DeterministicLength(prompt), DeterministicLength(output))


def on_one_engine(engine, *visits, moves=(), policy=SARATHI):
    return AgentNetwork.of((NetworkEngine("e", engine, policy),), visits, moves)


def tools(*visits, moves):
    """Return a network of delays with an engine that nobody waits for."""
    engine = Engine(step_time=AffineStepTime(base=1e-3, per_token=0), token_budget=8)
    last = Visit("idle", "idle", "other", (0,), fixed(1, 0), ScheduledArrivals([0.0]))
    return AgentNetwork.of((NetworkEngine("e", engine),), (*visits, last), moves)


def within(estimate, value, *, errors=4):
    return abs(estimate.value - value) < errors * estimate.standard_error


# Against theory.


def test_one_token_at_a_time_is_the_m_g_1_queue():
    """Pollaczek-Khinchine: E[T] = E[S] + lambda E[S^2] / (2 (1 - rho)) = 4 + 14 s."""
    law = IndependentLengths(GeometricLength(4), DeterministicLength(0))
    visit = Visit("v", "a", "jobs", (0,), law, PoissonArrivals(0.2))
    run = simulate_network(
        on_one_engine(ONE_TOKEN_A_SECOND, visit),
        horizon=100_000,
        warmup=1_000,
        replications=8,
        keep_sessions=True,
        seed=4,
    )
    assert within(run.latency("end_to_end"), 18)
    assert within(run.mean_time_at[0], 18)
    assert within(run.utilisation[0], 0.8)
    assert within(run.mean_present[0], 0.2 * 18)


def test_priorities_give_the_waits_of_cobham():
    """Non-preemptive: W_k = W_0 / ((1 - s_{k-1}) (1 - s_k)), W_0 the mean residual work."""
    law = IndependentLengths(GeometricLength(4), DeterministicLength(0))
    visits = (
        Visit("late", "a", "late", (0,), law, PoissonArrivals(0.1), priority=7),
        Visit("soon", "b", "soon", (0,), law, PoissonArrivals(0.1), priority=-3),
    )
    run = simulate_network(
        on_one_engine(ONE_TOKEN_A_SECOND, *visits),
        horizon=100_000,
        warmup=1_000,
        replications=8,
        seed=5,
    )
    residual = 0.2 * 28 / 2
    assert within(run.mean_time_at[1], 4 + residual / 0.6)
    assert within(run.mean_time_at[0], 4 + residual / (0.6 * 0.2))


def fork_join(scale):
    """Section 9.2's planner, two workers and aggregator, each on its own engine."""
    lengths = ((400, 100), (800, 200), (600, 300), (600, 150))
    names = ("planner", "worker one", "worker two", "aggregator")
    rate = 512 / 1000 / float(PUBLISHED.step_time(512, 0, 0)) * scale
    visits = tuple(
        Visit(
            name,
            name,
            "jobs",
            (i,),
            fixed(*tokens),
            PoissonArrivals(rate) if i == 0 else None,
            forks=i == 0,
            join="all" if i == 3 else None,
        )
        for i, (name, tokens) in enumerate(zip(names, lengths, strict=True))
    )
    engines = tuple(NetworkEngine(name, PUBLISHED) for name in names)
    moves = (Move(0, 1), Move(0, 2), Move(1, 3), Move(2, 3))
    return AgentNetwork.of(engines, visits, moves), rate


def test_fork_join_below_the_bottleneck_is_stable():
    """lambda* = 3.34290937581614/s, the limit of worker one."""
    network, rate = fork_join(0.9)
    assert rate / 0.9 == pytest.approx(3.34290937581614)
    run = simulate_network(
        network, horizon=8_000, warmup=1_000, replications=4, keep_sessions=True, seed=2
    )
    assert not run.grows
    assert within(run.throughput, rate)
    # An engine with decodes is never idle: what says how full it is are its tokens.
    assert within(run.token_throughput[1], 1000 * rate)
    assert run.utilisation[1].value > 0.99
    # A block waits for the slower of its branches.
    block = run.latency("fork_join").value
    assert block > max(run.mean_time_at[1].value, run.mean_time_at[2].value)


def test_fork_join_above_the_bottleneck_grows_at_the_surplus():
    """Worker one's work grows by (1.1 - 1) lambda* 1000 tokens/s, the other queues do not."""
    network, rate = fork_join(1.1)
    run = simulate_network(network, horizon=8_000, replications=4, seed=2)
    assert run.grows
    slopes = (run.backlog_tokens[:, -1] - run.backlog_tokens[:, 100]) / 4_000
    surplus = rate / 11 * 1000
    error = slopes[:, 1].std(ddof=1) / 2
    assert abs(slopes[:, 1].mean() - surplus) < 4 * error
    assert error < surplus / 10
    assert slopes[:, 0].mean() < surplus / 20
    assert run.growth.value == pytest.approx(slopes.sum(axis=1).mean(), rel=0.15)
    alone = simulate_network(network, horizon=8_000, seed=3)
    assert alone.grows
    assert alone.growth.method == "batch means"
    with pytest.raises(InvalidArgument, match="grows"):
        run.latency("makespan")


def test_littles_law_at_every_visit():
    network, _ = fork_join(0.8)
    run = simulate_network(network, horizon=4_000, warmup=500, seed=3)
    for present, rate, time in zip(
        run.mean_present, run.visit_rate, run.mean_time_at, strict=True
    ):
        assert present.value == pytest.approx(rate.value * time.value, rel=0.01)


def test_sessions_and_tokens_are_conserved():
    network, _ = fork_join(1.2)
    run = simulate_network(network, horizon=500, replications=2)
    assert run.arrived == run.completed + run.sessions_in_system[:, -1].sum()
    for outcome in run.outcomes:
        work = (500, 1000, 900, 750) * outcome.visits[-1, :, 1]
        np.testing.assert_array_equal(outcome.engines[-1, :, :2].sum(axis=-1), work)


# By hand.


@pytest.mark.parametrize(
    ("join", "end_to_end", "makespan", "block"), [("all", 5, 5, 3), ("any", 3, 4, 1)]
)
def test_a_join_waits_for_all_or_any(join, end_to_end, makespan, block):
    """A second, then branches of one and three, then another second."""
    visits = (
        Visit("go", "go", "s", (), None, ScheduledArrivals([0.0, 7.5]), delay=1, forks=True),
        Visit("fast", "fast", "s", delay=1),
        Visit("slow", "slow", "s", delay=3),
        Visit("meet", "meet", "s", delay=1, join=join),
    )
    network = tools(*visits, moves=(Move(0, 1), Move(0, 2), Move(1, 3), Move(2, 3)))
    for transparent in (False, True):
        run = simulate_network(network, horizon=30, keep_sessions=True, transparent=transparent)
        assert run.is_transparent == transparent
        answers = {
            kind: run.latencies(kind, visit="go").tolist()
            for kind in ("end_to_end", "makespan", "fork_join")
        }
        expected = {"end_to_end": end_to_end, "makespan": makespan, "fork_join": block}
        assert answers == {kind: [pytest.approx(v)] * 2 for kind, v in expected.items()}


def test_turns_wait_for_their_delay_each_time():
    visit = Visit(
        "ask",
        "ask",
        "s",
        (),
        None,
        ScheduledArrivals([0.0]),
        delay=2,
        turns=DeterministicLength(3),
    )
    run = simulate_network(tools(visit, moves=()), horizon=30, keep_sessions=True)
    assert run.latencies("end_to_end", visit="ask").tolist() == [pytest.approx(6)]


def test_random_delays_are_exponential():
    visit = Visit(
        "think", "t", "s", (), None, PoissonArrivals(50), delay=2, has_random_delay=True
    )
    run = simulate_network(
        tools(visit, moves=()), horizon=2_000, warmup=10, keep_sessions=True, replications=4
    )
    times = np.concatenate([run.latencies("end_to_end", replication=i) for i in range(4)])
    count = len(times)
    assert abs(times.mean() - 2) < 4 * 2 / np.sqrt(count)
    assert abs((times > 4).mean() - np.exp(-2)) < 4 * np.sqrt(np.exp(-2) / count)


def test_a_cached_context_is_read_and_not_prefilled():
    """Visit two has 3 own prompt tokens and 6 of context: its first decode reads 9."""
    engine = Engine(step_time=AffineStepTime(base=1, per_token=0), token_budget=50)
    visits = (
        Visit("a", "a", "s", (0,), fixed(4, 2), ScheduledArrivals([0.0])),
        Visit("b", "b", "s", (0,), fixed(3, 2)),
    )
    batches = {}
    for hit in (0, 0.5, 1):
        network = on_one_engine(
            engine, *visits, moves=(Move(0, 1, carries_context=True, prefix_cache_hit=hit),)
        )
        for transparent in (False, True):
            run = simulate_network(
                network, horizon=20, log_batches=True, transparent=transparent
            )
            batches[hit, transparent] = run.outcomes[0].log[3:, 3:].tolist()
    decodes = [[0, 1, 9], [0, 1, 10]]
    for transparent in (False, True):
        assert batches[0, transparent] == [[9, 0, 0], *decodes]
        assert batches[0.5, transparent] == [[6, 0, 0], *decodes]
        assert batches[1, transparent] == [[3, 0, 0], *decodes]


def test_rounding_keeps_the_mean_of_what_is_prefilled():
    """Three turns of 10 + 5 tokens, .7 of 15 and of 30 prefilled again: 76.5 a session."""
    visit = Visit(
        "chat",
        "c",
        "s",
        (0,),
        fixed(10, 5),
        DeterministicArrivals(1),
        turns=DeterministicLength(3),
        turn_carries_context=True,
        turn_prefix_cache_hit=Fraction(3, 10),
    )
    engine = Engine(step_time=AffineStepTime(base=1e-3, per_token=0), token_budget=512)
    run = simulate_network(on_one_engine(engine, visit), horizon=20_000, samples=10)
    tokens = run.outcomes[0].engines[-1, 0, 1] / run.completed
    assert abs(tokens - 76.5) < 4 * 0.5 / np.sqrt(run.completed) + 100 / run.completed
    assert tokens != 76.5


def two_engines(dispatch):
    engine = Engine(step_time=AffineStepTime(base=0.1, per_token=0.01), token_budget=32)
    law = IndependentLengths(UniformLength(1, 60), GeometricLength(10))
    visit = Visit("v", "a", "s", (0, 1), law, PoissonArrivals(2), dispatch=dispatch)
    return AgentNetwork.of(
        (NetworkEngine("x", engine), NetworkEngine("y", engine)), (visit,), ()
    )


def test_dispatch_by_shares_and_to_the_shortest():
    planned = two_engines("planned")
    uneven = simulate_network(planned, horizon=2_000, shares={"v": (0.25, 0.75)}, samples=20)
    x, y = (rate.value for rate in uneven.token_throughput)
    assert y / (x + y) == pytest.approx(0.75, abs=0.03)
    equal = simulate_network(planned, horizon=2_000, samples=20, shares={"v": (0.5, 0.5)})
    with pytest.raises(InvalidArgument, match="network_load"):
        simulate_network(planned, horizon=2_000)
    shortest = simulate_network(two_engines("shortest"), horizon=2_000, samples=20)
    backlog = [sum(e.value for e in r.mean_backlog_tokens) for r in (equal, shortest)]
    assert backlog[1] < backlog[0]


def test_context_of_all_branches_meets_at_a_join():
    """The last visit prefills 1 + (4 + 2) + (3 + 1) tokens."""
    engine = Engine(step_time=AffineStepTime(base=1, per_token=0), token_budget=50)
    visits = (
        Visit("fork", "f", "s", (), None, ScheduledArrivals([0.0]), forks=True),
        Visit("a", "a", "s", (0,), fixed(4, 2)),
        Visit("b", "b", "s", (0,), fixed(3, 1)),
        Visit("join", "j", "s", (0,), fixed(1, 1), join="all"),
    )
    moves = (Move(0, 1), Move(0, 2), Move(1, 3, 1, True), Move(2, 3, 1, True))
    run = simulate_network(
        on_one_engine(engine, *visits, moves=moves), horizon=20, log_batches=True
    )
    assert run.outcomes[0].log[:, 3:5].tolist() == [[7, 0], [0, 2], [0, 1], [11, 0], [0, 1]]


def test_a_memory_limit_or_a_python_policy_needs_the_transparent_driver():
    network, _ = fork_join(0.5)
    parts = list(network.engines)
    assert not simulate_network(network, horizon=5, samples=2).is_transparent

    def policy(state):
        return SARATHI(state)

    for part in (
        replace(parts[1], engine=replace(PUBLISHED, kv_capacity=4_000)),
        replace(parts[1], policy=policy),
    ):
        other = AgentNetwork.of((parts[0], part, *parts[2:]), network.visits, network.moves)
        run = simulate_network(other, horizon=5, samples=2)
        assert run.is_transparent
        same = simulate_network(network, horizon=5, samples=2)
        np.testing.assert_array_equal(run.backlog_tokens, same.backlog_tokens)


def test_seeds():
    network, _ = fork_join(0.9)
    first, again, other = (
        simulate_network(network, horizon=50, samples=9, seed=seed, replications=2)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.backlog_tokens, again.backlog_tokens)
    assert not np.array_equal(first.backlog_tokens, other.backlog_tokens)
    assert not np.array_equal(first.backlog_tokens[0], first.backlog_tokens[1])
    assert first.backlog_tokens.shape == (2, 10, 4)
    assert first.present.shape == (2, 10, 4)


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"start": {"plannr": 3}}, "planner"),
        ({"start": {"planner": -1}}, "planner"),
        ({"shares": {"aggregatr": [1]}}, "aggregator"),
        ({"shares": {"planner": [0.5, 0.5]}}, "1 numbers"),
        ({"shares": {"planner": [0.5]}}, "sum 1"),
        ({"warmup": 5}, "warmup"),
        ({"horizon": 0}, "horizon"),
        ({"samples": 0}, "samples"),
        ({"tick": 1.0}, "tick"),
    ],
)
def test_bad_arguments_are_named(arguments, text):
    with pytest.raises(InvalidArgument, match=text):
        simulate_network(fork_join(0.5)[0], **({"horizon": 5} | arguments))


def test_questions_that_a_run_cannot_answer():
    network, _ = fork_join(0.5)
    run = simulate_network(network, horizon=200, samples=20)
    with pytest.raises(InvalidArgument, match="keep_sessions"):
        run.latency("end_to_end")
    with pytest.raises(InvalidArgument, match="more samples"):
        _ = simulate_network(network, horizon=5, samples=1).growth
    with pytest.raises(InvalidArgument, match="makespan"):
        run.latency("makspan")
    kept = simulate_network(network, horizon=200, samples=20, keep_sessions=True)
    with pytest.raises(InvalidArgument, match="planner"):
        kept.latency("end_to_end", visit="planer")
    mean, most = (kept.latency("end_to_end", percentile=p).value for p in (None, 100))
    assert mean < most


def test_requests_that_cannot_be():
    emits = replace(PUBLISHED, first_token_from_prefill=True)
    silent = Visit("v", "a", "s", (0,), fixed(3, 0), PoissonArrivals(1))
    with pytest.raises(InvalidArgument, match="at least 1 when the prefill"):
        simulate_network(on_one_engine(emits, silent), horizon=9)
    small = replace(PUBLISHED, kv_capacity=20)
    long = Visit("v", "a", "s", (0,), fixed(15, 9), PoissonArrivals(1))
    with pytest.raises(InvalidArgument, match="kv_capacity=20"):
        simulate_network(on_one_engine(small, long), horizon=9)


def test_cached_context_is_refused_where_memory_is_limited():
    """Regression: unseen by the policy, it filled a cache of 64 tokens with 156."""
    turns = {"turns": DeterministicLength(3), "turn_carries_context": True}
    visit = Visit("v", "a", "s", (0,), fixed(10, 2), PoissonArrivals(1), **turns)
    cached = replace(visit, turn_prefix_cache_hit=1)
    limited = replace(PUBLISHED, token_budget=64, kv_capacity=64)
    with pytest.raises(InvalidArgument, match="prefix_cache_hit must be 0 at engine"):
        simulate_network(on_one_engine(limited, cached), horizon=9)
    assert simulate_network(on_one_engine(limited, visit), horizon=9).is_transparent
    simulate_network(on_one_engine(replace(limited, kv_capacity=None), cached), horizon=9)


def test_a_batch_outside_a_table_is_an_error():
    step = TableStepTime.of_batches([0, 3], [0, 3], [0, 10], np.ones((2, 2, 2)))
    engine = Engine(step_time=step, token_budget=3)
    visit = Visit("v", "a", "s", (0,), fixed(9, 30), PoissonArrivals(1))
    for transparent in (False, True):
        with pytest.raises(InvalidArgument):
            simulate_network(on_one_engine(engine, visit), horizon=99, transparent=transparent)


def test_a_whole_prompt_longer_than_the_budget_blocks_its_engine():
    rule = BatchRule("whole", first="prefill", mixed=True, chunked=False)
    visit = Visit("v", "a", "s", (0,), fixed(600, 1), DeterministicArrivals(1))
    run = simulate_network(on_one_engine(PUBLISHED, visit, policy=rule), horizon=50)
    assert run.completed == 0
    assert run.grows


@pytest.mark.parametrize(
    ("load", "expected"), [(Fraction(8, 10), False), (Fraction(12, 10), True)]
)
def test_sessions_of_many_calls_pile_up_as_branches(load, expected):
    # Work at hand is a few calls; in overload each session has dozens more to make. They all
    # get their share, so even fewer leave than the engine could finish.
    agent = Visit(
        "agent", "agent", "session", (0,), fixed(64, 32),
        arrivals=PoissonArrivals(load * 8 / 60), turns=DeterministicLength(60), delay=5,
    )  # fmt: skip
    engine = Engine(AffineStepTime(1, 0), token_budget=768)
    run = simulate_network(
        on_one_engine(engine, agent), horizon=40_000, warmup=4_000, replications=4
    )
    assert run.grows is expected
    excess = float(max(0, load - 1)) * 8 / 60
    assert run.branch_growth.value > excess - 4 * run.branch_growth.standard_error
    if not expected:
        assert run.branch_growth.value < 4 * run.branch_growth.standard_error
