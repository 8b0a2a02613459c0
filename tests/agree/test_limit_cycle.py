"""Limit cycles of equal requests: counted, simulated, and replayed with the rule itself.

Three routes. The compiled kernel simulates a burst and knows nothing of cycles. A replay asks
the rule for every batch, with all requests in its state, and adds up fractions. Where
FasterTransformer has a closed form, that is a third.
"""

from dataclasses import fields
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.model import (
    DeterministicArrivals,
    DeterministicLength,
    Engine,
    IndependentLengths,
    Workload,
)
from queueing_llm.policies import BatchRule, EngineState, policy_named
from queueing_llm.simulate import simulate
from queueing_llm.stability import request_level_rate
from queueing_llm.stability.cycles._equal_requests import Arrivals, EqualRequests
from queueing_llm.stability.cycles._limit_cycle import limit_cycle
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime

A100 = StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
AFFINE = AffineStepTime(Fraction("0.01"), Fraction("0.0002"))
READS_KV = AffineStepTime(Fraction("0.01"), Fraction("0.0002"), Fraction("0.000001"))


def system(law, budget, limit, prompt, output, *, gap=Fraction(1), emits=False):
    engine = Engine(law, budget, max_batch_size=limit, first_token_from_prefill=emits)
    lengths = IndependentLengths(DeterministicLength(prompt), DeterministicLength(output))
    return engine, Workload.of(DeterministicArrivals.every(gap), lengths)


@pytest.mark.parametrize(
    ("policy", "law", "budget", "limit", "prompt", "output", "cycles"),
    [
        ("sarathi", A100, 128, 100, 290, 990, 100),
        ("sarathi", A100, 256, 100, 290, 990, 10),
        ("sarathi", A100, 1024, 100, 290, 990, 10),
        ("vllm_v1", A100, 1024, 100, 290, 990, 10),
        ("sarathi", AFFINE, 512, 64, 129, 112, 100),
        ("sarathi", READS_KV, 256, 32, 129, 112, 100),
        ("sarathi:whole", A100, 512, 32, 300, 40, 100),
        ("orca:residents", AFFINE, 64, 16, 100, 50, 100),
        ("orca:whole", A100, 512, None, 300, 2, 100),
        ("vanilla_vllm:residents", READS_KV, 512, 30, 129, 112, 100),
        ("vanilla_vllm:chunked,residents", A100, 128, 40, 290, 99, 20),
        ("faster_transformer", AFFINE, 512, 100, 129, 112, 100),
        ("faster_transformer:chunked,residents", A100, 512, 8, 200, 30, 50),
    ],
)
def test_the_kernel_completes_as_many_requests_of_a_burst(
    policy, law, budget, limit, prompt, output, cycles
):
    engine, load = system(law, budget, limit, prompt, output)
    rule = policy_named(policy)
    found = limit_cycle(engine, load, policy=rule)
    end = found.since + cycles * found.seconds
    count = 2 * int(end * found.rate) + 1000
    burst = Workload.of_requests(
        np.zeros(count), prompt_tokens=[prompt] * count, output_tokens=[output] * count
    )
    run = simulate(engine, burst, policy=rule, horizon=float(end) + 1, keep_requests=True)
    finish = run.outcomes[0].requests.finish
    # All times are whole nanoseconds, so that counts between cycles are exact.
    ticks = [int((found.since + i * found.seconds) * 10**9) for i in range(cycles + 1)]
    finished = np.searchsorted(np.sort(finish[finish >= 0]), ticks, side="right")
    assert np.diff(finished).tolist() == [found.completed] * cycles


@pytest.mark.parametrize(
    ("policy", "budget", "gap", "grows"),
    [
        ("sarathi", 128, "0.4675", False),
        ("sarathi", 1024, "0.4675", True),
        ("sarathi", 1024, "0.52", True),
        ("sarathi", 1024, "0.6", False),
        ("orca:residents", 128, "0.4675", True),
        ("vanilla_vllm:chunked", 128, "0.4675", True),
        ("faster_transformer:chunked", 1024, "0.4675", True),
    ],
)
def test_the_kernel_grows_as_much_from_an_empty_engine(policy, budget, gap, grows):
    engine, load = system(A100, budget, 100, 290, 990, gap=Fraction(gap))
    rule = policy_named(policy)
    found = limit_cycle(engine, load, policy=rule, start="empty")
    assert (found.growth > 0) == grows
    horizon = float(max(20_000, found.since + 3 * found.seconds))
    run = simulate(engine, load, policy=rule, horizon=horizon, samples=100)
    late = run.times >= float(found.since)
    times, present = run.times[late], run.requests_in_system[0][late]
    line = present[0] + float(found.growth) * (times - times[0])
    assert times[-1] - times[0] > 2 * found.seconds
    # Completions of any time differ from their mean by those of one cycle, arrivals by one.
    assert np.abs(present - line).max() <= found.completed + 1


