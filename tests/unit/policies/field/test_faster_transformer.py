from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._faster_transformer import (
    FINISHED_ROWS,
    FasterTransformerConfig,
    FasterTransformerScheduler,
)


def played(config, requests):
    """Return (step, rows, padding) of each step; a request is (name, prompt, output, step)."""
    scheduler, steps = FasterTransformerScheduler(config), []
    last = max(request[3] for request in requests)
    while len(steps) <= last or not scheduler.is_idle:
        for name, prompt, output, step in requests:
            if step == len(steps):
                scheduler.add(FieldRequest(name, prompt, output))
        steps.append((scheduler.step(), scheduler.rows, scheduler.padding))
        assert len(steps) < 20_000, "control: every request comes to its end"
    return steps


def test_prompts_are_padded_and_finished_rows_stay():
    requests = [("a", 60, 4, 0), ("b", 20, 2, 0), ("c", 30, 1, 1)]
    steps = played(FasterTransformerConfig(8), requests)
    assert [(dict(step.tokens), rows, padding) for step, rows, padding in steps] == [
        ({"a": 60, "b": 20}, 2, 40),
        ({"a": 1, "b": 1}, 2, 0),
        ({"a": 1}, 2, 1),
        ({"a": 1}, 2, 1),
        ({"c": 30}, 1, 0),
    ]
    assert [step.finished for step, *_ in steps] == [(), ("b",), (), ("a",), ("c",)]
    dropping = played(FasterTransformerConfig(8, finished_rows="drop"), requests)
    assert [(rows, padding) for _, rows, padding in dropping][:4] == [
        (2, 40),
        (2, 0),
        (1, 0),
        (1, 0),
    ]


def test_an_empty_engine_has_no_rows():
    scheduler = FasterTransformerScheduler(FasterTransformerConfig(8))
    assert not scheduler.step().tokens
    assert (scheduler.rows, scheduler.padding) == (0, 0)


def test_a_row_takes_the_longest_prompt_and_the_longest_output():
    config = FasterTransformerConfig(8, kv_tokens=100)
    found = played(config, [("a", 40, 2, 0), ("b", 3, 10, 0), ("c", 1, 1, 0)])
    assert dict(found[0][0].tokens) == {"a": 40, "b": 3}, "a third row of 50 does not fit"
    alone = played(replace(config, kv_tokens=99), [("a", 40, 2, 0), ("b", 3, 10, 0)])
    assert dict(alone[0][0].tokens) == {"a": 40}


def test_what_is_promised_is_reserved():
    scheduler = FasterTransformerScheduler(FasterTransformerConfig(8, kv_tokens=100))
    scheduler.add(FieldRequest("a", 10, 1, most_output_tokens=50))
    scheduler.add(FieldRequest("b", 10, 1))
    assert dict(scheduler.step().tokens) == {"a": 10}
    with pytest.raises(InvalidArgument, match="at most 100 tokens"):
        scheduler.add(FieldRequest("c", 50, 51))


lengths = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=12)


@given(lengths=lengths, most=st.integers(1, 5), kv_tokens=st.none() | st.integers(90, 300))
def test_a_burst_costs_what_its_padded_batches_cost(lengths, most, kv_tokens):
    """The cost of a closed batch is its rows, its longest prompt and its longest output."""
    config = FasterTransformerConfig(most, kv_tokens=kv_tokens)
    steps = played(config, [(str(i), *row, 0) for i, row in enumerate(lengths)])
    batches, batch = [], []
    for prompt, output in lengths:
        joined = [*batch, (prompt, output)]
        size = len(joined) * (max(p for p, _ in joined) + max(d for _, d in joined))
        if batch and (len(joined) > most or size > (kv_tokens or size)):
            batches.append(batch)
            joined = [(prompt, output)]
        batch = joined
    batches.append(batch)
    longest = [(len(b), max(p for p, _ in b), max(d for _, d in b)) for b in batches]
    assert len(steps) == sum(output for *_, output in longest)
    found = sum(sum(step.tokens.values()) + padding for step, _, padding in steps)
    assert found == sum(rows * (prompt + output - 1) for rows, prompt, output in longest)


@given(
    workload=st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(0, 40)),
        min_size=1,
        max_size=8,
    ),
    most=st.integers(1, 5),
    finished_rows=st.sampled_from(FINISHED_ROWS),
)
def test_nobody_joins_a_batch_and_tokens_are_conserved(workload, most, finished_rows):
    config = FasterTransformerConfig(most, finished_rows=finished_rows)
    requests = [(str(i), *row) for i, row in enumerate(sorted(workload, key=lambda r: r[2]))]
    members, unfinished = set(), set()
    steps = played(config, requests)
    for step, rows, padding in steps:
        if not unfinished:
            members = set(step.tokens)
        assert set(step.tokens) <= members
        unfinished = (unfinished | set(step.tokens)) - set(step.finished)
        kept = members if finished_rows == "stay" else set(step.tokens)
        assert rows == len(kept) <= most
        assert padding == rows * max(step.tokens.values(), default=0) - sum(
            step.tokens.values()
        )
    for name, prompt, output, arrival in requests:
        served = [step.tokens.get(name, 0) for step, *_ in steps]
        assert not any(served[:arrival])
        assert sum(served) == prompt + output - 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"finished_rows": "stays"}, "did you mean 'stay'"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"kv_tokens": 0}, "kv_tokens"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, message):
    with pytest.raises(InvalidArgument, match=message):
        replace(FasterTransformerConfig(8), **settings)
