"""Fluid paths: laws that hold exactly, values by hand, and what is refused.

The systems that are drawn are rational, and so are their paths: laws are equalities.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.fluid import FluidState, fluid_path
from queueing_llm.stability import overload_growth, prefill_burst_growth

WORK_CONSERVING = ("sarathi", "orca", "vllm_v1")
EXACT_RULES = (*WORK_CONSERVING, "faster_transformer", "faster_transformer:chunked")
MAIN = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
ENGINE = ql.Engine(step_time=MAIN, token_budget=512)
LOAD = ql.Workload.poisson(Fraction("10.4"), prompt_tokens=129, output_tokens=112)

fractions = st.fractions(0, 50, max_denominator=20)
positive = st.fractions(Fraction(1, 20), 50, max_denominator=20)
NO_KV_READS = st.just(Fraction(0))
KV_READS = st.fractions(0, 2, max_denominator=20)
states = st.builds(FluidState, fractions, fractions)


@st.composite
def systems(draw, rules=EXACT_RULES, slopes=NO_KV_READS):
    """Draw an engine, a workload at a load of its own critical rate or beyond, and a rule."""
    rule = ql.policy_named(draw(st.sampled_from(rules)))
    emits = draw(st.booleans())
    engine = ql.Engine(
        step_time=ql.AffineStepTime(draw(positive), draw(positive), draw(slopes)),
        token_budget=draw(st.integers(1, 40)),
        first_token_from_prefill=emits,
    )
    longest = 40 if rule.chunked else engine.token_budget
    shape = ql.Workload.poisson(
        1,
        prompt_tokens=draw(st.integers(1, longest)),
        output_tokens=draw(st.integers(1 + emits, 20)),
    )
    own = ql.critical_rate(engine, shape, policy=rule).value
    load = draw(st.fractions(Fraction(1, 10), 3, max_denominator=20))
    return engine, shape.scale_to(load * own), rule


def path_of(system, initial):
    engine, workload, rule = system
    return fluid_path(engine, workload, policy=rule, initial=initial)


def seconds_of(system, state):
    """Return what a backlog is worth in seconds of full batches, re-derived from the data.

    A prefill token costs t(b)/b, a decode token that and its mean share of the KV reads.
    """
    engine, workload, _ = system
    full = engine.step_time(engine.token_budget) / Fraction(engine.token_budget)
    prompt = workload.mean_prompt_tokens
    steps = engine.decode_steps(workload.mean_output_tokens)
    contexts = sum(prompt + j for j in range(int(steps)))
    decode = full + engine.step_time.kv_slope * contexts / steps
    return state.prompt_tokens * (full + steps / prompt * decode) + state.decode_tokens * decode


def drains_at_capacity(system, path):
    """Whether the work left, in seconds, falls at 1 - lambda v until it is 0."""
    request = FluidState(system[1].mean_prompt_tokens)
    slope = system[1].arrival_rate * seconds_of(system, request) - 1
    begin = seconds_of(system, path.at(0))
    times = [*path.times, path.times[-1] + 1, path.times[-1] / 3]
    return all(
        seconds_of(system, path.at(time)) == max(begin + slope * time, 0) for time in times
    )


@given(systems(rules=WORK_CONSERVING, slopes=KV_READS), states)
def test_work_conserving_rules_drain_at_capacity_whatever_the_split(system, initial):
    """Section 3.4: the Lyapunov function is the total; in seconds if KV reads cost time."""
    path = path_of(system, initial)
    assert drains_at_capacity(system, path)
    assert path.is_exact


@given(systems(rules=WORK_CONSERVING), states)
def test_work_conserving_rules_agree_on_the_total_and_when_it_is_gone(system, initial):
    engine, workload, rule = system
    path = path_of(system, initial)
    full = engine.token_budget / engine.step_time(engine.token_budget)
    work = engine.work_tokens(workload.mean_prompt_tokens, workload.mean_output_tokens)
    excess = workload.arrival_rate * work - full
    begin = path.backlog_tokens(0)
    if excess < 0:
        assert path.drain_time == begin / -excess
    else:
        assert path.growth == excess
        assert path.drain_time is None or begin == excess == 0
    other = ql.ORCA if rule.first == "decode" else ql.SARATHI
    twin = fluid_path(engine, workload, policy=other, initial=initial)
    assert all(twin.backlog_tokens(t) == path.backlog_tokens(t) for t in path.times)


@pytest.mark.parametrize("name", ["vanilla_vllm", "faster_transformer"])
def test_exclusive_rules_do_not_drain_at_capacity(name):
    """A control for the law, on an engine with the same capacity."""
    system = ENGINE, LOAD, ql.policy_named(name)
    assert not drains_at_capacity(system, path_of(system, FluidState(1000, 1000)))


@given(systems(), states)
def test_no_token_is_lost_and_nothing_is_negative(system, initial):
    engine, workload, _ = system
    path = path_of(system, initial)
    inflow = workload.arrival_rate * workload.mean_prompt_tokens
    for piece, after in zip(path.pieces, [*path.pieces[1:], None], strict=True):
        assert piece.prompt_drift == inflow - piece.prefill_rate
        started = path.steps_per_prompt_token * piece.prefill_rate
        assert piece.decode_drift == started - piece.decode_rate
        assert min(piece.prefill_rate, piece.decode_rate) >= 0
        assert piece.prefill_rate + piece.decode_rate <= ql.best_rate(engine).tokens_per_second
        if after is not None:
            lasts = after.begin - piece.begin
            assert lasts > 0
            moved = (
                piece.state.prompt_tokens + lasts * piece.prompt_drift,
                piece.state.decode_tokens + lasts * piece.decode_drift,
            )
            assert moved == (after.state.prompt_tokens, after.state.decode_tokens)
    later = path.at(path.times[-1] + 100)
    assert path.at(0) == initial
    assert min(later.prompt_tokens, later.decode_tokens) >= 0


@given(systems(), states)
def test_the_mode_names_what_waits_inside_the_piece(system, initial):
    path = path_of(system, initial)
    for piece, end in zip(path.pieces, [*path.times[1:], path.times[-1] + 1], strict=True):
        inside = path.at((piece.begin + end) / 2)
        waits = (inside.prompt_tokens > 0, inside.decode_tokens > 0)
        names = {(0, 0): "empty", (1, 0): "prompts", (0, 1): "decodes", (1, 1): "both"}
        assert piece.mode == names[waits]


@given(systems(), states, positive, positive)
def test_scaling_the_backlog_and_the_time_scales_the_path(system, initial, scale, time):
    larger = FluidState(scale * initial.prompt_tokens, scale * initial.decode_tokens)
    near, far = path_of(system, initial).at(time), path_of(system, larger).at(scale * time)
    assert far.prompt_tokens == scale * near.prompt_tokens
    assert far.decode_tokens == scale * near.decode_tokens


@given(systems(), states, positive, positive)
def test_restarting_on_the_way_changes_nothing(system, initial, time, later):
    path = path_of(system, initial)
    restarted = path_of(system, path.at(time))
    assert restarted.at(later) == path.at(time + later)
    assert restarted.growth == path.growth
    assert (restarted.drain_time is None) == (path.drain_time is None)


@given(systems(), states)
def test_the_final_slope_is_the_overload_growth(system, initial):
    engine, workload, rule = system
    critical = ql.critical_rate(engine, workload, policy=rule)
    path = path_of(system, initial)
    assert path.growth == overload_growth(engine, workload, rule, critical)
    assert path.growth == path_of(system, FluidState()).growth
    assert path.evidence is critical.evidence
    assert path.hypotheses == critical.hypotheses


@given(systems(), states)
def test_no_rule_does_better_than_capacity(system, initial):
    """Theorem 2(a) of arXiv:2504.07347v3: nothing drains faster than r* - lambda w."""
    engine, workload, _ = system
    path = path_of(system, initial)
    work = engine.work_tokens(workload.mean_prompt_tokens, workload.mean_output_tokens)
    fastest = ql.best_rate(engine).tokens_per_second - workload.arrival_rate * work
    begin = path.backlog_tokens(0)
    for time in [*path.times, path.times[-1] + 7]:
        assert path.backlog_tokens(time) >= begin - fastest * time


@given(systems(), states)
def test_a_first_token_from_prefill_is_a_decode_step_less(system, initial):
    engine, workload, rule = system
    assume(engine.first_token_from_prefill)
    shorter = ql.Workload.poisson(
        workload.arrival_rate,
        prompt_tokens=int(workload.mean_prompt_tokens),
        output_tokens=int(workload.mean_output_tokens) - 1,
    )
    paper = replace(engine, first_token_from_prefill=False)
    assert path_of(system, initial) == path_of((paper, shorter, rule), initial)


@pytest.mark.parametrize("name", ["vanilla_vllm", "vanilla_vllm:chunked"])
@pytest.mark.parametrize("limit", [None, 8])
@pytest.mark.parametrize("load", [0.5, 0.99, 1.01, 1.2, 9])
def test_vanilla_vllm_grows_by_its_pool(name, limit, load):
    step, rule = ql.AffineStepTime(base=0.01, per_token=2e-4), ql.policy_named(name)
    engine = ql.Engine(step_time=step, token_budget=32, max_batch_size=limit)
    shape = ql.Workload.poisson(1, prompt_tokens=10, output_tokens=ql.GeometricLength(6))
    own = ql.critical_rate(engine, shape, policy=rule)
    workload = shape.scale_to(load * own.value)
    growth = prefill_burst_growth(engine, workload, rule)
    for initial in (FluidState(), FluidState(100), FluidState(100, 1000)):
        path = fluid_path(engine, workload, policy=rule, initial=initial)
        assert path.growth == pytest.approx(growth, rel=1e-9)
        assert (path.drain_time is None) == (load > 1)
        assert path.evidence is ql.Evidence.NUMERICAL
        assert not path.is_exact


def test_vanilla_vllm_serves_full_batches_of_either_phase():
    """Three prompts of 129 tokens fit 512; with few arrivals decode steps follow each other."""
    rare = LOAD.scale_to(1e-6)
    path = fluid_path(ENGINE, rare, policy=ql.VANILLA_VLLM, initial=FluidState(387, 10**6))
    both, decodes, _ = path.pieces
    assert both.prefill_rate == pytest.approx(387 / float(MAIN(387)), rel=1e-12)
    assert both.decode_rate == 0
    assert decodes.decode_rate == pytest.approx(512 / float(MAIN(512)), rel=1e-5)
    assert decodes.decode_rate < 512 / float(MAIN(512))


@pytest.mark.parametrize(
    ("rule", "expected", "measured", "error"),
    [(ql.SARATHI, 0.6492979465952445, 0.658, 0.0249), (ql.ORCA, 0.592, 0.600, 0.023)],
)
def test_with_kv_reads_the_growth_depends_on_what_waits(rule, expected, measured, error):
    """Section 1.5: load 1.05; untouched requests under Sarathi, prefilled ones under Orca."""
    step = ql.AffineStepTime(Fraction(1, 100), Fraction(5, 10**5), Fraction(1, 10**7))
    engine = ql.Engine(step_time=step, token_budget=512)
    shape = ql.Workload.poisson(1, prompt_tokens=100, output_tokens=100)
    own = ql.critical_rate(engine, shape, policy=rule)
    path = fluid_path(engine, shape.scale_to(own.value * Fraction(105, 100)), policy=rule)
    assert float(path.growth) / 1000 == pytest.approx(expected, rel=1e-3)
    assert abs(float(path.growth) / 1000 - measured) < 4 * error
    assert path.evidence is ql.Evidence.NUMERICAL


def test_orca_by_hand():
    """t(4) = 5: 4/5 tokens a second. Prompts 20, in at 2/10, drain at 6/10: 33 1/3 s.

    By then 3/2 * 4/5 * 100/3 = 40 decode tokens wait; 3/10 come and 6/10 are served.
    """
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    load = ql.Workload.poisson(Fraction(1, 10), prompt_tokens=2, output_tokens=3)
    path = fluid_path(engine, load, policy=ql.ORCA, initial=FluidState(20))
    assert path.times == (0, Fraction(100, 3), Fraction(100, 3) + Fraction(400, 3))
    assert path.at(Fraction(100, 3)) == FluidState(0, 40)
    assert [(p.prefill_rate, p.decode_rate) for p in path.pieces] == [
        (Fraction(4, 5), 0),
        (Fraction(1, 5), Fraction(3, 5)),
        (Fraction(1, 5), Fraction(3, 10)),
    ]


def test_faster_transformer_by_hand():
    """Six decodes take 3 batches of t(2) = 3 s, in which half a request comes: one token.

    From then on a request takes t(2) + 3 t(1) = 9 s, and one comes every 18 s.
    """
    step = ql.AffineStepTime(Fraction(1), Fraction(1))
    engine = ql.Engine(step_time=step, token_budget=2)
    load = ql.Workload.poisson(Fraction(1, 18), prompt_tokens=2, output_tokens=3)
    path = fluid_path(engine, load, policy=ql.FASTER_TRANSFORMER, initial=FluidState(0, 6))
    assert path.times == (0, 9, 18)
    assert path.at(9) == FluidState(1, 0)
    assert path.drain_time == 18
    above = load.scale_to(Fraction(1, 6))
    grows = fluid_path(engine, above, policy=ql.FASTER_TRANSFORMER)
    assert grows.growth == 5 * (Fraction(1, 6) - Fraction(1, 9))
    assert grows.drain_time is None


def test_prompts_that_never_fit_wait_for_ever_and_decodes_are_still_served():
    workload = ql.Workload.poisson(Fraction(1, 2), prompt_tokens=600, output_tokens=10)
    for name in ("faster_transformer", "vanilla_vllm", "orca:whole", "sarathi:whole"):
        rule = ql.policy_named(name)
        path = fluid_path(ENGINE, workload, policy=rule, initial=FluidState(0, 1024))
        assert path.at(2 * MAIN(512)) == FluidState(600 * MAIN(512), 0)
        assert path.growth == 305
        assert path.is_exact


def test_a_limit_on_residents_leaves_prompts_only():
    engine = replace(ENGINE, max_batch_size=128)
    rule = ql.VANILLA_VLLM.variant(limit_counts="residents")
    load = ql.Workload.poisson(5, prompt_tokens=129, output_tokens=ql.GeometricLength(112))
    own = ql.critical_rate(engine, load, policy=rule).value
    path = fluid_path(engine, load, policy=rule, initial=FluidState(129))
    assert path.drain_time == pytest.approx(1 / (own - 5), rel=1e-12)
    with pytest.raises(ql.InvalidArgument, match="initial must have no decode tokens"):
        fluid_path(engine, load, policy=rule, initial=FluidState(129, 1))


def test_at_the_critical_rate_a_backlog_stays():
    critical = ql.critical_rate(ENGINE, LOAD, policy=ql.ORCA).value
    for rule in (ql.SARATHI, ql.ORCA):
        path = fluid_path(
            ENGINE, LOAD.scale_to(critical), policy=rule, initial=FluidState(100, 50)
        )
        assert path.growth == 0
        assert path.drain_time is None
        assert fluid_path(ENGINE, LOAD.scale_to(critical), policy=rule).drain_time == 0


def test_a_backlog_that_the_total_does_not_tell():
    """One backlog, four rules: the same capacity, and very different ways back."""
    rules = (ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM, ql.FASTER_TRANSFORMER)
    drained = {
        rule.name: path_of((ENGINE, LOAD, rule), FluidState(129_000)).drain_time
        for rule in rules
    }
    full = 512 / MAIN(512) - 241 * LOAD.arrival_rate
    assert drained["sarathi"] == drained["orca"] == 241_000 / full
    assert drained["vanilla_vllm"] == pytest.approx(9051.4, abs=0.1)
    assert drained["faster_transformer"] is None


def test_floats_give_the_path_of_fractions():
    rounded = ql.Engine(step_time=ql.StaircaseStepTime(0.01128, 0.03547, 128), token_budget=512)
    initial = FluidState(1000.5, 2000)
    for name in EXACT_RULES:
        rule = ql.policy_named(name)
        exact = fluid_path(
            ENGINE, LOAD, policy=rule, initial=FluidState(Fraction(2001, 2), 2000)
        )
        found = fluid_path(rounded, LOAD.scale_to(10.4), policy=rule, initial=initial)
        assert [p.mode for p in found.pieces] == [p.mode for p in exact.pieces]
        assert found.times == pytest.approx([float(time) for time in exact.times], rel=1e-9)
        assert not found.is_exact
        assert exact.is_exact
        near_end = found.at(np.nextafter(found.times[-1], 0))
        assert min(near_end.prompt_tokens, near_end.decode_tokens) >= 0


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_floats_of_any_size_have_no_spurious_pieces(scale):
    """Where service and arrivals balance they do so exactly, so nothing creeps."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        base, slope = rng.random(2) * scale
        engine = ql.Engine(
            step_time=ql.AffineStepTime(base, slope), token_budget=int(rng.integers(1, 50))
        )
        shape = ql.Workload.poisson(
            1, prompt_tokens=int(rng.integers(1, 99)), output_tokens=int(rng.integers(1, 99))
        )
        initial = FluidState(*(rng.random(2) * 1e6))
        rule = ql.policy_named(str(rng.choice(WORK_CONSERVING)))
        own = ql.critical_rate(engine, shape, policy=rule).value
        path = fluid_path(engine, shape.scale_to(0.9 * own), policy=rule, initial=initial)
        between = "prompts" if rule.first == "decode" else "decodes"
        assert [piece.mode for piece in path.pieces] == ["both", between, "empty"]


