"""Exclusive against mixed batches: published numbers, derivations, the exact chain."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import example, given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.evidence import Evidence
from queueing_llm.policies._exclusive import ExclusiveBatching
from queueing_llm.stability.batching._batching_costs import BatchingCosts, best_refill_share
from queueing_llm.stability.batching._exclusive_or_mixed import (
    compare_batching,
    decode_phase,
    request_seconds,
)
from queueing_llm.stability.batching._memory_safe_slots import memory_safe_slots
from queueing_llm.stability.batching._observed_crossover import ObservedCrossover
from queueing_llm.stability.cycles._exclusive_rate import (
    decode_phase_seconds,
    exclusive_batching_rate,
    saturated_request_seconds,
)
from tests.contracts.states import state_of

# arXiv:2606.00516, calibration of Qwen3-8B on an H200.
MIXED = (2.4937e-05, 5.1929e-05, 1.4778e-05)
H200 = BatchingCosts(1.2786e-3, 2.4853e-5, 8.9212e-3, 4.5865e-5, 1.2786e-3, MIXED)
SIZES = {"prompt_tokens": 512, "output_tokens": 512, "slots": 1024, "refill": 24}


@pytest.mark.parametrize(("share", "rate"), [(0.889, 12_081), (0.5, 18_317), (0.111, 32_374)])
def test_the_mixed_token_cost_is_the_published_fit(share, rate):
    assert 1 / H200.mixed_token_seconds(share) == pytest.approx(rate, rel=3e-4)


@pytest.mark.parametrize(
    ("hazard", "share"),
    [
        (0.000475, 0.011578367015965242),
        (1 / 1024, 0.016546016427392687),
        (1 / 512, 0.02329264102106984),
        (1 / 128, 0.04586678513243879),
    ],
)
def test_the_best_refill_solves_its_equation_and_beats_its_neighbours(hazard, share):
    found = best_refill_share(H200, 1 / hazard)
    assert found == pytest.approx(share, rel=1e-11)

    def seconds(refill_share):
        sizes = SIZES | {"output_tokens": 1 / hazard, "refill": refill_share * 1024}
        return compare_batching(H200, **sizes).exclusive_seconds

    assert seconds(found) < min(seconds(found * 0.99), seconds(found * 1.01))


# The examples lie where the series hands over to the iteration.
@given(ratio=st.floats(1e-280, 1e12))
@example(ratio=1.1e-8)
@example(ratio=3e-8)
@example(ratio=1e-7)
@example(ratio=1e-6)
@example(ratio=1.1e-5)
def test_the_best_refill_is_right_for_any_ratio_of_costs(ratio):
    costs = BatchingCosts(ratio, 0, 1, 0, 1, (0, 0, 0))
    found = best_refill_share(costs, 1)
    target, share = sympy.Float(ratio, 700), sympy.Float(found, 700)
    goal = share / (1 - share) + sympy.log(1 - share)
    # A share next to 1 has few digits left to tell how far it is from 1.
    assert abs(goal / target - 1) < 1e-13 + 1e-15 * ratio


def test_refills_that_cost_beyond_all_measure_take_all_slots():
    assert best_refill_share(BatchingCosts(1e300, 0, 1e-300, 0, 1, (0, 0, 0)), 1) == 1


def test_the_published_formulas_follow_from_the_cost_model():
    """Derivatives and differences in symbols, not at numbers."""
    names = "alpha_p beta_p alpha_d beta_d alpha_m a b c L O N theta"
    symbols = dict(zip(names.split(), sympy.symbols(names, positive=True), strict=True))
    *constants, prompt, output, slots, share = symbols.values()
    costs = BatchingCosts(*constants[:5], tuple(constants[5:]))
    sizes = {"prompt_tokens": prompt, "output_tokens": output, "slots": slots}
    found = compare_batching(costs, **sizes, refill=share * slots)
    assert found.exact_exclusive_seconds is None

    stationary = share / (1 - share) + sympy.log(1 - share)
    stationary -= costs.prefill_base / (costs.decode_base * output)
    slope = sympy.diff(found.exclusive_seconds, share)
    factor = costs.decode_base * output / (slots * share**2)
    assert sympy.simplify(slope - factor * stationary) == 0
    root = best_refill_share(costs, output)
    values = dict(zip(symbols.values(), (2, 1, 3, 1, 1, 1, 1, 1, 5, 4, 64, 0), strict=True))
    assert sympy.N(stationary.subs(share, root).subs(values), 30) == pytest.approx(0, abs=1e-25)

    # The crossover as published: differences per token on both sides.
    tokens, mix = prompt + output, output / (prompt + output)
    dearer = costs.mixed_token_seconds(mix)
    dearer -= (costs.prefill_per_token * prompt + costs.decode_per_request * output) / tokens
    saved = costs.prefill_base - costs.decode_base * sympy.log(1 - share) * output
    saved = saved / (share * slots) - costs.mixed_base * (1 + output) / slots
    difference = (found.mixed_seconds - found.exclusive_seconds) / tokens
    assert sympy.simplify(difference - (dearer - saved / tokens)) == 0


@pytest.mark.parametrize(
    ("prompt", "output", "exclusive", "mixed"),
    [
        (128, 1024, 19453.466419598255, 11921.290593713169),
        (512, 512, 25113.678047901612, 18108.877016539773),
        (1024, 128, 35458.210584478846, 32227.755668451737),
    ],
)
def test_the_model_prefers_exclusive_batches_on_the_h200(prompt, output, exclusive, mixed):
    sizes = {"prompt_tokens": prompt, "output_tokens": output, "slots": 1024}
    found = compare_batching(H200, **sizes, refill=1024 * best_refill_share(H200, output))
    assert found.exclusive_tokens_per_second == pytest.approx(exclusive, rel=1e-9)
    assert found.mixed_tokens_per_second == pytest.approx(mixed, rel=1e-12)
    assert not found.is_mixed_better
    assert found.exact_exclusive_seconds is None, "the refill is no integer"


costs_and_sizes = st.fixed_dictionaries(
    {
        "base": st.floats(1e-4, 1),
        "slope": st.floats(0, 1e-2),
        "prompt_tokens": st.integers(1, 5_000),
        "output_tokens": st.integers(1, 5_000),
        "slots": st.integers(2, 60),
        "share": st.floats(0, 1),
    }
)


@given(drawn=costs_and_sizes)
def test_mixed_batches_are_better_if_time_depends_on_the_total_tokens_only(drawn):
    base, slope, share = (drawn.pop(name) for name in ("base", "slope", "share"))
    refill = 1 + round(share * (drawn["slots"] - 2))
    costs = BatchingCosts.of_step_time(ql.AffineStepTime(base, slope))
    exclusive, mixed = request_seconds(costs, **drawn, refill=refill)
    assert mixed < exclusive
    dear = BatchingCosts(base, slope, base, slope, base, (slope + 2 * base, 0, 0))
    exclusive, mixed = request_seconds(dear, **drawn | {"slots": 60}, refill=30)
    assert mixed > exclusive


def test_fluid_and_exact_agree_on_a_running_engine_but_not_on_a_phase_begun_full():
    """arXiv:2606.00516's decode time leaves out that a step may free more than k slots."""
    phase = decode_phase(H200, 100, slots=256, refill=32)
    assert phase.fluid_seconds == pytest.approx(0.2659, abs=5e-5)
    # Recorded simulation: 0.2742 +- 0.0007 s.
    assert abs(phase.exact_seconds - 0.2742) < 2 * 0.0007
    assert phase.exact_seconds > 1.03 * phase.fluid_seconds
    step = H200.decode_base + H200.decode_per_request * np.arange(257)
    running = 32 * saturated_request_seconds(step, 0.0, refill=32, finishing=0.01)
    assert running == pytest.approx(phase.fluid_seconds, rel=2e-3)
    assert decode_phase(H200, 100, slots=256, refill=32.5).exact_seconds is None


