"""Controls: a simulator that loses a token must not answer."""

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.simulate import _kernel, _reference, _simulate
from queueing_llm.simulate._outcome import Arrival
from queueing_llm.simulate._recorder import Recorder

RUN = {"horizon": 50.0, "seed": 1}
RING = -6  # position of the ring among the arguments of the kernel


def load():
    return ql.Workload.poisson(10.4, prompt_tokens=129, output_tokens=112)


def engine(**limits):
    step = ql.StaircaseStepTime(0.01128, 0.03547, 128)
    return ql.Engine(step_time=step, token_budget=512, **limits)


POLICIES = pytest.mark.parametrize("policy", ["sarathi", "orca", "faster_transformer"])


@POLICIES
@pytest.mark.parametrize("book", ["BACKLOG", "DECODE_LEFT", "QUEUE_LEFT"])
def test_the_kernel_notices_a_token_slipped_into_a_book(monkeypatch, policy, book):
    honest, slipped = _kernel.run, []

    def sabotaged(state, *rest):
        if state[_kernel.STEPS] > 0 and not slipped:
            state[getattr(_kernel, book)] += 1
            slipped.append(book)
        return honest(state, *rest)

    monkeypatch.setattr(_kernel, "run", sabotaged)
    monkeypatch.setattr(_simulate, "CHUNK", 100)
    with pytest.raises(ql.ConservationViolated, match="lost or invented at tick"):
        ql.simulate(engine(), load(), policy=ql.policy_named(policy), **RUN)
    assert slipped


@POLICIES
@pytest.mark.parametrize("limits", [{}, {"kv_capacity": 20_000}])
def test_the_kernel_notices_a_finish_that_disappears(monkeypatch, policy, limits):
    """The running totals agree with one another, but not with the ring of finishes."""
    honest = _kernel.run

    def sabotaged(state, *rest):
        code = honest(state, *rest)
        ring = rest[RING]
        if code == _kernel.DONE:
            ring[np.argmax(ring)] -= 1
        return code

    monkeypatch.setattr(_kernel, "run", sabotaged)
    with pytest.raises(ql.ConservationViolated):
        ql.simulate(engine(**limits), load(), policy=ql.policy_named(policy), **RUN)


def test_the_transparent_driver_notices_a_token_too_few(monkeypatch):
    honest = _reference._Present.serve

    def sabotaged(self, step, recorder):
        served = honest(self, step, recorder)
        self.columns["decode_left"] = np.maximum(self.columns["decode_left"] - 1, 0)
        return served

    monkeypatch.setattr(_reference._Present, "serve", sabotaged)
    with pytest.raises(ql.ConservationViolated, match=r"at tick \d+ the requests hold"):
        ql.simulate(engine(), load(), policy=ql.SARATHI, transparent=True, **RUN)


def test_the_recorder_compares_the_count_with_its_books():
    recorder = Recorder(np.array([0, 10]))
    recorder.arrive(Arrival(ticks=0, prompt_tokens=3, decode_steps=2, class_index=0))
    recorder.settle(0, tokens_left=5)
    with pytest.raises(ql.ConservationViolated, match="hold 4 tokens, not 5"):
        recorder.settle(0, tokens_left=4)
