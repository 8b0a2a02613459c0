"""KV memory in blocks: both drivers, the rules in tokens, and a real scheduler agree."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.model import Engine, Workload
from queueing_llm.policies import POLICIES, VLLM_V1, BatchRule
from queueing_llm.policies.field import FieldRequest, VllmV1Config, VllmV1Scheduler
from queueing_llm.simulate import watch
from queueing_llm.simulate._arrivals import one_by_one
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._drive import run_kernel
from queueing_llm.simulate._recorder import Recorder
from queueing_llm.simulate._reference import steps
from queueing_llm.steptime import AffineStepTime, HingeStepTime, StaircaseStepTime

rules = st.builds(
    BatchRule,
    name=st.just("any"),
    first=st.sampled_from(["decode", "prefill"]),
    mixed=st.booleans(),
    chunked=st.booleans(),
    limit_counts=st.sampled_from(["members", "residents"]),
)
step_times = st.sampled_from(
    [
        StaircaseStepTime(overhead=Fraction(1, 10), per_block=Fraction(3, 10), block=4),
        AffineStepTime(base=0.2, per_token=0.05, per_kv_token=0.01),
    ]
)


def whole_blocks(tokens, size):
    """Return the least multiple of a block that holds so many tokens."""
    return -(-tokens // size) * size


@st.composite
def cases(draw):
    """Draw an engine whose cache holds one to three of its largest request."""
    size = draw(st.integers(2, 6))
    count = draw(st.integers(1, 14))
    sizes = st.lists(st.integers(1, 9), min_size=count, max_size=count)
    gaps = st.lists(st.sampled_from([0.0, 0.4, 0.4, 1.0, 3.0]), min_size=count, max_size=count)
    prompt, output = draw(sizes), draw(sizes)
    largest = whole_blocks(max(p + d for p, d in zip(prompt, output, strict=True)), size)
    engine = Engine(
        step_time=draw(step_times),
        token_budget=draw(st.integers(1, 12)),
        max_batch_size=draw(st.none() | st.integers(1, 6)),
        kv_capacity=largest + size * draw(st.integers(0, 2 * largest // size)),
        first_token_from_prefill=draw(st.booleans()),
        kv_block_size=size,
    )
    workload = Workload.of_requests(
        np.cumsum(draw(gaps)), prompt_tokens=prompt, output_tokens=output
    )
    return engine, workload, draw(rules), draw(st.sampled_from([3.0, 10.0, 200.0]))


def compiled(engine, workload, rule, horizon, *, chunk=4, keep=True):
    clock = Clock.of(engine)
    return run_kernel(
        engine,
        rule,
        chunks=workload.chunks(np.random.default_rng(0), chunk),
        clock=clock,
        sample_at=clock.ticks(np.linspace(0.0, horizon, 7)),
        log_size=5000 if keep else 0,
        keep_requests=keep,
    )


def transparent(engine, workload, rule, horizon):
    clock = Clock.of(engine)
    recorder = Recorder(clock.ticks(np.linspace(0.0, horizon, 7)), log_size=5000)
    arrivals = one_by_one(workload.chunks(np.random.default_rng(0), 3), engine, clock=clock)
    taken = list(steps(engine, rule, arrivals=arrivals, clock=clock, recorder=recorder))
    return recorder.outcome(), taken


def assert_same(case, *, chunk=4):
    slow, taken = transparent(*case)
    fast = compiled(*case, chunk=chunk)
    lean = compiled(*case, chunk=chunk, keep=False)
    np.testing.assert_array_equal(fast.log, slow.log)
    np.testing.assert_array_equal(fast.samples, slow.samples)
    np.testing.assert_array_equal(lean.samples, slow.samples)
    for field in ("arrival", "start", "first", "finish", "prompt_tokens", "decode_steps"):
        np.testing.assert_array_equal(
            getattr(fast.requests, field), getattr(slow.requests, field), err_msg=field
        )
    return slow, taken


@settings(max_examples=400, deadline=None)
@given(cases())
def test_every_rule_gives_the_same_batches_times_and_totals(case):
    assert_same(case)


@pytest.mark.parametrize("rule", POLICIES.values(), ids=lambda r: r.name)
@pytest.mark.parametrize("size", [3, 16])
def test_long_random_runs_agree(rule, size):
    """Long enough that the kernel moves what it has loaded, under much preemption."""
    engine = Engine(
        step_time=AffineStepTime(base=0.01, per_token=0.0005, per_kv_token=1e-6),
        token_budget=64,
        kv_capacity=912,
        kv_block_size=size,
    )
    rng = np.random.default_rng(11)
    count = 1500
    workload = Workload.of_requests(
        np.cumsum(rng.exponential(0.03, count)),
        prompt_tokens=rng.integers(1, 60, count),
        output_tokens=rng.integers(1, 50, count),
    )
    slow, _ = assert_same((engine, workload, rule, 30.0), chunk=50)
    assert len(slow.log) > 500


@given(cases())
def test_no_step_holds_more_blocks_than_there_are_and_all_requests_finish(case):
    """The cache is as small as it can be: it may hold the largest request and no more."""
    engine, workload, rule, _ = case
    outcome, taken = transparent(engine, workload, rule, 500.0)
    size = engine.kv_block_size
    for step in taken:
        held = (step.state.stored + step.batch.tokens)[~step.preempted]
        assert whole_blocks(held, size).sum() <= engine.kv_capacity
    # A prompt that is never split waits for ever once it exceeds the budget.
    if rule.chunked:
        arrived, completed = outcome.samples[-1, 3:5]
        assert arrived == completed > 0


@given(cases(), st.integers(20, 40))
def test_a_cache_for_everybody_makes_no_difference_in_any_blocks(case, requests):
    engine, workload, rule, horizon = case
    longest = workload.longest_request
    plenty = requests * whole_blocks(longest, engine.kv_block_size)
    blocks = replace(engine, kv_capacity=plenty)
    unlimited = replace(engine, kv_capacity=None, kv_block_size=1)
    np.testing.assert_array_equal(
        compiled(blocks, workload, rule, horizon).log,
        compiled(unlimited, workload, rule, horizon).log,
    )


def test_larger_blocks_are_told_apart():
    """Control: a kernel that counted tokens would give other batches than the driver."""
    engine = Engine(StaircaseStepTime(1, 1, 4), 8, kv_capacity=24, kv_block_size=8)
    load = Workload.of_requests([0.0] * 4, prompt_tokens=[5, 9, 5, 5], output_tokens=[9] * 4)
    logs = [
        compiled(replace(engine, kv_block_size=size), load, VLLM_V1, 99.0).log.tobytes()
        for size in (1, 2, 8)
    ]
    assert len(set(logs)) == 3


HORIZON = 300

bursts = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 3]), st.integers(1, 19), st.integers(1, 11)),
    min_size=2,
    max_size=8,
)


def real_steps(engine, rows, version):
    """Return what the scheduler of vLLM gives to whom, and whom it preempts, step by step."""
    config = VllmV1Config(
        engine.token_budget,
        engine.max_batch_size,
        num_blocks=engine.kv_capacity // engine.kv_block_size + 1,
        block_size=engine.kv_block_size,
        version=version,
    )
    scheduler = VllmV1Scheduler(config)
    for now in range(HORIZON):
        for number, (due, prompt, output) in enumerate(rows):
            if due == now:
                scheduler.add(FieldRequest(str(number), prompt, output))
        step = scheduler.step()
        yield dict(step.tokens), set(step.preempted)


def rule_steps(engine, rows):
    """Return the same of the rule, and which prompts were partly processed before."""
    times, prompts, outputs = zip(*rows, strict=True)
    load = Workload.of_requests(times, prompt_tokens=prompts, output_tokens=outputs)
    found = [({}, set(), set())] * HORIZON
    for step in watch(engine, load, policy=VLLM_V1, horizon=HORIZON):
        state, names = step.state, step.state.request.astype(str)
        given = zip(names.tolist(), step.batch.tokens.tolist(), strict=True)
        found[step.start // 10**9] = (
            {name: tokens for name, tokens in given if tokens},
            set(names[step.preempted].tolist()),
            set(names[(state.prompt_left > 0) & (state.stored > 0)].tolist()),
        )
    return found


def vllm_case(pauses, size, spare, budget, limit):
    due = np.cumsum([pause for pause, _, _ in pauses]).tolist()
    rows = [(at, prompt, output) for at, (_, prompt, output) in zip(due, pauses, strict=True)]
    largest = whole_blocks(max(prompt + output for _, prompt, output in rows), size)
    engine = Engine(
        HingeStepTime(floor=1, per_token=1, knee=budget),
        budget,
        max_batch_size=limit,
        kv_capacity=largest + spare * size,
        kv_block_size=size,
        first_token_from_prefill=True,
    )
    return engine, rows


@settings(max_examples=150, deadline=None)
@given(
    bursts,
    st.integers(1, 6),
    st.integers(0, 9),
    st.integers(1, 25),
    st.integers(1, 5),
    st.sampled_from(["0.32.0", "0.33.0"]),
)
def test_vllm_v1_is_the_rule_until_a_cut_prompt_lacks_memory(
    pauses, size, spare, budget, limit, version
):
    """Also when decodes are preempted: both lose the newest until the others have their blocks.

    Where a resident prompt's next chunk lacks a block, the rule cuts the chunk and vLLM
    preempts the request.
    """
    engine, rows = vllm_case(pauses, size, spare, budget, limit)
    pairs = zip(rule_steps(engine, rows), real_steps(engine, rows, version), strict=True)
    for (tokens, lost, partial), (real_tokens, real_lost) in pairs:
        if (tokens, lost) != (real_tokens, real_lost):
            assert real_lost - lost <= partial
            assert len(real_lost - lost) == 1
            return


def first_difference(engine, rows):
    steps_of_both = zip(
        rule_steps(engine, rows), real_steps(engine, rows, "0.33.0"), strict=True
    )
    for now, ((tokens, lost, _), (real_tokens, real_lost)) in enumerate(steps_of_both):
        if (tokens, lost) != (real_tokens, real_lost):
            return now, tokens, real_tokens, real_lost
    return None


def test_where_vllm_v1_and_the_rule_part():
    """Three blocks of two: the first takes its second, so the prompt of the other stops at two.

    The rule lets it keep what it has; vLLM preempts it and starts it again a step later.
    """
    engine = Engine(
        HingeStepTime(floor=1, per_token=1, knee=2),
        2,
        max_batch_size=4,
        kv_capacity=6,
        kv_block_size=2,
        first_token_from_prefill=True,
    )
    now, tokens, real_tokens, real_lost = first_difference(engine, [(0, 1, 3), (0, 3, 1)])
    assert (now, tokens, real_tokens, real_lost) == (2, {"0": 1}, {"0": 1}, {"1"})
    assert [step[0] for step in rule_steps(engine, [(0, 1, 3), (0, 3, 1)])[:4]] == [
        {"0": 1, "1": 1},
        {"0": 1, "1": 1},
        {"0": 1},
        {"1": 1},
    ]


@pytest.mark.parametrize(
    ("capacity", "version"), [(24, "0.33.0"), (20, "0.11.2")], ids=["blocks", "version"]
)
def test_another_cache_or_version_is_told_apart(capacity, version):
    """Control: the comparison sees a block too many, and admission by the first chunk only."""
    engine = Engine(
        HingeStepTime(floor=1, per_token=1, knee=4),
        4,
        max_batch_size=4,
        kv_capacity=20,
        kv_block_size=4,
        first_token_from_prefill=True,
    )
    rows = [(0, 6, 9), (0, 11, 3), (1, 9, 6)]
    real = [
        step for step, _ in real_steps(replace(engine, kv_capacity=capacity), rows, version)
    ]
    own = [step for step, _ in real_steps(engine, rows, "0.33.0")]
    assert own[:3] == [step[0] for step in rule_steps(engine, rows)][:3]
    assert real != own
