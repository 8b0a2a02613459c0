"""Times between tokens, watched step by step, against the per-request times of the kernel."""

import numpy as np
import pytest

import queueing_llm as ql
from paper_repro.sarathi2024 import fig_stalls


@pytest.mark.parametrize("name", fig_stalls.SCHEDULERS)
def test_gaps_are_the_time_from_the_first_to_the_last_token(name, monkeypatch):
    """Requests that all finish: gaps sum to finish less first, and count all tokens."""
    prompts, outputs, horizon = 700, 30, 60.0
    times = np.linspace(0, 20, 15)
    lengths = ql.EmpiricalLengths([prompts], [outputs])
    load = ql.Workload.of(ql.model.ScheduledArrivals(times), lengths)
    monkeypatch.setattr(fig_stalls, "workload", lambda _: load)
    policy, budget = fig_stalls.SCHEDULERS[name]
    run = ql.simulate(
        fig_stalls.engine(budget), load, policy=policy, horizon=horizon, keep_requests=True
    )
    log = run.requests()
    assert (log.finish >= 0).all()
    found = fig_stalls.gaps(name, 1.0, horizon=horizon)
    assert len(found) == len(times) * (outputs - 1)
    assert found.sum() == pytest.approx((log.finish - log.first).sum() * 1e-9)


def test_a_prompt_ahead_of_a_decode_is_a_gap(monkeypatch):
    """Two requests by hand: the second prompt stalls the first under vLLM alone."""
    lengths = ql.EmpiricalLengths([100, 1000], [10, 1], in_order=True)
    load = ql.Workload.of(ql.model.ScheduledArrivals([0.0, 0.1]), lengths)
    monkeypatch.setattr(fig_stalls, "workload", lambda _: load)
    step, prompt = (float(fig_stalls.STEP(tokens)) for tokens in (1, 1000))
    stalled = fig_stalls.gaps("vLLM", 1.0, horizon=5)
    smooth = fig_stalls.gaps("Sarathi-Serve", 1.0, horizon=5)
    assert stalled.max() == pytest.approx(step + prompt)
    assert smooth.max() == pytest.approx(float(fig_stalls.STEP(512)))
    assert len(stalled) == len(smooth) == 9
