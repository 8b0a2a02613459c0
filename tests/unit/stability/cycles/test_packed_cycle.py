"""FasterTransformer's saturated cycle with random prompts, against every batch enumerated."""

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.evidence import Evidence
from queueing_llm.model import (
    DeterministicLength,
    EmpiricalLength,
    EmpiricalLengths,
    Engine,
    GeometricLength,
    IndependentLengths,
    LognormalLength,
    PoissonArrivals,
    PoissonLength,
    RequestClass,
    UniformLength,
    Workload,
)
from queueing_llm.policies import FASTER_TRANSFORMER
from queueing_llm.stability import (
    frozen_rate,
    overload_growth,
    request_level_rate,
)
from queueing_llm.stability.cycles import (
    _correlated_parting,
    _packed_cycle,
    _prompt_packing,
)
from queueing_llm.stability.cycles._packed_cycle import packed_cycle_rate
from queueing_llm.steptime import AffineStepTime, StaircaseStepTime, TableStepTime
from queueing_llm.traces import preset

CHUNKED = FASTER_TRANSFORMER.variant(chunked=True)
SMALL = AffineStepTime(Fraction(1, 10), Fraction(1, 100))
STAIRS = StaircaseStepTime(Fraction(1, 10), Fraction(3, 10), 3)
FLAT = StaircaseStepTime(Fraction(1, 10), Fraction(3, 10), 30)
A100 = StaircaseStepTime(0.01128, 0.03547, 128)


def reference(name):
    file = Path(__file__).parents[3] / "reference" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    twin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twin)
    return twin


TWIN = reference("saturated_batches")


def drawn(rows):
    return Workload.of(PoissonArrivals(1), EmpiricalLengths(*zip(*rows, strict=True)))


def independent(prompts, outputs):
    laws = IndependentLengths(EmpiricalLength(prompts), EmpiricalLength(outputs))
    return Workload.of(PoissonArrivals(1), laws)


systems = st.fixed_dictionaries(
    {
        "budget": st.integers(2, 9),
        "chunked": st.booleans(),
        "emits": st.booleans(),
        "law": st.sampled_from([SMALL, FLAT]),
    }
)


def prompts_of(case, data, *, most=3):
    longest = case["budget"] + (4 if case["chunked"] else 0)
    return data.draw(st.lists(st.integers(1, longest), min_size=1, max_size=most))


def engine_of(case, **more):
    return Engine(
        step_time=case["law"],
        token_budget=case["budget"],
        first_token_from_prefill=case["emits"],
        **more,
    )


@settings(max_examples=60)
@given(case=systems, data=st.data())
def test_the_truth_lies_in_the_interval_for_rows_of_a_trace(case, data):
    prompts = prompts_of(case, data)
    rows = [(p, data.draw(st.integers(int(case["emits"]), 6))) for p in prompts]
    found = packed_cycle_rate(engine_of(case), drawn(rows), chunked=case["chunked"])
    truth = TWIN.rate(
        case["law"],
        budget=case["budget"],
        rows=rows,
        chunked=case["chunked"],
        saved=int(case["emits"]),
    )
    assert found.low <= truth <= found.high
    assert found.high / found.low - 1 < 1e-9


@settings(max_examples=25)
@given(case=systems, data=st.data(), stairs=st.booleans())
def test_the_truth_lies_in_the_interval_for_independent_lengths(case, data, stairs):
    case = {**case, "law": STAIRS} if stairs else case
    prompts = prompts_of(case, data, most=2)
    fewest = int(case["emits"])
    outputs = data.draw(st.lists(st.integers(fewest, 6), min_size=1, max_size=2))
    places = None if case["chunked"] else data.draw(st.sampled_from([None, 1, 2, 3]))
    found = packed_cycle_rate(
        engine_of(case, max_batch_size=places),
        independent(prompts, outputs),
        chunked=case["chunked"],
    )
    truth = TWIN.rate(
        case["law"],
        budget=case["budget"],
        rows=[(p, d) for p in prompts for d in outputs],
        chunked=case["chunked"],
        places=places,
        saved=int(case["emits"]),
    )
    assert found.low <= truth <= found.high
    assert found.high / found.low - 1 < 1e-9


