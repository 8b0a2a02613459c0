"""Survey and descent: what is found is small, true, and found with few plays."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.model import Engine
from queueing_llm.policies import FASTER_TRANSFORMER, ORCA, SARATHI, VANILLA_VLLM, Batch
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify import CONTRACTS, Arrival, Trial, play
from queueing_llm.verify._check_policy import PLAYS
from queueing_llm.verify.search._search import smallest_breach, survey
from queueing_llm.verify.search._shrink import FEW, _lowered, _places, _rows, _trial, shrunk
from queueing_llm.verify.strategies import trials

ALL = list(CONTRACTS.values())


def serves_decodes_twice(state):
    tokens = SARATHI(state).tokens
    return Batch(np.where(state.prompt_left == 0, 2 * tokens, tokens))


def starves_prefill(state):
    tokens = np.zeros(len(state.request), dtype=np.int64)
    if len(state.decoding):
        tokens[state.decoding[: state.token_budget]] = 1
    else:
        tokens[-1] = min(state.prompt_left[-1], state.token_budget)
    return Batch(tokens)


def returns_zeros(state):
    return Batch(np.zeros_like(state.stored))


def keeps_time(state):
    return Batch(SARATHI(state).tokens * (state.request[-1] % 2 == 0))


def searched(policy, contracts):
    """Return the smallest breaches of a policy, and how many plays they took."""
    count = itertools.count()

    def counted(policy, trial):
        next(count)
        return play(policy, trial)

    seen = survey(policy, contracts, engine=None, plays=PLAYS["quick"], seed=0, player=counted)
    found = {
        contract.name: smallest_breach(policy, contract, seen=seen, engine=None, player=counted)
        for contract in contracts
        if contract.name in seen.broken
    }
    return found, next(count)


@pytest.mark.parametrize(
    ("policy", "broken"),
    [
        (serves_decodes_twice, "one_decode_token"),
        (starves_prefill, "first_come_first_served"),
        (returns_zeros, "progress"),
        (keeps_time, "work_conserving"),
    ],
)
def test_all_breaches_of_a_broken_policy_take_few_plays(policy, broken):
    found, plays = searched(policy, ALL)
    assert len(found[broken].trial.arrivals) <= 2
    assert max(len(breach.trial.arrivals) for breach in found.values()) <= 3
    # A play takes about two milliseconds.
    assert plays < 1500
    for name, breach in found.items():
        again = play(policy, breach.trial)
        position, sentence = CONTRACTS[name].first_breach(policy, again)
        assert (position, sentence) == (len(breach.played.decisions) - 1, breach.sentence)


@pytest.mark.parametrize("rule", [FASTER_TRANSFORMER, VANILLA_VLLM], ids=lambda rule: rule.name)
def test_no_smaller_witness_exists(rule):
    """Against every trial of at most two requests with fewer tokens."""
    contract = CONTRACTS["work_conserving"]
    found = searched(rule, [contract])[0]["work_conserving"].trial
    assert (len(found.arrivals), found.work_tokens) == (2, 4)
    lengths = list(itertools.product((1, 2), repeat=2))
    for budget, step, one, two in itertools.product((1, 2, 3), (0, 1, 2), lengths, lengths):
        engine = Engine(step_time=AffineStepTime(1, 0), token_budget=budget)
        for arrivals in ((Arrival(0, *one),), (Arrival(0, *one), Arrival(step, *two))):
            trial = Trial(engine, arrivals)
            breach = contract.first_breach(
                rule, play(rule, trial), beyond=CONTRACTS["work_conserving"].presumes
            )
            assert breach is None or (len(arrivals) == 2 and trial.work_tokens >= 4)


SHOWN = {
    "much work": lambda trial: trial.work_tokens >= 11,
    "a late one": lambda trial: any(a.step > 3 and a.output_tokens > 2 for a in trial.arrivals),
    "two alike": lambda trial: (
        len({a.prompt_tokens for a in trial.arrivals}) < len(trial.arrivals)
    ),
    "tight": lambda trial: (trial.engine.kv_capacity or 99) < trial.work_tokens,
    "a budget": lambda trial: trial.engine.token_budget * len(trial.arrivals) > 5,
}


@given(trial=trials(classes=2), what=st.sampled_from(sorted(SHOWN)))
def test_what_is_left_shows_it_and_no_smaller_neighbour_does(trial, what):
    shows = SHOWN[what]
    if not shows(trial):
        return
    small = shrunk(trial, shows, keeps_engine=False)
    assert shows(small)
    assert len(small.arrivals) <= len(trial.arrivals)
    rows = _rows(small, keeps_engine=False)
    fewer = [rows[:i] + rows[i + 1 :] for i in range(len(rows) - 1)]
    places = [(p,) for p in _places(rows)] + list(itertools.combinations(_places(rows), 2))
    lower = [
        _lowered(rows, which, by=1) for which in places if min(rows[i][j] for i, j in which) > 0
    ]
    for numbers in fewer + lower:
        neighbour = _trial(numbers, small.engine, keeps_engine=False)
        # Capacities are whole blocks, so some numbers stand for the same trial.
        assert neighbour in {None, small} or not shows(neighbour), neighbour


@given(trial=trials(classes=3))
def test_numbers_stand_for_their_trial(trial):
    for keeps_engine in (True, False):
        rows = _rows(trial, keeps_engine=keeps_engine)
        assert _trial(rows, trial.engine, keeps_engine=keeps_engine) == trial
        assert all(number >= 0 for row in rows for number in row)


@given(trial=trials())
def test_an_engine_that_was_given_stays(trial):
    small = shrunk(trial, lambda trial: True, keeps_engine=True)
    assert small.engine is trial.engine
    assert small.arrivals == ()


def test_blocks_of_the_cache_shrink():
    engine = Engine(
        step_time=AffineStepTime(1, 0), token_budget=4, kv_capacity=24, kv_block_size=4
    )
    trial = Trial(engine, (Arrival(0, 3, 3),))

    def in_blocks(trial):
        return trial.engine.kv_block_size > 1 and (trial.engine.kv_capacity or 0) > 5

    small = shrunk(trial, in_blocks, keeps_engine=False)
    assert (small.engine.kv_block_size, small.engine.kv_capacity) == (2, 6)


def test_many_requests_are_left_out_quickly():
    engine = Engine(step_time=AffineStepTime(1, 0), token_budget=4)
    trial = Trial(engine, tuple(Arrival(i, 2 + i % 2, 2) for i in range(500)))
    asked = itertools.count()

    def shows(trial):
        next(asked)
        return len(trial.arrivals) >= FEW + 1

    assert len(shrunk(trial, shows, keeps_engine=True).arrivals) == FEW + 1
    assert next(asked) < 200


def test_what_is_broken_once_and_not_again_is_not_reported():
    class Moody:
        """Idles in the first play only."""

        def __init__(self):
            self.plays = 0

        def __call__(self, state):
            self.plays += state.request[0] == 0 and not state.stored.any()
            batch = SARATHI(state)
            return Batch(0 * batch.tokens) if self.plays == 1 else batch

    contract, policy = CONTRACTS["progress"], Moody()
    seen = survey(policy, [contract], engine=None, plays=20, seed=0)
    assert seen.broken == {"progress"}
    assert smallest_breach(policy, contract, seen=seen, engine=None) is None


def test_the_trials_of_a_seed_do_not_depend_on_the_contracts():
    one, all_of_them = (
        survey(ORCA, contracts, engine=None, plays=30, seed=3)
        for contracts in ([CONTRACTS["oldest_first"]], ALL)
    )
    key = ("oldest_first", False)
    assert one.starts[key] == all_of_them.starts[key]
    assert one.tested["oldest_first"] == all_of_them.tested["oldest_first"]
