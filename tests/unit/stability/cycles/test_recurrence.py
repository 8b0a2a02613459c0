"""Which states of an engine of equal requests come back for ever, and which only seem to."""

from fractions import Fraction

import pytest

import queueing_llm as ql
from queueing_llm.stability.cycles._equal_requests import (
    ENDLESS,
    IDLE,
    Arrivals,
    EqualRequests,
)
from queueing_llm.stability.cycles._recurrence import Mark

ENGINE = ql.Engine(ql.AffineStepTime(Fraction(1, 10), Fraction(1, 10)), 8)


@pytest.mark.parametrize(
    ("change", "repeats"),
    [
        ({}, True),
        ({"waiting": 6}, True),
        ({"waiting": 6, "lacked_prompts": True}, False),
        ({"waiting": 4}, False),
        ({"next_arrival": 3}, False),
        ({"waiting": 6, "next_arrival": 3}, True),
        ({"prompt_left": 2}, False),
        ({"lacked_decodes": True}, True),
        ({"fresh": 3}, True),
        ({"fresh": 3, "lacked_decodes": True}, False),
        ({"fresh": 3, "resident_limit": 9}, False),
        ({"fresh": 1}, False),
        ({"paused": 1}, False),
        ({"paused": 2}, False),
    ],
)
def test_what_repeats_a_state(change, repeats):
    """Control of the check for recurrence: each field is falsified once."""
    requests = EqualRequests(
        ENGINE, ql.ORCA, prompt=5, steps=4, arrivals=Arrivals(Fraction(2), Fraction(2))
    )
    requests.waiting, requests.prompt_left, requests.decodes.fresh = 5, 3, 2
    requests.decodes.paused.append(3)
    mark = Mark.of(requests)
    for name, value in change.items():
        if name == "fresh":
            requests.decodes.fresh = value
        elif name == "paused":
            requests.decodes.paused[0] = value
        else:
            setattr(requests, name, value)
    assert mark.is_repeated_by(requests) == repeats


def test_the_engine_idles_until_the_next_arrival():
    requests = EqualRequests(
        ENGINE, ql.ORCA, prompt=5, steps=0, arrivals=Arrivals(Fraction(2), Fraction(3))
    )
    assert requests.step() == IDLE
    assert requests.clock == 2
    assert requests.step() == (5, 0, 0)
    assert requests.completed == 1
    assert requests.next_arrival == 5


def test_arrivals_are_counted_not_awaited_one_by_one():
    gap = Fraction(1, 10**12)
    requests = EqualRequests(
        ENGINE, ql.ORCA, prompt=5, steps=0, arrivals=Arrivals(Fraction(1, 3), gap)
    )
    requests.step()
    requests.step()
    since_first = requests.clock - Fraction(1, 3)
    assert requests.waiting + requests.prefilled == since_first // gap + 1
    assert requests.clock < requests.next_arrival <= requests.clock + gap


def test_a_batch_of_very_many_prompts_is_formed_at_once():
    engine = ql.Engine(ql.AffineStepTime(1, 0), 2**24)
    requests = EqualRequests(
        engine, ql.SARATHI.variant(chunked=False), prompt=1, steps=0, arrivals=ENDLESS
    )
    for batch in range(1, 1001):
        assert requests.step() == (2**24, 0, 0)
        assert requests.prefilled == batch * 2**24
