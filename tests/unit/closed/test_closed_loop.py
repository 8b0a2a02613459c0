"""The door: what is refused, what is left open and why, and what the parts have in common."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.closed import ClosedLoop, OperatingPoint, closed_curve, closed_loop
from queueing_llm.closed._memory import memory_hardly_binds, memory_never_binds
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Evidence

STEP = ql.AffineStepTime(0.01, 5e-5, 1e-7)
ENGINE = ql.Engine(step_time=STEP, token_budget=512, first_token_from_prefill=True)
RULES = ("sarathi", "vllm_v1", "orca", "vanilla_vllm", "faster_transformer")


RANDOM = ql.UniformLength(50, 250)


ROWS = ([50, 90, 130, 60], [40, 70, 160, 90])


def recorded(users, *, in_order):
    lengths = ql.EmpiricalLengths(*ROWS, in_order=in_order)
    return ql.Workload.of(ql.ClosedArrivals(users), lengths)


def chat(users, *, think=0.0, scv=1.0, prompt=RANDOM, output=RANDOM):
    return ql.Workload.closed(
        users, think_time=think, think_scv=scv, prompt_tokens=prompt, output_tokens=output
    )


@given(
    st.sampled_from(RULES),
    st.integers(1, 60),
    st.sampled_from([0.0, 0.2, 5.0]),
    st.sampled_from([64, 512, 4096]),
    st.booleans(),
    st.none() | st.integers(1, 40),
)
@settings(max_examples=40)
def test_the_parts_agree(name, users, think, budget, emits, limit):
    """Little's law, the order of the times, and the operating point within its bounds."""
    engine = replace(
        ENGINE, token_budget=budget, first_token_from_prefill=emits, max_batch_size=limit
    )
    prompt = ql.UniformLength(20, 60)
    loop = closed_loop(
        engine, chat(users, think=think, prompt=prompt), policy=ql.policy_named(name)
    )
    point = loop.operating_point
    assert isinstance(loop, ClosedLoop)
    assert isinstance(point, OperatingPoint)
    assert loop.low <= point.throughput <= loop.high * (1 + 1e-12)
    assert point.throughput * (think + point.response_time) == pytest.approx(users)
    assert 0 < point.time_to_first_token <= point.response_time
    last = point.time_to_first_token + 149 * point.time_per_output_token
    assert last == pytest.approx(point.response_time)
    assert 0 < point.utilisation <= 1 + 1e-9
    assert point.prefill_tokens + point.decode_tokens <= budget * (1 + 1e-6)
    assert point.decode_tokens <= min(users, limit or users) * (1 + 1e-6)
    assert point.evidence is Evidence.NUMERICAL
    assert loop.bounds_evidence is Evidence.THEOREM
    assert all(h.holds for h in loop.hypotheses)


def test_a_curve_bends_at_its_knee():
    """Well below it users hardly meet; well above it they get what one engine has."""
    loops = closed_curve(ENGINE, chat(1, think=1.0), users=[1, 3], policy=ql.SARATHI)
    few, more = loops
    knee = few.knee
    assert few.knee == pytest.approx(more.knee)
    below, above = closed_curve(
        ENGINE, chat(1, think=1.0), users=[int(knee / 5), int(knee * 3)], policy=ql.SARATHI
    )
    alone = few.operating_point.throughput
    assert below.operating_point.throughput == pytest.approx(int(knee / 5) * alone, rel=0.1)
    assert above.operating_point.throughput == pytest.approx(above.high, rel=0.02)


