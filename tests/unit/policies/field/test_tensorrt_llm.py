from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._tensorrt_llm import (
    CAPACITY_POLICIES,
    CHUNKING_POLICIES,
    TensorrtLlmConfig,
    TensorrtLlmScheduler,
)


def steps_of(scheduler, requests):
    """Return the steps until nobody is left; a request is (name, prompt, output, step)."""
    steps = []
    last = max(request[3] for request in requests)
    while len(steps) <= last or not scheduler.is_idle:
        for name, prompt, output, step in requests:
            if step == len(steps):
                scheduler.add(FieldRequest(name, prompt, output))
        steps.append(scheduler.step())
        assert len(steps) < 20_000, "control: every request comes to its end"
    return steps


def batches(config, requests):
    return [dict(step.tokens) for step in steps_of(TensorrtLlmScheduler(config), requests)]


def test_a_request_starts_only_if_it_can_end():
    config = TensorrtLlmConfig(8, 512, num_blocks=8, block_size=16)
    requests = [("a", 16, 60, 0), ("b", 16, 60, 0), ("c", 1, 1, 0)]
    found = batches(config, requests)
    assert found[0] == {"a": 16}, "nobody passes the one that does not fit"
    utilized = batches(replace(config, capacity_policy="max_utilization"), requests)
    assert utilized[0] == {"a": 16, "b": 16, "c": 1}
    static = batches(replace(config, capacity_policy="static_batch", num_blocks=12), requests)
    assert static[0] == {"a": 16, "b": 16, "c": 1}


def test_a_static_batch_is_joined_by_nobody():
    config = TensorrtLlmConfig(8, 512, num_blocks=100, capacity_policy="static_batch")
    requests = [("a", 5, 3, 0), ("b", 5, 1, 1)]
    assert batches(config, requests) == [{"a": 5}, {"a": 1}, {"a": 1}, {"b": 5}]
    joined = replace(config, capacity_policy="guaranteed_no_evict")
    assert batches(joined, requests) == [{"a": 5}, {"a": 1, "b": 5}, {"a": 1}]


def test_the_last_that_was_started_is_paused_and_keeps_its_place():
    config = TensorrtLlmConfig(
        8, 512, num_blocks=4, block_size=4, capacity_policy="max_utilization"
    )
    requests = [("a", 3, 5, 0), ("b", 3, 5, 0), ("c", 3, 5, 0), ("d", 1, 1, 1)]
    steps = steps_of(TensorrtLlmScheduler(config), requests)
    assert [dict(step.tokens) for step in steps] == [
        {"a": 3, "b": 3, "c": 3},
        {"a": 1, "b": 1, "c": 1, "d": 1},
        {"a": 1, "b": 1},
        {"a": 1, "b": 1},
        {"a": 1, "b": 1},
        {"c": 5},
        {"c": 1},
        {"c": 1},
    ]
    assert [i for i, step in enumerate(steps) if step.preempted == ("c",)] == [2]


def test_prompts_are_cut_to_units_or_progress_alike():
    config = TensorrtLlmConfig(
        8,
        100,
        num_blocks=100,
        chunking_policy="first_come_first_served",
        chunk_unit_size=16,
    )
    requests = [("a", 70, 1, 0), ("b", 70, 1, 0), ("c", 70, 1, 0)]
    assert batches(config, requests) == [
        {"a": 70, "b": 16},
        {"b": 54, "c": 32},
        {"c": 38},
    ]
    alike = batches(replace(config, chunking_policy="equal_progress"), requests)
    assert alike[0] == {"a": 32, "b": 32, "c": 32}
    whole = batches(replace(config, chunking_policy="none"), requests)
    assert whole == [{"a": 70}, {"b": 70}, {"c": 70}]


@given(
    capacity=st.sampled_from(CAPACITY_POLICIES),
    chunking=st.sampled_from(CHUNKING_POLICIES),
    workload=st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(0, 12)),
        min_size=1,
        max_size=8,
    ),
    blocks=st.integers(24, 60),
    limit=st.integers(1, 5),
)
def test_tokens_and_blocks_are_conserved(capacity, chunking, workload, blocks, limit):
    config = TensorrtLlmConfig(
        limit,
        90,
        num_blocks=blocks,
        block_size=4,
        capacity_policy=capacity,
        chunking_policy=chunking,
        chunk_unit_size=8,
    )
    scheduler = TensorrtLlmScheduler(config)
    requests = [(f"r{i}", *row) for i, row in enumerate(workload)]
    steps = steps_of(scheduler, requests)
    assert scheduler.free_blocks == blocks
    assert sorted(n for step in steps for n in step.finished) == sorted(r[0] for r in requests)
    paused = {name for step in steps for name in step.preempted}
    assert not paused or capacity == "max_utilization"
    for name, prompt, output, arrival in requests:
        served = [step.tokens.get(name, 0) for step in steps]
        assert not any(served[:arrival])
        if name in paused:
            assert sum(served) >= prompt + output - 1
        else:
            assert sum(served) == prompt + output - 1
    for step in steps:
        assert len(step.tokens) <= limit
        assert sum(step.tokens.values()) <= 90
        assert all(tokens > 0 for tokens in step.tokens.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity_policy": "max_utilisation"}, "did you mean 'max_utilization'"),
        ({"chunking_policy": "equal_progress", "chunk_unit_size": 101}, "chunk_unit_size"),
        ({"max_batch_size": 0}, "max_batch_size"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, message):
    with pytest.raises(InvalidArgument, match=message):
        replace(TensorrtLlmConfig(8, 100, num_blocks=10), **settings)


def test_a_whole_prompt_above_the_budget_is_refused():
    scheduler = TensorrtLlmScheduler(TensorrtLlmConfig(8, 100, num_blocks=10))
    with pytest.raises(InvalidArgument, match="fit in one batch"):
        scheduler.add(FieldRequest("a", 101, 1))