GRID = ql.TableStepTime.of_batches(
    [0, 512], [0, 512], [0, 9], [[[1, 2], [1, 2]], [[1, 2], [1, 3]]]
)
RANDOM_PROMPTS = ql.Workload.poisson(
    1, prompt_tokens=ql.UniformLength(1, 99), output_tokens=ql.GeometricLength(9)
)
FINITE = ql.Workload.of_requests([0, 1], prompt_tokens=[1, 1], output_tokens=[1, 1])
ENDS_AT_ONCE = ql.Workload.poisson(1, prompt_tokens=9, output_tokens=0)
EVEN = ql.Workload.of(ql.DeterministicArrivals(1), LOAD.classes[0].lengths)
RATE = ql.Workload.poisson(
    sympy.Symbol("rate", positive=True), prompt_tokens=9, output_tokens=9
)
SMALL = ql.Engine(step_time=ql.AffineStepTime(0.5, 0.125), token_budget=8)
SHORT_PROMPTS = ql.Workload.poisson(0.1, prompt_tokens=ql.UniformLength(1, 8), output_tokens=3)
DEPENDENT = ql.Workload.of(ql.PoissonArrivals(0.1), ql.EmpiricalLengths([3, 7], [2, 5]))
EMITS = replace(ENGINE, first_token_from_prefill=True)


