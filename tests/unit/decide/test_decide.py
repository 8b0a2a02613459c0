"""Verdicts: the arrival rate against the strongest critical rate there is."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.decide import _critical
from queueing_llm.evidence import CriticalRate, Evidence, Status

A100 = ql.StaircaseStepTime(Fraction(1128, 100_000), Fraction(3547, 100_000), 128)
ROUNDED = ql.StaircaseStepTime(0.01128, 0.03547, 128)
CAPACITY = Fraction(512) / A100(512) / 200


def engine(budget=512, **limits):
    return ql.Engine(step_time=A100, token_budget=budget, **limits)


def load(rate=1, prompt=100, output=100):
    return ql.Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


def by_hand(state):
    return ql.SARATHI(state)


@pytest.fixture
def simulated(monkeypatch):
    """Let the simulation answer what the test says, at once; return what it was asked."""
    asked = []

    def answer(low, high, evidence=Evidence.SIMULATED):
        def stand_in(*_, **choices):
            asked.append(choices)
            value = None if evidence is Evidence.NONE else (low + high) / 2
            return CriticalRate(value, low, high, evidence, "as the test says")

        monkeypatch.setattr(_critical, "bracket_critical_rate", stand_in)
        return asked

    return answer


@pytest.mark.parametrize("name", ["orca", "sarathi", "vllm_v1"])
@pytest.mark.parametrize(
    ("share", "status", "evidence"),
    [
        (Fraction(999, 1000), Status.STABLE, Evidence.PROVED),
        (Fraction(1), Status.UNDECIDED, Evidence.NONE),
        (Fraction(1001, 1000), Status.UNSTABLE, Evidence.PROVED),
    ],
)
def test_below_at_and_above_capacity_by_the_theorem(name, share, status, evidence):
    rule = ql.policy_named(name)
    verdict = ql.check_stability(engine(), load(CAPACITY * share), policy=rule)
    assert (verdict.status, verdict.evidence, verdict.policy) == (status, evidence, name)
    assert verdict.load == share
    assert verdict.margin == 1 - share
    assert verdict.growth == 200 * CAPACITY * max(0, share - 1)
    assert (verdict.certificate is not None) is (evidence is Evidence.PROVED)


@pytest.mark.parametrize(
    ("law", "arrivals", "evidence"),
    [
        (A100, ql.PoissonArrivals(1), Evidence.PROVED),
        (ROUNDED, ql.PoissonArrivals(1), Evidence.THEOREM),
        (A100, ql.PoissonArrivals(1.0), Evidence.THEOREM),
        (A100, ql.DeterministicArrivals(1), Evidence.THEOREM),
    ],
    ids=["exact", "float law", "float rate", "periodic"],
)
def test_stability_is_proved_where_the_certificate_applies(law, arrivals, evidence):
    """Floats propose and prove nothing; the drift certificate is about Poisson arrivals."""
    system = ql.Engine(step_time=law, token_budget=512)
    requests = ql.Workload.of(arrivals, load().classes[0].lengths)
    verdict = ql.check_stability(system, requests, policy=ql.ORCA)
    assert (verdict.status, verdict.evidence) == (Status.STABLE, evidence)
    assert verdict.critical_rate.evidence is Evidence.THEOREM
    proved = evidence is Evidence.PROVED
    assert (verdict.certificate is not None) is proved
    assert ("Foster's criterion" in verdict.reason) is proved


def test_overload_of_the_kv_memory_is_proved():
    """Vector kv.pacing: 4.845 requests/s with 20,000 slots, 6.686 by tokens alone."""
    law = ql.AffineStepTime(A100.overhead, A100.per_block / 128)
    system = ql.Engine(step_time=law, token_budget=512, kv_capacity=20_000)
    verdict = ql.check_stability(system, load(5, 100, 400), policy=ql.FASTER_TRANSFORMER)
    assert (verdict.status, verdict.evidence) == (Status.UNSTABLE, Evidence.PROVED)
    assert verdict.certificate.check().kind == "overload"


def test_the_boundary_is_called_by_its_name():
    verdict = ql.check_stability(engine(), load(CAPACITY), policy=ql.SARATHI)
    assert verdict.reason == "the arrival rate is exactly critical"


@given(rate=st.fractions(Fraction(1, 1000), 40))
def test_the_verdict_turns_once_and_at_the_capacity(rate):
    status = ql.check_stability(engine(), load(rate), policy=ql.SARATHI).status
    assert (status is Status.STABLE) is (rate < CAPACITY)
    assert (status is Status.UNSTABLE) is (rate > CAPACITY)


@pytest.mark.parametrize(
    "policy", [*ql.POLICIES, "orca:whole", "vanilla_vllm:chunked", by_hand]
)
@pytest.mark.parametrize(
    ("law", "evidence"), [(A100, Evidence.PROVED), (ROUNDED, Evidence.THEOREM)]
)
def test_above_capacity_every_policy_is_unstable(simulated, policy, law, evidence):
    """Theorem 2(a) needs nothing from the policy, nor from the simulation.

    Exact data give a certificate; floats only propose.
    """
    simulated(0.0, 99.0, Evidence.NONE)
    rule = ql.policy_named(policy) if isinstance(policy, str) else policy
    system = ql.Engine(step_time=law, token_budget=512)
    verdict = ql.check_stability(system, load(CAPACITY * 2), policy=rule)
    assert (verdict.status, verdict.evidence) == (Status.UNSTABLE, evidence)
    assert (verdict.certificate is not None) is (evidence is Evidence.PROVED)
    assert "exceeds the capacity" in verdict.reason


@pytest.mark.parametrize("limits", [{"kv_capacity": 4000}, {"max_batch_size": 9}])
def test_a_limit_that_only_lowers_capacity_keeps_the_bound(simulated, limits):
    simulated(1.0, 2.0)
    verdict = ql.check_stability(engine(**limits), load(CAPACITY * 2), policy=ql.SARATHI)
    assert (verdict.status, verdict.evidence) == (Status.UNSTABLE, Evidence.PROVED)


@pytest.mark.parametrize(
    ("rate", "status", "evidence"),
    [
        (1.0, Status.STABLE, Evidence.SIMULATED),
        (1.5, Status.UNDECIDED, Evidence.NONE),
        (1.75, Status.UNDECIDED, Evidence.NONE),
        (2.0, Status.UNDECIDED, Evidence.NONE),
        (2.5, Status.UNSTABLE, Evidence.SIMULATED),
    ],
)
def test_inside_a_confidence_interval_nothing_is_decided(simulated, rate, status, evidence):
    asked = simulated(1.5, 2.0)
    verdict = ql.check_stability(engine(), load(rate), policy=by_hand, confidence=0.9, seed=7)
    assert (verdict.status, verdict.evidence) == (status, evidence)
    assert ("inside the interval" in verdict.reason) is (status is Status.UNDECIDED)
    assert verdict.growth is None
    assert asked[0]["confidence"] == 0.9
    assert asked[0]["seed"] == 7
    assert asked[0]["at_most"] == float(CAPACITY)


def test_a_simulation_that_does_not_settle_decides_nothing(simulated):
    simulated(0.0, 9.0, Evidence.NONE)
    verdict = ql.check_stability(engine(), load(1), policy=by_hand)
    assert (verdict.status, verdict.evidence) == (Status.UNDECIDED, Evidence.NONE)
    assert verdict.reason == "as the test says"
    assert verdict.policy == "by_hand"
    assert verdict.margin is None


@pytest.mark.parametrize(
    ("rate", "status"),
    [(0.55, Status.STABLE), (0.56, Status.UNSTABLE), (10.0, Status.UNSTABLE)],
)
def test_faster_transformer_by_its_closed_form(rate, status):
    """Vector ft.critical.b512.p129.d112.whole: 0.55667/s, far below the capacity."""
    verdict = ql.check_stability(engine(), load(rate, 129, 112), policy=ql.FASTER_TRANSFORMER)
    assert (verdict.status, verdict.evidence) == (status, Evidence.NUMERICAL)
    excess = max(0, rate - 0.5566730251096647)
    assert float(verdict.growth) == pytest.approx(241 * excess, rel=1e-9)


def test_a_frozen_rule_is_unstable_at_every_rate():
    verdict = ql.check_stability(engine(128), load(0.001, 290, 990), policy=ql.VANILLA_VLLM)
    assert (verdict.status, verdict.evidence) == (Status.UNSTABLE, Evidence.NUMERICAL)
    assert verdict.margin is None
    assert verdict.growth == pytest.approx(1.28)


@pytest.mark.parametrize(
    ("offered", "status", "evidence"),
    [
        # Vector thm2.budget130.instability [tokens/s].
        (1400, Status.STABLE, Evidence.PROVED),
        (1700, Status.UNSTABLE, Evidence.NUMERICAL),
        (2800, Status.UNSTABLE, Evidence.PROVED),
    ],
)
def test_a_budget_between_blocks_has_three_zones(offered, status, evidence):
    verdict = ql.check_stability(engine(130), load(Fraction(offered, 200)), policy=ql.SARATHI)
    assert (verdict.status, verdict.evidence) == (status, evidence)


@pytest.mark.parametrize(
    ("share", "status"),
    [
        (Fraction(9, 10), Status.STABLE),
        (Fraction(1), Status.UNDECIDED),
        (Fraction(11, 10), Status.UNSTABLE),
    ],
)
def test_engines_behind_join_shortest_queue(share, status):
    """Proposition 3 of arXiv:2504.07347v3; vector jsq.homogeneous: 50.1436/s."""
    verdict = ql.check_stability(
        engine(), load(3 * CAPACITY * share), policy=ql.SARATHI, servers=3
    )
    assert verdict.status is status
    assert verdict.certificate is None
    assert float(verdict.critical_rate.value) == pytest.approx(50.14364063724211, rel=1e-9)
    assert "Proposition 3" in verdict.critical_rate.basis
    assert verdict.growth is None


@pytest.mark.parametrize(
    ("rate", "status", "evidence"),
    [(1, Status.UNDECIDED, Evidence.NONE), (60, Status.UNSTABLE, Evidence.THEOREM)],
)
def test_engines_with_another_rule_are_decided_above_capacity_only(rate, status, evidence):
    verdict = ql.check_stability(
        engine(), load(rate), policy=ql.ORCA.variant(chunked=False), servers=3
    )
    assert (verdict.status, verdict.evidence) == (status, evidence)


def test_the_name_of_a_policy_given_as_an_object(simulated):
    simulated(0.0, 9.0, Evidence.NONE)

    class Careful:
        def __call__(self, state):
            return ql.SARATHI(state)

    assert ql.check_stability(engine(), load(), policy=Careful()).policy == "Careful"


@pytest.mark.parametrize(
    ("system", "workload", "choice", "complaint"),
    [
        (
            engine(),
            ql.Workload.of_requests([0, 1], prompt_tokens=[1, 1], output_tokens=[1, 1]),
            {},
            "workload must go on for ever",
        ),
        (
            engine(kv_capacity=199),
            load(),
            {},
            "kv_capacity=199 tokens cannot hold .* 200 tokens",
        ),
        (engine(), load(), {"servers": 0}, "servers must be an integer at least 1"),
        (engine(), load(), {"servers": 1.5}, "servers must be an integer at least 1"),
    ],
)
def test_questions_without_an_answer_are_refused(system, workload, choice, complaint):
    for ask in (ql.check_stability, ql.critical_rate):
        with pytest.raises(ql.InvalidArgument, match=complaint):
            ask(system, workload, policy=ql.SARATHI, **choice)


@pytest.mark.parametrize("confidence", [0, 1, 2, float("nan"), "high"])
@pytest.mark.parametrize(
    "policy",
    [by_hand, ql.SARATHI],
    ids=["simulated", "by theorem"],
)
def test_a_confidence_is_a_probability_below_one(policy, confidence):
    with pytest.raises(ql.InvalidArgument, match="confidence must be"):
        ql.critical_rate(engine(), load(), policy=policy, confidence=confidence)


def test_the_critical_rate_of_a_limited_engine_is_simulated():
    """End to end: the interval lies below the capacity and repeats with its seed."""
    limited = engine(kv_capacity=20_000)
    first, again = (
        ql.critical_rate(limited, load(), policy=ql.SARATHI, seed=np.random.default_rng(5))
        for _ in range(2)
    )
    assert first == again
    assert first.evidence is Evidence.SIMULATED
    assert 0 < first.low < first.high < CAPACITY


def test_whole_prompts_that_preemption_makes_too_long_are_explained():
    """A preempted request of 60 + 39 tokens restarts as a prompt that 64 never hold."""
    small = ql.Engine(
        step_time=ql.AffineStepTime(0.01, 0.0001), token_budget=64, kv_capacity=150
    )
    requests = ql.Workload.poisson(1, prompt_tokens=60, output_tokens=40)
    found = ql.critical_rate(small, requests, policy=ql.VANILLA_VLLM)
    assert found.value is None
    assert "raise token_budget" in found.basis
    roomy = ql.Engine(
        step_time=ql.AffineStepTime(0.01, 0.0001), token_budget=128, kv_capacity=150
    )
    assert ql.critical_rate(roomy, requests, policy=ql.VANILLA_VLLM).value > 0


@pytest.mark.parametrize("policy", ql.POLICIES.values(), ids=lambda rule: rule.name)
def test_even_arrivals_need_not_fill_the_batches_that_serve_least(policy):
    """One request alone takes 1 + 1 s and the next comes after 3 s; two together take 22 s."""
    law = ql.HingeStepTime(floor=1, per_token=10, knee=1)
    system = ql.Engine(step_time=law, token_budget=2)
    lengths = ql.IndependentLengths(ql.DeterministicLength(1), ql.DeterministicLength(1))
    even = ql.Workload.of(ql.DeterministicArrivals.every(3), lengths)
    verdict = ql.check_stability(system, even, policy=policy)
    assert (verdict.status, verdict.growth) == (Status.STABLE, 0)
    assert verdict.evidence is Evidence.NUMERICAL
    assert verdict.margin is None
    random = ql.Workload.of(ql.PoissonArrivals(Fraction(1, 3)), lengths)
    verdict = ql.check_stability(system, random, policy=policy)
    assert verdict.status is Status.UNSTABLE
    assert "without surges" not in verdict.reason


def test_a_rate_of_a_saturated_engine_is_called_that_where_arrivals_are_nearly_even():
    law = ql.HingeStepTime(floor=1, per_token=10, knee=1)
    system = ql.Engine(step_time=law, token_budget=2)
    gaps, lengths = ql.RenewalArrivals([3, 4]), load(1, 1, 1).classes[0].lengths
    verdict = ql.check_stability(system, ql.Workload.of(gaps, lengths), policy=ql.SARATHI)
    assert verdict.reason.endswith("an engine whose smaller batches serve more")
    twice = ql.Workload.of(gaps, lengths).scale_to(2)
    assert "without surges" not in ql.check_stability(system, twice, policy=ql.SARATHI).reason


def test_even_arrivals_that_saturate_keep_the_critical_rate():
    even = ql.Workload.of(ql.DeterministicArrivals(5), load().classes[0].lengths)
    verdict = ql.check_stability(engine(), even, policy=ql.FASTER_TRANSFORMER)
    assert verdict.status is Status.UNSTABLE
    assert verdict.critical_rate.value < 5 < verdict.capacity.requests_per_second


def test_a_policy_given_by_its_name_is_refused_with_the_way_to_find_it():
    for ask in (
        lambda **system: ql.check_stability(engine(), load(), **system),
        lambda **system: ql.simulate(engine(), load(), horizon=1, **system),
        lambda **system: ql.bracket_critical_rate(engine(), load(), at_most=1, **system),
        lambda **system: next(ql.watch(engine(), load(), horizon=1, **system)),
    ):
        with pytest.raises(ql.InvalidArgument, match="got policy='sarathi'; policy_named"):
            ask(policy="sarathi")


@pytest.mark.parametrize(
    ("outputs", "low", "widened"),
    [(112, 4.90, True), (112, 4.98, False), (ql.GeometricLength(112), 4.90, False)],
)
def test_the_interval_covers_the_cycle_after_a_burst(simulated, outputs, low, widened):
    """Equal requests that decode in step stay in step, so the start decides what is served."""
    simulated(low, low + 0.01)
    limited = engine(max_batch_size=32)
    system = load(prompt=129, output=outputs)
    found = ql.critical_rate(limited, system, policy=ql.SARATHI)
    cycle = ql.limit_cycle(limited, system, policy=ql.SARATHI)
    assert (found.value, found.low) == (pytest.approx(low + 0.005), low)
    assert found.high == (float(cycle.rate) if widened else low + 0.01)
    assert ("a cycle that serves 4.986/s" in found.basis) == widened