@settings(max_examples=40)
@given(
    prompt=st.integers(1, 40),
    budget=st.integers(1, 60),
    output=st.sampled_from([DeterministicLength(7), GeometricLength(5), UniformLength(1, 9)]),
    chunked=st.booleans(),
    places=st.sampled_from([None, 1, 2, 7]),
)
def test_prompts_that_do_not_vary_give_the_closed_form(prompt, budget, output, chunked, places):
    budget = budget if chunked else max(budget, prompt)
    system = Engine(
        step_time=SMALL, token_budget=budget, max_batch_size=None if chunked else places
    )
    load = Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    rule = CHUNKED if chunked else FASTER_TRANSFORMER
    found = packed_cycle_rate(system, load, chunked=chunked)
    closed = request_level_rate(system, load, rule)
    assert found.low <= closed.high
    assert closed.low <= found.high
    assert found.high / found.low - 1 < 1e-9


@settings(max_examples=20)
@given(scale=st.integers(1, 1000), chunked=st.booleans())
def test_the_unit_of_time_does_not_matter(scale, chunked):
    load = Workload.poisson(1, prompt_tokens=UniformLength(1, 20), output_tokens=9)
    slow = AffineStepTime(SMALL.base * scale, SMALL.per_token * scale)
    one, other = (
        packed_cycle_rate(Engine(step_time=law, token_budget=32), load, chunked=chunked)
        for law in (SMALL, slow)
    )
    assert other.value == pytest.approx(one.value / scale, rel=1e-11)


def cycles(rng, lengths, *, budget, chunked=False, places=None, requests=40_000):
    """Play the cycle prompt by prompt; steps last 10 ms plus 0.2 ms a token."""
    prompts, outputs = lengths.sample(rng, requests)
    left, at, seconds, completed = prompts.tolist(), 0, [], []
    while at < requests - 400:
        room, start = budget, at
        while left[at] <= room and (places is None or at - start < places):
            room -= left[at]
            at += 1
        tokens = budget - room
        if chunked:
            left[at] -= room
            tokens = budget
        # The longest decodes through; each token costs the same whoever makes it.
        batch = outputs[start:at]
        steps = int(batch.max(initial=0))
        seconds.append(0.01 * (1 + steps) + 2e-4 * (tokens + int(batch.sum())))
        completed.append(at - start)
    seconds, completed = np.array(seconds), np.array(completed)
    rate = completed.sum() / seconds.sum()
    error = np.std(completed - rate * seconds) / np.sqrt(len(seconds)) / seconds.mean()
    return rate, error


BROAD = IndependentLengths(UniformLength(1, 257), GeometricLength(40))
SKEWED = IndependentLengths(LognormalLength(60, 1.2, 400), UniformLength(2, 90))


@pytest.mark.parametrize(
    ("lengths", "budget", "chunked", "places"),
    [
        (BROAD, 512, False, None),
        (BROAD, 512, False, 3),
        (BROAD, 512, True, None),
        (BROAD, 128, True, None),
        (SKEWED, 400, False, None),
        (SKEWED, 96, True, None),
        (IndependentLengths(GeometricLength(100), UniformLength(1, 9)), 256, True, None),
        (preset("azure-code-2023").lengths, 8192, False, None),
        (preset("azure-conv-2023").lengths, 2048, True, None),
    ],
)
def test_cycles_that_are_played_agree(lengths, budget, chunked, places):
    law = AffineStepTime(base=0.01, per_token=2e-4)
    system = Engine(step_time=law, token_budget=budget, max_batch_size=places)
    load = Workload.of(PoissonArrivals(1), lengths)
    found = packed_cycle_rate(system, load, chunked=chunked)
    rng = np.random.default_rng(17)
    rate, error = cycles(rng, lengths, budget=budget, chunked=chunked, places=places)
    assert error < 0.02 * rate
    assert abs(found.value - rate) < 4 * error


def test_the_prompt_that_did_not_fit_is_longer_than_most():
    """A control: with fresh prompts at the head of every batch the rate would be another."""
    load = Workload.poisson(1, prompt_tokens=UniformLength(1, 257), output_tokens=100)
    batch = _prompt_packing.packing(
        Engine(step_time=A100, token_budget=512), load, chunked=False
    )
    lengths = np.arange(513)
    assert batch.first.sum() == pytest.approx(1, rel=1e-12)
    assert batch.first @ lengths > 150
    fresh = np.where((lengths > 0) & (lengths <= 257), 1 / 257, 0)
    naive = batch.sums.cumsum(axis=1) @ fresh[::-1]
    assert naive.sum() > 1.05 * batch.at_least.sum()


