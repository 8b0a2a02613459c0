"""Policies that keep their contracts, policies that do not, and what the report says."""

import dataclasses
import itertools

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import (
    FASTER_TRANSFORMER,
    ORCA,
    SARATHI,
    VANILLA_VLLM,
    VLLM_V1,
    Batch,
    EngineState,
)
from queueing_llm.verify import (
    CONTRACTS,
    Outcome,
    Support,
    check_policy,
    contract_named,
)
from queueing_llm.verify.search._search import survey


def drops_a_token(state):
    """Serve as Sarathi with a budget that is one token smaller."""
    columns = (state.request, state.class_index, state.prompt_left, state.decode_left)
    limits = (state.max_batch_size, state.kv_capacity)
    return SARATHI(EngineState(*columns, state.stored, max(1, state.token_budget - 1), *limits))


def serves_decodes_twice(state):
    """Give every decode of Sarathi's batch a second token."""
    batch = SARATHI(state)
    return Batch(np.where(state.prompt_left == 0, 2 * batch.tokens, batch.tokens))


def starves_prefill(state):
    """Serve prompts newest first, one at a time."""
    tokens = np.zeros(len(state.request), dtype=np.int64)
    if len(state.decoding):
        tokens[state.decoding[: state.token_budget]] = 1
    else:
        tokens[-1] = min(state.prompt_left[-1], state.token_budget)
    return Batch(tokens)


class Clairvoyant:
    """Lets every third request wait: it knows who is coming, by number."""

    def __call__(self, state):
        tokens = SARATHI(state).tokens.copy()
        tokens[state.request % 3 == 2] = 0
        return Batch(tokens)


class Counting:
    """Remembers how often it was asked."""

    def __init__(self):
        self.asked = itertools.count()

    def __call__(self, state):
        return SARATHI(state) if next(self.asked) % 2 == 0 else ORCA(state)


def shortest_output_first(state):
    """Decode the request that will be done first."""
    tokens = np.zeros(len(state.request), dtype=np.int64)
    if len(state.prefilling):
        tokens[state.prefilling[0]] = 1
    else:
        tokens[np.argmin(state.decode_left)] = 1
    return Batch(tokens)


def writes(state):
    """Change the state instead of answering only."""
    batch = SARATHI(state)
    state.stored[0] += 1
    return batch


BROKEN = [
    (drops_a_token, "work_conserving"),
    (serves_decodes_twice, "one_decode_token"),
    (starves_prefill, "first_come_first_served"),
    (Clairvoyant(), "blind_to_numbers"),
    (Counting(), "deterministic"),
    (shortest_output_first, "blind_to_output_lengths"),
    (writes, "only_reads"),
]


@pytest.mark.parametrize(("policy", "broken"), BROKEN, ids=[b for _, b in BROKEN])
def test_a_broken_policy_is_caught_with_at_most_three_requests(policy, broken):
    report = check_policy(policy, contracts=[broken])
    finding = report[broken]
    assert (finding.outcome, finding.support) == (Outcome.VIOLATED, Support.COUNTEREXAMPLE)
    assert len(finding.counterexample.trial.arrivals) <= 3


@pytest.mark.parametrize("policy", [SARATHI, ORCA, VLLM_V1], ids=lambda p: p.name)
def test_published_rules_keep_what_optimality_needs(policy):
    report = check_policy(policy)
    assert not report.broken_needs
    kept = {f.contract.name: f.support for f in report.findings if f.outcome is Outcome.HOLDS}
    assert kept.pop("conservation") is Support.PROVED  # the play keeps the books
    assert set(kept.values()) == {Support.TESTED}
    starves = {"oldest_first", "blind_to_the_young", "residents", "stall_free"}
    assert set(report.violated) == {"preempts_nobody"} | (starves if policy is ORCA else set())
    (optimal, *_) = report.consequences
    assert "throughput-optimal on engines without limits" in optimal
    assert optimal.endswith("as far as its hypotheses are tested.")


@pytest.mark.parametrize("policy", [FASTER_TRANSFORMER, VANILLA_VLLM], ids=lambda p: p.name)
def test_exclusive_rules_waste_budget_with_two_requests(policy):
    for rule in (policy, policy.variant(chunked=True)):
        report = check_policy(rule, contracts=["work_conserving", "progress"])
        found = report["work_conserving"].counterexample
        assert len(found.trial.arrivals) == 2
        assert found.trial.work_tokens <= 5
        assert report["progress"].outcome is (
            Outcome.HOLDS if rule.chunked else Outcome.VIOLATED
        )


def test_a_vllm_engine_without_kv_pressure_preempts_nobody():
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=4, max_batch_size=3)
    names = ["preempts_nobody", "work_conserving_within_limits", "work_conserving"]
    report = check_policy(VLLM_V1, engine=engine, contracts=names)
    assert not report.violated
    # Nothing was seen about engines without limits, and nothing is claimed.
    assert report["work_conserving"].outcome is Outcome.UNDECIDED
    assert report["work_conserving"].support is Support.NONE
    assert report.consequences == (
        "Theorem 2(b) of arXiv:2504.07347v3 stays open, for want of work_conserving, "
        + ", ".join(
            sorted(
                name
                for name, known in CONTRACTS.items()
                if known.is_needed and name != "work_conserving"
            )
        )
        + ".",
    )