@pytest.mark.parametrize(
    ("engine", "workload", "policy", "match"),
    [
        (ENGINE, LOAD, lambda state: ql.ORCA(state), "policy must be a BatchRule"),
        (ENGINE, LOAD, "orca", "policy must be a BatchRule"),
        (ENGINE, FINITE, ql.ORCA, "workload must go on for ever"),
        (ENGINE, RATE, ql.ORCA, "needs numbers, got rate"),
        (replace(ENGINE, kv_capacity=10**6), LOAD, ql.ORCA, "kv_capacity must be None"),
        (replace(ENGINE, step_time=GRID), LOAD, ql.ORCA, "step_time must be a law of"),
        (EMITS, ENDS_AT_ONCE, ql.ORCA, "output_tokens must be at least 1"),
        (replace(ENGINE, max_batch_size=100), LOAD, ql.SARATHI, "max_batch_size=100"),
        (replace(ENGINE, max_batch_size=100), LOAD, ql.ORCA, "closed form"),
        (ENGINE, LOAD, ql.ORCA.variant(chunked=False), "closed form"),
        (ENGINE, EVEN, ql.VANILLA_VLLM, "closed form"),
        (SMALL, SHORT_PROMPTS, ql.VANILLA_VLLM, "closed form"),
        (SMALL, DEPENDENT, ql.policy_named("vanilla_vllm:chunked"), "independent"),
    ],
)
def test_what_has_no_known_fluid_limit_is_refused(engine, workload, policy, match):
    with pytest.raises(ql.InvalidArgument, match=match):
        fluid_path(engine, workload, policy=policy)


