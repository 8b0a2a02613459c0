"""Counterexamples as files: what was found comes back, and nothing that was changed does."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import queueing_llm as ql
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import SYSTEMS
from queueing_llm.verify import (
    CONTRACTS,
    Arrival,
    Contract,
    Counterexample,
    Ending,
    Finding,
    Outcome,
    Play,
    PolicyReport,
    Support,
    Trial,
    check_policy,
    drift,
    fcfs_window,
    play,
    same_as,
)
from queueing_llm.verify.findings._reproduction import (
    replay,
    save_counterexample,
    save_counterexamples,
)
from queueing_llm.verify.plays._ask import ask
from queueing_llm.verify.strategies import trials

PREFILL_FIRST = ql.VANILLA_VLLM


def found_by(policy, contract, trial):
    """Return the finding that a trial leads to, found without the search."""
    played = play(policy, trial)
    position, sentence = contract.first_breach(policy, played)
    shown = replace(played, decisions=played.decisions[: position + 1])
    broken = Counterexample(shown, sentence)
    return Finding(contract, Outcome.VIOLATED, Support.COUNTEREXAMPLE, sentence, broken)


@pytest.fixture(scope="module")
def report():
    names = ("token_budget", "progress", "finishes", "oldest_first")
    return check_policy(PREFILL_FIRST, contracts=names)


def test_every_counterexample_of_a_report_comes_back_as_it_was_found(report, tmp_path):
    files = save_counterexamples(report, tmp_path / "new" / "folder")
    assert [file.name.rpartition("-")[0] for file in files] == list(report.violated)
    for file, name in zip(files, report.violated, strict=True):
        again = replay(file, PREFILL_FIRST)
        before = report[name].counterexample
        assert again.contract is report[name].contract
        assert (again.outcome, again.support) == (Outcome.VIOLATED, Support.COUNTEREXAMPLE)
        assert again.counterexample.sentence == before.sentence == again.basis
        assert again.counterexample.trial == before.trial
        assert again.counterexample.timeline() == before.timeline()


def test_the_same_counterexample_has_the_same_file(report, tmp_path):
    once, twice = (save_counterexamples(report, tmp_path) for _ in range(2))
    assert once == twice
    assert sorted(tmp_path.iterdir()) == sorted(once)


def test_what_is_violated_without_a_counterexample_has_no_file(report, tmp_path):
    simulated = replace(
        report["token_budget"], outcome=Outcome.VIOLATED, support=Support.SIMULATED
    )
    mixed = PolicyReport("p", (simulated, report["progress"]))
    (file,) = save_counterexamples(mixed, tmp_path)
    assert file.name.startswith("progress-")


def test_a_repaired_policy_keeps_the_contract_and_says_on_what_evidence(report, tmp_path):
    file = tmp_path / "broken.json"
    save_counterexample(report["oldest_first"], file)
    finding = replay(file, ql.SARATHI)
    assert (finding.outcome, finding.support) == (Outcome.HOLDS, Support.TESTED)
    assert finding.basis == "kept: these requests lead to 2 decisions that it is about"
    assert finding.counterexample is None


@settings(max_examples=25)
@given(trial=trials())
def test_a_trial_is_read_as_it_was_written(trial, tmp_path_factory):
    """Whatever the engine and the requests are, and whatever breaks."""
    never = Contract("never", "nothing is served", "ours", "", "batch", lambda *_: "a batch")
    file = tmp_path_factory.mktemp("trial") / "one.json"
    finding = found_by(ql.ORCA, never, trial)
    save_counterexample(finding, file)
    again = replay(file, ql.ORCA, contracts=[never]).counterexample
    assert again.trial.arrivals == trial.arrivals
    assert replace(again.trial.engine, step_time=trial.engine.step_time) == trial.engine
    state, before = again.state, finding.counterexample.state
    for name in ("request", "class_index", "prompt_left", "decode_left", "stored"):
        np.testing.assert_array_equal(getattr(state, name), getattr(before, name))


def test_classes_accounting_and_blocks_are_kept(tmp_path):
    step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    engine = ql.Engine(
        step, 4, max_batch_size=2, kv_capacity=8, first_token_from_prefill=True, kv_block_size=2
    )
    trial = Trial(engine, (Arrival(0, 2, 2, 1), Arrival(3, 1, np.int64(1), 7)))
    never = Contract("never", "nothing is served", "ours", "", "batch", lambda *_: "a batch")
    save_counterexample(found_by(ql.SARATHI, never, trial), tmp_path / "one.json")
    again = replay(tmp_path / "one.json", ql.SARATHI, contracts=[never]).counterexample.trial
    assert again.arrivals == trial.arrivals
    assert replace(again.engine, step_time=step) == engine


def test_a_file_of_an_engine_without_later_limits_is_read(report, tmp_path):
    """What a file does not name is as it was before there was a name for it."""
    file = tmp_path / "old.json"
    save_counterexample(report["progress"], file)
    rewritten(file, lambda content: content["engine"].pop("kv_block_size"))
    assert replay(file, PREFILL_FIRST).outcome is Outcome.VIOLATED


def test_a_state_that_was_found_by_enumeration_is_asked_about(tmp_path):
    engine = ql.Engine(ql.AffineStepTime(1, 0), 2)
    column = np.array([0, 4])
    state = ql.EngineState(column, 0 * column, column * 0 + 3, column * 0 + 1, 0 * column, 2)
    played = Play(Trial(engine, ()), (ask(idles_with_two, state),), Ending.FINISHED)
    broken = Counterexample(played, "an empty batch with requests present: 2")
    finding = Finding(CONTRACTS["progress"], Outcome.VIOLATED, Support.NONE, "", broken)
    save_counterexample(finding, tmp_path / "state.json")
    again = replay(tmp_path / "state.json", idles_with_two)
    assert again.basis == broken.sentence
    assert again.counterexample.state.request.tolist() == [0, 4]
    assert replay(tmp_path / "state.json", ql.SARATHI).outcome is Outcome.HOLDS
    unread = replay(tmp_path / "state.json", lambda state: None)
    assert unread.outcome is Outcome.UNDECIDED


def idles_with_two(state):
    batch = ql.SARATHI(state)
    return ql.Batch(batch.tokens * 0) if len(state.request) == 2 else batch


def test_requests_that_are_not_served_decide_nothing(report, tmp_path):
    file = tmp_path / "one.json"
    save_counterexample(report["oldest_first"], file)
    for policy, why in (
        (lambda state: 1 / 0, "an answer was illegal"),
        (
            lambda state: ql.Batch(0 * state.request),
            "an empty batch, and nothing more to arrive",
        ),
    ):
        finding = replay(file, policy)
        assert (finding.outcome, finding.support) == (Outcome.UNDECIDED, Support.NONE)
        assert finding.basis.endswith(why)


def test_requests_that_meet_nothing_of_it_any_more_decide_nothing(tmp_path):
    """A policy that is faster now may never have two requests side by side."""
    engine = ql.Engine(ql.AffineStepTime(1, 0), 9)
    trial = Trial(engine, (Arrival(0, 3, 1), Arrival(3, 1, 1)))

    def slowly(state):
        tokens = np.minimum(state.request * 0 + 1, np.maximum(state.prompt_left, 1))
        tokens[:-1] = 0
        return ql.Batch(tokens)

    oldest = CONTRACTS["oldest_first"]
    save_counterexample(found_by(slowly, oldest, trial), tmp_path / "one.json")
    assert replay(tmp_path / "one.json", slowly).outcome is Outcome.VIOLATED
    finding = replay(tmp_path / "one.json", ql.SARATHI)
    assert finding.outcome is Outcome.UNDECIDED
    assert finding.basis == "these requests lead to no decision that it is about any more"


def test_contracts_that_a_name_makes_and_those_that_must_be_given(tmp_path):
    engine = ql.Engine(ql.AffineStepTime(1, 0), 2)
    trial = Trial(engine, (Arrival(0, 2, 1), Arrival(0, 2, 1)))

    def evenly(state):
        return ql.Batch(np.minimum(1, np.maximum(state.prompt_left, 1)))

    save_counterexample(found_by(evenly, fcfs_window(1), trial), tmp_path / "window.json")
    assert replay(tmp_path / "window.json", evenly).contract.name == "fcfs_window(1)"
    assert replay(tmp_path / "window.json", ql.SARATHI).outcome is Outcome.HOLDS
    save_counterexample(found_by(evenly, same_as(ql.ORCA), trial), tmp_path / "same.json")
    with pytest.raises(InvalidArgument, match=r"is about 'same_as\(orca\)', which its name"):
        replay(tmp_path / "same.json", evenly)
    again = replay(tmp_path / "same.json", evenly, contracts=[same_as(ql.ORCA)])
    assert again.outcome is Outcome.VIOLATED


def test_another_contract_under_a_listed_name_is_not_written(tmp_path, report):
    """Its file would be played against the listed one."""
    for known in (CONTRACTS["progress"], fcfs_window(1)):
        for own in (
            replace(known, applies=lambda state: len(state.request) == 1),
            replace(known, check=lambda state, batch: "nothing"),
        ):
            finding = replace(report["progress"], contract=own)
            with pytest.raises(InvalidArgument, match="must have a name of its own"):
                save_counterexample(finding, tmp_path / "own.json")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(report, tmp_path):
    holds = replace(report["token_budget"])
    with pytest.raises(InvalidArgument, match="must have a counterexample, got token_budget"):
        save_counterexample(holds, tmp_path / "none.json")
    with pytest.raises(InvalidArgument, match=r"cannot be written: No such file"):
        save_counterexample(report["progress"], tmp_path / "nowhere" / "one.json")


def rewritten(file, change):
    """Change a file and give it the digest of what it says now."""
    content = json.loads(file.read_text())
    del content["sha256"]
    change(content)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(content))


def replaced(name, value):
    def change(text):
        return json.dumps({**json.loads(text), name: value})

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text[:-20], "is not JSON"),
        (lambda text: "[" * 100_000, "is not JSON"),
        (lambda text: "\x00", "is not JSON"),
        (lambda text: "[]", "its format is not 'queueing_llm counterexample'"),
        (lambda text: '{"format": "another"}', "its format is not"),
        (replaced("version", 2), "has version 2; accepted: 1"),
        (replaced("note", "mine"), "lacks a field or has one too many: note"),
        (replaced("step", 7), "was changed after it was written"),
        (replaced("sentence", "something else"), "was changed after it was written"),
        (lambda text: text.replace('"prompt_tokens": ', '"prompt_tokens": 1'), "was changed"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_one_sentence(
    change, sentence, report, tmp_path
):
    file = tmp_path / "changed.json"
    save_counterexample(report["progress"], file)
    file.write_text(change(file.read_text()))
    with pytest.raises(InvalidArgument, match=r"^counterexample '.*changed\.json' ") as refused:
        replay(file, ql.SARATHI)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_layout_is_no_change(report, tmp_path):
    file = tmp_path / "laid_out.json"
    save_counterexample(report["progress"], file)
    file.write_text(json.dumps(json.loads(file.read_text()), indent=4, sort_keys=True) + "\r\n")
    assert replay(file, PREFILL_FIRST).outcome is Outcome.VIOLATED


def with_engine(**limits):
    return lambda content: content["engine"].update(limits)


def with_arrival(**values):
    return lambda content: content["arrivals"][0].update(values)


def with_state(**columns):
    def change(content):
        content["arrivals"] = []
        content["state"].update(columns)

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_engine(token_budget=0),
        with_engine(token_budget="2"),
        with_engine(kv_capacity=1),
        with_engine(first_token_from_prefill="no"),
        with_engine(colour=3),
        lambda content: content["engine"].pop("token_budget"),
        lambda content: content.update(engine=[]),
        lambda content: content.update(arrivals=3),
        lambda content: content.update(arrivals=[7]),
        with_arrival(prompt_tokens=0),
        with_arrival(prompt_tokens=1.5),
        with_arrival(prompt_tokens=2**60),
        with_arrival(step=-1),
        with_arrival(output_tokens=None),
        with_arrival(class_index=True),
        with_arrival(colour=3),
        with_state(stored=[]),
        with_state(stored=[-1]),
        with_state(stored="none"),
        lambda content: content.update(arrivals=[], state={"stored": [1]}),
    ],
)
def test_a_file_of_senseless_numbers_is_one_sentence_too(change, report, tmp_path):
    """Even where the digest was made for them."""
    file = tmp_path / "forged.json"
    save_counterexample(report["progress"], file)
    rewritten(file, change)
    with pytest.raises(InvalidArgument, match=r"forged\.json' cannot be played: ") as refused:
        replay(file, ql.SARATHI)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidArgument, match="cannot be read: No such file"):
        replay(tmp_path / "nowhere.json", ql.SARATHI)


def test_a_contract_that_is_gone_is_named(report, tmp_path):
    file = tmp_path / "gone.json"
    save_counterexample(report["progress"], file)
    rewritten(file, lambda content: content.update(contract="haste"))
    with pytest.raises(InvalidArgument, match="is about 'haste', which its name does not make"):
        replay(file, ql.SARATHI)


def test_schedulers_of_the_field_play_files_too(tmp_path):
    """A scheduler cannot be asked about a state that it did not come to."""
    engine = ql.Engine(ql.AffineStepTime(1, 0), 4, kv_capacity=6, first_token_from_prefill=True)
    trial = Trial(engine, (Arrival(0, 1, 4), Arrival(0, 1, 4)))

    def one_by_one(state):
        return ql.Batch(1 * (state.request == state.request[0]))

    system, nobody = SYSTEMS["vllm==0.33.0"], CONTRACTS["preempts_nobody"]
    finding = found_by(system, nobody, trial)
    save_counterexample(finding, tmp_path / "field.json")
    again = replay(tmp_path / "field.json", system)
    assert again.counterexample.timeline() == finding.counterexample.timeline()
    assert replay(tmp_path / "field.json", one_by_one).outcome is Outcome.HOLDS
    rewritten(tmp_path / "field.json", lambda content: content.update(arrivals=[]))
    with pytest.raises(InvalidArgument, match=r"vllm==0\.33\.0 must be played to a state"):
        replay(tmp_path / "field.json", system)


def test_a_contract_with_an_engine_of_its_own_is_not_played_on_another(tmp_path):
    engine = ql.Engine(step_time=ql.AffineStepTime(3, 1), token_budget=4)
    load = ql.Workload.poisson(1 / 8, prompt_tokens=2, output_tokens=2)
    contract = drift(engine, load)
    found = check_policy(ql.FASTER_TRANSFORMER, contracts=[contract])
    assert found.violated == (contract.name,)
    assert save_counterexamples(found, tmp_path) == ()
    with pytest.raises(InvalidArgument, match="about decisions or a run to be saved"):
        save_counterexample(found.findings[0], tmp_path / "drift.json")
    other = replace(contract, about="run", check=lambda played: (0, "wrong"))
    written = check_policy(ql.SARATHI, contracts=[other]).findings[0]
    save_counterexample(written, tmp_path / "drift.json")
    with pytest.raises(InvalidArgument, match="as a whole and is not replayed"):
        replay(tmp_path / "drift.json", ql.SARATHI, contracts=[contract])
