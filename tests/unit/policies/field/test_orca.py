import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._orca import OrcaConfig, OrcaScheduler


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
    return [dict(step.tokens) for step in steps_of(OrcaScheduler(config), requests)]


def test_prompts_join_decodes_at_every_iteration():
    requests = [("a", 60, 4, 0, 4), ("b", 90, 2, 0, 2), ("c", 30, 6, 1, 6), ("d", 9, 1, 1, 1)]
    assert batches(OrcaConfig(3, 1000), requests) == [
        {"a": 60, "b": 90},
        {"a": 1, "b": 1, "c": 30},
        {"a": 1, "c": 1, "d": 9},
        {"a": 1, "c": 1},
        {"c": 1},
        {"c": 1},
        {"c": 1},
    ]


def test_slots_are_reserved_for_what_is_promised_and_nobody_passes():
    requests = [("a", 40, 2, 0, 20), ("b", 39, 2, 0, 2), ("c", 1, 1, 0, 1)]
    assert batches(OrcaConfig(8, 100), requests)[0] == {"a": 40}
    assert batches(OrcaConfig(8, 101), requests)[0] == {"a": 40, "b": 39}
    assert batches(OrcaConfig(8, 103), requests)[0] == {"a": 40, "b": 39, "c": 1}


def test_slots_return_when_a_request_ends():
    scheduler = OrcaScheduler(OrcaConfig(8, 50))
    scheduler.add(FieldRequest("a", 10, 2, most_output_tokens=30))
    scheduler.add(FieldRequest("b", 10, 2))
    scheduler.step()
    assert (scheduler.running, scheduler.waiting, scheduler.free_slots) == (("a",), ("b",), 10)
    scheduler.step()
    assert (scheduler.running, scheduler.waiting, scheduler.free_slots) == ((), ("b",), 50)


def test_what_the_slots_cannot_hold_is_refused():
    scheduler = OrcaScheduler(OrcaConfig(8, 50))
    with pytest.raises(InvalidArgument, match=r"at most 50 tokens \(num_slots\)"):
        scheduler.add(FieldRequest("a", 10, 2, most_output_tokens=41))
    with pytest.raises(InvalidArgument, match="num_slots"):
        OrcaConfig(8, 0)


@given(
    workload=st.lists(
        st.tuples(
            st.integers(1, 60), st.integers(1, 30), st.integers(0, 20), st.integers(0, 9)
        ),
        min_size=1,
        max_size=10,
    ),
    most=st.integers(1, 5),
    slots=st.integers(99, 300),
)
def test_reservations_fit_and_only_they_and_the_batch_hold_anybody_back(workload, most, slots):
    rows = sorted(workload, key=lambda row: row[2])
    requests = [(str(i), p, d, step, d + more) for i, (p, d, step, more) in enumerate(rows)]
    need = {name: prompt + promised for name, prompt, _, _, promised in requests}
    arrival = {name: step for name, _, _, step, _ in requests}
    steps = steps_of(OrcaScheduler(OrcaConfig(most, slots)), requests)
    running, waiting = [], [request[0] for request in requests]
    for number, step in enumerate(steps):
        assert not step.preempted
        assert set(running) <= set(step.tokens), "whoever runs is always served"
        joined = [name for name in step.tokens if name not in running]
        assert joined == waiting[: len(joined)], "first come, first served"
        running, waiting = running + joined, waiting[len(joined) :]
        held = sum(need[name] for name in running)
        assert held <= slots
        assert len(running) <= most
        if waiting and arrival[waiting[0]] <= number:
            assert len(running) == most or held + need[waiting[0]] > slots
        running = [name for name in running if name not in step.finished]
    for name, prompt, output, _, _ in requests:
        served = [step.tokens[name] for step in steps if name in step.tokens]
        assert served == [prompt] + [1] * (output - 1)