@pytest.mark.parametrize(
    ("engine", "workload", "policy"),
    [
        (ENGINE, EVEN, ql.ORCA),
        (ENGINE, RANDOM_PROMPTS, ql.ORCA),
        (ENGINE, EVEN, ql.FASTER_TRANSFORMER),
        (replace(ENGINE, max_batch_size=512), LOAD, ql.SARATHI),
        (ENGINE, ENDS_AT_ONCE, ql.VANILLA_VLLM),
        (SMALL, SHORT_PROMPTS, ql.policy_named("vanilla_vllm:chunked")),
        (EMITS, LOAD, ql.ORCA),
    ],
)
def test_their_neighbours_are_answered(engine, workload, policy):
    path = fluid_path(engine, workload, policy=policy, initial=FluidState(100))
    assert path.pieces[0].state == FluidState(100)


@pytest.mark.parametrize(
    ("initial", "match"),
    [
        (100, "initial must be of type FluidState"),
        (FluidState(sympy.Symbol("x")), "needs numbers, got x"),
    ],
)
def test_an_initial_state_is_a_pair_of_numbers(initial, match):
    with pytest.raises(ql.InvalidArgument, match=match):
        fluid_path(ENGINE, LOAD, policy=ql.ORCA, initial=initial)


def test_integers_of_numpy_do_not_overflow():
    """Their products inside a Fraction would wrap around at 2^63."""
    tokens = (10**17, 3 * 10**17)
    exact = fluid_path(ENGINE, LOAD, policy=ql.ORCA, initial=FluidState(*tokens))
    fixed = FluidState(*map(np.int64, tokens))
    assert fluid_path(ENGINE, LOAD, policy=ql.ORCA, initial=fixed) == exact
    assert exact.at(np.int64(10**13)) == exact.at(10**13)


