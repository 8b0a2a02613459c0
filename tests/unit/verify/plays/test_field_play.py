"""Schedulers of the field are played and judged like policies, by what they are seen to do."""

import itertools
import random

import pytest

import queueing_llm as ql
from queueing_llm.policies.field import (
    SYSTEMS,
    AbstractScheduler,
    FieldRequest,
    FieldStep,
    FieldSystem,
    VllmV1Config,
    VllmV1Scheduler,
)
from queueing_llm.verify import (
    CONTRACTS,
    Arrival,
    Ending,
    Outcome,
    Support,
    Trial,
    check_policy,
    play,
)
from queueing_llm.verify.search._small_trials import small_trials

ONE_SECOND = ql.AffineStepTime(1, 0)


class InOrder(AbstractScheduler):
    """Serves requests first come, first served, one token after the other, without limits.

    ``flaw`` makes one thing wrong.
    """

    def __init__(self, budget, *, flaw="", run=0):
        self.budget, self.flaw, self.run, self.steps = budget, flaw, run, 0
        self.left, self.promised = {}, {}

    @property
    def is_idle(self):
        return not self.left

    def add(self, request):
        if self.flaw == "refuses" and request.prompt_tokens > 2:
            msg = "too long"
            raise ql.InvalidArgument(msg)
        outputs = request.output_tokens - 1 + (self.flaw == "forgets")
        self.left[request.name] = [request.prompt_tokens, outputs]
        self.promised[request.name] = request.most_output_tokens or request.output_tokens

    def order(self):
        names = list(self.left)
        if self.flaw == "alphabet":
            return sorted(names)
        if self.flaw == "shortest":
            return sorted(names, key=lambda name: self.left[name][1])
        if self.flaw == "promised":
            return sorted(names, key=lambda name: self.promised[name])
        if self.flaw == "youngest":
            return names[::-1]
        if self.flaw == "memory" and self.run % 2:
            return names[::-1]
        return names

    def step(self):
        self.steps += 1
        if self.flaw == "raises" and self.steps == 2:
            msg = "broken"
            raise RuntimeError(msg)
        if self.flaw == "stops" and self.steps > 2:
            return FieldStep()
        tokens, room = {}, self.budget
        for name in self.order():
            prompt, decode = self.left[name]
            tokens[name] = min(prompt or min(decode, 1), room)
            room -= tokens[name]
        finished = []
        for name, taken in tokens.items():
            prompt, decode = self.left[name]
            self.left[name] = [prompt - taken, decode] if prompt else [0, decode - taken]
            if sum(self.left[name]) == 0:
                finished.append(name)
        if self.flaw == "drops" and len(self.left) > 1 and not finished:
            finished.append(list(self.left)[-1])
        for name in finished:
            del self.left[name]
        if self.flaw == "ghost" and finished:
            tokens = dict.fromkeys(tokens, -1)
        return FieldStep({n: t for n, t in tokens.items() if t}, (), tuple(finished))


def system(flaw=""):
    runs = itertools.count()
    return FieldSystem(
        flaw or "in order",
        lambda limits: InOrder(limits.token_budget, flaw=flaw, run=next(runs)),
        "made for this test",
    )


def vllm(**settings):
    return FieldSystem(
        "vllm",
        lambda limits: VllmV1Scheduler(
            VllmV1Config(
                limits.token_budget,
                limits.places,
                num_blocks=limits.blocks + 1,
                block_size=limits.kv_block_size,
                **settings,
            )
        ),
        "its recorded decisions",
    )


def engine(budget=2, **limits):
    return ql.Engine(step_time=ONE_SECOND, token_budget=budget, **limits)


