"""Capacity of an engine in agent sessions per second: work of a session, or simulation."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from queueing_llm.networks._load import network_load
from queueing_llm.scenarios import load_scenario
from queueing_llm.simulate.networks import simulate_network
from queueing_llm.traces._sessions import SessionTrace
from queueing_llm.traces._sessions_network import session_network
from queueing_llm.traces._sessions_read import read_sessions

RECORDED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "agent_sessions"
ENGINE = load_scenario("codellama34b-a100").engine
LOAD = Fraction(4, 5)
FULL_BATCHES = ENGINE.token_budget / ENGINE.step_time(ENGINE.token_budget)


def recorded():
    file = RECORDED / "compact_requests.csv"
    if not file.exists():
        pytest.skip(f"the sessions {file.name} are not beside the repository")
    return read_sessions(file)


def synthetic():
    """40 sessions of 2 to 21 calls with growing contexts of which most is cached."""
    rng = np.random.default_rng(7)
    calls = rng.integers(2, 22, 40)
    session = np.repeat(np.arange(40), calls)
    position = np.concatenate([np.arange(n) for n in calls])
    output = rng.geometric(1 / 120, len(session))
    context = 900 + 260 * position + rng.integers(0, 200, len(session))
    cached = np.where(position > 0, 64 * ((context - 250) // 64), 0)
    return SessionTrace(
        "synthetic",
        session=session,
        agent=np.zeros_like(session),
        position=position,
        times=10.0 * position,
        context_tokens=context,
        output_tokens=output,
        cached_tokens=cached,
        opens_turn=position == 0,
        stop=np.full(len(session), "tool_use"),
        think_times=np.where(position > 0, 4.0, 0.0),
    )


def seconds_of_work(trace, *, prefix_cache):
    """Return the mean time that a session keeps the engine busy with full batches [s]."""
    prompt = trace.uncached_tokens if prefix_cache else trace.context_tokens
    tokens = int(np.maximum(prompt, 1).sum() + np.maximum(trace.output_tokens, 1).sum())
    return Fraction(tokens, trace.session_count) / FULL_BATCHES


@pytest.mark.parametrize("prefix_cache", [True, False])
@pytest.mark.parametrize("trace", [recorded, synthetic])
def test_capacity_is_one_over_the_work_of_a_session(trace, prefix_cache):
    calls = trace()
    network = session_network(
        calls, engine=ENGINE, sessions_per_second=1, prefix_cache=prefix_cache
    )
    load = network_load(network)
    assert load.capacity == 1 / seconds_of_work(calls, prefix_cache=prefix_cache)
    assert load.engines[0].visit_rate == Fraction(len(calls), calls.session_count)


@pytest.mark.parametrize(
    ("trace", "horizon"),
    [(recorded, 1_200_000), (synthetic, 60_000)],
    ids=["recorded", "drawn"],
)
def test_the_simulated_engine_serves_what_the_capacity_promises(trace, horizon):
    """At load .8 sessions finish as they come, and tokens take .8 of what full batches serve.

    The engine is busy all the time: batches fill until they serve what is offered.
    """
    calls = trace()
    capacity = 1 / seconds_of_work(calls, prefix_cache=True)
    offered = LOAD * capacity
    network = session_network(calls, engine=ENGINE, sessions_per_second=offered)
    run = simulate_network(network, horizon=horizon, warmup=horizon / 8, seed=3)
    finished, tokens = run.throughput, run.token_throughput[0]
    assert not run.grows
    assert finished.value == pytest.approx(float(offered), rel=0.05)
    assert abs(finished.value - float(offered)) < 4 * finished.standard_error
    used = tokens.value / float(FULL_BATCHES)
    assert used == pytest.approx(float(LOAD), abs=0.04)


def test_beyond_capacity_the_backlog_of_sessions_grows():
    calls = synthetic()
    capacity = 1 / seconds_of_work(calls, prefix_cache=True)
    network = session_network(
        calls, engine=ENGINE, sessions_per_second=Fraction(6, 5) * capacity
    )
    run = simulate_network(network, horizon=40_000, warmup=10_000, seed=3)
    assert run.grows
    # All batches are full, yet fewer sessions finish: those that never will take their share.
    assert run.token_throughput[0].value == pytest.approx(float(FULL_BATCHES), rel=0.001)
    assert run.throughput.value < 0.95 * float(capacity)


def test_a_prefix_cache_multiplies_the_capacity():
    """Sessions send 27.5 times what a cache leaves to prefill; outputs are never cached."""
    ratio = np.sum(recorded().context_tokens) / np.sum(recorded().uncached_tokens)
    assert ratio == pytest.approx(27.5, abs=0.05)
    calls = recorded()
    cached, whole = (
        network_load(
            session_network(calls, engine=ENGINE, sessions_per_second=1, prefix_cache=use)
        ).capacity
        for use in (True, False)
    )
    assert float(cached / whole) == pytest.approx(25.2, abs=0.1)