def test_a_path_beyond_the_floats_is_refused():
    engine = ql.Engine(step_time=ql.AffineStepTime(1000.0, 1000.0), token_budget=4)
    load = ql.Workload.poisson(1e-9, prompt_tokens=2, output_tokens=3)
    with pytest.raises(ql.InvalidArgument, match="must give a path whose numbers fit a float"):
        fluid_path(engine, load, policy=ql.ORCA, initial=FluidState(1e307))


def test_decodes_are_refused_where_no_request_decodes():
    with pytest.raises(ql.InvalidArgument, match="got decode_tokens=3"):
        fluid_path(ENGINE, ENDS_AT_ONCE, policy=ql.ORCA, initial=FluidState(0, 3))


def test_states_and_times_are_not_negative():
    with pytest.raises(ql.InvalidArgument, match="prompt_tokens must be"):
        FluidState(-1)
    with pytest.raises(ql.InvalidArgument, match="decode_tokens must be"):
        FluidState(0, float("inf"))
    path = fluid_path(ENGINE, LOAD, policy=ql.ORCA)
    with pytest.raises(ql.InvalidArgument, match="time must be"):
        path.at(-1)


def test_inside_the_interval_of_the_critical_rate_the_sign_is_not_known():
    own = ql.critical_rate(ENGINE, LOAD, policy=ql.VANILLA_VLLM)
    assert own.low < own.value < own.high
    with pytest.raises(ql.InvalidArgument, match="arrival_rate must lie outside"):
        fluid_path(ENGINE, LOAD.scale_to(own.value), policy=ql.VANILLA_VLLM)