@given(
    slots=st.integers(1, 300),
    share=st.floats(0, 1),
    output=st.floats(1.001, 5_000),
    emits=st.booleans(),
)
def test_every_request_takes_its_mean_decode_steps(slots, share, output, emits):
    """Conservation, which the elimination does not know: one second a token, per request."""
    refill = 1 + round(share * (slots - 1))
    at_prefill = 1 / output if emits else 0.0
    tokens = saturated_request_seconds(
        np.arange(slots + 1.0), 0.0, refill=refill, finishing=1 / output, at_prefill=at_prefill
    )
    assert tokens == pytest.approx(output - emits, rel=1e-10)


@pytest.mark.parametrize(("slots", "refill", "output"), [(2048, 1, 5_000), (2048, 700, 40)])
def test_the_largest_chain_conserves_decode_steps_too(slots, refill, output):
    sizes = {"refill": refill, "finishing": 1 / output}
    tokens = saturated_request_seconds(np.arange(slots + 1.0), 0.0, **sizes)
    assert tokens == pytest.approx(output, rel=1e-10)


@pytest.mark.parametrize(("output", "slots"), [(128, 256), (1 / 0.000475, 318), (16, 64)])
def test_the_best_refill_is_the_best_of_the_exact_engine(output, slots):
    seconds = [
        compare_batching(
            H200, prompt_tokens=64, output_tokens=output, slots=slots, refill=refill
        ).exact_exclusive_seconds
        for refill in range(1, 30)
    ]
    assert 1 + int(np.argmin(seconds)) == round(slots * best_refill_share(H200, output))


