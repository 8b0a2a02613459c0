"""Networks whose engines hold KV memory in blocks run on the transparent driver."""

import pytest

import queueing_llm as ql
from queueing_llm.model.agents import AgentNetwork, NetworkEngine, Visit
from queueing_llm.simulate.networks import simulate_network
from queueing_llm.simulate.networks._outcome import TOTALS


def completed(horizon, **limits):
    engine = ql.Engine(ql.AffineStepTime(1, 0), 64, **limits)
    lengths = ql.IndependentLengths(ql.DeterministicLength(1), ql.DeterministicLength(1))
    visit = Visit("v", "a", "calls", (0,), lengths, ql.DeterministicArrivals(9))
    network = AgentNetwork.of((NetworkEngine("e", engine, ql.SARATHI),), (visit,), ())
    run = simulate_network(network, horizon=horizon, seed=1)
    return run.outcomes[0].totals[-1, TOTALS.index("completed")]


def test_an_engine_in_a_network_counts_blocks():
    """Four residents of one block each, for two steps: two requests a second of nine."""
    assert completed(200, kv_capacity=64, kv_block_size=16) == pytest.approx(400, abs=8)
    assert completed(200, kv_capacity=64) == pytest.approx(1800, abs=30)
