"""The queue that is served all at once: laws, and classical queues as special cases."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_repro.inoue2021.batch_queue import (
    Server,
    bounds,
    latency_by_equation_36,
    latency_if_mean_batch,
    stationary,
)

loads = st.floats(0.02, 0.7)
bases = st.floats(0.05, 10)


@given(load=loads, base=bases)
def test_the_mean_latency_is_below_both_bounds_and_is_equation_36(load, base):
    server = Server(1.0, base)
    found = stationary(server, load, most_waiting=300)
    assert found.latency == pytest.approx(latency_by_equation_36(server, load, found), rel=1e-8)
    assert found.latency <= min(bounds(server, load)) * (1 + 1e-9)
    assert found.utilisation == pytest.approx(load + load * base / found.batch, rel=1e-9)
    assert found.batch >= max(1, load * base / (1 - load)) * (1 - 1e-9)


@given(load=st.fractions("1/50", "49/50"), base=st.fractions("1/100", 100))
def test_the_bounds_are_the_latency_at_two_mean_batches(load, base):
    server = Server(Fraction(1), base)
    first, second = bounds(server, load)
    assert first == latency_if_mean_batch(server, load, 1)
    assert second == latency_if_mean_batch(server, load, load * base / (1 - load))
    assert (first <= second) == (load * (1 + base) <= 1)


@given(load=st.floats(0.05, 0.8))
def test_batches_of_one_are_a_queue_with_constant_service(load):
    """Pollaczek and Khinchine: a wait of rho s / (2 (1 - rho))."""
    server = Server(0.75, 0.25, largest_batch=1)
    found = stationary(server, load, most_waiting=300)
    assert found.latency == pytest.approx(1 + load / (2 * (1 - load)), rel=1e-6)
    assert found.utilisation == pytest.approx(load, rel=1e-9)


def test_a_limit_that_is_never_reached_changes_nothing_and_a_tight_one_delays():
    rate = 4.0
    free = stationary(Server(0.1, 0.2), rate, most_waiting=200)
    wide = stationary(Server(0.1, 0.2, largest_batch=60), rate, most_waiting=200)
    tight = stationary(Server(0.1, 0.2, largest_batch=2), rate, most_waiting=200)
    assert wide.latency == pytest.approx(free.latency, rel=1e-9)
    assert tight.latency > 1.05 * free.latency


def test_the_engine_is_the_server():
    server = Server(Fraction(1, 10), Fraction(1, 5), largest_batch=7)
    engine = server.engine()
    assert engine.step_time(7) == server.batch_seconds(7) == Fraction(9, 10)
    assert engine.token_budget == 7
