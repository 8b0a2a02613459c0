from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._sarathi_serve import (
    SARATHI_SERVE_POLICIES,
    SarathiServeConfig,
    SarathiServeScheduler,
)

MIX = [("a", 60, 4, 0), ("b", 90, 2, 0), ("c", 30, 6, 0), ("d", 120, 3, 2)]


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
    return [dict(step.tokens) for step in steps_of(SarathiServeScheduler(config), requests)]


def mixing(policy, **settings):
    return SarathiServeConfig(
        policy, max_num_seqs=3, num_blocks=64, max_model_len=128, chunk_size=100, **settings
    )


# The batches of these four tests were seen on microsoft/sarathi-serve at 96f9911.
def test_sarathi_fills_the_chunk_after_the_decodes():
    assert batches(mixing("sarathi"), MIX) == [
        {"a": 60, "b": 40},
        {"b": 50, "c": 30, "a": 1},
        {"a": 1, "b": 1, "c": 1},
        {"d": 98, "a": 1, "c": 1},
        {"d": 22, "c": 1},
        {"c": 1, "d": 1},
        {"c": 1, "d": 1},
    ]


def test_vllm_lets_whole_prompts_go_first():
    assert batches(mixing("vllm"), MIX) == [
        {"a": 60},
        {"b": 90, "c": 30},
        {"a": 1, "b": 1, "c": 1},
        {"d": 120},
        {"a": 1, "c": 1, "d": 1},
        {"a": 1, "c": 1, "d": 1},
        {"c": 1},
        {"c": 1},
    ]


def test_orca_adds_whole_prompts_to_the_decodes_while_a_slot_is_free():
    assert batches(mixing("orca"), MIX) == [
        {"a": 60, "b": 90, "c": 30},
        {"a": 1, "b": 1, "c": 1},
        {"a": 1, "c": 1, "d": 120},
        {"a": 1, "c": 1, "d": 1},
        {"c": 1, "d": 1},
        {"c": 1},
    ]


def test_faster_transformer_admits_nobody_until_the_batch_is_empty():
    assert batches(mixing("faster_transformer"), MIX) == [
        {"a": 60, "b": 90, "c": 30},
        {"a": 1, "b": 1, "c": 1},
        {"a": 1, "c": 1},
        {"a": 1, "c": 1},
        {"c": 1},
        {"c": 1},
        {"d": 120},
        {"d": 1},
        {"d": 1},
    ]


def test_simple_chunking_alternates():
    config = replace(mixing("simple_chunking"), chunk_size=50)
    assert batches(config, [("a", 40, 2, 0), ("b", 100, 2, 0)]) == [
        {"a": 40, "b": 10},
        {"a": 1},
        {"b": 50},
        {},
        {"b": 40},
        {"b": 1},
    ]


def test_a_slot_is_as_long_as_the_longest_request():
    config = SarathiServeConfig("orca", 8, num_blocks=16, max_model_len=128)
    found = batches(config, [("a", 1, 2, 0), ("b", 1, 2, 0), ("c", 1, 1, 0)])
    assert found == [{"a": 1, "b": 1}, {"a": 1, "b": 1}, {"c": 1}]


# Four requests of 30 + 40 tokens on 10 blocks: seen on the same version.
@pytest.mark.parametrize(
    ("policy", "emitted"), [("sarathi", [40, 77, 75, 67]), ("vllm", [40, 79, 75, 75])]
)
def test_the_output_count_starts_again_after_a_preemption(policy, emitted):
    config = SarathiServeConfig(
        policy, 8, num_blocks=10, max_model_len=128, chunk_size=256, watermark=0.01
    )
    requests = [(name, 30, 40, 0) for name in "abcd"]
    # Prompts are never split here, so each step of a request emits a token.
    found = batches(config, requests)
    assert [sum(name in batch for batch in found) for name in "abcd"] == emitted
    mended = batches(replace(config, with_defects=False), requests)
    assert [sum(name in batch for batch in mended) for name in "abcd"] == [40] * 4


def test_what_is_too_long_is_dropped():
    config = SarathiServeConfig("vllm", 8, num_blocks=6, max_model_len=70)
    scheduler = SarathiServeScheduler(config)
    steps = steps_of(scheduler, [(name, 30, 40, 0) for name in "abc"])
    assert scheduler.dropped == ("b",), "its output count had started again"
    assert sorted(name for step in steps for name in step.finished) == list("abc")
    tight = SarathiServeScheduler(replace(config, max_num_batched_tokens=40))
    found = steps_of(tight, [("a", 41, 2, 0), ("b", 40, 2, 0)])
    assert [dict(step.tokens) for step in found] == [{"b": 40}, {"b": 1}]
    assert tight.dropped == ("a",)


workloads = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(0, 12)),
    min_size=1,
    max_size=8,
)


@given(
    policy=st.sampled_from(sorted(SARATHI_SERVE_POLICIES)),
    workload=workloads,
    blocks=st.integers(24, 60),
    limit=st.integers(1, 5),
    chunk=st.integers(1, 80),
)
def test_tokens_and_blocks_are_conserved(policy, workload, blocks, limit, chunk):
    config = SarathiServeConfig(
        policy,
        limit,
        num_blocks=blocks,
        block_size=4,
        max_model_len=90,
        chunk_size=chunk,
        with_defects=False,
    )
    scheduler = SarathiServeScheduler(config)
    requests = [(f"r{i}", *row) for i, row in enumerate(workload)]
    steps = steps_of(scheduler, requests)
    assert scheduler.free_blocks == blocks
    assert sorted(n for step in steps for n in step.finished) == sorted(r[0] for r in requests)
    preempted = {name for step in steps for name in step.preempted}
    for name, prompt, output, arrival in requests:
        served = [step.tokens.get(name, 0) for step in steps]
        assert not any(served[:arrival])
        assert all(tokens >= 0 for tokens in served)
        if name in preempted:
            assert sum(served) >= prompt + output - 1
        else:
            assert sum(served) == prompt + output - 1
    for step in steps:
        assert len(step.tokens) <= limit
        if policy == "sarathi":
            assert sum(step.tokens.values()) <= chunk
        if policy in ("orca", "faster_transformer"):
            assert not step.preempted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "sarathy"}, "did you mean 'sarathi'"),
        ({"max_num_seqs": 0}, "max_num_seqs"),
        ({"watermark": 1.5}, "watermark"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, message):
    with pytest.raises(InvalidArgument, match=message):
        replace(mixing("sarathi"), **settings)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (FieldRequest("x", 0, 1), "prompt_tokens"),
        (FieldRequest("x", 1, 0), "output_tokens"),
        (FieldRequest("x", 100, 29), "at most 128 tokens"),
        (FieldRequest("x", 5, 5, most_output_tokens=4), "most_output_tokens"),
        (FieldRequest("a", 5, 5), "name must differ"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(request_, message):
    scheduler = SarathiServeScheduler(mixing("sarathi"))
    scheduler.add(FieldRequest("a", 1, 1))
    with pytest.raises(InvalidArgument, match=message):
        scheduler.add(request_)
    assert scheduler.waiting == ("a",)
