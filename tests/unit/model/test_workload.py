"""The workload: construction, moments of mixtures, and its stream of requests."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    DeterministicLength,
    EmpiricalLengths,
    GeometricLength,
    IndependentLengths,
    LognormalLength,
    PoissonArrivals,
    PoissonLength,
    ReplayArrivals,
    RequestClass,
    Requests,
    ScheduledArrivals,
    Trace,
    UniformLength,
    Workload,
)

TIMES = np.array([0.0, 1.0, 1.5, 4.0])
PROMPT, OUTPUT = np.array([5, 6, 7, 8]), np.array([1, 2, 3, 0])
TIMED = Trace("timed", PROMPT, OUTPUT, TIMES, {})
UNTIMED = Trace("untimed", PROMPT, OUTPUT, None, {})
CHAT = RequestClass(
    "chat", IndependentLengths(GeometricLength(50), UniformLength(1, 9)), share=3
)
CODE = RequestClass("code", EmpiricalLengths([400, 500], [20, 90]), share=1)
MIXTURE = Workload(PoissonArrivals(8), [CHAT, CODE])
WORKLOADS = [
    Workload.poisson(10.4, prompt_tokens=129, output_tokens=112),
    Workload.poisson(
        3, prompt_tokens=PoissonLength(30), output_tokens=LognormalLength(9, 1, 99)
    ),
    MIXTURE,
    Workload.from_trace(TIMED),
    Workload.from_trace(UNTIMED, arrival_rate=2),
]
COLUMNS = ("arrival_times", "prompt_tokens", "output_tokens", "class_index")


def first_requests(workload, count, *, seed=1, size=None, phase=0.0) -> Requests:
    """The first ``count`` requests, drawn in chunks of ``size``."""
    size = size or count
    chunks = workload.chunks(np.random.default_rng(seed), size, phase=phase)
    parts = list(itertools.islice(chunks, -(-count // size)))
    return Requests(*(np.concatenate([getattr(p, c) for p in parts])[:count] for c in COLUMNS))


def same(first: Requests, second: Requests) -> bool:
    return all(np.array_equal(getattr(first, c), getattr(second, c)) for c in COLUMNS)


@pytest.mark.parametrize("workload", WORKLOADS, ids=range(len(WORKLOADS)))
@given(size=st.integers(1, 80), seed=st.integers(0, 2**32), phase=st.floats(0, 0.999))
def test_requests_do_not_depend_on_the_chunk_size(workload, size, seed, phase):
    parts = first_requests(workload, 90, seed=seed, size=size, phase=phase)
    assert same(parts, first_requests(workload, 90, seed=seed, phase=phase))


@pytest.mark.parametrize("workload", WORKLOADS[:3], ids=range(3))
def test_the_seed_decides(workload):
    first = first_requests(workload, 50, seed=4)
    assert same(first, first_requests(workload, 50, seed=4))
    assert not same(first, first_requests(workload, 50, seed=5))


def test_chunks_have_the_promised_types_and_sizes():
    for chunk in itertools.islice(MIXTURE.chunks(np.random.default_rng(1), 7), 3):
        assert len(chunk) == 7
        kinds = [getattr(chunk, c).dtype for c in COLUMNS]
        assert kinds == [np.float64, np.int64, np.int64, np.int64]


def test_lengths_do_not_change_when_the_arrivals_do():
    slow, fast = (first_requests(w, 60) for w in (MIXTURE, MIXTURE.scale_to(100)))
    assert np.array_equal(slow.prompt_tokens, fast.prompt_tokens)
    assert slow.arrival_times == pytest.approx(fast.arrival_times * 12.5)


def test_moments_of_a_mixture_are_averages_by_share():
    m, a, b = MIXTURE.moments, CHAT.lengths.moments, CODE.lengths.moments
    for name in ("prompt", "output", "prompt_squared", "output_squared", "product"):
        expected = (3 * getattr(a, name) + getattr(b, name)) / 4
        assert getattr(m, name) == expected
        assert isinstance(getattr(m, name), Fraction)
    assert m.shortest_output == 1
    assert (MIXTURE.mean_prompt_tokens, MIXTURE.mean_output_tokens) == (m.prompt, m.output)
    # The lengths of a mixture are correlated although those of each part may not be.
    assert m.product != m.prompt * m.output


def test_requests_of_a_mixture_follow_shares_and_laws():
    # z-tests of 200,000 requests, within 4.5 standard errors.
    seen = first_requests(MIXTURE, 200_000, seed=6)
    assert abs(seen.class_index.mean() - 0.25) <= 4.5 * math.sqrt(0.1875 / 200_000)
    product = (seen.prompt_tokens * seen.output_tokens).astype(float)
    error = product.std() / math.sqrt(len(product))
    assert abs(product.mean() - float(MIXTURE.moments.product)) <= 4.5 * error
    code = seen.prompt_tokens[seen.class_index == 1]
    assert set(np.unique(code)) == {400, 500}


def test_shares_are_relative():
    assert MIXTURE.shares == (Fraction(3, 4), Fraction(1, 4))
    tiny = [
        RequestClass(c.name, c.lengths, share=Fraction(c.share, 1000)) for c in (CHAT, CODE)
    ]
    assert Workload(PoissonArrivals(8), tiny).shares == MIXTURE.shares


def test_integers_mean_deterministic_lengths():
    workload = Workload.poisson(arrival_rate=2, prompt_tokens=Fraction(10), output_tokens=0)
    lengths = IndependentLengths(DeterministicLength(10), DeterministicLength(0))
    assert workload == Workload.of(PoissonArrivals(2), lengths)


def test_the_longest_request_is_over_all_classes():
    assert (MIXTURE.longest_prompt, MIXTURE.longest_request) == (None, None)
    bounded = Workload.poisson(1, prompt_tokens=129, output_tokens=UniformLength(1, 50))
    assert (bounded.longest_prompt, bounded.longest_request) == (129, 179)
    assert Workload.of(PoissonArrivals(1), CODE.lengths).longest_request == 590


def test_the_arrival_rate_is_exact_where_it_is_rational():
    assert MIXTURE.arrival_rate == Fraction(8)
    assert isinstance(MIXTURE.arrival_rate, Fraction)
    assert MIXTURE.scale_to(Fraction(1, 3)).arrival_rate == Fraction(1, 3)
    assert WORKLOADS[0].arrival_rate == 10.4


def test_a_trace_is_replayed_as_recorded():
    seen = first_requests(Workload.from_trace(TIMED), 6)
    assert seen.arrival_times[:4].tolist() == TIMES.tolist()
    assert seen.prompt_tokens.tolist() == [5, 6, 7, 8, 5, 6]
    assert seen.output_tokens.tolist() == [1, 2, 3, 0, 1, 2]
    assert Workload.from_trace(TIMED).arrival_rate == TIMED.arrival_rate == 0.75


def test_a_replay_keeps_times_and_lengths_of_a_request_together():
    seen = first_requests(Workload.from_trace(TIMED), 4, phase=0.5)
    assert seen.prompt_tokens.tolist() == [7, 8, 5, 6]
    assert seen.arrival_times.tolist() == [0, 2.5, 2.5 + 4 / 3, 2.5 + 4 / 3 + 1]


def test_a_trace_can_be_scaled():
    assert Workload.from_trace(TIMED, scale=2).arrival_rate == pytest.approx(1.5)
    assert Workload.from_trace(TIMED, arrival_rate=6).arrival_rate == pytest.approx(6)
    both = Workload.from_trace(TIMED, scale=0.5, arrival_rate=6)
    assert both.arrival_rate == pytest.approx(3)
    assert first_requests(both, 4).arrival_times == pytest.approx(TIMES / 4)


def test_a_trace_without_times_is_drawn_from():
    workload = Workload.from_trace(UNTIMED, scale=2, arrival_rate=3)
    assert workload.arrival_rate == 6
    assert workload.has_iid_lengths
    assert not Workload.from_trace(TIMED).has_iid_lengths
    assert workload.moments.prompt == Fraction(26, 4)


def test_a_workload_shares_no_memory_with_its_trace():
    times, prompt = TIMES.copy(), PROMPT.copy()
    workload = Workload.from_trace(Trace("own", prompt, OUTPUT, times, {}))
    first = first_requests(workload, 8)
    times[1], prompt[0] = 1.25, 99
    assert same(first_requests(workload, 8), first)
    assert times.flags.writeable


def test_given_requests_are_played_once():
    workload = Workload.of_requests(
        [0.5, 1, 3], prompt_tokens=[4, 5, 6], output_tokens=[0, 1, 2]
    )
    chunks = list(workload.chunks(np.random.default_rng(1), 2))
    assert [c.arrival_times.tolist() for c in chunks] == [[0.5, 1.0], [3.0]]
    assert [c.prompt_tokens.tolist() for c in chunks] == [[4, 5], [6]]
    assert [c.output_tokens.tolist() for c in chunks] == [[0, 1], [2]]
    assert workload.arrival_rate == pytest.approx(0.8)
    assert not workload.is_endless
    assert MIXTURE.is_endless
    assert isinstance(workload.arrivals, ScheduledArrivals)


def test_requests_at_one_time_can_be_played_but_have_no_rate():
    workload = Workload.of_requests([0, 0], prompt_tokens=[1, 1], output_tokens=[1, 1])
    assert len(next(workload.chunks(np.random.default_rng(1), 9))) == 2
    with pytest.raises(InvalidArgument, match="must span some time"):
        _ = workload.arrival_rate


def poisson(rate=1, prompt=5, output=5):
    return Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


def given_requests(times, prompt, output):
    return Workload.of_requests(times, prompt_tokens=prompt, output_tokens=output)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: poisson(rate=0), "arrival_rate must be a finite number above 0"),
        (lambda: poisson(rate=math.nan), "arrival_rate=nan"),
        (lambda: poisson(prompt=0), "prompt_tokens must be an integer of at least 1"),
        (lambda: poisson(prompt=129.0), "GeometricLength.*prompt_tokens=129.0"),
        (lambda: poisson(prompt=True), "prompt_tokens=True"),
        (lambda: poisson(output=-1), "output_tokens=-1"),
        (lambda: poisson(output=Fraction(1, 2)), "output_tokens must be an integer"),
        (lambda: poisson(prompt="many"), "prompt_tokens='many'"),
        (lambda: Workload(3, [CHAT]), "arrivals must be of type Arrivals"),
        (lambda: Workload(PoissonArrivals(1), []), "non-empty list of RequestClass"),
        (lambda: Workload(PoissonArrivals(1), [CHAT.lengths]), "non-empty list"),
        (lambda: Workload(PoissonArrivals(1), CHAT), "non-empty list"),
        (lambda: Workload(PoissonArrivals(1), [CHAT, CHAT]), "different names"),
        (lambda: RequestClass("", CHAT.lengths), "name must be a non-empty string"),
        (lambda: RequestClass("a", 5), "lengths must be of type RequestLengths"),
        (lambda: RequestClass("a", CHAT.lengths, share=0), "share=0"),
        (lambda: Workload.from_trace(UNTIMED), "'untimed' has no arrival times"),
        (lambda: Workload.from_trace(TIMED, scale=0), "scale=0"),
        (lambda: Workload.from_trace(TIMED, arrival_rate=-1), "arrival_rate=-1"),
        (lambda: Workload.from_trace("azure.csv"), "trace must be of type Trace"),
        (lambda: given_requests([0, 1], [1], [1]), "arrival_times has 2 rows"),
        (lambda: given_requests([1, 0], [1, 1], [1, 1]), "must not decrease"),
        (lambda: given_requests([], [], []), "non-empty column"),
        (lambda: MIXTURE.scale_to(0), "arrival_rate=0"),
        (lambda: MIXTURE.chunks(np.random.default_rng(1), -1), "size=-1"),
        (lambda: MIXTURE.chunks(np.random.default_rng(1), 5, phase=1), "phase must be below 1"),
        (lambda: MIXTURE.chunks(1, 5), "rng must be of type Generator"),
    ],
)
def test_arguments_outside_the_domain_are_refused(build, words):
    with pytest.raises(InvalidArgument, match=words):
        build()


def test_replays_start_at_the_same_row():
    assert isinstance(Workload.from_trace(TIMED).arrivals, ReplayArrivals)
    for phase in np.linspace(0, 0.999, 23):
        seen = first_requests(Workload.from_trace(TIMED), 4, phase=float(phase))
        start = int(phase * 4)
        gap = np.append(np.diff(TIMES), 4 / 3)[start]
        assert seen.prompt_tokens[0] == PROMPT[start]
        assert seen.arrival_times[1] == pytest.approx(gap)