def test_a_batch_of_chunks_completes_the_budget_over_the_mean_prompt():
    load = Workload.poisson(1, prompt_tokens=LognormalLength(200, 1, 3000), output_tokens=9)
    batch = _prompt_packing.packing(
        Engine(step_time=A100, token_budget=512), load, chunked=True
    )
    mean = float(load.moments.prompt)
    assert batch.at_least.sum() == pytest.approx(512 / mean, rel=1e-11)


def test_lengths_of_whole_blocks_keep_their_phase():
    """Even prompts in an odd budget end at odd and even places, in an even one at even only."""
    load = independent([2, 6], [1])
    for budget, step in ((8, 2), (9, 1)):
        batch = _prompt_packing.packing(
            Engine(step_time=SMALL, token_budget=budget), load, chunked=True
        )
        ends = np.flatnonzero(batch.first)
        assert ends.tolist() == list(range(step, 7, step))


def test_classes_and_rows_that_say_the_same_agree():
    rows = [(3, 2), (3, 8), (5, 8), (5, 8)]
    classes = [
        RequestClass("short", EmpiricalLengths([3, 3], [2, 8])),
        RequestClass(
            "long", IndependentLengths(DeterministicLength(5), DeterministicLength(8))
        ),
    ]
    mixed = Workload(PoissonArrivals(1), classes)
    system = Engine(step_time=SMALL, token_budget=11)
    for chunked in (False, True):
        one = packed_cycle_rate(system, drawn(rows), chunked=chunked)
        other = packed_cycle_rate(system, mixed, chunked=chunked)
        assert other.value == pytest.approx(one.value, rel=1e-12)


def test_outputs_that_follow_prompts_change_the_rate():
    together, apart = drawn([(2, 1), (6, 9)]), independent([2, 6], [1, 9])
    system = Engine(step_time=SMALL, token_budget=8)
    rates = [packed_cycle_rate(system, load, chunked=False).value for load in (together, apart)]
    assert abs(rates[0] / rates[1] - 1) > 0.01


def test_kv_reads_count_prompts_and_outputs_of_one_request_together():
    law = AffineStepTime(base=0, per_token=Fraction(1), per_kv_token=Fraction(1, 2))
    rows = [(2, 1), (6, 3)]
    reads = Fraction(2 + (6 + 7 + 8), 2) / 2
    for chunked in (False, True):
        found = packed_cycle_rate(
            Engine(step_time=law, token_budget=8), drawn(rows), chunked=chunked
        )
        # Every token costs a second: 4 of the mean prompt, 2 of the mean output.
        assert found.low < 1 / (4 + 2 + reads) < found.high


def test_the_front_door_answers_and_says_how():
    load = Workload.poisson(
        1, prompt_tokens=UniformLength(1, 257), output_tokens=UniformLength(1, 223)
    )
    system = Engine(step_time=A100, token_budget=512)
    found = request_level_rate(system, load, FASTER_TRANSFORMER)
    assert found.evidence is Evidence.NUMERICAL
    assert found.value == pytest.approx(0.414247, abs=1e-6)
    overload = load.scale_to(1)
    growth = overload_growth(system, overload, FASTER_TRANSFORMER, found)
    assert growth == pytest.approx(241 * (1 - found.value), rel=1e-9)


@pytest.mark.parametrize(
    ("system", "load", "rule"),
    [
        (Engine(step_time=A100, token_budget=512, kv_capacity=9**9), (9, 9), CHUNKED),
        (Engine(step_time=A100, token_budget=512, max_batch_size=4), (9, 9), CHUNKED),
        (Engine(step_time=A100, token_budget=8), (9, 9), FASTER_TRANSFORMER),
        (
            Engine(
                step_time=TableStepTime.of_batches(
                    [0, 600], [0, 600], [0, 9], [[[1, 2]] * 2] * 2
                ),
                token_budget=512,
            ),
            (9, 9),
            CHUNKED,
        ),
    ],
)
def test_other_systems_are_left_open(system, load, rule):
    workload = independent([1, load[0]], [1, load[1]])
    assert request_level_rate(system, workload, rule) is None