def test_a_play_keeps_the_books_of_real_engines():
    trial = Trial(engine(4, kv_capacity=12), (Arrival(0, 5, 4), Arrival(1, 6, 5)))
    played = play(vllm(), trial)
    assert played.ending is Ending.FINISHED
    assert played.trial.engine.first_token_from_prefill
    assert played.remembers
    served = sum(int(d.batch.tokens.sum()) for d in played.decisions)
    recomputed = sum(int(d.state.stored[d.batch.preempted].sum()) for d in played.decisions)
    emitted_again = sum(
        int((d.batch.preempted & (d.state.prompt_left == 0)).sum()) for d in played.decisions
    )
    assert recomputed > 0
    # What was generated and lost is computed as part of the prompt, so no step is saved.
    assert served == 8 + 10 + recomputed
    assert emitted_again > 0


def test_without_limits_a_scheduler_and_a_policy_that_agree_play_alike():
    trial = Trial(
        engine(3, first_token_from_prefill=True), (Arrival(0, 5, 3), Arrival(1, 4, 2))
    )
    ours, theirs = play(ql.VLLM_V1, trial), play(vllm(), trial)
    assert [d.batch.tokens.tolist() for d in ours.decisions] == [
        d.batch.tokens.tolist() for d in theirs.decisions
    ]


def test_a_sound_scheduler_keeps_what_a_policy_keeps():
    report = check_policy(system(), engine=engine(3))
    # It fills the budget in order of arrival, whatever the phase: nothing is violated.
    assert report.violated == ()
    assert report["conservation"].support is Support.TESTED


@pytest.mark.parametrize(
    ("flaw", "contract", "words"),
    [
        ("raises", "answers", "RuntimeError: broken"),
        ("ghost", "answers", "no integer from 0"),
        ("stops", "finishes", "requests unfinished"),
        ("stops", "progress", "an empty batch"),
        ("drops", "conservation", "is called done with"),
        ("forgets", "conservation", "is not called done"),
        ("alphabet", "blind_to_numbers", "under other names"),
        ("shortest", "blind_to_output_lengths", "with a longer output"),
        ("youngest", "blind_to_the_young", "without request"),
        ("youngest", "first_come_first_served", "while request 0"),
        ("memory", "deterministic", "played again"),
    ],
)
def test_a_flaw_is_found_with_few_requests(flaw, contract, words):
    finding = check_policy(system(flaw), engine=engine(2), contracts=[contract])[contract]
    assert finding.outcome is Outcome.VIOLATED
    assert words in finding.basis
    assert len(finding.counterexample.trial.arrivals) <= 3


def test_what_a_scheduler_is_told_of_the_output_it_may_use():
    report = check_policy(
        system("promised"), engine=engine(2), contracts=["blind_to_output_lengths"]
    )
    assert report.violated == ()


def test_a_request_that_is_refused_tests_nothing_more():
    trial = Trial(engine(), (Arrival(0, 1, 2), Arrival(1, 3, 1)))
    played = play(system("refuses"), trial)
    assert played.ending is Ending.REFUSED
    assert len(played.decisions) == 1
    assert check_policy(system("refuses"), engine=engine(2)).violated == ()


def test_the_same_state_again_says_nothing_about_a_scheduler_with_a_memory():
    # vLLM 0.11.2 begins this prompt over and over until the first request has left.
    trial = Trial(engine(2, kv_capacity=8), (Arrival(0, 2, 6), Arrival(1, 7, 1)))
    played = play(vllm(version="0.11.2"), trial)
    assert played.ending is Ending.FINISHED
    report = check_policy(vllm(version="0.11.2"), contracts=["finishes"])
    assert report.violated == ()


def test_every_small_trial_is_played_on_request():
    small = engine(2)
    report = check_policy(
        system(), engine=small, contracts=["work_conserving"], effort="exhaustive"
    )
    finding = report["work_conserving"]
    assert finding.support is Support.EXHAUSTIVE
    assert f"all {sum(1 for _ in small_trials(small)):,} trials" in finding.basis


