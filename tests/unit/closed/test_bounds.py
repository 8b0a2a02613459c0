"""No run of any rule leaves the bounds, and they meet where many users saturate an engine."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.closed._bounds import throughput_bounds
from queueing_llm.closed._linear_laws import ExtremeBatches, greatest_minorant, least_majorant
from queueing_llm.closed._memory import memory_never_binds
from tests.reference.closed_loop import play

NAMES = (
    "sarathi",
    "vllm_v1",
    "orca",
    "orca:residents",
    "sarathi:whole",
    "vanilla_vllm",
    "vanilla_vllm:chunked,residents",
    "faster_transformer",
    "faster_transformer:chunked",
)
RULES = tuple(ql.policy_named(name) for name in NAMES)
seconds = st.integers(1, 20)


@st.composite
def laws(draw):
    """Draw a step time: smooth, stepped, falling in places, or a rough table of batches."""
    kind = draw(st.sampled_from(["affine", "stairs", "hinge", "row", "grid", "roofline"]))
    match kind:
        case "affine":
            return ql.AffineStepTime(draw(seconds), draw(seconds), Fraction(draw(seconds), 40))
        case "stairs":
            return ql.StaircaseStepTime(draw(seconds), draw(seconds), draw(st.integers(1, 6)))
        case "hinge":
            return ql.HingeStepTime(draw(seconds), draw(seconds), draw(st.integers(0, 8)))
        case "roofline":
            return ql.RooflineStepTime(draw(seconds), draw(seconds), 1, Fraction(1, 9))
        case "row":
            rows = draw(st.lists(seconds, min_size=4, max_size=4))
            return ql.TableStepTime.of_tokens([1, 3, 6, 12], rows)
    cells = draw(st.lists(seconds, min_size=27, max_size=27))
    grid = np.array(cells).reshape(3, 3, 3).tolist()
    return ql.TableStepTime.of_batches([0, 5, 12], [0, 3, 12], [0, 20, 400], grid)


@st.composite
def systems(draw):
    """Draw an engine, a rule, users, and the requests that they send in turn."""
    rule, emits = draw(st.sampled_from(RULES)), draw(st.booleans())
    budget = draw(st.integers(1, 12))
    longest = 18 if rule.chunked else budget
    one = st.tuples(st.integers(1, longest), st.integers(1, 6))
    rows = draw(st.lists(one, min_size=1, max_size=4))
    users = draw(st.integers(1, 6))
    memory = None
    # A preempted request restarts as one prompt, which a rule must be able to cut.
    if rule.chunked and rule.mixed and draw(st.booleans()):
        memory = draw(st.integers(24, 24 * users))
    engine = ql.Engine(
        step_time=draw(laws()),
        token_budget=budget,
        max_batch_size=draw(st.none() | st.integers(1, 6)),
        kv_capacity=memory,
        first_token_from_prefill=emits,
    )
    think = draw(st.sampled_from([0, 0, 3, 40]))
    arrivals = ql.model.ClosedArrivals(users, think_time=think)
    prompts, outputs = zip(*rows, strict=True)
    lengths = ql.EmpiricalLengths(prompts, outputs, in_order=True)
    return engine, rule, ql.Workload.of(arrivals, lengths), rows


def throughput(engine, rule, load, rows, *, completions):
    """Return requests per second of a run whose means are those of the workload, nearly."""
    think = load.arrivals.think_time
    done, _ = play(
        engine,
        rule,
        starts=[think] * load.users,
        lengths=itertools.cycle(rows),
        thinks=itertools.repeat(think),
        completions=completions,
    )
    return completions / float(done[-1].finished)


def stays_within(system, *, completions):
    """Assert it of a run, whose first and last requests and cut cycle of rows are the slack."""
    engine, rule, load, rows = system
    bounds = throughput_bounds(engine, load, rule)
    measured = throughput(engine, rule, load, rows, completions=completions)
    slack = 1 + (2 * load.users + len(rows)) / completions
    assert bounds.low / slack <= measured <= bounds.high * slack
    assert bounds.low > 0 or not memory_never_binds(engine, load)


@given(systems())
@settings(max_examples=25)
def test_no_run_leaves_the_bounds(system):
    stays_within(system, completions=160)


@pytest.mark.slow
@given(systems())
@settings(max_examples=200)
def test_no_long_run_leaves_the_bounds(system):
    stays_within(system, completions=400)


def test_the_bounds_of_another_engine_are_left():
    step = ql.AffineStepTime(2, 1)
    engine = ql.Engine(step_time=step, token_budget=12)
    load = ql.Workload.closed(40, prompt_tokens=5, output_tokens=5)
    measured = throughput(engine, ql.SARATHI, load, [(5, 5)], completions=800)
    own = throughput_bounds(engine, load, ql.SARATHI)
    assert own.low <= measured <= own.high
    faster = replace(engine, step_time=ql.AffineStepTime(Fraction(16, 10), Fraction(8, 10)))
    slower = replace(engine, step_time=ql.AffineStepTime(Fraction(25, 10), Fraction(125, 100)))
    assert throughput_bounds(faster, load, ql.SARATHI).low > measured
    assert throughput_bounds(slower, load, ql.SARATHI).high < measured


@pytest.mark.parametrize("name", ["sarathi", "vllm_v1", "orca"])
@pytest.mark.parametrize("think", [0, 30])
def test_many_users_reach_the_rate_of_full_batches(name, think):
    """Both bounds tend to Theorem 2(b)'s rate, here with KV reads."""
    engine = ql.Engine(step_time=ql.AffineStepTime(0.01, 1e-4, 1e-7), token_budget=512)
    lengths = {"prompt_tokens": 300, "output_tokens": ql.GeometricLength(80)}
    load = ql.Workload.closed(10**6, think_time=think, **lengths)
    bounds = throughput_bounds(engine, load, ql.policy_named(name))
    rate = float(
        ql.critical_rate(engine, ql.Workload.poisson(1, **lengths), policy=ql.ORCA).value
    )
    assert bounds.most == pytest.approx(rate, rel=1e-9)
    assert rate * (1 - 1e-3) < bounds.low <= bounds.high <= rate * (1 + 1e-9)


