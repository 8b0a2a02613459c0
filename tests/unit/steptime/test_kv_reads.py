"""One law written in three forms gets one answer: nothing overlooks what reading KV costs."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.certificates import Certificate, certify_overload
from queueing_llm.certificates._checker import Rejected
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
def test_certificates_price_the_reads(law):
    rate = Fraction(60)
    proof, same = (certify_overload(engine(form), load(rate)) for form in (law, "affine"))
    assert proof.document["prices"] == same.document["prices"]
    assert proof.document["prices"]["kv_read"] == [1, 10**6]
    assert certify_overload(engine(law), load(45)) is None
    document = json.loads(json.dumps(proof.document))
    del document["engine"]["step_time"]["per_kv_token"]
    with pytest.raises(Rejected):
        Certificate(document).check()
    for rate in (45, 60):
        one, other = (
            ql.check_stability(engine(form), load(Fraction(rate)), policy=ql.SARATHI)
            for form in ("affine", law)
        )
        assert (one.status, one.evidence) == (other.status, other.evidence)
