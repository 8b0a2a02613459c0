"""WAIT in the simulator against the fluid equilibrium of arXiv:2504.11320.

An iteration takes d0 + d1 (cached tokens), which is an affine step time whose tokens and KV
reads cost the same. A request of prompt l and l' decode steps holds A = (l' + 1)(l + l'/2)
token-iterations.
"""

from fractions import Fraction

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.model import DeterministicLength, IndependentLengths
from queueing_llm.policies._wait import NestedWait, Wait
from queueing_llm.stability import resource_prices

D0, D1 = Fraction(1, 50), Fraction(1, 25_000)
SHORT, LONG = (8, 4), (8, 10)
FCFS = (ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM, ql.FASTER_TRANSFORMER)


def lifetime(kind):
    prompt, output = kind
    return (output + 1) * (prompt + Fraction(output, 2))


def engine_with(kv_capacity):
    law = ql.AffineStepTime(D0, D1, D1)
    return ql.Engine(step_time=law, token_budget=2**20, kv_capacity=kv_capacity)


def requests_of(rates):
    """Return Poisson arrivals of requests of both kinds."""
    classes = [
        ql.RequestClass(
            f"{prompt}+{output}",
            IndependentLengths(DeterministicLength(prompt), DeterministicLength(output)),
            share=rate,
        )
        for (prompt, output), rate in zip((SHORT, LONG), rates, strict=True)
    ]
    return ql.Workload(ql.PoissonArrivals(sum(rates)), classes)


def reserved(thresholds):
    """M^pi: the cache of the policy, and the length of an iteration that serves all of it."""
    tokens = sum(n * lifetime(kind) for n, kind in zip(thresholds, (SHORT, LONG), strict=True))
    return tokens, D0 + D1 * tokens


def equilibrium(rates):
    """M* = d0 sum(rate A) / (1 - d1 sum(rate A)) tokens."""
    demand = sum(rate * lifetime(kind) for rate, kind in zip(rates, (SHORT, LONG), strict=True))
    return D0 * demand / (1 - D1 * demand)


def halves(run):
    """Return the mean backlog in the second and the last quarter of a run [tokens]."""
    paths = run.backlog_tokens
    quarter = paths.shape[1] // 4
    return paths[:, quarter : 2 * quarter].mean(), paths[:, -quarter:].mean()


@pytest.mark.parametrize("together", [1, 2, 8])
def test_wait_reaches_the_memory_bound_that_others_miss(together):
    """C = n A: saturated, WAIT serves n requests every d0 + d1 C seconds. Nobody does more."""
    cache = int(together * lifetime(LONG))
    engine = engine_with(cache)
    load = ql.Workload.poisson(1, prompt_tokens=LONG[0], output_tokens=LONG[1])
    own = together / (D0 + D1 * cache)
    assert 1 / resource_prices(engine, load).seconds == own
    overload = load.scale_to(2 * own)
    steps = ql.watch(engine, overload, policy=Wait([together]), horizon=10, seed=1)
    late = [s for s in steps if s.start > 5_000_000_000]
    lengths = {s.end - s.start for s in late}
    assert lengths == {round((D0 + D1 * cache) * 10**9)}
    done = [(s.state.decode_left == 1) & (s.batch.tokens > 0) for s in late]
    finishing = [d & (s.state.prompt_left == 0) for d, s in zip(done, late, strict=True)]
    assert {int(f.sum()) for f in finishing} == {together}
    for rule in FCFS:
        run = ql.simulate(engine, overload, policy=rule, horizon=100, warmup=10, seed=1)
        assert run.preemptions > 0
        assert run.throughput.value < 0.97 * float(own)


def test_the_equilibrium_is_the_memory_bound():
    """M*(rates) = C exactly where a request costs 1 / rate seconds by the memory bound."""
    rates = (Fraction(100), Fraction(50))
    load = requests_of(rates)
    for cache in (300, 486, 1_000):
        most = 1 / resource_prices(engine_with(cache), load).seconds
        scale = most / sum(rates)
        assert equilibrium([scale * rate for rate in rates]) == cache


def test_feasible_thresholds_keep_up_inside_their_reservation():
    """d0 + d1 M^pi <= n_j / rate_j for every class, and M* <= M^pi <= C."""
    rates, thresholds = (100, 50), (4, 2)
    cache, iteration = reserved(thresholds)
    assert all(iteration <= Fraction(n, r) for n, r in zip(thresholds, rates, strict=True))
    assert equilibrium(rates) <= cache
    engine, load = engine_with(int(cache)), requests_of(rates)
    held = [
        int(s.state.stored.sum() + s.batch.tokens.sum())
        for s in ql.watch(engine, load, policy=Wait(thresholds), horizon=20, seed=2)
    ]
    assert max(held) == cache, "the reservation is exact"
    run = ql.simulate(engine, load, policy=Wait(thresholds), horizon=100, seed=3)
    assert run.preemptions == 0
    assert abs(run.throughput.value - 150) < 4 * run.throughput.standard_error
    before, after = halves(run)
    # A backlog that grew by 2 % of the work would stand at 4,000 tokens.
    assert max(before, after) < 2_000


