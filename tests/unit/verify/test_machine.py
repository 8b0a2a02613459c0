"""A policy that is driven rule by rule: the same as a play, and broken promises are found."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

import queueing_llm as ql
from queueing_llm.errors import InvalidArgument
from queueing_llm.verify import CONTRACTS, Contract, play
from queueing_llm.verify._machine import policy_machine
from queueing_llm.verify._open_play import OpenPlay
from queueing_llm.verify.strategies import engines

SEARCH = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=30,
    stateful_step_count=12,
    phases=(Phase.generate, Phase.shrink),
)
WHOLE = Contract("whole", "something", "ours", "", "whole", lambda policy: None)
BUDGET_OF_FOUR = ql.Engine(ql.AffineStepTime(1, 0), 4)


def run(machine, search=SEARCH):
    run_state_machine_as_test(machine, settings=search)


def broken(machine, search=SEARCH):
    """Return what is said about a machine that fails, and the rules that were called."""
    with pytest.raises(AssertionError) as failed:
        run(machine, search)
    notes = "\n".join(failed.value.__notes__)
    calls = [line for line in notes.splitlines() if line.startswith("state.")]
    return str(failed.value), [line.partition("(")[0].removeprefix("state.") for line in calls]


class Polite:
    """Never serves the oldest request twice in a row."""

    last = -1

    def __call__(self, state):
        tokens = ql.SARATHI(state).tokens * (state.request != self.last)
        self.last = int(state.request[0]) if tokens[0] else -1
        return ql.Batch(tokens)


class Fickle:
    """Answers every other question with nothing."""

    asked = 0

    def __call__(self, state):
        self.asked += 1
        return ql.Batch(ql.SARATHI(state).tokens * (self.asked % 2))


class Tired:
    """Serves nothing after four batches."""

    batches = 0

    def __call__(self, state):
        self.batches += 1
        return ql.Batch(ql.SARATHI(state).tokens * (self.batches < 5))


class Counting:
    """Keeps a list of its own, as a scheduler does, and decides as Sarathi."""

    def __init__(self):
        self.seen = []

    def __call__(self, state):
        self.seen.append(state.request.tolist())
        return ql.SARATHI(state)


@pytest.mark.parametrize("policy", [ql.SARATHI, ql.VLLM_V1, ql.ORCA], ids=lambda p: p.name)
def test_good_policies_keep_what_is_needed(policy):
    crowds = []

    def asked(state):
        crowds.append(len(state.request))
        return policy(state)

    run(policy_machine(asked))
    assert max(crowds) > 2  # a machine that never asked would keep everything


def test_a_policy_that_remembers_is_made_anew_for_every_run():
    made = []

    def make():
        made.append(Counting())
        return made[-1]

    class Remembering(policy_machine(make_policy=make)):
        @invariant()
        def says_so(self):
            assert self.play.so_far().remembers

    run(Remembering)
    assert len(made) >= SEARCH.max_examples
    firsts = [policy.seen[0] for policy in made if policy.seen]
    assert firsts
    assert all(0 in first for first in firsts)


def test_what_a_policy_remembers_is_found_out_in_few_calls():
    said, calls = broken(policy_machine(make_policy=Polite))
    assert said.startswith("Polite breaks progress: an empty batch with requests present: 1\n")
    assert "step         0   1" in said
    assert calls == ["start", "arrive", "finish", "teardown"]


def test_what_happens_late_is_found_out_too():
    said, calls = broken(policy_machine(make_policy=Tired, contracts=["progress"]))
    assert said.startswith("Tired breaks progress")
    assert calls.count("arrive") <= 3


def test_a_function_is_caught_by_what_asks_it_again():
    said, calls = broken(policy_machine(Fickle(), contracts=["deterministic"]))
    assert said.startswith("Fickle breaks deterministic: tokens ")
    assert set(calls) <= {"start", "arrive", "step", "finish", "teardown"}


def test_a_request_that_is_never_served_is_found_at_the_end():
    def shy(state):
        tokens = ql.SARATHI(state).tokens
        return ql.Batch(np.where(state.class_index == 1, 0, tokens))

    said, calls = broken(policy_machine(shy, contracts=["finishes"]))
    assert "shy breaks finishes: stops with nothing to come, requests unfinished: 1" in said
    assert calls == ["start", "arrive", "finish", "teardown"]


def test_an_illegal_answer_ends_the_run_whatever_is_asserted():
    run(policy_machine(lambda state: ql.Batch(state.request + 99), contracts=["only_reads"]))
    said, _ = broken(policy_machine(lambda state: 1 / 0))
    assert "breaks answers: it raised ZeroDivisionError" in said


def test_the_limits_of_an_engine_are_used():
    engine = ql.Engine(ql.AffineStepTime(1, 0), 24, max_batch_size=1, kv_capacity=30)

    def overfull(state):
        assert (state.token_budget, state.max_batch_size, state.kv_capacity) == (24, 1, 30)
        return ql.Batch(np.minimum(np.maximum(state.prompt_left, 1), 9))

    said, _ = broken(policy_machine(overfull, engine=engine, contracts=["batch_size"]))
    assert "2 requests in a batch of at most 1" in said
    run(policy_machine(ql.SARATHI, engine=engine))


def test_rules_of_ones_own():
    """A subclass adds a rule and an invariant to those that are there."""

    class WithBursts(policy_machine(ql.SARATHI)):
        bursts = 0

        @rule(size=st.integers(2, 4))
        def burst(self, size):
            self.bursts += 1
            for _ in range(size):
                self.play.arrive(2, 1)

        @invariant()
        def few_bursts(self):
            assert self.bursts < 2, "two bursts"

    said, calls = broken(WithBursts)
    assert said.startswith("two bursts")
    assert calls.count("burst") == 2


ACTIONS = st.lists(
    st.sampled_from(["step", "idle", "finish"])
    | st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(0, 1)),
    max_size=30,
)


@given(
    engine=engines(),
    actions=ACTIONS,
    policy=st.sampled_from([ql.SARATHI, ql.VANILLA_VLLM, ql.FASTER_TRANSFORMER]),
)
def test_an_open_play_is_the_play_of_its_requests(engine, actions, policy):
    """The rules never come to anything that a list of requests would not come to."""
    opened = OpenPlay(policy, engine, contracts=())
    for action in actions:
        if isinstance(action, tuple):
            fits = engine.kv_capacity is None or action[0] + action[1] <= engine.kv_capacity
            assert opened.arrive(*action[:2], class_index=action[2]) is fits
        elif action == "idle":
            if not opened.is_asking:
                opened.idle()
        elif opened.is_asking:
            opened.step() if action == "step" else opened.finish()
    done = opened.so_far()
    whole = play(policy, done.trial)
    assert len(done.decisions) <= len(whole.decisions)
    for one, other in zip(done.decisions, whole.decisions, strict=False):
        assert one.step == other.step
        np.testing.assert_array_equal(one.state.request, other.state.request)
        np.testing.assert_array_equal(one.state.class_index, other.state.class_index)
        np.testing.assert_array_equal(one.state.stored, other.state.stored)
        np.testing.assert_array_equal(one.batch.tokens, other.batch.tokens)


@given(engine=engines(), actions=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_finish_serves_whatever_arrived(engine, actions):
    opened = OpenPlay(ql.SARATHI, engine, contracts=[CONTRACTS["finishes"]])
    let_in = sum(opened.arrive(*action) for action in actions)
    if let_in:
        opened.finish()
    assert opened.present == 0
    assert not opened.is_asking


def test_a_livelock_is_found_where_nothing_is_remembered():
    def restless(state):
        """Serve who holds nothing, and preempt who holds something."""
        holds = state.stored > 0
        tokens = np.where(holds | (np.cumsum(~holds) > 1), 0, state.prompt_left)
        return ql.Batch(tokens, holds)

    opened = OpenPlay(restless, BUDGET_OF_FOUR, contracts=[CONTRACTS["finishes"]])
    opened.arrive(2, 2)
    opened.arrive(3, 2)
    with pytest.raises(
        AssertionError, match=r"restless breaks finishes: step \d finds the state"
    ):
        opened.finish()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "either policy or make_policy is needed, got None and None"),
        ({"policy": ql.ORCA, "make_policy": Polite}, "either policy or make_policy is needed"),
        ({"policy": Polite}, "policy must be a policy and no class of them"),
        ({"policy": 3}, "policy must be a BatchRule"),
        ({"make_policy": 3}, "policy must be a BatchRule"),
        ({"policy": ql.ORCA, "contracts": []}, "contracts must be a list"),
        ({"policy": ql.ORCA, "contracts": "progress"}, "contracts must be a list"),
        ({"policy": ql.ORCA, "contracts": ["progres"]}, "did you mean 'progress'"),
        ({"policy": ql.ORCA, "contracts": [WHOLE]}, "about decisions or a run, got 'whole'"),
        (
            {"make_policy": Polite, "contracts": ["deterministic"]},
            "must ask a policy that remembers nothing else, got 'deterministic'",
        ),
    ],
)
def test_what_no_machine_is_made_of(arguments, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        policy_machine(**arguments)


def test_nothing_to_finish_is_finished():
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    played = OpenPlay(ql.SARATHI, engine, contracts=tuple(CONTRACTS.values()))
    played.finish()
    assert played.so_far().decisions == ()
