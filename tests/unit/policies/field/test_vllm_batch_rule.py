"""While KV blocks are plenty, vLLM forms the batches of our batch rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._vllm_v0 import VllmV0Config, VllmV0Scheduler
from queueing_llm.policies.field._vllm_v1 import VllmV1Scheduler
from queueing_llm.policies.field._vllm_v1_config import VLLM_V1_RELEASES, VllmV1Config

PLENTY = 10_000
HORIZON = 60

workloads = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 9), st.sampled_from([0, 0, 1, 3])),
    min_size=1,
    max_size=8,
)


def arrivals(rows):
    """Return (step of arrival, prompt, output), in order."""
    now, found = 0, []
    for prompt, output, pause in rows:
        now += pause
        found.append((now, prompt, output))
    return found


def batches_of_scheduler(scheduler, rows):
    found = []
    for now in range(HORIZON):
        for number, (due, prompt, output) in enumerate(rows):
            if due == now:
                scheduler.add(FieldRequest(str(number), prompt, output))
        found.append(dict(scheduler.step().tokens))
    return found


def batches_of_rule(rule, rows, *, budget, limit):
    """Return the tokens of each request in each step of one second."""
    engine = ql.Engine(
        step_time=ql.HingeStepTime(floor=1, per_token=1, knee=budget),
        token_budget=budget,
        max_batch_size=limit,
        first_token_from_prefill=True,
    )
    load = ql.Workload.of_requests(
        [row[0] for row in rows],
        prompt_tokens=[row[1] for row in rows],
        output_tokens=[row[2] for row in rows],
    )
    found = [{} for _ in range(HORIZON)]
    for step in ql.watch(engine, load, policy=rule, horizon=HORIZON):
        now = step.start // 10**9
        found[now] = {
            str(number): int(tokens)
            for number, tokens in zip(step.state.request, step.batch.tokens, strict=True)
            if tokens
        }
    return found


def agree(scheduler, rule, rows, *, budget, limit):
    rows = arrivals(rows)
    expected = batches_of_rule(rule, rows, budget=budget, limit=limit)
    return batches_of_scheduler(scheduler, rows) == expected


@given(
    st.sampled_from(list(VLLM_V1_RELEASES)), workloads, st.integers(1, 40), st.integers(1, 5)
)
def test_vllm_v1_is_the_batch_rule_of_that_name(version, rows, budget, limit):
    scheduler = VllmV1Scheduler(VllmV1Config(budget, limit, num_blocks=PLENTY, version=version))
    assert agree(scheduler, ql.VLLM_V1, rows, budget=budget, limit=limit)


@given(st.sampled_from(["0.32.0", "0.33.0"]), workloads, st.integers(30, 60), st.integers(1, 5))
def test_vllm_v1_without_chunking_is_its_variant(version, rows, budget, limit):
    config = VllmV1Config(
        budget, limit, num_blocks=PLENTY, version=version, enable_chunked_prefill=False
    )
    rule = ql.VLLM_V1.variant(chunked=False)
    assert agree(VllmV1Scheduler(config), rule, rows, budget=budget, limit=limit)


@given(workloads, st.integers(30, 60), st.integers(1, 5))
def test_vllm_v0_is_vanilla_vllm_with_a_limit_on_residents(rows, budget, limit):
    scheduler = VllmV0Scheduler(VllmV0Config(budget, limit, num_blocks=PLENTY))
    rule = ql.policy_named("vanilla_vllm:residents")
    assert agree(scheduler, rule, rows, budget=budget, limit=limit)


@given(workloads, st.integers(1, 40), st.integers(1, 5))
def test_chunked_vllm_v0_forms_the_batches_of_v1(rows, budget, limit):
    config = VllmV0Config(budget, limit, num_blocks=PLENTY, enable_chunked_prefill=True)
    assert agree(VllmV0Scheduler(config), ql.VLLM_V1, rows, budget=budget, limit=limit)


@pytest.mark.parametrize(
    ("settings_of_v1", "budget"),
    [
        ({"num_blocks": 5}, 100),
        ({"num_blocks": PLENTY, "long_prefill_token_threshold": 24}, 32),
        ({"num_blocks": PLENTY, "version": "0.11.2", "enable_chunked_prefill": False}, 60),
    ],
)
def test_blocks_a_cap_or_passing_make_other_batches(settings_of_v1, budget):
    """Controls: the comparison sees what the rules leave out."""
    rows = [(31, 9, 0), (31, 9, 0), (5, 9, 0)]
    chunked = settings_of_v1.get("enable_chunked_prefill", True)
    rule = ql.VLLM_V1.variant(chunked=chunked)
    scheduler = VllmV1Scheduler(VllmV1Config(budget, 8, **settings_of_v1))
    assert not agree(scheduler, rule, rows, budget=budget, limit=8)
