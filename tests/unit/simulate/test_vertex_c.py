"""The deterministic experiment at a corner of the region: arXiv:2504.07347v3, section 6.2.

An arrival every 467.5 ms, 290 prompt and 990 output tokens, at most 100 requests in a
batch. The published verdicts are that Sarathi with 128 tokens is stable and the others are
not; the end states after 500 s are those of this project's notes (vectors vertexC.*).
"""

import numpy as np
import pytest

import queueing_llm as ql

LOAD = ql.Workload.of(
    ql.DeterministicArrivals.every(0.4675),
    ql.IndependentLengths(ql.DeterministicLength(290), ql.DeterministicLength(990)),
)


def after_500_seconds(policy, budget):
    step = ql.StaircaseStepTime(0.01128, 0.03547, 128)
    engine = ql.Engine(step_time=step, token_budget=budget, max_batch_size=100)
    rule = ql.policy_named(policy)
    return ql.simulate(engine, LOAD, policy=rule, horizon=500, log_batches=12_000)


@pytest.mark.parametrize(
    ("policy", "budget", "requests", "tokens"),
    [
        ("sarathi", 128, 100, 50_140),
        ("sarathi", 256, 229, 212_886),
        ("sarathi", 1024, 275, 279_783),
        ("orca", 128, 296, 249_139),
        ("orca:residents", 128, 269, 263_335),
        ("vanilla_vllm", 128, 1069, 1_368_320),
        ("vanilla_vllm:chunked", 128, 390, 345_160),
        ("vanilla_vllm:chunked,residents", 128, 332, 342_840),
        ("vanilla_vllm", 1024, 359, 295_996),
        ("faster_transformer", 128, 1069, 1_368_320),
        ("faster_transformer:chunked", 128, 1059, 1_354_427),
        ("faster_transformer", 1024, 1041, 1_329_429),
        ("faster_transformer:chunked", 1024, 1037, 1_323_234),
    ],
)
def test_what_is_left_to_the_request_and_to_the_token(policy, budget, requests, tokens):
    run = after_500_seconds(policy, budget)
    assert run.arrived == 1069
    assert run.requests_in_system[0, -1] == requests
    assert run.backlog_tokens[0, -1] == tokens


def test_sarathi_settles_on_29_prefill_and_99_decode_tokens():
    batches = after_500_seconds("sarathi", 128).batches()
    late = batches["start"] >= 400 * 10**9
    assert late.sum() > 2000
    assert np.unique(batches["prefill_tokens"][late]).tolist() == [29]
    assert np.unique(batches["decode_tokens"][late]).tolist() == [99]


@pytest.mark.parametrize(
    ("policy", "population", "decodes"),
    [
        # Vector vertexC.profile: time average of the population, mean batch of decodes.
        ("sarathi:residents", 95.2, 94.4),
        ("orca:residents", 174.3, 95.0),
        ("vanilla_vllm:chunked,residents", 204.4, 95.8),
        ("faster_transformer:chunked,residents", 529.4, 1.0),
    ],
)
def test_average_populations_and_decode_batches(policy, population, decodes):
    run = after_500_seconds(policy, 128)
    members = run.batches()["decode_tokens"]
    assert run.mean_requests.value == pytest.approx(population, abs=0.1)
    assert members[members > 0].mean() == pytest.approx(decodes, abs=0.1)
