"""Phases spread where the chance to begin a round soon forgets when the first one began."""

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.closed._demand import Demand
from queueing_llm.closed._phases import phase_spread

ENGINE = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
LENGTHS = {
    "geometric": ql.GeometricLength(30),
    "uniform": ql.UniformLength(5, 60),
    "short": ql.UniformLength(1, 4),
    "two": ql.EmpiricalLength([30, 60]),
    "nearly one": ql.EmpiricalLength([30, 90], weights=[19, 1]),
    "one": 30,
}


def demand_of(output):
    return Demand.of(ENGINE, ql.Workload.closed(2, prompt_tokens=4, output_tokens=output))


def forgets(demand):
    """Return whether renewals are even, within a quarter, six mean rounds after the first."""
    beyond = demand.steps_beyond
    chances = np.append(1 - beyond[0], -np.diff(beyond))
    rounds = int(1 + demand.steps)
    begins = np.zeros(8 * rounds)
    begins[0] = 1
    for step in range(1, len(begins)):
        back = np.arange(min(step, len(chances)))
        begins[step] = chances[back] @ begins[step - 1 - back]
    late = begins[6 * rounds :]
    return bool(np.abs(late * (1 + demand.steps) - 1).max() < 0.25)


@pytest.mark.parametrize("name", LENGTHS)
def test_a_wide_spread_forgets_the_start(name):
    demand = demand_of(LENGTHS[name])
    assert (phase_spread(demand) > 0.5) == forgets(demand)


def test_one_length_never_spreads():
    assert phase_spread(demand_of(30)) < 0.1
    assert phase_spread(demand_of(ql.GeometricLength(30))) > 0.9
