from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._vidur import VIDUR_POLICIES, VidurConfig, VidurScheduler


def steps_of(scheduler, requests, *, at_most=20_000):
    """Return the steps until nobody is left; a request is (name, prompt, output, step)."""
    steps = []
    last = max(request[3] for request in requests)
    while (len(steps) <= last or not scheduler.is_idle) and len(steps) < at_most:
        for name, prompt, output, step in requests:
            if step == len(steps):
                scheduler.add(FieldRequest(name, prompt, output))
        steps.append(scheduler.step())
    return steps


def batches(config, requests, **settings):
    steps = steps_of(VidurScheduler(config), requests, **settings)
    return [dict(step.tokens) for step in steps]


def test_prompts_are_padded_to_the_longest():
    config = VidurConfig("vllm", 64, num_blocks=1000, max_tokens_in_batch=100)
    found = batches(config, [("x", 60, 2, 0), ("y", 10, 2, 0), ("z", 10, 2, 0)])
    assert found == [{"x": 60}, {"y": 10, "z": 10}, {"x": 1, "y": 1, "z": 1}]
    exact = replace(config, max_tokens_in_batch=180)
    assert batches(exact, [("x", 60, 1, 0), ("y", 10, 1, 0), ("z", 10, 1, 0)]) == [
        {"x": 60, "y": 10, "z": 10}
    ]


def test_a_slot_is_rounded_down():
    config = VidurConfig("orca", 8, num_blocks=5, max_request_tokens=47)
    found = batches(config, [(name, 1, 1, 0) for name in "abc"])
    assert found == [{"a": 1, "b": 1}, {"c": 1}]
    with pytest.raises(InvalidArgument, match="slots"):
        replace(config, max_request_tokens=15)


# Seen on microsoft/vidur at 7d47513: a batch of four, then batches of one for ever.
def test_slots_leak_unless_mended():
    config = VidurConfig("faster_transformer", 4, num_blocks=32, max_request_tokens=128)
    requests = [(str(i), 50, 2 + i, 0) for i in range(12)]
    sizes = [len(batch) for batch in batches(config, requests)]
    assert sizes[:4] == [4, 4, 3, 2]
    assert set(sizes[4:]) == {1}
    mended = replace(config, with_defects=False)
    assert sum(50 in batch.values() for batch in batches(mended, requests)) == 3


def test_slots_that_leaked_are_gone_for_ever():
    config = VidurConfig("faster_transformer", 2, num_blocks=16, max_request_tokens=128)
    requests = [("a", 5, 1, 0), ("b", 5, 2, 0), ("c", 5, 1, 0), ("d", 5, 2, 0), ("e", 5, 1, 0)]
    scheduler = VidurScheduler(config)
    steps_of(scheduler, requests, at_most=50)
    assert scheduler.free_blocks == 8
    assert scheduler.is_idle
    mended = VidurScheduler(replace(config, with_defects=False))
    steps_of(mended, requests)
    assert mended.free_blocks == 16


# Seen on the same version: prompt 90, preempted after 10 tokens, is prompt 10 and 85 decodes.
def test_a_prompt_that_is_preempted_is_cut_unless_mended():
    config = VidurConfig("sarathi", 8, num_blocks=8, chunk_size=40, watermark=0)
    requests = [("a", 30, 40, 0), ("b", 90, 5, 0)]
    found = [batch.get("b") for batch in batches(config, requests) if "b" in batch]
    assert found[:3] == [10, 10, 1]
    mended = steps_of(VidurScheduler(replace(config, with_defects=False)), requests)
    restart = max(i for i, step in enumerate(mended) if "b" in step.preempted)
    assert sum(step.tokens.get("b", 0) for step in mended[restart:]) == 94


workloads = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(0, 12)),
    min_size=1,
    max_size=8,
)


@given(
    policy=st.sampled_from(sorted(VIDUR_POLICIES)),
    workload=workloads,
    blocks=st.integers(24, 60),
    cap=st.integers(1, 5),
    chunk=st.integers(1, 80),
)
def test_tokens_and_blocks_are_conserved(policy, workload, blocks, cap, chunk):
    config = VidurConfig(
        policy,
        cap,
        num_blocks=blocks,
        block_size=4,
        max_request_tokens=90,
        chunk_size=chunk,
        max_tokens_in_batch=100,
        with_defects=False,
    )
    scheduler = VidurScheduler(config)
    requests = [(f"r{i}", *row) for i, row in enumerate(workload)]
    steps = steps_of(scheduler, requests)
    assert scheduler.is_idle
    assert scheduler.free_blocks == blocks
    assert sorted(n for step in steps for n in step.finished) == sorted(r[0] for r in requests)
    preempted = {name for step in steps for name in step.preempted}
    for name, prompt, output, arrival in requests:
        served = [step.tokens.get(name, 0) for step in steps]
        assert not any(served[:arrival])
        if name in preempted:
            assert sum(served) >= prompt + output - 1
        else:
            assert sum(served) == prompt + output - 1
    for step in steps:
        assert len(step.tokens) <= cap
        if policy == "sarathi":
            assert sum(step.tokens.values()) <= max(chunk, len(step.tokens))
        if policy == "vllm" and step.tokens:
            assert len(step.tokens) * max(step.tokens.values()) <= 100


def test_an_unknown_policy_is_refused():
    with pytest.raises(InvalidArgument, match="Accepted: 'faster_transformer'"):
        VidurConfig("orka", 8, num_blocks=10)
