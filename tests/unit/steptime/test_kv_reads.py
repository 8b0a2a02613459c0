"""One law written in three forms gets one answer: nothing overlooks what reading KV costs."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.certificates import certify_overload
from queueing_llm.stability.bounds._three_resources import three_resource_bound

BASE, PER_TOKEN, PER_KV_TOKEN = Fraction(1, 100), Fraction(1, 10_000), Fraction(1, 10**6)
ALIKE = {
    "affine": ql.AffineStepTime(BASE, PER_TOKEN, PER_KV_TOKEN),
    "hinge": ql.HingeStepTime(BASE, PER_TOKEN, 0, PER_KV_TOKEN),
    "staircase": ql.StaircaseStepTime(BASE, PER_TOKEN, 1, PER_KV_TOKEN),
}
OTHERS = ("hinge", "staircase")
LIMITS = ({}, {"max_batch_size": 12}, {"kv_capacity": 4000})


def engine(law, **limits):
    return ql.Engine(step_time=ALIKE[law], token_budget=64, **limits)


def load(rate):
    return ql.Workload.poisson(rate, prompt_tokens=40, output_tokens=30)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("law", OTHERS)
def test_capacity_and_its_closed_bound(law, limits):
    one, other = engine("affine", **limits), engine(law, **limits)
    assert ql.capacity(one, load(1)) == ql.capacity(other, load(1))
    assert three_resource_bound(one, load(1)) == three_resource_bound(other, load(1))


@pytest.mark.parametrize("policy", [ql.SARATHI, ql.VANILLA_VLLM, ql.FASTER_TRANSFORMER])
@pytest.mark.parametrize("law", OTHERS)
def test_critical_rates(law, policy):
    one, other = engine("affine"), engine(law)
    assert ql.critical_rate(one, load(5), policy=policy) == ql.critical_rate(
        other, load(5), policy=policy
    )


def samples(step_time):
    """Return the path of the backlog in a run of a system that keeps up."""
    machine = ql.Engine(step_time=step_time, token_budget=64)
    run = ql.simulate(machine, load(10), policy=ql.SARATHI, horizon=20, seed=1)
    return run.outcomes[0].samples


@pytest.mark.parametrize("law", OTHERS)
def test_runs(law):
    assert np.array_equal(samples(ALIKE["affine"]), samples(ALIKE[law]))
    silent = replace(ALIKE[law], per_kv_token=0)
    assert not np.array_equal(samples(ALIKE["affine"]), samples(silent))


@pytest.mark.parametrize("law", OTHERS)
def test_no_certificate_forgets_the_reads(law):
    """The format has no place for them, so there is none; the verdict is a grade lower."""
    rate = Fraction(100)
    assert certify_overload(engine("affine"), load(rate)) is not None
    assert certify_overload(engine(law), load(rate)) is None
    verdict = ql.check_stability(engine(law), load(rate), policy=ql.SARATHI)
    assert verdict.status is ql.Status.UNSTABLE
    assert verdict.evidence is not ql.Evidence.PROVED
    between = ql.check_stability(engine(law), load(8), policy=ql.SARATHI)
    same = ql.check_stability(engine("affine"), load(8), policy=ql.SARATHI)
    assert (between.status, between.evidence) == (same.status, same.evidence)