REASONS = {
    "given as code": (ENGINE, chat(3), lambda state: ql.SARATHI(state)),
    "preempt": (replace(ENGINE, kv_capacity=500), chat(3), ql.SARATHI),
    "even": (ENGINE, chat(3, think=1.0, scv=0.0), ql.SARATHI),
    "outputs of one length": (ENGINE, chat(3, output=40), ql.SARATHI),
    "2,000 users": (ENGINE, chat(2001), ql.SARATHI),
    "whole prompt": (ENGINE, chat(3, prompt=ql.GeometricLength(9)), ql.VANILLA_VLLM),
    "no room for a whole": (
        replace(ENGINE, token_budget=256),
        chat(8, think=1.0),
        ql.SARATHI.variant(chunked=False),
    ),
    "no digits": (ENGINE, chat(3, think=1e15), ql.SARATHI),
    "few lengths": (ENGINE, chat(9, output=ql.EmpiricalLength([40, 80])), ql.VANILLA_VLLM),
    "recorded in order": (ENGINE, recorded(5, in_order=True), ql.FASTER_TRANSFORMER),
    "correlated": (ENGINE, recorded(5, in_order=False), ql.FASTER_TRANSFORMER),
    "cuts random prompts": (ENGINE, chat(3), ql.FASTER_TRANSFORMER.variant(chunked=True)),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_is_not_known_is_left_open_with_bounds(reason):
    engine, load, policy = REASONS[reason]
    loop = closed_loop(engine, load, policy=policy)
    assert loop.operating_point is None
    assert reason in loop.reason
    assert 0 <= loop.low <= loop.high
    assert loop.high > 0
    proved = isinstance(policy, ql.BatchRule) and reason not in ("preempt", "whole prompt")
    assert (loop.low > 0) == proved


def test_a_cache_that_holds_everybody_changes_nothing():
    load = chat(3)
    roomy = replace(ENGINE, kv_capacity=3 * 500, kv_block_size=1)
    free = closed_loop(ENGINE, load, policy=ql.VLLM_V1)
    held = closed_loop(roomy, load, policy=ql.VLLM_V1)
    assert held.operating_point == free.operating_point
    assert (held.low, held.high, held.knee) == (free.low, free.high, free.knee)


@pytest.mark.parametrize("block", [1, 16])
@pytest.mark.parametrize("name", ["vllm_v1", "vanilla_vllm"])
def test_a_cache_that_hardly_ever_binds(block, name):
    """The smallest cache that counts as one preempts nobody in 100,000 steps."""
    load = chat(24, output=ql.GeometricLength(120))
    sizes = range(1600, 40_000, 160)
    caches = (replace(ENGINE, kv_capacity=size, kv_block_size=block) for size in sizes)
    engine = next(e for e in caches if memory_hardly_binds(e, load))
    assert not memory_never_binds(engine, load)
    rule = ql.policy_named(name)
    run = ql.simulate(engine, load, policy=rule, horizon=2000, warmup=100)
    assert run.steps > 50_000
    assert run.preemptions == 0
    loop = closed_loop(engine, load, policy=rule)
    assert loop.low == 0
    assert loop.operating_point.throughput == pytest.approx(run.throughput.value, rel=0.02)


def test_even_think_times_of_one_user_are_known():
    loop = closed_loop(
        ENGINE, chat(1, think=1.0, scv=0.0, prompt=100, output=40), policy=ql.ORCA
    )
    assert loop.operating_point.throughput == pytest.approx(loop.high, rel=1e-6)


def test_equal_requests_give_a_cycle_and_others_do_not():
    equal = closed_loop(ENGINE, chat(8, prompt=100, output=40), policy=ql.SARATHI)
    equal = equal.operating_point
    other = closed_loop(ENGINE, chat(8), policy=ql.SARATHI).operating_point
    assert equal.measured_error == 0 < other.measured_error
    assert "cycle" in equal.basis
    assert "fixed point" in other.basis


def test_the_simulation_of_equal_requests_is_the_cycle():
    load = chat(24, prompt=400, output=40)
    point = closed_loop(ENGINE, load, policy=ql.VLLM_V1).operating_point
    run = ql.simulate(
        ENGINE, load, policy=ql.VLLM_V1, horizon=400, warmup=40, keep_requests=True
    )
    assert run.throughput.value == pytest.approx(point.throughput, rel=5e-3)
    first = run.latency("ttft").value
    assert first == pytest.approx(point.time_to_first_token, rel=0.02)


def test_open_workloads_are_refused():
    load = ql.Workload.poisson(1, prompt_tokens=3, output_tokens=3)
    with pytest.raises(InvalidArgument, match="workload must be closed"):
        closed_loop(ENGINE, load, policy=ql.SARATHI)
    with pytest.raises(InvalidArgument, match="workload must be closed"):
        closed_curve(ENGINE, load, users=[1], policy=ql.SARATHI)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"policy": 3}, "policy"),
        ({"engine": replace(ENGINE, kv_capacity=200)}, "kv_capacity=200"),
        ({"load": chat(3, output=0)}, "output"),
    ],
)
def test_bad_input_is_refused(change, text):
    given = {"engine": ENGINE, "load": chat(3), "policy": ql.SARATHI} | change
    with pytest.raises(InvalidArgument, match=text):
        closed_loop(given["engine"], given["load"], policy=given["policy"])


@pytest.mark.parametrize("users", [0, 1.5, True])
def test_numbers_of_users_are_positive_integers(users):
    with pytest.raises(InvalidArgument, match="users"):
        closed_curve(ENGINE, chat(1), users=[users], policy=ql.SARATHI)


def test_equal_users_are_followed_where_others_find_no_room():
    """Whole prompts behind decodes, which the fixed point does not know, but the cycle does."""
    engine = replace(ENGINE, token_budget=256)
    rule = ql.SARATHI.variant(chunked=False)
    point = closed_loop(engine, chat(8, prompt=254, output=40), policy=rule).operating_point
    load = chat(8, prompt=254, output=40)
    run = ql.simulate(engine, load, policy=rule, horizon=3000, warmup=100)
    assert point.throughput == pytest.approx(run.throughput.value, rel=1e-3)
    assert point.measured_error == 0


def test_arguments_of_another_kind_are_named():
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
    load = ql.Workload.closed(2, prompt_tokens=3, output_tokens=4)
    with pytest.raises(InvalidArgument, match="engine must be of type Engine"):
        ql.closed_loop(5, load, policy=ql.SARATHI)
    with pytest.raises(InvalidArgument, match="workload must be of type Workload"):
        ql.closed_loop(engine, 5, policy=ql.SARATHI)
    with pytest.raises(InvalidArgument, match="users must be of type Iterable"):
        ql.closed_curve(engine, load, users=5, policy=ql.SARATHI)
