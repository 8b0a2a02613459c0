from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument, QueueingLLMError
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._field_sglang_config import SglangConfig
from queueing_llm.policies.field._sglang import SglangScheduler


def steps_of(scheduler, requests):
    """Return the steps until nobody is left; (name, prompt, output, step, most output)."""
    steps = []
    last = max(request[3] for request in requests)
    while len(steps) <= last or not scheduler.is_idle:
        for name, prompt, output, step, most in requests:
            if step == len(steps):
                scheduler.add(FieldRequest(name, prompt, output, most_output_tokens=most))
        steps.append(scheduler.step())
        assert len(steps) < 20_000, "control: every request comes to its end"
    return steps


def batches(config, requests):
    return [dict(step.tokens) for step in steps_of(SglangScheduler(config), requests)]


# The batches of these tests were seen on SGLang 0.5.6.
def test_decodes_wait_for_prompts_unless_mixed():
    config = SglangConfig(10_000, 64, chunked_prefill_size=1024)
    requests = [(name, 800, 4, 0, 4) for name in "abc"]
    everyone = {"a": 1, "b": 1, "c": 1}
    prompts = [{"a": 800, "b": 224}, {"b": 576, "c": 448}, {"c": 352}]
    assert batches(config, requests) == prompts + [everyone] * 3
    assert batches(replace(config, mixed=True), requests) == [
        {"a": 800, "b": 224},
        {"b": 576, "c": 447, "a": 1},
        {"c": 353, "b": 1, "a": 1},
        everyone,
        {"c": 1, "b": 1},
        {"c": 1},
    ]


def test_promised_output_is_held_back_and_a_pass_is_idle():
    config = SglangConfig(160, 64, chunked_prefill_size=256)
    requests = [(name, 10, 5, 0, 100) for name in "abcd"]
    steps = steps_of(SglangScheduler(config), requests)
    assert [step.mode[0] for step in steps] == list("EDDDDIEDDDDIEDDDDIEDDDD")
    mended = steps_of(SglangScheduler(replace(config, with_defects=False)), requests)
    assert [step.mode[0] for step in mended] == list("EDDDDEDDDDEDDDDEDDDD")


def test_a_request_is_retracted_when_tokens_run_out():
    config = SglangConfig(200, 64, chunked_prefill_size=256, conservativeness=0.3)
    scheduler = SglangScheduler(config)
    for name in "0123":
        scheduler.add(FieldRequest(name, 30, 60))
    ratios, retracted, seen = {}, {}, []
    while not scheduler.is_idle:
        step = scheduler.step()
        ratios[len(seen)] = round(scheduler.new_token_ratio, 4)
        if step.preempted:
            retracted[len(seen)] = step.preempted
        seen.append(dict(step.tokens))
    assert seen[:2] == [{"0": 30, "1": 30}, {"2": 30}]
    assert retracted == {38: ("2",)}
    assert (ratios[2], ratios[38]) == (0.2097, 0.9421)
    assert seen[61:63] == [{}, {"3": 30, "2": 67}]


def test_a_split_prompt_may_get_less_than_nothing():
    config = SglangConfig(
        95,
        2,
        chunked_prefill_size=8,
        max_prefill_tokens=30,
        mixed=True,
        conservativeness=0.1,
    )
    requests = [
        ("a", 28, 45, 2, 55),
        ("b", 13, 4, 6, 4),
        ("c", 43, 8, 10, 8),
        ("d", 37, 45, 13, 57),
    ]
    with pytest.raises(QueueingLLMError, match="tokens to the split prompt"):
        batches(config, requests)
    assert batches(replace(config, with_defects=False), requests)


def test_a_request_that_would_wait_for_ever_is_refused():
    scheduler = SglangScheduler(SglangConfig(100, 8))
    scheduler.add(FieldRequest("a", 50, 10, most_output_tokens=49))
    with pytest.raises(InvalidArgument, match="below kv_tokens"):
        scheduler.add(FieldRequest("b", 50, 10, most_output_tokens=50))


@st.composite
def runs(draw):
    tokens = draw(st.integers(40, 200))
    config = SglangConfig(
        tokens,
        draw(st.integers(1, 6)),
        chunked_prefill_size=draw(st.sampled_from([8, 16, 64])),
        max_prefill_tokens=draw(st.sampled_from([30, 200])),
        mixed=draw(st.booleans()),
        conservativeness=draw(st.sampled_from([0.1, 0.3, 1.0])),
        with_defects=False,
    )
    requests = []
    for number in range(draw(st.integers(1, 7))):
        prompt = draw(st.integers(1, tokens - 2))
        most = draw(st.integers(1, tokens - 1 - prompt))
        output = draw(st.integers(1, most))
        requests.append((f"r{number}", prompt, output, draw(st.integers(0, 12)), most))
    return config, requests


@given(run=runs())
def test_tokens_are_conserved(run):
    config, requests = run
    scheduler = SglangScheduler(config)
    steps = steps_of(scheduler, requests)
    assert scheduler.free_tokens == config.kv_tokens
    assert sorted(n for step in steps for n in step.finished) == sorted(r[0] for r in requests)
    retracted = {name for step in steps for name in step.preempted}
    for name, prompt, output, arrival, _ in requests:
        served = [step.tokens.get(name, 0) for step in steps]
        assert not any(served[:arrival])
        assert all(tokens > 0 for step in steps for tokens in step.tokens.values())
        if name in retracted:
            assert sum(served) >= prompt + output - 1
        else:
            assert sum(served) == prompt + output - 1
    for step in steps:
        assert len(step.tokens) <= config.max_running
        assert (step.mode == "IDLE") == (not step.tokens)
        if step.mode in ("EXTEND", "MIXED"):
            # A batch of more decodes than the chunk has no prompt, so it is no such batch.
            assert sum(step.tokens.values()) <= config.chunked_prefill_size
        if step.mode == "DECODE":
            assert set(step.tokens.values()) == {1}
