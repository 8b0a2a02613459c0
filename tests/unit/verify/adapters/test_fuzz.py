"""The fuzz compares what both show, finds the first difference and makes it small."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument, QueueingLLMError
from queueing_llm.policies.field import (
    AbstractScheduler,
    FieldRequest,
    FieldStep,
    VllmV0Config,
    VllmV1Config,
)
from queueing_llm.verify.adapters._fuzz import difference_of, first_difference, fuzz
from queueing_llm.verify.adapters._fuzz_live import played_live
from queueing_llm.verify.adapters._fuzz_random import DRAWN, random_workloads
from queueing_llm.verify.adapters._fuzz_shrink import shrunk
from queueing_llm.verify.adapters._fuzz_workload import (
    FAILED,
    FieldWorkload,
    play_field,
    played_by_model,
)
from queueing_llm.verify.adapters._protocol import LiveFailure, LiveStep, LiveView

CONFIG = VllmV1Config(8, 4, num_blocks=50, block_size=4, version="0.11.2")


def workload_of(*rows, config=CONFIG):
    requests = [(row[0], FieldRequest(f"r{n}", *row[1:])) for n, row in enumerate(rows)]
    return FieldWorkload(config, tuple(requests))


def whole(workload):
    """Serve a workload with whole prompts, which is a different rule."""
    config = replace(workload.config, enable_chunked_prefill=False)
    return played_by_model(replace(workload, config=config))


@pytest.mark.parametrize("system", DRAWN)
def test_workloads_are_the_same_for_a_seed_and_others_for_another(system):
    five, nine, other = (
        list(random_workloads(system, number=number, seed=seed))
        for number, seed in ((5, 1), (9, 1), (9, 2))
    )
    assert nine[:5] == five
    assert not set(nine) & set(other)


@pytest.mark.parametrize("system", DRAWN)
def test_limits_bind_in_random_workloads(system):
    """What never happens is never compared."""
    report = fuzz(
        played_by_model, played_by_model, random_workloads(system, number=150, seed=3)
    )
    assert report.differing == 0
    assert report.steps > 5_000
    assert report.preemptions > 30
    assert (report.hits > 50) == ("vllm" in system and "0.6.3" not in system)


def test_an_unknown_system_is_refused():
    with pytest.raises(InvalidArgument, match="did you mean"):
        next(random_workloads("vllm==0.33.1", number=1, seed=0))


@pytest.mark.parametrize("steps", [(3, 1), (-1, 0)])
def test_arrivals_are_in_order(steps):
    with pytest.raises(InvalidArgument, match="in the order of steps"):
        workload_of(*((step, 5, 2) for step in steps))


def test_a_workload_prints_as_what_makes_it():
    drawn = [next(random_workloads(system, number=1, seed=4)) for system in DRAWN]
    names = {kind.__name__: kind for kind in (FieldWorkload, FieldRequest)}
    names |= {type(workload.config).__name__: type(workload.config) for workload in drawn}
    assert [eval(str(workload), names) for workload in drawn] == drawn


def test_the_first_difference_is_found_and_named():
    found = first_difference(played_by_model, whole, workload_of((0, 3, 2), (2, 12, 2)))
    assert found.step == 2
    assert (found.one["tokens"], found.other["tokens"]) == ({"r1": 8}, {})
    assert "step 2" in str(found)


def test_only_what_both_show_is_compared():
    workload, seen = workload_of(), {"tokens": {}, "free": 3}
    assert difference_of(workload, [seen], [{"tokens": {}, "running": []}]) is None
    assert difference_of(workload, [seen], [{"tokens": {}, "free": 2}]).other == {"free": 2}


def test_one_that_fails_or_ends_early_differs():
    workload, step = workload_of(), {"tokens": {}, "failed": False}
    assert difference_of(workload, [step, FAILED], [step, FAILED]) is None
    assert difference_of(workload, [step, step], [step, FAILED]).one == {"failed": False}
    assert difference_of(workload, [step], [step, step]).one == {}


def test_a_difference_is_shrunk():
    """Of many requests one is enough for whole prompts to matter, and just above the budget."""
    rows = [(n, 5 + n, 9) for n in range(12)]
    report = fuzz(played_by_model, whole, [workload_of(*rows), workload_of((0, 3, 3))])
    assert (report.workloads, report.differing) == (2, 1)
    (difference,) = report.differences
    assert difference.workload.requests == (
        replace(difference.workload.requests[0], prompt_tokens=9, output_tokens=1),
    )


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 20), st.integers(1, 9)), min_size=1
    )
)
def test_what_is_shrunk_still_holds_and_is_no_larger(rows):
    workload = workload_of(*sorted(rows))

    def is_long(small):
        return sum(request.prompt_tokens for request in small.requests) >= 7

    if is_long(workload):
        small = shrunk(workload, is_long)
        assert sum(request.prompt_tokens for request in small.requests) == 7
        assert all(step == 0 and it.output_tokens == 1 for step, it in small.arrivals)


class Failing(AbstractScheduler):
    """Serves one token in its first step and ends in its second."""

    def __init__(self):
        self.steps = 0

    is_idle = False

    def add(self, request):
        pass

    def step(self):
        self.steps += 1
        if self.steps == 2:
            msg = "it is out of memory"
            raise QueueingLLMError(msg)
        return FieldStep({"r0": 1})


def test_a_model_that_ends_by_an_error_is_shown_as_failed():
    first, second = play_field(Failing(), ())
    assert (first["tokens"], second) == ({"r0": 1}, FAILED)


def test_what_never_ends_is_cut():
    config = VllmV1Config(8, 4, num_blocks=3, block_size=4, enable_chunked_prefill=False)
    workload = workload_of((0, 9, 1), config=config)
    assert len(tuple(play_field(Failing(), (), most_steps=1))) == 1
    assert not played_by_model(workload)[-1]["is_idle"]


class Answers:
    """Stands in for a worker: answers runs with steps, or fails in one."""

    def __init__(self, tokens, *, failure=None):
        self.tokens, self.failure, self.asked = tokens, failure, []

    def run(self, config, requests, *, most_steps):
        self.asked.append((config, requests, most_steps))
        if self.failure and len(self.asked) == 1:
            raise LiveFailure(self.failure)
        view = LiveView((), ("r0",), 9, is_idle=False)
        return tuple(LiveStep(FieldStep({"r0": n}), view) for n in self.tokens[:most_steps])


def test_the_real_code_is_asked_for_the_same_settings_and_requests():
    answers, workload = Answers([5, 1]), workload_of((0, 5, 2))
    steps = played_live(answers)(workload)
    ((config, requests, _),) = answers.asked
    assert VllmV1Config(**config) == CONFIG
    assert requests == workload.arrivals
    assert [step["tokens"] for step in steps] == [{"r0": 5}, {"r0": 1}]
    assert steps[0]["free"] == 9


def test_a_step_in_which_the_real_code_fails_is_the_last():
    answers = Answers([5, 1, 1], failure="the system failed: MemoryError: no (step 2)")
    steps = played_live(answers)(workload_of((0, 5, 2)))
    assert [step.get("tokens") for step in steps] == [{"r0": 5}, {"r0": 1}, None]
    assert steps[-1] == FAILED


def test_fewer_tokens_than_one_are_a_failure():
    steps = played_live(Answers([5, -2, 1]))(workload_of((0, 5, 2)))
    assert [step["failed"] for step in steps] == [False, True]


def test_a_process_that_fails_is_no_finding_about_the_system():
    answers = Answers([5], failure="the worker for vllm==0.33.0 died.")
    with pytest.raises(LiveFailure, match="died"):
        played_live(answers)(workload_of((0, 5, 2)))


def test_configurations_of_all_systems_are_drawn():
    kinds = {type(next(random_workloads(name, number=1, seed=0)).config) for name in DRAWN}
    assert {VllmV1Config, VllmV0Config} < kinds