def test_a_flaw_outside_the_random_trials_is_found_among_the_small_ones():
    class Late(InOrder):
        def step(self):
            is_it = sorted(self.left.values()) == [[1, 0], [3, 0], [3, 1]] and self.steps == 0
            done = super().step()
            return FieldStep(done.tokens, ("nobody",), done.finished) if is_it else done

    rare = FieldSystem("rare", lambda limits: Late(limits.token_budget), "made for this test")
    small = engine(2)
    quick = check_policy(rare, engine=small, contracts=["answers"])
    assert quick.violated == ()
    full = check_policy(rare, engine=small, contracts=["answers"], effort="exhaustive")
    assert full.violated == ("answers",)


def test_small_trials_are_all_different_and_smallest_first():
    found = list(small_trials(engine(2)))
    assert len(set(found)) == len(found) == 6 + 3 * 36 + 6 * 216
    sizes = [len(trial.arrivals) for trial in found]
    assert sizes == sorted(sizes)


def test_books_disagree_on_the_step_in_which_it_happens():
    trial = Trial(engine(2), (Arrival(0, 2, 2), Arrival(0, 3, 2)))
    played = play(system("drops"), trial)
    assert played.ending is Ending.ILLEGAL
    assert played.decisions[-1].finished == frozenset({1})


def test_requests_reach_the_scheduler_with_their_class_as_priority():
    seen = []

    class Listens(InOrder):
        def add(self, request: FieldRequest):
            seen.append((request.name, request.priority, request.arrival))
            super().add(request)

    listens = FieldSystem("listens", lambda limits: Listens(limits.token_budget), "")
    play(listens, Trial(engine(2), (Arrival(0, 1, 1, 3), Arrival(0, 1, 1))))
    assert seen == [("0", 3, 0), ("1", 0, 1)]


def test_a_scheduler_that_goes_round_to_the_end_is_found_out():
    # vLLM 0.6.3 with chunks: the prompt needs every block, and preempts itself for the last.
    stuck = engine(3, kv_capacity=6, kv_block_size=2)
    trial = Trial(stuck, (Arrival(0, 5, 1),))
    played = play(SYSTEMS["vllm==0.6.3:chunked"], trial)
    assert played.ending is Ending.CUT_SHORT
    position, sentence = CONTRACTS["finishes"].first_breach(
        SYSTEMS["vllm==0.6.3:chunked"], played
    )
    assert sentence == "goes round with nothing to come: the same 2 steps 16 times over or more"
    assert position == 3
    roomier = Trial(engine(3, kv_capacity=8, kv_block_size=2), (Arrival(0, 5, 1),))
    assert play(SYSTEMS["vllm==0.6.3:chunked"], roomier).ending is Ending.FINISHED


def test_the_snippet_of_a_scheduler_leads_to_the_decision():
    report = check_policy(SYSTEMS["vllm==0.11.2"], contracts=["whole_prompt_fits"])
    found = report["whole_prompt_fits"].counterexample
    names = {"policy": SYSTEMS["vllm==0.11.2"]}
    exec(found.snippet(), names)
    assert names["decision"].batch.tokens.tolist() == found.decision.batch.tokens.tolist()
    assert names["decision"].state.stored.tolist() == found.state.stored.tolist()


@pytest.mark.parametrize("pause", [20, 100])
def test_a_scheduler_that_takes_its_time_is_not_said_to_stop(pause):
    class Slow(InOrder):
        idle = 0

        def step(self):
            self.idle = (self.idle + 1) % pause
            return FieldStep() if self.idle else super().step()

    slow = FieldSystem("slow", lambda limits: Slow(limits.token_budget), "")
    played = play(slow, Trial(engine(4), (Arrival(0, 5, 3), Arrival(1, 3, 2))))
    assert played.ending is Ending.FINISHED
    assert CONTRACTS["finishes"].first_breach(slow, played) is None