@pytest.mark.parametrize("name", ["work_conserving", "oldest_first"])
def test_the_snippet_leads_to_the_counterexample(name):
    found = check_policy(VANILLA_VLLM, contracts=[name])[name].counterexample
    space = {"policy": VANILLA_VLLM}
    exec(found.snippet(), space)
    np.testing.assert_array_equal(space["answer"].tokens, found.decision.batch.tokens)
    np.testing.assert_array_equal(space["decision"].state.stored, found.state.stored)
    assert contract_named(name).check(space["state"], space["answer"]) == found.sentence


def test_the_same_seed_gives_the_same_report():
    once, again = (str(check_policy(VANILLA_VLLM, contracts=["residents"])) for _ in "ab")
    assert once == again


def test_a_report_reads_as_text():
    report = check_policy(VANILLA_VLLM, contracts=["oldest_first", "token_budget"])
    title, oldest, budget, *_ = str(report).splitlines()
    assert title == "policy vanilla_vllm"
    assert oldest.startswith(
        "  oldest_first  VIOLATED   counterexample: request 0, the oldest,"
    )
    assert budget.startswith("  token_budget  HOLDS      tested: ")
    with pytest.raises(InvalidArgument, match="the report has no contract 'token'"):
        report["token"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": 3}, "policy must be a BatchRule"),
        ({"policy": SARATHI, "effort": "hard"}, "effort must be one of"),
        ({"policy": SARATHI, "contracts": []}, "contracts must be a list"),
        ({"policy": SARATHI, "contracts": "progress"}, "contracts must be a list"),
        ({"policy": SARATHI, "seed": -1}, "seed must be"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        check_policy(**arguments)


def test_a_contract_that_only_bears_the_name_proves_nothing():
    namesake = dataclasses.replace(CONTRACTS["progress"], check=lambda state, batch: None)
    others = [contract for contract in CONTRACTS.values() if contract.name != "progress"]
    report = check_policy(SARATHI, contracts=[namesake, *others])
    assert report.consequences[0].endswith("stays open, for want of progress.")


def test_what_has_a_memory_is_not_exhausted():
    report = check_policy(
        Counting(), contracts=["deterministic", "token_budget"], effort="exhaustive"
    )
    assert report["deterministic"].outcome is Outcome.VIOLATED
    assert report["token_budget"].support is Support.TESTED


def test_every_small_state_of_one_engine():
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    report = check_policy(
        ORCA,
        engine=engine,
        contracts=["work_conserving", "blind_to_output_lengths", "oldest_first"],
        effort="exhaustive",
    )
    assert report["work_conserving"].support is Support.PROVED
    assert report["blind_to_output_lengths"].support is Support.EXHAUSTIVE
    assert report.violated == ("oldest_first",)


def rare(state):
    """Idle in a single state that trials with a large budget hardly meet."""
    batch = SARATHI(state)
    met = state.stored.tolist() == [2, 2, 0] and state.prompt_left.tolist() == [0, 0, 2]
    met &= state.decode_left.tolist() == [2, 2, 1]
    return Batch(0 * batch.tokens) if met else batch


def test_a_breach_that_trials_do_not_meet_is_found_among_all_small_states():
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=4)
    asked = {"engine": engine, "contracts": ["progress"]}
    assert not check_policy(rare, **asked).violated
    found = check_policy(rare, **asked, effort="exhaustive")["progress"].counterexample
    assert found.state.stored.tolist() == [2, 2, 0]
    space = {"policy": rare}
    exec(found.snippet(), space)
    assert not space["answer"].tokens.any()


@pytest.mark.slow
def test_every_small_state_and_proofs_about_rules():
    report = check_policy(SARATHI, effort="exhaustive")
    assert report["work_conserving"].support is Support.PROVED
    assert report["blind_to_output_lengths"].support is Support.EXHAUSTIVE
    assert report["finishes"].support is Support.TESTED
    assert report.violated == ("preempts_nobody",)


def answers_floats(state):
    """Answer nothing that can be read as a batch."""
    return Batch(SARATHI(state).tokens.astype(np.float64))


def leaves_with_three(state):
    """Try to end the program."""
    if len(state.request) == 3:
        raise SystemExit(0)
    return SARATHI(state)


def fails_late(state):
    """Raise in a few states."""
    if (state.stored > 2).any():
        msg = "too long"
        raise RuntimeError(msg)
    return SARATHI(state)


def returns_nothing_late(state):
    """Forget to answer in a few states."""
    return None if (state.stored > 2).any() else SARATHI(state)


def insists_on_the_cache(state):
    """Serve as Sarathi, and refuse requests that fit in no cache."""
    if state.kv_capacity is not None:
        work = state.prompt_left + state.decode_left + state.stored
        assert (work <= state.kv_capacity).all()
    return SARATHI(state)


def grants_until_the_sum_wraps(state):
    """Give four requests 2^62 tokens each, a sum of 2^64."""
    if len(state.request) == 4:
        return Batch(np.full(4, 2**62, dtype=np.int64))
    return SARATHI(state)


@pytest.mark.parametrize("effort", ["quick", "exhaustive"])
def test_no_answer_is_no_test(effort):
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    report = check_policy(answers_floats, engine=engine, effort=effort)
    assert report.violated == ("answers",)
    kept = [f.contract.name for f in report.findings if f.outcome is Outcome.HOLDS]
    assert kept == ["only_reads", "conservation"]


def test_a_request_that_is_never_finished_is_no_test_of_finishing():
    report = check_policy(answers_floats, contracts=["answers", "finishes"])
    assert report["finishes"].outcome is Outcome.UNDECIDED
    assert check_policy(SARATHI, contracts=["finishes"])["finishes"].outcome is Outcome.HOLDS


def test_who_leaves_the_program_has_not_answered():
    found = check_policy(leaves_with_three, contracts=["answers"])["answers"]
    assert found.basis == "it raised SystemExit: 0"


@pytest.mark.parametrize("policy", [fails_late, returns_nothing_late])
def test_what_fails_in_a_small_state_is_a_finding(policy):
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    names = ["answers", "token_budget"]
    report = check_policy(policy, engine=engine, contracts=names, effort="exhaustive")
    assert report.violated == ("answers",)
    assert report["token_budget"].support is Support.EXHAUSTIVE


@pytest.mark.parametrize("policy", [answers_floats, leaves_with_three])
def test_nothing_is_said_about_starvation_without_legal_batches(policy):
    names = ["answers", "oldest_first", "progress"]
    assert check_policy(policy, contracts=names).consequences == ()
    assert "No starvation" in check_policy(SARATHI, contracts=names).consequences[0]


def test_other_output_lengths_fit_in_the_cache():
    report = check_policy(insists_on_the_cache, contracts=["blind_to_output_lengths"])
    assert report["blind_to_output_lengths"].outcome is Outcome.HOLDS


@pytest.mark.parametrize("name", ["token_budget", "kv_capacity"])
def test_no_number_of_tokens_wraps_into_the_limits(name):
    found = check_policy(grants_until_the_sum_wraps, contracts=[name])[name]
    assert found.outcome is Outcome.VIOLATED
    assert str(2**64) in found.basis


def test_small_states_are_called_small_states_in_what_follows():
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    names = ["oldest_first", "progress"]
    report = check_policy(
        lambda state: SARATHI(state), engine=engine, contracts=names, effort="exhaustive"
    )
    assert report.consequences[-1].endswith("as far as that is checked in every small state.")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"engine": 5}, "engine must be an Engine"),
        ({"contracts": 5}, "contracts must be a list"),
        ({"contracts": [5]}, "must be a Contract or the name"),
    ],
)
def test_what_is_no_engine_or_contract_is_refused(wrong, words):
    with pytest.raises(InvalidArgument, match=words):
        check_policy(SARATHI, **wrong)


