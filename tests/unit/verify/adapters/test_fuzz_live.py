"""The rule models and the real code, if it is at hand, take every step alike."""

import os
from dataclasses import replace

import pytest

from queueing_llm.verify.adapters import open_worker
from queueing_llm.verify.adapters._fuzz import fuzz
from queueing_llm.verify.adapters._fuzz_live import played_live
from queueing_llm.verify.adapters._fuzz_random import DRAWN, random_workloads
from queueing_llm.verify.adapters._fuzz_workload import played_by_model

ENVIRONMENT = os.environ.get("QUEUEING_LLM_LIVE") or None


@pytest.mark.skipif(ENVIRONMENT is None, reason="QUEUEING_LLM_LIVE names no environment")
@pytest.mark.parametrize("system", DRAWN)
def test_random_workloads_are_served_alike(system):
    drawn = random_workloads(system, number=40, seed=0)
    with open_worker(system, environment=ENVIRONMENT) as worker:
        report = fuzz(played_by_model, played_live(worker), drawn)
    assert report.differing == 0, str(report)


@pytest.mark.skipif(ENVIRONMENT is None, reason="QUEUEING_LLM_LIVE names no environment")
@pytest.mark.parametrize("system", DRAWN)
def test_one_more_seat_in_the_model_is_noticed(system):
    """Control."""

    def roomier(workload):
        seats = "max_running" if system.startswith("sglang") else "max_num_seqs"
        more = {seats: getattr(workload.config, seats) + 1}
        return played_by_model(replace(workload, config=replace(workload.config, **more)))

    drawn = random_workloads(system, number=10, seed=0)
    with open_worker(system, environment=ENVIRONMENT) as worker:
        report = fuzz(roomier, played_live(worker), drawn, most_differences=1)
    assert report.differing > 0