def exact_request_seconds(step, refill_seconds, *, refill, finishing, at_prefill):
    """Solve the chain in fractions: the slow twin."""
    slots = len(step) - 1
    chances = sympy.zeros(slots + 1)
    for n in range(slots + 1):
        refills = n <= slots - refill
        count, chance = (refill, at_prefill) if refills else (n, finishing)
        for done in range(count + 1):
            weight = math.comb(count, done) * chance**done * (1 - chance) ** (count - done)
            chances[n, n + refill * refills - done] += sympy.Rational(weight)
    balance = (chances - sympy.eye(slots + 1)).T.col_join(sympy.ones(1, slots + 1))
    share = balance.gauss_jordan_solve(sympy.Matrix([0] * (slots + 1) + [1]))[0]
    refilling = sum(share[: slots - refill + 1])
    decoding = sum(share[n] * step[n] for n in range(slots - refill + 1, slots + 1))
    return Fraction(str((decoding + refilling * refill_seconds) / (refill * refilling)))


@pytest.mark.parametrize("slots", [1, 2, 5, 7])
@pytest.mark.parametrize("finishing", [Fraction(1, 100), Fraction(1, 3), Fraction(9, 10)])
@pytest.mark.parametrize("emits", [False, True])
def test_the_chain_is_solved_to_rounding(slots, finishing, emits):
    step = [0] + [3 + n * n for n in range(1, slots + 1)]
    for refill in range(1, slots + 1):
        chances = {"finishing": finishing, "at_prefill": finishing if emits else Fraction(0)}
        exact = exact_request_seconds(step, 5, refill=refill, **chances)
        floats = {name: float(value) for name, value in chances.items()}
        found = saturated_request_seconds(np.array(step), 5.0, refill=refill, **floats)
        assert found == pytest.approx(float(exact), rel=1e-12)


def test_outputs_of_one_token_leave_no_randomness():
    """Five slots, refills of two: two start twice, then four decode once."""
    found = saturated_request_seconds(np.arange(6.0), 10.0, refill=2, finishing=1.0)
    assert found == (2 * 10 + 4) / 4
    nearly = saturated_request_seconds(np.arange(601.0), 10.0, refill=2, finishing=1 - 1e-3)
    assert 5 + 0.99 < nearly < 5 + 1.01
    assert decode_phase_seconds(np.arange(6.0), refill=2, finishing=1.0) == 5


def test_the_mean_of_a_resident_after_a_refill():
    r"""D: a resident has lived through j phases with chance theta (1 - theta)^j."""
    theta, output, prompt = 0.2, 50, 30
    phase = -math.log(1 - theta) * output
    lived = np.arange(400)
    chances = theta * (1 - theta) ** lived
    mean = prompt + phase * (chances @ lived)
    spread = phase**2 * (chances @ lived**2 - (chances @ lived) ** 2)
    sizes = {"prompt_tokens": prompt, "output_tokens": output, "refill_share": theta}
    safe = memory_safe_slots(10_000, **sizes)
    n = safe.with_spread_ages
    assert n * mean + math.sqrt(2 * spread * n * math.log(100)) == pytest.approx(10_000)
    assert memory_safe_slots(10_000, **sizes, overflow_chance=1).published == pytest.approx(
        10_000 / mean
    )


@pytest.mark.parametrize(
    ("capacity", "slots"),
    [
        (700_000, 307.21378270526674),
        (726_000, 318.7718022361937),
        (800_000, 351.68166011490723),
    ],
)
def test_memory_safe_slots_as_published(capacity, slots):
    output = 1 / 0.000475
    share = best_refill_share(H200, output)
    sizes = {"prompt_tokens": 128, "output_tokens": output, "refill_share": share}
    safe = memory_safe_slots(capacity, **sizes)
    assert safe.published == pytest.approx(slots, rel=1e-9)
    assert safe.slots == math.floor(safe.with_spread_ages) < slots
    assert round(share * 318) == 4


def overflowing(capacity, slots, *, prompt, output, share, cycles=1_500):
    """Return the share of cycles in which residents outgrow the cache, in simulation."""
    rng, refill = np.random.default_rng(5), max(1, round(share * slots))
    # Geometric ages are those of the stationary engine, but for the number of residents.
    held = prompt + rng.geometric(1 / output, size=slots - refill)
    over = 0
    for _ in range(cycles):
        while slots - len(held) >= refill:
            held = np.concatenate([held, np.full(refill, prompt)])
        peak = held.sum()
        while slots - len(held) < refill:
            held = held + 1
            peak = max(peak, held.sum())
            held = held[rng.random(len(held)) >= 1 / output]
        over += peak > capacity
    return over / cycles