def test_no_contract_is_dropped_for_another_of_its_name():
    own = dataclasses.replace(CONTRACTS["progress"], check=lambda state, batch: "never")
    with pytest.raises(InvalidArgument, match="two called 'progress'"):
        check_policy(SARATHI, contracts=[own, "progress"])
    assert len(check_policy(SARATHI, contracts=["progress", "Progress"]).findings) == 1


def test_what_was_broken_once_is_not_kept_because_small_states_keep_it():
    class Once:
        def __init__(self):
            self.asked = itertools.count()

        def __call__(self, state):
            batch = SARATHI(state)
            return Batch(batch.tokens + 99) if next(self.asked) == 300 else batch

    for effort in ("quick", "exhaustive"):
        small = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
        report = check_policy(Once(), engine=small, contracts=["token_budget"], effort=effort)
        assert report["token_budget"].outcome is Outcome.UNDECIDED


def test_a_slow_policy_on_a_large_engine_is_not_played_to_the_end():
    asked = itertools.count()

    def one_by_one(state):
        next(asked)
        tokens = np.zeros(len(state.request), dtype=np.int64)
        tokens[0] = 1
        return Batch(tokens)

    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2**14)
    seen = survey(one_by_one, [CONTRACTS["token_budget"]], engine=engine, plays=9, seed=0)
    assert seen.plays == 9
    assert next(asked) <= 9 * 501


def test_an_exception_of_many_lines_leaves_the_snippet_in_one_piece():
    def wordy(state):
        msg = "one\nraise SystemExit"
        raise ValueError(msg)

    found = check_policy(wordy, contracts=["answers"])["answers"].counterexample
    assert found.snippet().splitlines()[-1].endswith("ValueError: one raise SystemExit")