def test_a_different_rate_would_be_noticed():
    """Control: the tolerance above rejects growth that is wrong by one per cent."""
    engine, load = system(A100, 1024, 100, 290, 990, gap=Fraction("0.4675"))
    found = limit_cycle(engine, load, policy=policy_named("sarathi"), start="empty")
    run = simulate(engine, load, policy=policy_named("sarathi"), horizon=200_000, samples=100)
    grown = np.ptp(run.requests_in_system[0, [20, 100]])
    right = float(found.growth) * 160_000
    assert abs(grown - right) <= found.completed + 1
    assert abs(grown - 1.01 * right) > found.completed + 1


rules = st.builds(
    BatchRule,
    name=st.just("any"),
    first=st.sampled_from(["decode", "prefill"]),
    mixed=st.booleans(),
    chunked=st.booleans(),
    limit_counts=st.sampled_from(["members", "residents"]),
)
laws = st.sampled_from(
    [
        StaircaseStepTime(Fraction(1, 10), Fraction(3, 10), 4),
        AffineStepTime(Fraction(1, 5), Fraction(1, 20), Fraction(1, 100)),
        TableStepTime.of_tokens(
            [1, 2, 5, 60], [Fraction(1), Fraction(4, 5), Fraction(11, 10), Fraction(3)]
        ),
    ]
)


@st.composite
def cases(draw):
    emits = draw(st.booleans())
    engine, load = system(
        draw(laws),
        draw(st.integers(1, 12)),
        draw(st.none() | st.integers(1, 6)),
        draw(st.integers(1, 9)),
        draw(st.integers(emits, 7)),
        gap=draw(
            st.sampled_from([Fraction(1, 2), Fraction(3, 2), Fraction(7, 3), Fraction(9)])
        ),
        emits=emits,
    )
    return engine, load, draw(rules)


def replay(engine, load, rule):
    """Yield state, batch, start and end of every step, idling left out; all exact."""
    prompt, output = int(load.mean_prompt_tokens), int(load.mean_output_tokens)
    steps = engine.decode_steps(output)
    gap = 1 / load.arrival_rate
    clock, upcoming, arrived = Fraction(0), gap, 0
    columns = {
        name: np.zeros(0, np.int64) for name in ("request", "prompt", "decode", "stored")
    }
    while True:
        while upcoming <= clock:
            new = {"request": arrived, "prompt": prompt, "decode": steps, "stored": 0}
            columns = {name: np.append(column, new[name]) for name, column in columns.items()}
            upcoming, arrived = upcoming + gap, arrived + 1
        state = state_of(engine, columns)
        tokens = rule(state).tokens
        if not tokens.any():
            clock = upcoming
            continue
        prefill = np.where(state.prompt_left > 0, tokens, 0)
        decode = tokens - prefill
        reads = int(state.stored[decode > 0].sum())
        start = clock
        clock += engine.step_time(int(prefill.sum()), int(decode.sum()), reads)
        yield state, tokens, start, clock
        columns["prompt"] = columns["prompt"] - prefill
        columns["decode"] = columns["decode"] - decode
        columns["stored"] = columns["stored"] + tokens
        stay = (columns["prompt"] > 0) | (columns["decode"] > 0)
        columns = {name: column[stay] for name, column in columns.items()}


def state_of(engine, columns):
    return EngineState(
        request=columns["request"],
        class_index=np.zeros_like(columns["request"]),
        prompt_left=columns["prompt"],
        decode_left=columns["decode"],
        stored=columns["stored"],
        token_budget=engine.token_budget,
        max_batch_size=engine.max_batch_size,
    )


def counts(engine, load, rule):
    """Return the same engine as counts."""
    gap = 1 / load.arrival_rate
    return EqualRequests(
        engine,
        rule,
        prompt=int(load.mean_prompt_tokens),
        steps=engine.decode_steps(int(load.mean_output_tokens)),
        arrivals=Arrivals(gap, gap),
    )