@pytest.mark.parametrize(
    ("capacity", "prompt", "output", "share", "published_is_safe"),
    [
        (200_000, 128, 500, 0.02, False),
        (20_000, 30, 50, 0.2, True),
        (10_000, 1, 20, 0.7, True),
    ],
)
def test_the_smaller_number_of_slots_rarely_overflows(
    capacity, prompt, output, share, published_is_safe
):
    sizes = {"prompt_tokens": prompt, "output_tokens": output, "refill_share": share}
    safe = memory_safe_slots(capacity, **sizes)
    sizes = {"prompt": prompt, "output": output, "share": share}
    assert overflowing(capacity, safe.slots, **sizes) < 0.01
    published = overflowing(capacity, math.floor(safe.published), **sizes)
    assert (published < 0.01) == published_is_safe
    assert overflowing(capacity, round(safe.slots * 1.3), **sizes) > 0.2


def test_the_observed_crossover_compares_what_is_present():
    dear = BatchingCosts(1e-3, 1e-5, 1e-3, 1e-5, 1e-3, (1e-3, 0, 0))
    cheap = BatchingCosts.of_step_time(ql.AffineStepTime(1e-3, 1e-5))
    rows = {
        "prompt_left": [0] * 8 + [9, 9],
        "decode_left": [5] * 10,
        "stored": [9] * 8 + [0] * 2,
    }
    state = state_of(**rows, token_budget=99)
    assert not ObservedCrossover(dear)(state)
    assert ObservedCrossover(cheap)(state)
    nobody = state_of(prompt_left=[9], decode_left=[5], stored=[0], token_budget=99)
    assert ObservedCrossover(dear)(nobody), "with fewer than two residents"


ENGINE = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=64)
LOAD = ql.Workload.poisson(1, prompt_tokens=9, output_tokens=ql.GeometricLength(5))
POLICY = ExclusiveBatching(8, 2)


def test_the_rate_is_numerical_and_reads_cost_what_a_request_reads():
    plain = exclusive_batching_rate(ENGINE, LOAD, POLICY)
    assert plain.evidence is Evidence.NUMERICAL
    assert plain.low < plain.value < plain.high
    reading = ql.Engine(step_time=ql.AffineStepTime(1, 1, 0.25), token_budget=64)
    # E[p D + D (D - 1) / 2] = 45 + 20
    found = exclusive_batching_rate(reading, LOAD, POLICY)
    assert 1 / found.value - 1 / plain.value == pytest.approx(65 / 4)


@pytest.mark.parametrize(
    ("engine", "workload", "policy"),
    [
        (ENGINE, LOAD, ql.VANILLA_VLLM),
        (ENGINE, LOAD, ExclusiveBatching(65, 2)),
        (
            ql.Engine(step_time=ENGINE.step_time, token_budget=64, max_batch_size=7),
            LOAD,
            POLICY,
        ),
        (ql.Engine(step_time=ENGINE.step_time, token_budget=64, kv_capacity=99), LOAD, POLICY),
        (ENGINE, ql.Workload.poisson(1, prompt_tokens=9, output_tokens=5), POLICY),
        (
            ENGINE,
            ql.Workload.of_requests([0], prompt_tokens=[9], output_tokens=[5]),
            POLICY,
        ),
    ],
    ids=["policy", "budget", "places", "memory", "outputs", "finite"],
)
def test_no_rate_is_claimed_outside_the_derivation(engine, workload, policy):
    assert exclusive_batching_rate(engine, workload, policy) is None


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: BatchingCosts(0, 1, 1, 1, 1, MIXED), "prefill_base must be"),
        (lambda: BatchingCosts(1, 1, 1, 1, 1, (1, 2)), "mixed_per_token must hold three"),
        (lambda: BatchingCosts(1, 1, 1, 1, 1, (1, "x", 2)), r"mixed_per_token\[1\] must"),
        (
            lambda: BatchingCosts(1, 1, 1, 1, 1, (1, -2, 0)).mixed_token_seconds(0.9),
            "mixed_per_token at decode_share=0.9 must",
        ),
        (lambda: H200.mixed_token_seconds(1.1), "decode_share must be"),
        (lambda: best_refill_share(H200, 0.5), "output_tokens must be"),
        (lambda: compare_batching(H200, **SIZES | {"refill": 1024}), "below slots, got a"),
        (lambda: compare_batching(H200, **SIZES | {"slots": 0}), "slots must be"),
        (
            lambda: BatchingCosts.of_step_time(ql.AffineStepTime(1, 1, 1)),
            "per_kv_token must be 0",
        ),
        (
            lambda: memory_safe_slots(9, prompt_tokens=1, output_tokens=2, refill_share=1),
            "below slots",
        ),
    ],
)
def test_values_out_of_range_are_refused(call, text):
    with pytest.raises(ql.InvalidArgument, match=text):
        call()