@pytest.mark.parametrize(
    ("rates", "thresholds"),
    [((100, 50), (1, 1)), ((100, 50), (3, 2)), ((110, 55), (4, 2))],
    ids=["too small", "one too small", "overload"],
)
def test_infeasible_thresholds_do_not_keep_up(rates, thresholds):
    _, iteration = reserved(thresholds)
    assert any(iteration > Fraction(n, r) for n, r in zip(thresholds, rates, strict=True))
    run = ql.simulate(
        engine_with(486), requests_of(rates), policy=Wait(thresholds), horizon=40, seed=3
    )
    before, after = halves(run)
    assert after > 1.5 * before > 500
    # Every class gets what its own threshold lets through, at most.
    most = sum(min(r, n / iteration) for n, r in zip(thresholds, rates, strict=True))
    assert run.throughput.value < float(most) * 1.02


def test_near_the_equilibrium_first_come_first_served_rules_fall_behind():
    """C = M^pi, 3 % above M*: WAIT keeps up, rules that fill the cache preempt and do not."""
    cache, _ = reserved((4, 2))
    assert equilibrium((100, 50)) < cache < Fraction(103, 100) * equilibrium((100, 50))
    engine, load = engine_with(int(cache)), requests_of((100, 50))
    for rule in FCFS:
        run = ql.simulate(engine, load, policy=rule, horizon=400, seed=3)
        before, after = halves(run)
        assert run.preemptions > 10_000
        assert after > 1.5 * before > 1_000
        assert run.throughput.value < 149


NESTED = NestedWait((5, 2), (4, 10), prompt_tokens=8)
THETA = 0.8710610885646197
"""Root of exp(-2 theta) (0.7 + 0.3 exp(theta))^5 = 1, as for (100, 40, 0.3) of the paper."""


def test_nested_wait_keeps_up_within_its_safety_buffer():
    """0.3 of the requests are long; 0.3 < 2/5 < 1, and an iteration is shorter than 5/100 s."""
    horizon, chance = 100, 0.01
    needed = 5 * 5 * (8 + 2) + 6 * (2 * 8 + 15)
    iteration = float(D0 + D1 * needed)
    assert iteration < 5 / 100
    assert np.exp(-2 * THETA) * (0.7 + 0.3 * np.exp(THETA)) ** 5 == pytest.approx(1)
    buffer = (8 + 4) * (2 + np.log(2 * (1 + horizon / float(D0)) / chance) / THETA)
    engine = engine_with(int(np.ceil(needed + buffer)))
    run = ql.simulate(engine, requests_of((70, 30)), policy=NESTED, horizon=horizon, seed=4)
    assert run.preemptions == 0
    assert abs(run.throughput.value - 100) < 4 * run.throughput.standard_error
    assert max(halves(run)) < 1_000
    tight = ql.simulate(
        engine_with(3 * needed // 4), requests_of((70, 30)), policy=NESTED, horizon=20, seed=4
    )
    assert tight.preemptions > 0, "control: a cache below M^pi overflows"


def test_nested_wait_stops_for_ever_if_its_queues_fill_the_cache():
    """What the buffer is for: two residents wait for a third, for which there is no room."""
    policy = NestedWait((2, 3), (1, 3), prompt_tokens=8)
    load = ql.Workload.of_requests(
        [0] * 12 + [9] * 12, prompt_tokens=[8] * 24, output_tokens=[3] * 24
    )

    def batches(kv_capacity):
        engine = engine_with(kv_capacity)
        steps = ql.watch(engine, load, policy=policy, horizon=1_000)
        return [int((step.batch.tokens > 0).sum()) for step in steps]

    assert batches(25) == [2, 2]
    assert sum(batches(99)) > 24


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 4])
def test_the_simulated_critical_rate_is_that_of_the_saturated_cycle(together):
    cache = int(together * lifetime(LONG))
    load = ql.Workload.poisson(1, prompt_tokens=LONG[0], output_tokens=LONG[1])
    own = float(together / (D0 + D1 * cache))
    found = ql.bracket_critical_rate(
        engine_with(cache), load, policy=Wait([together]), at_most=1.05 * own, requests=1_000
    )
    assert found.low * 0.995 <= own <= found.high * 1.005