def test_the_counts_know_every_choice_of_a_rule():
    """A new field of the rule must be taught to the counts, or refused by them."""
    known = {"name", "first", "mixed", "chunked", "limit_counts"}
    assert {field.name for field in fields(BatchRule)} == known


def can_serve(engine, load, rule):
    return rule.chunked or load.longest_prompt <= engine.token_budget


@settings(max_examples=150)
@given(cases())
def test_counts_move_as_the_rule_moves_requests(case):
    engine, _, rule = case
    if not can_serve(*case):
        return
    requests = counts(*case)
    for state, tokens, start, end in islice(replay(*case), 60):
        while requests.clock < start:
            assert requests.step() == (0, 0, 0)
        assert requests.clock == start
        waiting = int((state.stored == 0).sum())
        partly = (state.stored > 0) & (state.prompt_left > 0)
        decoding = state.prompt_left == 0
        fresh = requests.decodes.fresh * (requests.decodes.steps,)
        assert requests.waiting == waiting
        assert requests.prompt_left == state.prompt_left[partly].sum()
        assert (*requests.decodes.steps_left(), *fresh) == tuple(state.decode_left[decoding])
        requests.lacked_prompts = requests.lacked_decodes = False
        shape = requests.step()
        assert shape[:2] == (tokens[~decoding].sum(), tokens[decoding].sum())
        assert requests.clock == end
        check_insertion(state, tokens, rule, requests, waits=True)
        if engine.max_batch_size is None or rule.limit_counts == "members":
            check_insertion(state, tokens, rule, requests, waits=False)


def check_insertion(state, tokens, rule, requests, *, waits):
    """One more untouched request changes the batch exactly if one was lacked."""
    decoding = int((state.prompt_left == 0).sum())
    place = len(state.request) if waits else decoding
    if not waits and not requests.decodes.steps:
        return
    prompt = requests.prompt
    new = (prompt if waits else 0, requests.decodes.steps, 0 if waits else prompt)
    left = (state.prompt_left, state.decode_left, state.stored)
    prompt, decode, stored = (
        np.insert(c, place, value) for c, value in zip(left, new, strict=True)
    )
    more = EngineState(
        request=np.arange(len(prompt)),
        class_index=np.zeros_like(prompt),
        prompt_left=prompt,
        decode_left=decode,
        stored=stored,
        token_budget=state.token_budget,
        max_batch_size=state.max_batch_size,
    )
    same = np.array_equal(rule(more).tokens, np.insert(tokens, place, 0))
    assert same != (requests.lacked_prompts if waits else requests.lacked_decodes)


@settings(max_examples=150)
@given(cases())
def test_the_replay_repeats_the_cycle(case):
    """Also where the queue grows and the arrivals meet the cycle at another phase each time."""
    engine, load, rule = case
    found = limit_cycle(engine, load, policy=rule, start="empty", most_batches=2_000)
    if found is None or found.since + 4 * found.seconds > 600:
        return
    laps = [dict.fromkeys((shape[:2] for shape in found.shapes), 0) for _ in range(4)]
    completed = [0] * 4
    for state, tokens, start, end in replay(engine, load, rule):
        lap = (start - found.since) // found.seconds
        if lap >= 4:
            break
        if lap >= 0:
            assert end <= found.since + (lap + 1) * found.seconds
            decoding = state.prompt_left == 0
            laps[lap][int(tokens[~decoding].sum()), int(tokens[decoding].sum())] += 1
            left = state.prompt_left + state.decode_left
            completed[lap] += int((left == tokens).sum())
    assert laps == [{shape[:2]: shape.batches for shape in found.shapes}] * 4
    assert completed == [found.completed] * 4


@settings(max_examples=100)
@given(cases())
def test_faster_transformer_completes_what_its_closed_form_says(case):
    engine, load, rule = case
    if engine.max_batch_size is not None and rule.chunked:
        return
    rule = BatchRule("any", first="decode", mixed=False, chunked=rule.chunked)
    closed = request_level_rate(engine, load, rule)
    found = limit_cycle(engine, load, policy=rule)
    if not can_serve(engine, load, rule):
        assert closed is None
        assert found is None
        return
    assert found.rate == closed.value
