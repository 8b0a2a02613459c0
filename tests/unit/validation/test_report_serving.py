"""Two executions of vLLM's scheduler agree where nothing is preempted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_repro.validation.serving import serve, serve_by_scheduler
from queueing_llm.model import Engine, Requests
from queueing_llm.steptime import AffineStepTime

LAW = AffineStepTime(base=0.007, per_token=2e-5, per_kv_token=5e-8)
TIMES = ("arrival", "start", "first", "finish")


def engine(*, kv_capacity=200_000, max_batch_size=8, token_budget=256):
    return Engine(
        step_time=LAW,
        token_budget=token_budget,
        max_batch_size=max_batch_size,
        kv_capacity=kv_capacity,
        kv_block_size=16,
        first_token_from_prefill=True,
    )


def requests(gaps, lengths):
    prompt, output = np.array(lengths, dtype=np.int64).T
    return Requests(np.cumsum(gaps), prompt, output, np.zeros(len(gaps), dtype=np.int64))


@st.composite
def some_requests(draw):
    count = draw(st.integers(1, 25))
    gaps = draw(st.lists(st.floats(0, 0.1), min_size=count, max_size=count))
    length = st.tuples(st.integers(1, 600), st.integers(1, 60))
    return requests(gaps, draw(st.lists(length, min_size=count, max_size=count)))


def assert_same_times(one, other):
    assert one.preemptions == other.preemptions == 0
    for name in TIMES:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-12)


@settings(max_examples=30)
@given(some_requests(), st.integers(1, 8))
def test_executions_agree_on_open_arrivals(asked, limit):
    case = engine(max_batch_size=limit)
    assert_same_times(serve(case, asked, until=1e4), serve_by_scheduler(case, asked, until=1e4))


def test_executions_agree_on_closed_users():
    rng = np.random.default_rng(1)
    lengths = np.column_stack([rng.integers(1, 400, 60), rng.integers(1, 40, 60)])
    asked = requests(np.zeros(60), lengths)
    both = [
        way(engine(), asked, until=2.0, users=12, think_time=0.005)
        for way in (serve, serve_by_scheduler)
    ]
    known = min(len(served.arrival) for served in both)
    for name in ("arrival", "finish"):
        # The last arrivals may lie beyond the end, where each execution stops as it likes.
        one, other = (getattr(served, name)[: known - 12] for served in both)
        np.testing.assert_allclose(one, other, atol=1e-12)
    assert known > 60


def test_a_closed_system_is_a_queue_that_never_empties():
    """Users without think time, all of whom may run: the steps of one long queue."""
    lengths = np.column_stack([np.arange(1, 201), np.arange(200, 0, -1)])
    asked = requests(np.zeros(200), lengths)
    closed = serve(engine(max_batch_size=16), asked, until=3.0, users=16)
    queue = serve(engine(max_batch_size=16), asked, until=3.0)
    done = int(closed.done.sum())
    assert 20 < done == int(queue.done.sum())
    np.testing.assert_allclose(np.sort(closed.finish)[:done], np.sort(queue.finish)[:done])


def test_a_prefix_cache_saves_what_preemption_costs():
    """The control: with a small cache the executions must differ, in this direction."""
    asked = requests(np.zeros(40), [(300, 200)] * 40)
    case = engine(kv_capacity=4096, max_batch_size=32, token_budget=2048)
    rule = serve(case, asked, until=1e4)
    plain, cached = (
        serve_by_scheduler(case, asked, until=1e4, prefix_caching=has) for has in (False, True)
    )
    assert rule.preemptions > 0
    assert cached.finish.max() < plain.finish.max()
    assert rule.finish.max() == pytest.approx(plain.finish.max(), rel=0.02)


def test_steps_tell_who_runs_and_waits():
    asked = requests(np.zeros(5), [(10, 3)] * 5)
    served = serve_by_scheduler(engine(max_batch_size=2), asked, until=10)
    assert served.steps[0, 1:].tolist() == [2, 3, 2]
    assert served.steps[-1, 1:].tolist() == [0, 0, 0]
    assert served.latency == pytest.approx(served.ttft + 2 * served.tpot)
