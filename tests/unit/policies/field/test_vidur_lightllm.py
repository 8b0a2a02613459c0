import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._field_jobs import Job
from queueing_llm.policies.field._vidur_lightllm import (
    VidurLightllmConfig,
    VidurLightllmScheduler,
    most_stored,
)


def steps_of(config, requests):
    """Return the steps until nobody is left; a request is (name, prompt, output, step)."""
    scheduler, steps = VidurLightllmScheduler(config), []
    last = max(request[3] for request in requests)
    while len(steps) <= last or not scheduler.is_idle:
        for name, prompt, output, step in requests:
            if step == len(steps):
                scheduler.add(FieldRequest(name, prompt, output))
        steps.append(scheduler.step())
        assert len(steps) < 20_000, "control: every request comes to its end"
        assert scheduler.free_blocks >= 0
    return steps


def batches(config, requests):
    return [dict(step.tokens) for step in steps_of(config, requests)]


def test_prompts_interrupt_after_so_many_batches_of_decodes():
    config = VidurLightllmConfig(8, num_blocks=1000, max_waiting_iters=3)
    found = batches(config, [("a", 5, 9, 0), ("b", 5, 2, 1), ("c", 5, 2, 6)])
    a = {"a": 1}
    assert found[:6] == [{"a": 5}, a, a, a, {"b": 5}, {"a": 1, "b": 1}]
    assert found[6:] == [a, a, {"c": 5}, {"a": 1, "c": 1}, a]


def test_a_turn_that_admits_nobody_counts_as_a_batch_of_decodes():
    config = VidurLightllmConfig(8, num_blocks=40, max_waiting_iters=3)
    found = batches(config, [("a", 5, 20, 0), ("x", 20, 6, 0), ("b", 15, 2, 1)])
    both, a = {"a": 1, "x": 1}, {"a": 1}
    # Prompts have turns in steps 4 and 7; in step 4 there is no room beside x.
    assert found[:9] == [{"a": 5, "x": 20}, *[both] * 5, a, {"b": 15}, {"a": 1, "b": 1}]


def test_the_peak_to_come_decides_not_what_is_stored_now():
    requests = [("a", 10, 11, 0), ("b", 10, 11, 0)]
    tight = VidurLightllmConfig(8, num_blocks=40)
    assert batches(tight, requests)[0] == {"a": 10}, "both end with 20 tokens each"
    assert batches(VidurLightllmConfig(8, num_blocks=41), requests)[0] == {"a": 10, "b": 10}
    shorter = [("a", 10, 11, 0), ("b", 10, 2, 0)]
    assert batches(VidurLightllmConfig(8, num_blocks=24), shorter)[0] == {"a": 10, "b": 10}
    assert batches(VidurLightllmConfig(8, num_blocks=22), shorter)[0] == {"a": 10}


def test_requests_and_prompt_tokens_of_a_batch_are_limited():
    config = VidurLightllmConfig(2, num_blocks=1000, max_tokens_in_batch=30)
    found = batches(config, [("a", 20, 3, 0), ("b", 10, 3, 0), ("c", 1, 1, 0)])
    assert found == [{"a": 20, "b": 10}, {"a": 1, "b": 1}, {"a": 1, "b": 1}, {"c": 1}]
    assert batches(config, [("a", 21, 1, 0), ("b", 10, 1, 0)])[0] == {"a": 21}


def test_what_no_batch_can_hold_is_refused():
    scheduler = VidurLightllmScheduler(VidurLightllmConfig(2, num_blocks=50))
    scheduler.add(FieldRequest("a", 40, 10))
    scheduler.add(FieldRequest("b", 48, 1))
    with pytest.raises(InvalidArgument, match="at most 50 tokens"):
        scheduler.add(FieldRequest("c", 40, 11))
    with pytest.raises(InvalidArgument, match="at most 49 tokens"):
        scheduler.add(FieldRequest("c", 49, 1))
    narrow = VidurLightllmScheduler(
        VidurLightllmConfig(2, num_blocks=50, max_tokens_in_batch=9)
    )
    with pytest.raises(InvalidArgument, match="fit in one batch"):
        narrow.add(FieldRequest("a", 10, 1))
    with pytest.raises(InvalidArgument, match="max_waiting_iters"):
        VidurLightllmConfig(2, num_blocks=50, max_waiting_iters=0)


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 40), st.integers(2, 20), st.integers(0, 20)),
        min_size=1,
        max_size=8,
    )
)
def test_the_fullest_moment_is_found(rows):
    """The closed form is the largest of the sums of all decode steps to come."""
    jobs = [
        Job(str(i), p, d, d, i, computed=p, generated=min(g, d - 1))
        for i, (p, d, g) in enumerate(rows)
    ]
    known = [job.prompt + max(job.generated, 1) for job in jobs]
    rest = [job.output - max(job.generated, 1) - 1 for job in jobs]
    sums = [
        sum(n + ahead for n, d in zip(known, rest, strict=True) if d >= ahead)
        for ahead in range(max(rest) + 1)
    ]
    assert most_stored(jobs) == max(sums)


workloads = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 30), st.integers(0, 20)),
    min_size=1,
    max_size=10,
)


@given(
    workload=workloads,
    tokens=st.integers(71, 200),
    cap=st.integers(1, 6),
    iters=st.integers(1, 12),
)
def test_nobody_is_preempted_and_the_cache_never_overflows(workload, tokens, cap, iters):
    config = VidurLightllmConfig(
        cap, num_blocks=tokens, max_tokens_in_batch=50, max_waiting_iters=iters
    )
    requests = [(str(i), *row) for i, row in enumerate(sorted(workload, key=lambda r: r[2]))]
    steps = steps_of(config, requests)
    stored = {}
    for step in steps:
        for name, count in step.tokens.items():
            stored[name] = stored.get(name, 0) + count
        assert sum(stored.values()) < tokens
        assert len(stored) <= cap
        assert not step.preempted
        is_of_prompts = any(stored[name] == count for name, count in step.tokens.items())
        if is_of_prompts:
            assert sum(step.tokens.values()) <= 50
        for name in step.finished:
            del stored[name]
    for name, prompt, output, _ in requests:
        served = [step.tokens[name] for step in steps if name in step.tokens]
        assert served == [prompt] + [1] * (output - 1)


@given(rows=st.lists(st.tuples(st.integers(1, 40), st.integers(2, 20)), min_size=1, max_size=6))
def test_what_is_foreseen_comes(rows):
    """Those that start together store as much as was foreseen, and need one token more."""
    jobs = [Job(str(i), p, d, d, i) for i, (p, d) in enumerate(rows)]
    foreseen = most_stored(jobs)
    requests = [(str(i), *row, 0) for i, row in enumerate(rows)]
    steps = steps_of(VidurLightllmConfig(9, num_blocks=foreseen + 1), requests)
    assert len(steps[0].tokens) == len(rows)
    stored, fullest = {}, 0
    for step in steps:
        for name, count in step.tokens.items():
            stored[name] = stored.get(name, 0) + count
        fullest = max(fullest, sum(stored.values()))
        for name in step.finished:
            del stored[name]
    assert fullest == foreseen
    if len(rows) > 1 and max(map(sum, rows)) <= foreseen:
        tighter = steps_of(VidurLightllmConfig(9, num_blocks=foreseen), requests)
        assert len(tighter[0].tokens) < len(rows)
