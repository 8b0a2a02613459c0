"""Proposition 3 of arXiv:2504.07347v3 against an event loop of several engines."""

import math

import numpy as np
import pytest

import queueing_llm as ql
from tests.reference.join_shortest_queue import Server, growth, shortest_queue

STEP = ql.StaircaseStepTime(0.01128, 0.03547, 128)
ENGINE = ql.Engine(step_time=STEP, token_budget=512)
LOAD = ql.Workload.poisson(1, prompt_tokens=100, output_tokens=100)
RUNS, HORIZON = 4, 400.0


def grow(load, *, route, seed):
    """Mean growth of three engines at a share of their capacity, and its standard error.

    The error is that of the arrivals, sqrt(lambda w^2 / (T / 2) / runs).
    """
    rate = load * ql.critical_rate(ENGINE, LOAD, policy=ql.SARATHI, servers=3).value
    slopes = [
        growth(
            [Server(512, STEP) for _ in range(3)],
            rate,
            prompt=100,
            output=100,
            horizon=HORIZON,
            rng=rng,
            route=route,
        )
        for rng in np.random.default_rng(seed).spawn(RUNS)
    ]
    return np.mean(slopes), math.sqrt(rate * 200**2 / (HORIZON / 2) / RUNS)


@pytest.mark.parametrize(("load", "expected"), [(0.9, 0.0), (1.1, 1002.872812744842)])
def test_three_engines_are_stable_up_to_three_capacities(load, expected):
    """Vector jsq.homogeneous, within 4 standard errors."""
    found, error = grow(load, route=shortest_queue, seed=3)
    assert abs(found - expected) < 4 * error


def test_a_router_that_knows_one_engine_only_is_told_apart():
    """Control: at 0.9 of three capacities a single engine grows by 1.7 capacities."""
    found, error = grow(0.9, route=lambda servers: servers[0], seed=4)
    assert abs(found - 1.7 * 3342.90937581614) < 4 * error
