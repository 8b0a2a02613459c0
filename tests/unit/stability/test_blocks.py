"""What is still known of an engine whose KV cache is given out in blocks, and what is not."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm import stability
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Evidence, Status
from queueing_llm.model import Engine, Workload
from queueing_llm.steptime import AffineStepTime

IN_TOKENS = Engine(AffineStepTime(Fraction(1), Fraction(0)), 64, kv_capacity=64)
IN_BLOCKS = replace(IN_TOKENS, kv_block_size=16)
SHORT = Workload.poisson(Fraction(1), prompt_tokens=1, output_tokens=1)


lengths = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 90)), min_size=1, max_size=5)


@given(lengths, st.integers(2, 33), st.booleans())
def test_the_lifetime_in_blocks_is_bounded_from_below(rows, size, emits):
    """Against the sum over every batch of every request; in tokens the two are equal."""
    prompts, outputs = zip(*rows, strict=True)
    trace = ql.EmpiricalLengths(prompts, outputs)
    load = Workload.of(ql.PoissonArrivals(1), trace)
    engine = Engine(
        AffineStepTime(1, 0), 64, kv_capacity=size * 99, first_token_from_prefill=emits
    )

    def summed(block):
        held = [
            sum(-(-(p + j) // block) * block for j in range(1 + d - emits)) for p, d in rows
        ]
        return Fraction(sum(held), len(held))

    bound = stability.kv_lifetime(replace(engine, kv_block_size=size), load)
    assert stability.kv_lifetime(engine, load) == summed(1) <= bound <= summed(size)


@pytest.mark.parametrize(("size", "lifetime"), [(3, 48), (5, 55), (7, 63)])
def test_the_lifetime_by_hand(size, lifetime):
    """Sizes 3 to 9 are 42 slots, and 3 + 6 + 6 + 6 + 9 + 9 + 9 in blocks of 3."""
    load = Workload.poisson(1, prompt_tokens=3, output_tokens=6)
    engine = replace(IN_TOKENS, kv_capacity=210, kv_block_size=size)
    assert sum(-(-s // size) * size for s in range(3, 10)) == lifetime
    assert stability.kv_lifetime(engine, load) == lifetime


@given(lengths, st.integers(2, 33), st.booleans())
def test_the_lifetime_of_classes_of_equal_requests_is_exact(rows, size, emits):
    """A bound from below would let budgets fit that do not."""
    classes = [
        ql.RequestClass(str(i), ql.EmpiricalLengths([p], [d]), share=i + 1)
        for i, (p, d) in enumerate(rows)
    ]
    engine = replace(
        IN_TOKENS, kv_capacity=size, kv_block_size=size, first_token_from_prefill=emits
    )
    held = [sum(-(-(p + j) // size) * size for j in range(1 + d - emits)) for p, d in rows]
    mean = Fraction(sum((i + 1) * h for i, h in enumerate(held)), sum(range(len(rows) + 1)))
    load = Workload(ql.PoissonArrivals(1), classes)
    assert stability.kv_lifetime(engine, load) == mean


def test_flow_control_counts_whole_blocks():
    """Regression: with a bound of 53 for 55 slots, 3 requests of each age fitted in 160."""
    load = Workload.poisson(1, prompt_tokens=3, output_tokens=6)
    engine = replace(IN_TOKENS, kv_capacity=160, kv_block_size=5)
    lifetime = stability.kv_lifetime(engine, load)
    found = stability.flow_control([lifetime], [3], arrivals_per_batch=[2], kv_capacity=160)
    assert (found.peak_tokens, found.is_stable) == (165, False)


def test_capacity_is_reached_where_every_request_takes_one_block():
    """64 / (16 * 2) = 2: the best that four blocks allow requests of two batches each."""
    blocks, tokens = (ql.capacity(engine, SHORT) for engine in (IN_BLOCKS, IN_TOKENS))
    assert (blocks.requests_per_second, tokens.requests_per_second) == (2, Fraction(64, 3))
    assert stability.three_resource_bound(IN_BLOCKS, SHORT).requests_per_second == 2
    assert ql.stability_region(IN_BLOCKS).vertices == ql.stability_region(IN_TOKENS).vertices


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 16), st.integers(2, 6))
def test_no_policy_exceeds_the_capacity(prompt, output, size, requests):
    """Saturated engines complete no more than the bound allows."""
    alone = -(-(prompt + output) // size) * size
    engine = Engine(
        AffineStepTime(1, 0), 4096, kv_capacity=requests * alone, kv_block_size=size
    )
    load = Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    most = ql.capacity(engine, load).requests_per_second
    for rule in (ql.SARATHI, ql.VANILLA_VLLM):
        run = ql.simulate(engine, load.scale_to(2 * most), policy=rule, horizon=3000)
        assert run.outcomes[0].samples[-1, 4] <= most * 3000 + requests


def test_four_short_requests_at_a_time_are_all_that_fit():
    """Of 64 slots they use 8: each takes a block for a prefill and a decode step."""
    run = ql.simulate(IN_BLOCKS, SHORT.scale_to(9), policy=ql.SARATHI, horizon=2000)
    completed = run.outcomes[0].samples[-1, 4]
    assert completed == pytest.approx(2 * 2000, abs=8)


@pytest.mark.parametrize(
    ("rate", "status", "evidence"),
    [
        (Fraction(3, 2), Status.STABLE, Evidence.SIMULATED),
        (3, Status.UNSTABLE, Evidence.NUMERICAL),
        (30, Status.UNSTABLE, Evidence.PROVED),
    ],
)
def test_verdicts_are_simulated_below_the_bound_and_proved_above(rate, status, evidence):
    """In tokens the bound is 21.3 requests/s and proved, in blocks of 16 it is 2."""
    verdict = ql.check_stability(IN_BLOCKS, SHORT.scale_to(rate), policy=ql.SARATHI)
    assert (verdict.status, verdict.evidence) == (status, evidence)
    if evidence is Evidence.PROVED:
        assert verdict.certificate.check().kind == "overload"
    else:
        assert verdict.critical_rate.low < 2 <= verdict.critical_rate.high


def test_the_memory_threshold_is_one_sided():
    """Its stable side would allow 20 requests/s, ten times what the engine can serve."""
    tokens, blocks = (
        stability.memory_threshold(engine, SHORT, batch_seconds=1)
        for engine in (IN_TOKENS, IN_BLOCKS)
    )
    assert tokens.stable_below == Fraction(64, 3) * (1 - Fraction(2, 64)) > 20
    assert blocks.stable_below is None
    assert (blocks.unstable_above, tokens.unstable_above) == (2, Fraction(64, 3))
    assert [h.name for h in blocks.hypotheses if not h.holds] == [
        "KV slots are given out one by one"
    ]


@pytest.mark.parametrize(
    "analysis",
    [
        lambda engine: stability.wait_equilibrium(engine, SHORT),
        lambda engine: stability.check_thresholds(engine, SHORT, [2]),
        lambda engine: stability.smallest_thresholds(engine, SHORT),
        lambda engine: stability.nested_wait_plan(
            engine, SHORT, thresholds=[4], horizon=9, overflow_probability=0.1
        ),
    ],
)
def test_plans_of_wait_refuse_blocks(analysis):
    assert analysis(IN_TOKENS) is not None
    with pytest.raises(InvalidArgument, match="kv_block_size must be 1 where thresholds"):
        analysis(IN_BLOCKS)


@pytest.mark.parametrize("policy", [ql.SARATHI, ql.FASTER_TRANSFORMER, ql.VANILLA_VLLM])
@pytest.mark.parametrize(
    "analysis",
    [
        stability.work_conserving_rate,
        stability.request_level_rate,
        stability.prefill_burst_rate,
        stability.replacement_rate,
        stability.exclusive_batching_rate,
        lambda engine, load, policy: stability.limit_cycle(engine, load, policy=policy),
        lambda engine, load, policy: ql.certify_stability(engine, load, policy=policy),
    ],
)
def test_closed_rates_and_proofs_of_stability_know_no_cache(analysis, policy):
    assert analysis(IN_BLOCKS, SHORT, policy) is None


def test_the_fluid_path_refuses_a_cache():
    with pytest.raises(InvalidArgument, match="kv_capacity must be None"):
        ql.fluid_path(IN_BLOCKS, SHORT, policy=ql.SARATHI)
