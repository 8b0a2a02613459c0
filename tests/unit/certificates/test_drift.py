"""Certificates that a rule is stable: found exactly where full batches drain the backlog."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.certificates import (
    Rejected,
    certify_overload,
    certify_stability,
    check_certificate,
)
from queueing_llm.certificates import _checker as checker

STEP = ql.StaircaseStepTime(
    overhead=Fraction("0.01128"), per_block=Fraction("0.03547"), block=128
)
ENGINE = ql.Engine(step_time=STEP, token_budget=512)
LOAD = ql.Workload.poisson(Fraction("10.4"), prompt_tokens=129, output_tokens=112)
CAPACITY = Fraction(512) / Fraction("0.15316") / 241


@pytest.mark.parametrize("policy", [ql.ORCA, ql.SARATHI, ql.VLLM_V1], ids=lambda p: p.name)
def test_the_published_load_is_proved_stable(policy):
    certificate = certify_stability(ENGINE, LOAD, policy=policy)
    found = ql.foster_drift(ENGINE, LOAD, policy=policy)
    assert Fraction(*certificate.document["decrease"]) == -found.drift
    checked = check_certificate(certificate, ENGINE, workload=LOAD, policy=policy)
    assert f"above {found.exceptional_tokens} tokens the backlog falls" in checked.statement
    assert "Foster's criterion" in checked.statement
    verdict = ql.check_stability(ENGINE, LOAD, policy=policy)
    assert verdict.evidence is ql.Evidence.PROVED
    assert verdict.reason.endswith("so it is stable by Foster's criterion")
    assert verdict.certificate.document == certificate.document


def test_stability_is_proved_just_below_capacity_and_not_at_it():
    close = LOAD.scale_to(CAPACITY * Fraction(10**9 - 1, 10**9))
    certificate = certify_stability(ENGINE, close, policy=ql.SARATHI)
    assert Fraction(*certificate.document["decrease"]) == Fraction(512, 10**9)
    assert certify_stability(ENGINE, LOAD.scale_to(CAPACITY), policy=ql.SARATHI) is None


def test_that_a_full_batch_is_the_best_one_is_not_needed():
    """A budget of 130 loses 42 % of the rate to its second block; below that it is stable."""
    engine = ql.Engine(step_time=STEP, token_budget=130)
    own = Fraction(130) / STEP(130) / 241
    below, above = (LOAD.scale_to(own * share) for share in (Fraction(9, 10), Fraction(11, 10)))
    assert certify_stability(engine, below, policy=ql.SARATHI).check().kind == "drift"
    assert certify_stability(engine, above, policy=ql.SARATHI) is None
    assert certify_overload(engine, above) is None


def limited(**changes):
    fields = {"step_time": STEP, "token_budget": 512}
    return ql.Engine(**{**fields, **changes})


def arriving(arrivals, lengths=None):
    return ql.Workload.of(arrivals, lengths or LOAD.classes[0].lengths)


UNBOUNDED = ql.IndependentLengths(ql.DeterministicLength(9), ql.GeometricLength(9))
REPLAY = ql.Workload.of(
    ql.PoissonArrivals(1), ql.EmpiricalLengths([1, 2], [1, 2], in_order=True)
)


@pytest.mark.parametrize(
    ("engine", "workload", "policy"),
    [
        (ENGINE, LOAD, ql.FASTER_TRANSFORMER),
        (ENGINE, LOAD, ql.VANILLA_VLLM),
        (ENGINE, LOAD, ql.ORCA.variant(chunked=False)),
        (ENGINE, LOAD, lambda state: ql.SARATHI(state)),
        (ENGINE, LOAD.scale_to(10.4), ql.SARATHI),
        (ENGINE, arriving(ql.DeterministicArrivals(1)), ql.SARATHI),
        (ENGINE, arriving(ql.PoissonArrivals(1), UNBOUNDED), ql.SARATHI),
        (ENGINE, REPLAY, ql.SARATHI),
        (limited(kv_capacity=10**6), LOAD, ql.SARATHI),
        (limited(max_batch_size=512), LOAD, ql.SARATHI),
        (limited(step_time=ql.StaircaseStepTime(0.01128, 0.03547, 128)), LOAD, ql.SARATHI),
        (limited(step_time=ql.AffineStepTime(0, Fraction(1, 9999), 1)), LOAD, ql.SARATHI),
        (limited(token_budget=checker.LARGEST_BUDGET + 128), LOAD, ql.SARATHI),
    ],
    ids=[
        "faster transformer",
        "vanilla vllm",
        "whole prompts",
        "code",
        "float rate",
        "periodic",
        "unbounded",
        "replay",
        "memory",
        "batch size",
        "float law",
        "kv reads",
        "budget",
    ],
)
def test_nothing_is_certified_where_a_hypothesis_is_not_known(engine, workload, policy):
    assert certify_stability(engine, workload, policy=policy) is None


small = st.fractions(min_value=0, max_value=5, max_denominator=20)
laws = st.one_of(
    st.builds(ql.StaircaseStepTime, small, small.filter(bool), st.integers(1, 9)),
    st.builds(ql.AffineStepTime, small, small.filter(bool)),
    st.lists(small.filter(bool), min_size=20, max_size=20).map(
        lambda times: ql.TableStepTime.of_tokens(range(1, 21), times)
    ),
)


@given(
    law=laws,
    budget=st.integers(1, 20),
    prompt=st.integers(1, 9),
    output=st.integers(1, 9),
    load=st.fractions(min_value=Fraction(1, 2), max_value=Fraction(3, 2), max_denominator=50),
    emits=st.booleans(),
    policy=st.sampled_from([ql.ORCA, ql.SARATHI, ql.VLLM_V1]),
)
def test_exactly_the_loads_below_the_rate_of_full_batches_are_certified(
    law, budget, prompt, output, load, emits, policy
):
    engine = ql.Engine(step_time=law, token_budget=budget, first_token_from_prefill=emits)
    shape = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    own = ql.critical_rate(engine, shape, policy=policy).value
    workload = shape.scale_to(load * own)
    certificate = certify_stability(engine, workload, policy=policy)
    assert (certificate is not None) == (load < 1)
    if certificate is not None:
        assert Fraction(*certificate.document["decrease"]) == budget * (1 - load)
        check_certificate(certificate, engine, workload=workload, policy=policy)


def test_a_proof_of_stability_is_about_mixed_and_chunked_rules():
    certificate = certify_stability(ENGINE, LOAD, policy=ql.SARATHI)
    check_certificate(certificate, ENGINE, workload=LOAD, policy=ql.VLLM_V1)
    for policy in (None, ql.FASTER_TRANSFORMER, ql.VANILLA_VLLM):
        with pytest.raises(Rejected, match="another system"):
            check_certificate(certificate, ENGINE, workload=LOAD, policy=policy)


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0, 1]))
def test_no_load_is_proved_stable_and_overloaded(budget, prompt, output, knee):
    law = ql.HingeStepTime(floor=2, per_token=1, knee=knee)
    engine = ql.Engine(step_time=law, token_budget=budget)
    shape = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    ceiling = ql.capacity(engine, shape).requests_per_second
    for share in (Fraction(1, 2), Fraction(99, 100), Fraction(1), Fraction(101, 100)):
        load = shape.scale_to(share * ceiling)
        proofs = (
            certify_overload(engine, load),
            certify_stability(engine, load, policy=ql.ORCA),
        )
        assert None in proofs
