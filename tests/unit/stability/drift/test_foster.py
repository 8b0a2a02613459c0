"""Foster's drift: constants against recorded numbers, simulation, and its limits."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import sympy

import queueing_llm as ql
from queueing_llm.stability import foster_drift

MAIN = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
ENGINE = ql.Engine(step_time=MAIN, token_budget=512)
LOAD = ql.Workload.poisson(1, prompt_tokens=100, output_tokens=100)
CAPACITY = ql.capacity(ENGINE, LOAD).requests_per_second


@pytest.mark.parametrize(
    ("load", "lower", "upper", "simulated"),
    [
        # thm2.foster_bound
        ("0.5", 100, 204_628, 2_873.5),
        ("0.8", 400, 512_219.2, 7_350.7),
        ("0.9", 900, 1_024_973.6, 11_296.9),
        ("0.95", 1_900, 2_050_520.8, 13_268.2),
    ],
)
def test_the_bounds_enclose_the_simulated_backlog(load, lower, upper, simulated):
    workload = LOAD.scale_to(Fraction(load) * CAPACITY)
    found = foster_drift(ENGINE, workload, policy=ql.SARATHI)
    assert isinstance(found.upper_bound, Fraction)
    assert float(found.lower_bound) == pytest.approx(lower, rel=1e-12)
    assert float(found.upper_bound) == pytest.approx(upper, rel=1e-9)
    assert found.drift == -512 * (1 - Fraction(load))
    run = ql.simulate(ENGINE, workload, policy=ql.SARATHI, horizon=40_000, warmup=2_000)
    mean = run.mean_backlog_tokens
    assert mean.value == pytest.approx(simulated, rel=0.02)
    assert lower < mean.value < upper


@pytest.mark.parametrize("emits", [False, True])
def test_above_the_exceptional_set_batches_are_full_and_the_drift_is_right(emits):
    """An overloaded start on a small engine, so that many batches begin above B."""
    engine = ql.Engine(
        step_time=ql.AffineStepTime(Fraction(1, 2), Fraction(1, 8)),
        token_budget=4,
        first_token_from_prefill=emits,
    )
    lengths = ql.IndependentLengths(ql.UniformLength(1, 4), ql.UniformLength(1, 3))
    shape = ql.Workload.of(ql.PoissonArrivals(1), lengths)
    load = shape.scale_to(ql.capacity(engine, shape).requests_per_second * Fraction(4, 5))
    found = foster_drift(engine, load, policy=ql.ORCA)
    assert found.exceptional_tokens == 3 * (7 - emits)
    assert found.drift == Fraction(-4, 5)
    runs = [_until_home(engine, load, found, seed=seed) for seed in range(20)]
    changes = np.concatenate([np.diff(run) for run in runs])
    error = np.std(changes) / np.sqrt(len(changes))
    assert len(changes) > 3_000
    assert abs(np.mean(changes) - float(found.drift)) < 4 * error
    batches = np.array([len(run) - 1 for run in runs])
    starts = np.array([run[0] for run in runs])
    bounds = [float(found.return_seconds(v) / found.batch_seconds) for v in starts]
    error = np.std(batches - np.array(bounds)) / np.sqrt(len(runs))
    slack = 3 / -float(found.drift)
    assert slack < error, "the enclosure is tighter than what the runs can tell"
    assert np.mean(bounds) - slack - 4 * error < np.mean(batches) < np.mean(bounds) + 4 * error


def test_the_time_to_return_is_the_backlog_above_the_set_over_the_drift():
    found = foster_drift(ENGINE, LOAD.scale_to(CAPACITY / 2), policy=ql.SARATHI)
    start = found.exceptional_tokens + 1
    assert found.return_seconds(start) == 512 / Fraction(256) * MAIN(512)
    assert found.return_seconds(start - 1) == 0


def _until_home(engine, load, found, *, seed):
    """Return the backlog at the ends of batches, from 200 tokens of work to at most B."""
    rng = np.random.default_rng(seed)
    times, prompts, outputs = [], [], []
    work = 0
    while work < 200:
        prompt, output = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        prompts.append(prompt)
        outputs.append(output)
        times.append(0.0)
        work += engine.work_tokens(prompt, output)
    chunk = next(load.chunks(rng, 1_000))
    everything = ql.Workload.of_requests(
        [*times, *chunk.arrival_times],
        prompt_tokens=[*prompts, *chunk.prompt_tokens],
        output_tokens=[*outputs, *chunk.output_tokens],
    )
    backlog = []
    horizon = float(chunk.arrival_times[-1])
    for step in ql.watch(engine, everything, policy=ql.ORCA, horizon=horizon):
        backlog.append(int(step.state.prompt_left.sum() + step.state.decode_left.sum()))
        if backlog[-1] <= found.exceptional_tokens:
            return np.array(backlog)
    pytest.fail("the run ended before the backlog returned")


LAW = {2: Fraction(1, 2), 3: Fraction(1, 2)}
"""P(w) for a prompt of 1 or 2 tokens and one decode."""
TIMES = (Fraction(3), Fraction(2))
"""t(1), t(2): a small batch is the slow one."""
RATE = Fraction(1, 4)
MOST_ARRIVALS = 30


def _arriving(seconds):
    """Return bounds on P(A = k) for the tokens A of at most MOST_ARRIVALS requests."""
    mean = RATE * seconds
    terms = [(-mean) ** k / math.factorial(k) for k in range(41)]
    # The partial sums of an alternating series of falling terms enclose exp(-mean).
    none = sorted([sum(terms), sum(terms[:-1])])
    weights, total = Counter(), Counter({0: Fraction(1)})
    for count in range(MOST_ARRIVALS + 1):
        for tokens, share in total.items():
            weights[tokens] += share * mean**count / math.factorial(count)
        following = Counter()
        for tokens, share in total.items():
            for work, chance in LAW.items():
                following[tokens + work] += share * chance
        total = following
    low, high = ({k: v * weight for k, v in weights.items()} for weight in none)
    return low, high


def _mean_of(function, seconds):
    """Enclose E[function(A)] for 0 <= function(A) <= (A + 9)^2, in rational numbers."""
    low, high = _arriving(seconds)
    mean, m = RATE * seconds, MOST_ARRIVALS
    # With N > m requests, (3 N + 9)^2 <= 16 N^2, and N^2 = N (N - 1) + N.
    beyond = mean ** (m + 1) * Fraction(1 + m, math.factorial(m))
    least = sum(chance * function(k) for k, chance in low.items())
    return least, sum(chance * function(k) for k, chance in high.items()) + 16 * beyond


def _small_states():
    """Yield every state of up to 3 requests, decodes first in order of arrival."""
    for count in (1, 2, 3):
        for prompts in itertools.product((0, 1, 2), repeat=count):
            if any(prompts[: prompts.count(0)]):
                continue
            yield ql.EngineState(
                request=np.arange(count),
                class_index=np.zeros(count, dtype=np.int64),
                prompt_left=np.array(prompts, dtype=np.int64),
                decode_left=np.ones(count, dtype=np.int64),
                stored=np.array([int(p == 0) for p in prompts], dtype=np.int64),
                token_budget=2,
            )


@pytest.mark.parametrize("rule", [ql.SARATHI, ql.ORCA, ql.VLLM_V1])
def test_the_drift_is_exact_and_foster_holds_in_every_small_state(rule):
    """E[V'] and E[V'^2] enclosed by rational sums, not taken from the formulas under test."""
    step = ql.TableStepTime.of_tokens([1, 2], TIMES)
    engine = ql.Engine(step_time=step, token_budget=2)
    lengths = ql.IndependentLengths(ql.UniformLength(1, 2), ql.DeterministicLength(1))
    load = ql.Workload.of(ql.PoissonArrivals(RATE), lengths)
    found = foster_drift(engine, load, policy=rule)
    constant = 2 * -found.drift * (found.upper_bound - found.exceptional_tokens)
    above, after_idling = 0, []
    for state in _small_states():
        backlog = int(state.prompt_left.sum() + state.decode_left.sum())
        tokens = int(rule(state).tokens.sum())
        seconds = TIMES[tokens - 1]
        least, most = _mean_of(lambda k, left=backlog - tokens: left + k, seconds)
        square, most_square = _mean_of(
            lambda k, left=backlog - tokens: (left + k) ** 2, seconds
        )
        room = constant + 2 * found.drift * (backlog - found.exceptional_tokens)
        assert most_square - backlog**2 <= room
        assert most - least < Fraction(1, 10**12)
        assert most_square - square < Fraction(1, 10**12)
        if list(state.stored) == [0]:
            after_idling.append(most_square)
        if backlog > found.exceptional_tokens:
            above += 1
            assert tokens == 2
            assert least <= backlog + found.drift <= most
    assert above > 5
    assert sum(after_idling) / 2 <= constant - 2 * found.drift * found.exceptional_tokens


@pytest.mark.parametrize(
    ("engine", "workload", "policy"),
    [
        (ENGINE, LOAD.scale_to(CAPACITY), ql.SARATHI),
        (ENGINE, LOAD.scale_to(2 * CAPACITY), ql.SARATHI),
        (ENGINE, LOAD, ql.VANILLA_VLLM),
        (ENGINE, ql.Workload.of(ql.DeterministicArrivals(1), LOAD.classes[0].lengths), ql.ORCA),
        (
            ENGINE,
            ql.Workload.poisson(1, prompt_tokens=9, output_tokens=ql.GeometricLength(9)),
            ql.ORCA,
        ),
        (ql.Engine(step_time=MAIN, token_budget=130), LOAD, ql.SARATHI),
        (ql.Engine(step_time=MAIN, token_budget=512, kv_capacity=4_000), LOAD, ql.SARATHI),
        (
            ql.Engine(step_time=MAIN, token_budget=512, first_token_from_prefill=True),
            ql.Workload.poisson(1, prompt_tokens=1, output_tokens=0),
            ql.SARATHI,
        ),
    ],
    ids=[
        "critical",
        "overload",
        "policy",
        "arrivals",
        "unbounded",
        "budget",
        "memory",
        "no output",
    ],
)
def test_nothing_is_claimed_where_a_hypothesis_fails(engine, workload, policy):
    assert foster_drift(engine, workload, policy=policy) is None


def test_a_negative_backlog_is_refused():
    found = foster_drift(ENGINE, LOAD, policy=ql.SARATHI)
    with pytest.raises(ql.InvalidArgument, match="backlog_tokens must be"):
        found.return_seconds(-1)


def test_a_symbol_is_refused():
    with pytest.raises(ql.InvalidArgument, match="arrival_rate must be a number"):
        foster_drift(
            ENGINE, LOAD.scale_to(sympy.Symbol("rate", positive=True)), policy=ql.SARATHI
        )