def test_a_scheduler_that_stops_is_shown_up_to_where_it_does():
    finding = check_policy(system("stops"), engine=engine(2), contracts=["finishes"])[
        "finishes"
    ]
    assert "does nothing for 128 steps with nothing to come" in finding.basis
    assert len(finding.counterexample.played.decisions) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "no FieldStep"),
        (FieldStep({"0": 1.5}), "1.5 tokens"),
        (FieldStep({"0": 10**30}), "no integer"),
    ],
)
def test_a_step_that_cannot_be_read_is_no_batch(answer, words):
    class Odd(InOrder):
        def step(self):
            return answer

    report = check_policy(FieldSystem("odd", lambda limits: Odd(1), ""), engine=engine(2))
    # Its failures name requests, which does not make the names count.
    assert report.violated == ("answers",)
    assert words in report["answers"].basis


def test_a_door_that_fails_is_a_finding_and_no_refusal():
    class Broken(InOrder):
        def add(self, request):
            raise KeyError(request.name)

    report = check_policy(FieldSystem("broken", lambda limits: Broken(1), ""), engine=engine(2))
    assert report.violated == ("answers",)
    assert "KeyError" in report["answers"].basis


def test_chance_is_no_crash():
    numbers = random.Random(0)

    class Moody(InOrder):
        def step(self):
            return FieldStep() if numbers.random() < 0.3 else super().step()

    moody = FieldSystem("moody", lambda limits: Moody(limits.token_budget), "")
    assert "deterministic" in check_policy(moody, engine=engine(2)).violated


def test_a_request_that_is_called_done_by_chance_is_noticed():
    runs = itertools.count()

    class Forgetful(InOrder):
        def step(self):
            done = super().step()
            return FieldStep(done.tokens) if self.run % 2 else done

    forgetful = FieldSystem(
        "f", lambda limits: Forgetful(limits.token_budget, run=next(runs)), ""
    )
    assert check_policy(forgetful, contracts=["deterministic"]).violated == ("deterministic",)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["vllm==0.33.0:whole-prompts", "tensorrt-llm:max-utilization"])
def test_whole_prompts_leave_budget_unused_however_much_is_turned_away(name, seed):
    # They turn away half of the trials, and fill the budget in most of the other half.
    report = check_policy(SYSTEMS[name], contracts=["work_conserving"], seed=seed)
    assert report.violated == ("work_conserving",)


def test_what_was_turned_away_is_said_and_limits_what_follows():
    report = check_policy(system("refuses"), engine=engine(4))
    assert report.turned_away > 0
    assert f"{report.turned_away} of which it turned away" in report["progress"].basis
    assert all("requests that it lets in" in sentence for sentence in report.consequences)
    assert "lets in" not in "".join(check_policy(system(), engine=engine(4)).consequences)


def test_what_no_scheduler_could_break_counts_as_no_test():
    finding = check_policy(system(), contracts=["only_reads"])["only_reads"]
    assert (finding.support, finding.tested) == (Support.PROVED, 0)


def test_what_chance_broke_once_is_not_kept_because_small_trials_keep_it():
    calls = itertools.count()

    class Rare(InOrder):
        def step(self):
            done = super().step()
            if next(calls) == 300:
                return FieldStep(dict.fromkeys(done.tokens, 99), (), done.finished)
            return done

    rare = FieldSystem("rare", lambda limits: Rare(limits.token_budget), "")
    for effort in ("quick", "exhaustive"):
        calls = itertools.count()
        report = check_policy(rare, engine=engine(2), contracts=["token_budget"], effort=effort)
        assert report["token_budget"].outcome is Outcome.UNDECIDED


def test_an_engine_that_a_system_cannot_have_is_refused():
    blocks = engine(8, kv_capacity=32, kv_block_size=4)
    with pytest.raises(ql.InvalidArgument, match="kv_block_size"):
        check_policy(SYSTEMS["sglang==0.5.6"], engine=blocks, contracts=["progress"])


def test_priorities_are_seen_where_a_system_reads_them():
    asked = ["first_come_first_served", "oldest_first"]
    assert check_policy(SYSTEMS["vllm==0.33.0"], contracts=asked).violated == ()
    assert check_policy(SYSTEMS["vllm==0.33.0:priority"], contracts=asked).violated == (
        "first_come_first_served",
        "oldest_first",
    )
