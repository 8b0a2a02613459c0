"""Certificates that no policy keeps up: found exactly above the capacity, and checked."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.certificates import Rejected, certify_overload, check_certificate
from queueing_llm.certificates import _checker as checker

STEP = ql.StaircaseStepTime(
    overhead=Fraction("0.01128"), per_block=Fraction("0.03547"), block=128
)
ENGINE = ql.Engine(step_time=STEP, token_budget=512)
CAPACITY = Fraction(512) / Fraction("0.15316") / 241


def published(rate):
    return ql.Workload.poisson(rate, prompt_tokens=129, output_tokens=112)


def test_overload_is_proved_just_above_capacity_and_not_at_it():
    assert certify_overload(ENGINE, published(CAPACITY)) is None
    above = certify_overload(ENGINE, published(CAPACITY * Fraction(10**9 + 1, 10**9)))
    assert Fraction(*above.document["excess"]) == Fraction(1, 10**9)
    assert above.check().comparisons == 2 * 512 + 3


def test_the_verdict_carries_the_proof():
    verdict = ql.check_stability(ENGINE, published(14), policy=ql.SARATHI)
    assert verdict.evidence is ql.Evidence.PROVED
    checked = check_certificate(verdict.certificate, ENGINE, workload=published(14))
    assert checked.statement == (
        "at 14 requests/s no policy keeps up: the backlog, weighted by the prices, grows by at "
        "least 0.00930046 seconds of work per second"
    )


def test_floats_prove_nothing():
    engine = ql.Engine(step_time=ql.StaircaseStepTime(0.01128, 0.03547, 128), token_budget=512)
    assert certify_overload(engine, published(14)) is None
    assert certify_overload(ENGINE, published(14.0)) is None


def test_a_batch_size_limit_has_prices_of_its_own():
    """Block price of theory: a request of 290 + 990 tokens costs 467.5 ms, for any budget."""
    engine = ql.Engine(step_time=STEP, token_budget=1024, max_batch_size=100)
    load = ql.Workload.poisson(Fraction(1000, 467), prompt_tokens=290, output_tokens=990)
    certificate = certify_overload(engine, load)
    assert certificate.check().comparisons == 2 * 1024 + 3
    assert Fraction(*certificate.document["excess"]) == Fraction("467.5") / 467 - 1
    assert certify_overload(engine, load.scale_to(Fraction(10_000, 4675))) is None
    wider = {**certificate.document["engine"], "max_batch_size": 128}
    with pytest.raises(Rejected, match="worth more than it takes"):
        checker.check({**certificate.document, "engine": wider})


def test_kv_memory_has_a_price_of_its_own():
    """Vector kv.pacing: 4.845 requests/s with 20,000 slots, 6.686 by tokens alone."""
    step = ql.AffineStepTime(STEP.overhead, STEP.per_block / 128)
    engine = ql.Engine(step_time=step, token_budget=512, kv_capacity=20_000)
    load = ql.Workload.poisson(5, prompt_tokens=100, output_tokens=400)
    certificate = certify_overload(engine, load)
    price = Fraction(*certificate.document["prices"]["memory"])
    assert price == STEP.overhead / 20_000
    lost = {**certificate.document["prices"], "memory": [0, 1]}
    with pytest.raises(Rejected, match="does not exceed"):
        checker.check({**certificate.document, "prices": lost})


small = st.fractions(min_value=0, max_value=5, max_denominator=20)
laws = st.one_of(
    st.builds(ql.StaircaseStepTime, small, small.filter(bool), st.integers(1, 9)),
    st.builds(ql.HingeStepTime, small.filter(bool), small.filter(bool), st.integers(1, 9)),
    st.builds(ql.AffineStepTime, small, small.filter(bool), small),
    st.builds(ql.RooflineStepTime, small, small.filter(bool), small.filter(bool)),
    st.lists(small.filter(bool), min_size=20, max_size=20).map(
        lambda times: ql.TableStepTime.of_tokens(range(1, 21), times)
    ),
)


@given(
    law=laws,
    budget=st.integers(1, 20),
    members=st.none() | st.integers(1, 12),
    slots=st.none() | st.integers(18, 90),
    lengths=st.tuples(st.integers(1, 9), st.integers(0, 9)),
    load=st.fractions(min_value=Fraction(1, 2), max_value=2, max_denominator=50),
    emits=st.booleans(),
)
def test_exactly_the_loads_above_capacity_are_certified(
    law, budget, members, slots, lengths, load, emits
):
    prompt, output = lengths
    assume(output > 0 or not emits)
    engine = ql.Engine(
        step_time=law,
        token_budget=budget,
        max_batch_size=members,
        kv_capacity=slots,
        first_token_from_prefill=emits,
    )
    shape = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    ceiling = ql.capacity(engine, shape).requests_per_second
    workload = shape.scale_to(load * ceiling)
    certificate = certify_overload(engine, workload)
    assert (certificate is not None) == (load > 1)
    if certificate is not None:
        assert Fraction(*certificate.document["excess"]) == load - 1
        assert check_certificate(certificate, engine, workload=workload).kind == "overload"


def test_a_grid_is_answered_without_a_proof():
    grid = ql.TableStepTime.of_batches([0, 8], [0, 8], None, [[[1], [2]], [[2], [3]]])
    engine = ql.Engine(step_time=grid, token_budget=8)
    assert certify_overload(engine, published(10)) is None


def test_budgets_too_large_to_check_are_answered_without_a_proof():
    """Regression: the checker's refusal of a huge budget must not end the verdict."""
    engine = ql.Engine(step_time=STEP, token_budget=checker.LARGEST_BUDGET + 128)
    verdict = ql.check_stability(engine, published(50), policy=ql.SARATHI)
    assert verdict.status is ql.Status.UNSTABLE
    assert (verdict.evidence, verdict.certificate) == (ql.Evidence.THEOREM, None)
