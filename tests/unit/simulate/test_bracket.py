"""The search for a critical rate: its arguments, its repeatability, its refusals."""

import numpy as np
import pytest

import queueing_llm as ql

STEP = ql.StaircaseStepTime(0.01128, 0.03547, 128)
LOAD = ql.Workload.poisson(1, prompt_tokens=129, output_tokens=112)
LIMITED = ql.Engine(step_time=STEP, token_budget=512, kv_capacity=20_000)
CEILING = 13.870993260647884


def bracket(engine=LIMITED, load=LOAD, policy=ql.SARATHI, **choices):
    settled = {"at_most": CEILING, "requests": 10_000, **choices}
    return ql.bracket_critical_rate(engine, load, policy=policy, **settled)


def test_a_kv_limit_lowers_the_critical_rate():
    found = bracket()
    assert found.evidence is ql.Evidence.SIMULATED
    assert 0 < found.low < found.value < found.high < CEILING


def test_the_same_seed_gives_the_same_interval_and_others_agree():
    first, again, *others = (bracket(seed=seed) for seed in (1, 1, 2, 3))
    assert again == first
    for other in others:
        assert other != first
        assert max(first.low, other.low) < min(first.high, other.high)


def test_a_generator_is_consumed():
    source = np.random.default_rng(1)
    assert bracket(seed=source) == bracket(seed=1)
    assert bracket(seed=source) != bracket(seed=1)


def test_more_confidence_means_a_wider_interval():
    narrow, wide = (bracket(confidence=confidence) for confidence in (0.9, 0.999))
    assert narrow.value == wide.value
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_rate_of_the_workload_does_not_matter():
    assert bracket(load=LOAD.scale_to(99)) == bracket()


def test_nothing_beyond_what_no_policy_can_exceed():
    plain = ql.Engine(step_time=STEP, token_budget=512)
    found = bracket(plain)
    assert found.high <= CEILING
    assert found.value <= CEILING


def test_a_small_batch_under_a_large_budget_keeps_the_interval_narrow():
    """What two batches hold at the ends of a window is what their members bring."""
    engine = ql.Engine(
        step_time=ql.AffineStepTime(0.01, 5e-5), token_budget=16_384, max_batch_size=4
    )
    load = ql.Workload.poisson(
        1, prompt_tokens=ql.UniformLength(1, 9), output_tokens=ql.GeometricLength(4)
    )
    found = ql.bracket_critical_rate(engine, load, policy=ql.VLLM_V1, at_most=95.7)
    # 20 times as many arrivals gave 77.227.
    assert 77.227 * (1 - 0.01) < found.low < 77.227 < found.high < 77.227 * (1 + 0.01)


def never(state):
    """Serve nobody."""
    return ql.Batch(np.zeros(len(state.request), dtype=np.int64))


@pytest.mark.parametrize(
    ("policy", "requests"),
    [(never, 40), (ql.VANILLA_VLLM, None)],
)
def test_a_policy_that_never_works_has_no_critical_rate(policy, requests):
    """A whole prompt of 129 tokens never fits 128: the backlog grows at every rate."""
    frozen = ql.Engine(step_time=STEP, token_budget=128)
    found = bracket(frozen, policy=policy, requests=requests)
    assert found.value is None
    assert found.evidence is ql.Evidence.NONE
    assert "grows at every rate" in found.basis


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ({"replications": 0}, "replications must be"),
        ({"confidence": 1.0}, "confidence must be"),
        ({"confidence": 0}, "confidence must be"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(choice, complaint):
    with pytest.raises(ql.InvalidArgument, match=complaint):
        bracket(**choice)
