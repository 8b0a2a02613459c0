from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._tgi import TgiConfig, TgiScheduler


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
    return [dict(step.tokens) for step in steps_of(TgiScheduler(config), requests)]


def test_enough_prompts_interrupt_the_decodes_and_a_decode_follows():
    config = TgiConfig(1000, waiting_served_ratio=1)
    requests = [
        ("a", 50, 4, 0),
        ("b", 50, 4, 0),
        ("c", 9, 2, 1),
        ("d", 9, 2, 2),
        ("e", 9, 2, 3),
    ]
    found = batches(config, requests)
    assert found[0] == {"a": 50, "b": 50}
    assert found[1] == {"a": 1, "b": 1}, "one waiting request is fewer than two"
    assert found[2] == {"c": 9, "d": 9}
    assert found[3] == {"a": 1, "b": 1, "c": 1, "d": 1}, "a decode comes first"


def test_waiting_long_enough_lets_a_single_prompt_in():
    requests = [("a", 5, 40, 0), ("b", 5, 40, 0), ("c", 5, 2, 1)]
    config = TgiConfig(1000, waiting_served_ratio=1, max_waiting_tokens=7)
    found = batches(config, requests)
    assert [i for i, batch in enumerate(found) if batch.get("c") == 5] == [7]


def test_prompts_and_output_have_to_fit_from_the_start():
    requests = [("a", 50, 50, 0), ("b", 50, 50, 0), ("c", 1, 1, 0)]
    found = batches(TgiConfig(199), requests)
    assert found[0] == {"a": 50}, "nobody passes the one that does not fit"
    assert batches(TgiConfig(202), requests)[0] == {"a": 50, "b": 50, "c": 1}
    assert batches(TgiConfig(202, max_batch_prefill_tokens=99), requests)[0] == {"a": 50}


def test_running_requests_are_limited_if_a_limit_is_set():
    requests = [("a", 9, 3, 0), ("b", 9, 2, 0), ("c", 9, 1, 0), ("d", 9, 1, 0)]
    assert len(batches(TgiConfig(1000), requests)[0]) == 4
    found = batches(TgiConfig(1000, max_batch_size=2, waiting_served_ratio=0), requests)
    assert found == [
        {"a": 9, "b": 9},
        {"a": 1, "b": 1},
        {"c": 9},
        {"a": 1},
        {"d": 9},
    ]
    with pytest.raises(InvalidArgument, match="max_batch_size"):
        TgiConfig(1000, max_batch_size=0)


def test_the_last_token_needs_no_place_in_a_block():
    config = TgiConfig(97, max_batch_prefill_tokens=64, block_size=16)
    scheduler = TgiScheduler(config)
    scheduler.add(FieldRequest("a", 64, 33))
    with pytest.raises(InvalidArgument, match="at most 97 tokens"):
        scheduler.add(FieldRequest("b", 64, 34))
    with pytest.raises(InvalidArgument, match="fit in one batch"):
        scheduler.add(FieldRequest("b", 65, 1))
    assert dict(scheduler.step().tokens) == {"a": 64}
    assert scheduler.free_blocks == 0


@given(
    workload=st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(0, 12)),
        min_size=1,
        max_size=8,
    ),
    total=st.integers(120, 300),
    ratio=st.sampled_from([0, 0.3, 1.2]),
    block_size=st.sampled_from([1, 16]),
)
def test_tokens_and_blocks_are_conserved(workload, total, ratio, block_size):
    config = TgiConfig(
        total,
        max_batch_prefill_tokens=70,
        waiting_served_ratio=ratio,
        max_waiting_tokens=9,
        block_size=block_size,
    )
    scheduler = TgiScheduler(config)
    requests = [(f"r{i}", *row) for i, row in enumerate(workload)]
    lengths = {name: prompt + output for name, prompt, output, _ in requests}
    steps = steps_of(scheduler, requests)
    assert scheduler.free_blocks == config.num_blocks
    present = set()
    for step in steps:
        present |= set(step.tokens)
        assert sum(lengths[name] for name in present) <= total
        present -= set(step.finished)
        assert not step.preempted
        if step.mode == "prefill":
            assert sum(step.tokens.values()) <= config.prompt_budget
        else:
            assert set(step.tokens.values()) <= {1}
    for name, prompt, output, _ in requests:
        assert sum(step.tokens.get(name, 0) for step in steps) == prompt + output - 1


def test_a_setting_that_cannot_be_is_refused():
    with pytest.raises(InvalidArgument, match="waiting_served_ratio"):
        replace(TgiConfig(100), waiting_served_ratio=-1)