def test_a_step_time_known_from_one_token_on_is_enough():
    table = TableStepTime.of_tokens([1, 3, 9], [Fraction(2), Fraction(1), Fraction(3)])
    rows = [(4, 1), (5, 9), (1, 2)]
    for chunked in (False, True):
        found = packed_cycle_rate(
            Engine(step_time=table, token_budget=9),
            independent([4, 5], [1, 9]),
            chunked=chunked,
        )
        pairs = [(p, d) for p in (4, 5) for d in (1, 9)]
        truth = TWIN.rate(table, budget=9, rows=pairs, chunked=chunked)
        assert found.low <= truth <= found.high
    # Steps of two and three decodes do not rise alike: the chance of nobody is not enough.
    uneven = Engine(step_time=table, token_budget=9)
    assert packed_cycle_rate(uneven, drawn(rows), chunked=False) is None


def test_huge_or_vanishing_chances_are_answered_or_left_open():
    law = AffineStepTime(base=0.01, per_token=2e-4)
    system = Engine(step_time=law, token_budget=128)
    long = Workload.poisson(1, prompt_tokens=PoissonLength(5000), output_tokens=9)
    found = request_level_rate(system, long, CHUNKED)
    assert found.value == pytest.approx(1 / (5000 / 128 * law(128) + 9 * law(1)), rel=1e-9)
    classes = [
        RequestClass("a", IndependentLengths(DeterministicLength(2), DeterministicLength(3))),
        RequestClass("b", IndependentLengths(DeterministicLength(3), UniformLength(1, 10**15))),
    ]
    vast = Workload(PoissonArrivals(1), classes)
    assert request_level_rate(system, vast, CHUNKED) is None


def test_chances_left_out_widen_the_interval(monkeypatch):
    """Rare numbers of prompts are left out; the interval still holds the whole sum."""
    system = Engine(AffineStepTime(1, Fraction(1, 100)), 40)
    load = Workload.poisson(
        1, prompt_tokens=UniformLength(1, 3), output_tokens=GeometricLength(9)
    )
    everything = packed_cycle_rate(system, load, chunked=True)
    monkeypatch.setattr(_packed_cycle, "NEGLIGIBLE", 1e-9)
    found = packed_cycle_rate(system, load, chunked=True)
    assert found.value != everything.value
    assert found.low < everything.low < everything.high < found.high
    monkeypatch.setattr(_packed_cycle, "NEGLIGIBLE", 0.5)
    assert packed_cycle_rate(system, load, chunked=True) is None


def test_a_limit_that_may_bind_leaves_correlated_rows_open():
    rows = drawn([(4, 1), (5, 9)])
    for places, is_open in ((1, True), (2, True), (3, False)):
        system = Engine(step_time=SMALL, token_budget=9, max_batch_size=places)
        assert (request_level_rate(system, rows, FASTER_TRANSFORMER) is None) == is_open


def test_a_replay_and_unbounded_outputs_by_class_are_left_open():
    system = Engine(step_time=SMALL, token_budget=9)
    replay = Workload.of(PoissonArrivals(1), EmpiricalLengths([4, 5], [1, 9], in_order=True))
    classes = [
        RequestClass("a", IndependentLengths(DeterministicLength(2), GeometricLength(9))),
        RequestClass("b", IndependentLengths(DeterministicLength(3), GeometricLength(5))),
    ]
    for load in (replay, Workload(PoissonArrivals(1), classes)):
        for rule in (FASTER_TRANSFORMER, CHUNKED):
            assert request_level_rate(system, load, rule) is None


def test_a_prompt_that_never_fits_belongs_to_another_route():
    load = Workload.poisson(1, prompt_tokens=UniformLength(1, 600), output_tokens=9)
    system = Engine(step_time=A100, token_budget=512)
    assert request_level_rate(system, load, FASTER_TRANSFORMER) is None
    assert frozen_rate(system, load, FASTER_TRANSFORMER).value == 0


def test_tables_that_would_be_too_large_are_left_open(monkeypatch):
    system, load = Engine(step_time=SMALL, token_budget=9), drawn([(4, 1), (5, 9)])
    assert packed_cycle_rate(system, load, chunked=False) is not None
    with monkeypatch.context() as limited:
        limited.setattr(_correlated_parting, "MOST_ENTRIES", 15)
        assert packed_cycle_rate(system, load, chunked=False) is None
    for name, most in (("MOST_ENTRIES", 20), ("MOST_PROMPTS", 1)):
        with monkeypatch.context() as limited:
            limited.setattr(_prompt_packing, name, most)
            assert packed_cycle_rate(system, load, chunked=False) is None