@pytest.mark.parametrize("limit", [None, 3, 40])
def test_what_no_users_exceed_is_the_capacity(limit):
    """A floating-point programme against the exact one of the capacity."""
    step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    engine = ql.Engine(step_time=step, token_budget=512, max_batch_size=limit)
    load = ql.Workload.closed(7, prompt_tokens=129, output_tokens=112)
    exact = float(ql.capacity(engine, load).requests_per_second)
    assert throughput_bounds(engine, load, ql.SARATHI).most == pytest.approx(exact, rel=1e-9)


@given(laws(), st.integers(1, 12), st.integers(1, 8), st.data())
def test_linear_laws_lie_on_their_side(law, budget, users, data):
    """At every batch, by counting: the sums are values of functions that do."""
    engine = ql.Engine(step_time=law, token_budget=budget)
    load = ql.Workload.closed(users, prompt_tokens=5, output_tokens=5)
    batches = ExtremeBatches.of(engine, load, requests=users)
    x = data.draw(st.integers(0, budget))
    y = data.draw(
        st.integers(0 if x else 1, max(0 if x else 1, min(budget - x, users - (x > 0))))
    )
    if x + y > budget or y + (x > 0) > users:
        return
    kv = data.draw(st.integers(0, 10 * users)) if y else 0
    weights = np.array([x, y, kv], dtype=np.float64)
    time = float(law(x, y, kv))
    # The batch itself, priced: its worth is no more than its time, and no less from above.
    assert greatest_minorant(batches, weights) <= time * (1 + 1e-9)
    assert least_majorant(batches, np.array([1.0, *weights])) >= time * (1 - 1e-9)


def test_bounds_say_what_they_rest_on():
    falling = ql.TableStepTime.of_tokens([1, 4, 8], [3.0, 5.0, 4.0])
    engine = ql.Engine(step_time=falling, token_budget=8)
    load = ql.Workload.closed(3, prompt_tokens=3, output_tokens=4)
    monotone, rule, fits, kept = throughput_bounds(engine, load, ql.SARATHI).hypotheses
    assert (monotone.holds, rule.holds, fits.holds, kept.holds) == (False, True, True, True)
    by_code = throughput_bounds(engine, load, lambda state: ql.SARATHI(state))
    assert by_code.low == 0
    assert math.isfinite(by_code.high)
