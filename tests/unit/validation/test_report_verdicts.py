"""Verdicts: what a measurement says, and how it is compared."""

import dataclasses

import pytest

from paper_repro.validation.sweeps import SweepRun
from paper_repro.validation.verdicts import (
    Boundary,
    Judged,
    conclusion,
    measured_status,
)
from queueing_llm.decide import check_stability
from queueing_llm.evidence import Evidence, Status
from queueing_llm.model import (
    DeterministicLength,
    Engine,
    IndependentLengths,
    PoissonArrivals,
    Workload,
)
from queueing_llm.policies import VLLM_V1
from queueing_llm.steptime import AffineStepTime

RUN = SweepRun(
    prompt_tokens=64,
    output_tokens=64,
    kind="constant",
    target=10.0,
    duration=360.0,
    completed=3580,
    incomplete=20,
    errored=0,
    rate=9.95,
    latency=2.0,
    ttft=0.1,
    tpot=0.03,
    mean_prompt=64.0,
    mean_output=64.0,
)
LENGTHS = IndependentLengths(DeterministicLength(64), DeterministicLength(64))
ENGINE = Engine(AffineStepTime(base=0.007, per_token=2e-5), token_budget=512)


def boundary():
    return Boundary.of(ENGINE, LENGTHS)


def test_a_level_queue_is_stable():
    assert measured_status(RUN) is Status.STABLE


def test_one_request_at_the_end_of_a_slow_run_is_no_queue():
    run = dataclasses.replace(RUN, target=0.1, completed=35, incomplete=1, latency=0.5)
    assert measured_status(run) is Status.STABLE


def test_requests_that_fail_do_not_wait():
    run = dataclasses.replace(RUN, completed=3000, errored=580)
    assert measured_status(run) is Status.STABLE


def test_a_queue_that_grows_from_empty_is_not():
    """A tenth of what comes is not served: the last of 360 s waits 36 s, the mean one half."""
    run = dataclasses.replace(RUN, completed=3240, incomplete=360, latency=18.0)
    assert measured_status(run) is Status.UNSTABLE


def test_a_client_that_falls_behind_is_not_served():
    run = dataclasses.replace(RUN, completed=3400, incomplete=20, latency=18.0)
    assert measured_status(run) is Status.UNSTABLE


@pytest.mark.parametrize("share", [0.5, 0.95, 1.05, 3.0])
def test_boundaries_decide_as_the_library_does(share):
    found = boundary()
    rate = share * float(found.critical.value)
    workload = Workload.of(PoissonArrivals(rate), LENGTHS)
    verdict = check_stability(ENGINE, workload, policy=VLLM_V1)
    assert found.status(rate)[0] is verdict.status
    assert found.status(0.0)[0] is Status.STABLE


def test_inside_the_interval_nothing_is_said():
    critical = dataclasses.replace(boundary().critical, low=9.0, high=11.0, value=10.0)
    found = dataclasses.replace(boundary(), critical=critical)
    assert found.status(10.0) == (Status.UNDECIDED, Evidence.NONE)


def test_wrong_verdicts_are_listed():
    found = boundary()
    low = 0.5 * float(found.critical.value)
    right, wrong = (
        Judged(name, low, found, status)
        for name, status in (("calm", Status.STABLE), ("odd", Status.UNSTABLE))
    )
    assert "1 of 2" in conclusion([right, wrong])
    assert "odd: predicted stable" in conclusion([right, wrong])
    assert "Wrong" not in conclusion([right])
    near = dataclasses.replace(wrong, rate=0.95 * float(found.critical.value))
    assert "0 of 0" in conclusion([near])
