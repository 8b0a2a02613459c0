"""What must not change, or must change in one known way, when a system is changed.

No test here knows the right answer: each compares two runs that a relation ties together, and
each has a control that breaks the relation, so that the comparison is known to see it.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.verify import Outcome, check_policy, same_as
from queueing_llm.verify.strategies import trials

A100 = ql.StaircaseStepTime(0.01128, 0.03547, 128)
ONE_SECOND = ql.AffineStepTime(1, 0)
FOREVER = 10_000
TICK = 1e-6
"""Every time below is a whole number of these, so equal means equal."""
small = st.integers(1, 9)


def seen(engine, load, policy, *, horizon=FOREVER):
    """Return begin, end and tokens of every batch, request by request."""
    run = ql.watch(engine, load, policy=policy, horizon=horizon, tick=TICK)
    return [
        (step.start, step.end, dict(zip(step.state.request, step.batch.tokens, strict=True)))
        for step in run
    ]


@st.composite
def requests(draw, *, most=6):
    """Draw times, prompts and outputs of a few requests."""
    rows = draw(
        st.lists(st.tuples(st.integers(0, 12), small, small), min_size=1, max_size=most)
    )
    return [list(column) for column in zip(*sorted(rows), strict=True)]


def load_of(times, prompts, outputs):
    return ql.Workload.of_requests(times, prompt_tokens=prompts, output_tokens=outputs)


# Policies that decide alike run alike.


def differs(policy, trial):
    ours, theirs = (seen(trial.engine, trial.workload, p) for p in (policy, ql.SARATHI))
    return ours != theirs


@given(trial=trials())
def test_policies_with_the_same_batches_run_alike(trial):
    assert not differs(ql.VLLM_V1, trial)


@pytest.mark.parametrize("policy", [ql.ORCA, ql.VANILLA_VLLM])
def test_where_verification_sees_two_batches_the_runs_part(policy):
    found = check_policy(policy, contracts=[same_as(ql.SARATHI)]).findings[0]
    assert found.outcome is Outcome.VIOLATED
    assert differs(policy, found.counterexample.trial)


# A larger budget serves no less, where nothing but the budget limits a batch.


def critical(law, budget):
    engine = ql.Engine(step_time=law, token_budget=budget)
    load = ql.Workload.poisson(1, prompt_tokens=129, output_tokens=112)
    return ql.critical_rate(engine, load, policy=ql.SARATHI).value


@given(
    base=st.fractions(0, 1, max_denominator=1000),
    per_token=st.fractions("1/1000", 1, max_denominator=1000),
    budget=st.integers(1, 4096),
    more=st.integers(1, 4096),
)
def test_a_larger_budget_serves_no_less_if_a_token_gets_no_dearer(
    base, per_token, budget, more
):
    law = ql.AffineStepTime(base, per_token)
    assert critical(law, budget + more) >= critical(law, budget)


@pytest.mark.parametrize("blocks", [1, 3])
def test_but_it_may_serve_less_if_a_token_gets_dearer(blocks):
    assert critical(A100, 128 * blocks + 1) < critical(A100, 128 * blocks)


def present_at_vertex_c(budget, places):
    """Return the most requests present from 300 to 600 s and from 600 to 900 s."""
    engine = ql.Engine(step_time=A100, token_budget=budget, max_batch_size=places)
    one = ql.IndependentLengths(ql.DeterministicLength(290), ql.DeterministicLength(990))
    load = ql.Workload.of(
        ql.DeterministicArrivals(1 / 0.4675), one
    )  # section 6.2 of arXiv:2504.07347v3
    run = ql.simulate(engine, load, policy=ql.SARATHI, horizon=900)
    return [int(run.requests_in_system[0, run.times > t][:66].max()) for t in (300, 600)]


def test_with_a_batch_size_limit_the_larger_budget_loses_a_load_that_the_smaller_holds():
    early, late = present_at_vertex_c(128, 100)
    assert early == late <= 100
    early, late = present_at_vertex_c(1024, 100)
    # 40,881 requests more in 1870 cycles of 56.97 s, and at most one cycle's 121 arrivals off.
    assert late - early == pytest.approx(300 * 40_881 / (1870 * 56.97), abs=20)


def test_and_without_that_limit_the_larger_budget_holds_it_too():
    early, late = present_at_vertex_c(1024, None)
    assert early == late


# Which of several equal requests is which does not matter.


def treats_equals_alike(policy, load, order):
    """Whether new numbers and classes among equal requests leave every batch as it was."""
    engine = ql.Engine(step_time=ONE_SECOND, token_budget=9)
    for step in ql.watch(engine, load, policy=policy, horizon=FOREVER, tick=TICK):
        state, request = step.state, np.array(step.state.request)
        work = np.stack([state.prompt_left, state.decode_left, state.stored])
        for group in np.unique(work, axis=1).T:
            (equal,) = np.nonzero((work == group[:, None]).all(axis=0))
            request[equal] = order.permutation(request[equal])
        other = replace(state, request=request, class_index=request % 2)
        if not np.array_equal(policy(other).tokens, step.batch.tokens):
            return False
    return True


def passes_over_the_third(state):
    batch = ql.SARATHI(state)
    return ql.Batch(np.where(state.request % 3 == 2, 0, batch.tokens))


@given(
    group=st.tuples(st.integers(0, 3), small, small),
    count=st.integers(2, 6),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("policy", [ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM])
def test_equal_requests_may_change_places(policy, group, count, seed):
    load = load_of(*([number] * count for number in group))
    assert treats_equals_alike(policy, load, np.random.default_rng(seed))


def test_a_policy_that_goes_by_numbers_is_seen():
    load = load_of([0] * 6, [2] * 6, [2] * 6)
    assert not treats_equals_alike(passes_over_the_third, load, np.random.default_rng(0))


# A clock that runs c times as slowly multiplies every time by c, and nothing else.

factors = st.integers(2, 7)
policies = st.sampled_from([ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM])


def slower(base, per_token, factor, *, budget=9):
    law = ql.AffineStepTime(factor * base, factor * per_token)
    return ql.Engine(step_time=law, token_budget=budget)


def stretched(batches, factor):
    return [(factor * start, factor * end, tokens) for start, end, tokens in batches]


@given(rows=requests(), base=small, per_token=small, factor=factors, policy=policies)
def test_slower_steps_and_arrivals_slow_everything_alike(rows, base, per_token, factor, policy):
    times, *lengths = rows
    late = load_of([factor * time for time in times], *lengths)
    one = seen(slower(base, per_token, 1), load_of(*rows), policy)
    assert len(one) >= max(lengths[1])  # nobody stalls: every output token takes a batch
    assert seen(slower(base, per_token, factor), late, policy) == stretched(one, factor)


def test_slower_steps_without_slower_arrivals_are_seen():
    rows = [0, 2, 9], [3, 2, 5], [4, 1, 2]
    one = seen(slower(1, 1, 1), load_of(*rows), ql.SARATHI)
    assert seen(slower(1, 1, 3), load_of(*rows), ql.SARATHI) != stretched(one, 3)


def ticks_of(rows, *, factor, tick, policy):
    """Return all that the compiled kernel counts and notes, in ticks."""
    times, *lengths = rows
    run = ql.simulate(
        slower(2, 1, factor),
        load_of([factor * time for time in times], *lengths),
        policy=policy,
        horizon=400 * factor,
        tick=tick,
        keep_requests=True,
        log_batches=200,
    )
    log, outcome = run.requests(), run.outcomes[0]
    return [outcome.samples, outcome.log, log.start, log.first, log.finish]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(rows=requests(), factor=factors, policy=policies)
def test_a_slower_clock_on_a_slower_system_counts_the_same_ticks(rows, factor, policy):
    one = ticks_of(rows, factor=1, tick=TICK, policy=policy)
    assert equal(ticks_of(rows, factor=factor, tick=factor * TICK, policy=policy), one)
    assert not equal(ticks_of(rows, factor=factor, tick=TICK, policy=policy), one)


# Replications may come from one call or from several.


def run_of(replications, seed):
    engine = ql.Engine(step_time=A100, token_budget=512)
    load = ql.Workload.poisson(5, prompt_tokens=129, output_tokens=ql.GeometricLength(20))
    return ql.simulate(
        engine, load, policy=ql.SARATHI, horizon=30, replications=replications, seed=seed
    )


def estimates(*runs):
    merged = replace(runs[0], outcomes=sum((run.outcomes for run in runs), ()))
    return [merged.throughput, merged.utilisation, merged.mean_requests, merged.growth]


@given(seed=st.integers(0, 2**32), first=st.integers(1, 4), second=st.integers(1, 4))
def test_replications_of_two_runs_are_those_of_one(seed, first, second):
    source = np.random.default_rng(seed)
    parts = run_of(first, source), run_of(second, source)
    assert estimates(*parts) == estimates(run_of(first + second, seed))


def test_the_same_replications_twice_are_seen():
    once, whole = run_of(2, 3), run_of(4, 3)
    assert estimates(once, once) != estimates(whole)
    # They look like twice as many, and claim a smaller error than they have.
    twice = estimates(once, once)[0]
    assert twice.standard_error < estimates(once)[0].standard_error
    assert twice.value == pytest.approx(estimates(once)[0].value)


# A class that never comes, and a prompt without an answer that comes last.


def two_classes(share):
    def lengths(prompt, output):
        return ql.IndependentLengths(
            ql.DeterministicLength(prompt), ql.DeterministicLength(output)
        )

    main = ql.RequestClass("main", lengths(4, 4), share=1)
    classes = (
        (main,) if share is None else (main, ql.RequestClass("rare", lengths(90, 70), share))
    )
    return ql.Workload(ql.DeterministicArrivals(Fraction(1, 7)), classes)


def engine_of_four(**limits):
    return ql.Engine(step_time=ql.AffineStepTime(1, Fraction(1, 4)), token_budget=4, **limits)


@pytest.mark.parametrize("policy", [ql.SARATHI, ql.ORCA, ql.VANILLA_VLLM])
def test_a_class_that_never_comes_changes_nothing(policy):
    def batches(share):
        return seen(engine_of_four(), two_classes(share), policy, horizon=600)

    assert batches(Fraction(1, 10**12)) == batches(None)
    assert batches(Fraction(1, 2)) != batches(None)


def test_its_critical_rate_moves_as_little_as_its_share():
    def critical(share):
        load = two_classes(share)
        return ql.critical_rate(engine_of_four(), load, policy=ql.SARATHI).value

    small, alone = Fraction(1, 10**9), critical(None)
    # 160 tokens in place of 8, with that probability.
    assert 0 <= 1 - critical(small) / alone <= 20 * small
    assert 1 - critical(Fraction(1, 2)) / alone > 0.5


def served_beside_a_last_prompt(rows, policy, *, prompt, output=0):
    """Return what older requests get per step, without and with one more that comes last."""
    engine = ql.Engine(step_time=ONE_SECOND, token_budget=4)
    times, prompts, outputs = rows
    more = load_of([*times, times[-1]], [*prompts, prompt], [*outputs, output])
    alone, beside = (seen(engine, load, policy) for load in (load_of(*rows), more))
    old = range(len(times))
    kept = [(start, {i: tokens[i] for i in old if i in tokens}) for start, _, tokens in beside]
    return [(start, tokens) for start, _, tokens in alone], [row for row in kept if row[1]]


@given(rows=requests(), prompt=st.integers(1, 30))
def test_a_last_prompt_without_an_answer_takes_nothing_from_older_requests(rows, prompt):
    alone, beside = served_beside_a_last_prompt(rows, ql.SARATHI, prompt=prompt)
    assert alone == beside


def test_under_prefill_first_it_does():
    rows = [0, 6], [3, 2], [9, 9]
    alone, beside = served_beside_a_last_prompt(rows, ql.VANILLA_VLLM, prompt=3)
    assert alone != beside
