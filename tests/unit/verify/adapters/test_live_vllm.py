"""The schedulers of vLLM themselves, where a folder has them installed.

``QUEUEING_LLM_LIVE=DIR`` names a folder made by ``python -m queueing_llm.verify.adapters build
DIR``; without it these tests are skipped.
"""

import os
import random
from dataclasses import asdict

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import (
    FieldRequest,
    Limits,
    VllmV0Config,
    VllmV0Scheduler,
    VllmV1Config,
    VllmV1Scheduler,
)
from queueing_llm.verify import check_policy
from queueing_llm.verify.adapters import LiveScheduler, live_system, open_worker

V0, V1 = "0.6.3", ("0.11.2", "0.32.0", "0.33.0")
PLENTY = 10_000


@pytest.fixture(scope="module")
def workers():
    """Return a function from a version to its worker, started once."""
    environment = os.environ.get("QUEUEING_LLM_LIVE") or None
    if environment is None:
        pytest.skip("QUEUEING_LLM_LIVE names no folder with vLLM installed")
    open_ones = {}

    def worker(version):
        if version not in open_ones:
            open_ones[version] = open_worker(f"vllm=={version}", environment=environment)
        return open_ones[version]

    yield worker
    for each in open_ones.values():
        each.close()


def shown(scheduler, step):
    """Return all that can be compared: what was done, and what is there afterwards."""
    return {
        "tokens": dict(step.tokens),
        "cached": dict(step.cached),
        "preempted": step.preempted,
        "finished": sorted(step.finished),
        "mode": step.mode,
        "waiting": scheduler.waiting,
        "running": scheduler.running,
        "free_blocks": scheduler.free_blocks,
        "is_idle": scheduler.is_idle,
    }


def played_here(scheduler, requests, *, most_steps):
    """Return what one of our schedulers shows after each step."""
    steps, left = [], list(requests)
    while len(steps) < most_steps and not (steps and steps[-1]["is_idle"] and not left):
        while left and left[0][0] <= len(steps):
            scheduler.add(left.pop(0)[1])
        steps.append(shown(scheduler, scheduler.step()))
    return steps


def played_there(worker, config, requests, *, most_steps):
    """Return the same of the real one."""
    run = worker.run(config, requests, most_steps=most_steps)
    return [
        {
            **shown(step.view, step.done),
            "finished": sorted(step.done.finished),
        }
        for step in run
    ]


def v1(version, budget, places, blocks, **other):
    return VllmV1Config(budget, places, num_blocks=blocks + 1, version=version, **other)


def v0(budget, places, blocks, *, chunked):
    return VllmV0Config(budget, places, num_blocks=blocks, enable_chunked_prefill=chunked)


def model_of(config):
    is_v0 = isinstance(config, VllmV0Config)
    return VllmV0Scheduler(config) if is_v0 else VllmV1Scheduler(config)


def version_of(config):
    return V0 if isinstance(config, VllmV0Config) else config.version


def rows(*rows):
    return [(step, FieldRequest(name, prompt, output)) for name, prompt, output, step in rows]


THREE = rows(("0", 800, 4, 0), ("1", 800, 4, 0), ("2", 800, 4, 0))
FOUR = rows(*[(str(i), 30, 40, 0) for i in range(4)])
STAGGERED = rows(("a", 100, 3, 0), ("b", 10, 5, 0), ("c", 20, 2, 2))
WHOLE = rows(("a", 100, 2, 0), ("b", 100, 2, 0), ("c", 20, 2, 0))
STARVED = rows(("L1", 200, 3, 0), ("L2", 200, 3, 0), ("s", 5, 6, 1))
LATE = rows(("a", 150, 30, 0), ("b", 200, 3, 3))
SMALL = rows(*[(str(i), 3, 6, 0) for i in range(4)])

ALL_V1 = {
    "partial": ((1024, 8, PLENTY), {}, THREE, "0:800 1:224 / 0:1 1:576 2:447 / 0:1 1:1 2:353"),
    "threshold": (
        (1024, 8, PLENTY),
        {"long_prefill_token_threshold": 400},
        THREE,
        "0:400 1:400 2:224 / 0:400 1:400 2:224 / 0:1 1:1 2:352",
    ),
    "places": (
        (64, 2, PLENTY),
        {},
        STAGGERED,
        "a:64 / a:36 b:10 / a:1 b:1 / a:1 b:1 / b:1 c:20 / b:1 c:1",
    ),
    "blocks": (
        (100, 8, 10),
        {},
        FOUR,
        "0:30 1:30 2:30 3:10 / 0:1 1:1 2:1 3:20 / 0:1 1:1 2:1 3:1 / 0:1 1:1 2:1",
    ),
    "starved": (
        (32, 8, PLENTY),
        {"long_prefill_token_threshold": 24},
        STARVED,
        "L1:24 L2:8 / " * 8 + "L1:8 L2:24 / L1:1 L2:24 s:5",
    ),
}
PASSES = "a:100 c:20 / a:1 c:1 b:100 / b:1"
STOPS = "a:100 / a:1 b:100 c:20 / b:1 c:1"

# What the tests of vLLM expect, and what runs of it have shown.
SCENARIOS = {
    **{
        f"{name}-{version}": (v1(version, *limits, **other), requests, batches)
        for name, (limits, other, requests, batches) in ALL_V1.items()
        for version in V1
    },
    **{
        f"whole-{version}": (
            v1(version, 128, 8, PLENTY, enable_chunked_prefill=False),
            WHOLE,
            PASSES if version == "0.11.2" else STOPS,
        )
        for version in V1
    },
    "late-0.11.2": (
        v1("0.11.2", 64, 8, 20),
        LATE,
        "a:64 / a:64 / a:22 / a:1 b:63 / a:1 b:63 / a:1 / a:1 b:63",
    ),
    "late-0.33.0": (
        v1("0.33.0", 64, 8, 20),
        LATE,
        "a:64 / a:64 / a:22 / a:1 / a:1 / a:1 / a:1",
    ),
    "default-0.6.3": (v0(1024, 8, 1000, chunked=False), THREE, "0:800 / 1:800 / 2:800"),
    "chunked-0.6.3": (
        v0(1024, 8, 1000, chunked=True),
        THREE,
        "0:800 1:224 / 2:447 1:576 0:1 / 2:353 0:1 1:1 / 0:1 1:1 2:1 / 1:1 2:1 / 2:1",
    ),
    "rotation-0.6.3": (
        v0(4, 4, 1000, chunked=True),
        SMALL,
        "0:3 1:1 / 2:1 1:2 0:1 / 2:2 0:1 1:1 / 3:1 0:1 1:1 2:1",
    ),
}


def batches_of(text):
    """Return the batches that a line of text names.

    >>> batches_of("a:64 / a:36 b:10")
    [{'a': 64}, {'a': 36, 'b': 10}]
    """
    return [
        {name: int(tokens) for name, tokens in (word.split(":") for word in batch.split())}
        for batch in text.split("/")
    ]


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios(workers, name):
    config, requests, text = SCENARIOS[name]
    expected = batches_of(text)
    found = played_there(workers(version_of(config)), config, requests, most_steps=300)
    assert [step["tokens"] for step in found[: len(expected)]] == expected
    assert found == played_here(model_of(config), requests, most_steps=300)


def random_limits(draw, longest):
    places = draw.choice([1, 2, 4, 8])
    budget = max(places, draw.choice([8, 32, 128]))
    block_size = draw.choice([1, 4, 16])
    blocks = -(-longest // block_size) + draw.choice([1, 3, 20])
    return budget, places, blocks, block_size


def random_case(draw, version):
    """Return settings and requests for which limits bind."""
    longest = draw.choice([8, 60, 120])
    budget, places, blocks, block_size = random_limits(draw, longest)
    is_chunked = draw.random() < 0.7
    longest = longest if is_chunked else min(longest, budget)
    policy = "priority" if version != V0 and draw.random() < 0.3 else "fcfs"
    caches = draw.random() < 0.4
    if version == V0:
        caches &= not (is_chunked and budget % block_size)
        config = VllmV0Config(
            budget, places, blocks + 1, block_size, is_chunked, enable_prefix_caching=caches
        )
    else:
        config = VllmV1Config(
            budget,
            places,
            blocks + 1,
            block_size,
            version,
            is_chunked,
            policy,
            draw.choice([0, 0, draw.randint(1, budget)]),
            enable_prefix_caching=caches,
        )
    steps = sorted(draw.randint(0, 20) for _ in range(draw.randint(1, 10)))
    requests = [
        (step, random_request(draw, number, step, longest)) for number, step in enumerate(steps)
    ]
    return config, requests


def random_request(draw, number, step, longest):
    prompt = draw.randint(1, longest - 1)
    return FieldRequest(
        f"r{number}",
        prompt,
        draw.randint(1, longest - prompt),
        priority=draw.randint(0, 2),
        arrival=100 * step + number,
        prefix=(draw.choice("xy"), draw.randint(0, prompt)),
    )


@pytest.mark.parametrize("version", [V0, *V1])
def test_random_runs_are_those_of_the_model(workers, version):
    draw = random.Random(20250407)
    preempted = cached = 0
    for _ in range(100):
        config, requests = random_case(draw, version)
        found = played_there(workers(version), config, requests, most_steps=1000)
        assert found == played_here(model_of(config), requests, most_steps=1000), config
        preempted += sum(len(step["preempted"]) for step in found)
        cached += sum(sum(step["cached"].values()) for step in found)
    assert preempted > 20
    assert (cached > 100) == (version != V0)


@pytest.mark.parametrize(
    ("version", "changed"),
    [
        ("0.33.0", {"max_num_seqs": 7}),
        ("0.33.0", {"num_blocks": 20}),
        ("0.33.0", {"max_num_batched_tokens": 99}),
        ("0.33.0", {"version": "0.11.2"}),
    ],
)
def test_a_changed_rule_is_seen(workers, version, changed):
    """Control: the comparison above must reject a model that is told something else."""
    config = v1(version, 100, 8, 20)
    other = VllmV1Config(
        **{
            "max_num_batched_tokens": 100,
            "max_num_seqs": 8,
            "num_blocks": 11,
            "version": version,
            **changed,
        }
    )
    crowd = rows(*[(str(i), 30, 40, 0) for i in range(12)])
    found = played_there(workers(version), config, crowd, most_steps=1000)
    assert found == played_here(model_of(config), crowd, most_steps=1000)
    assert found != played_here(model_of(other), crowd, most_steps=1000)


@pytest.mark.parametrize("version", [V0, *V1])
def test_single_steps_are_those_of_a_run(workers, version):
    draw = random.Random(7)
    for _ in range(3):
        config, requests = random_case(draw, version)
        run = played_there(workers(version), config, requests, most_steps=1000)
        real = LiveScheduler(workers(version), config)
        assert played_here(real, requests, most_steps=1000) == run


def test_what_vllm_refuses(workers):
    with pytest.raises(InvalidArgument, match=r"max_num_seqs"):
        LiveScheduler(workers("0.33.0"), v1("0.33.0", 4, 8, 100))
    with pytest.raises(InvalidArgument, match=r"has no setting watermark"):
        LiveScheduler(workers("0.11.2"), {**asdict(v1("0.11.2", 64, 8, 9)), "watermark": 0.1})
    with pytest.raises(InvalidArgument, match=r"max_num_seqs"):
        LiveScheduler(workers(V0), v0(4, 8, 100, chunked=True))
    scheduler = LiveScheduler(workers(V0), v0(64, 8, 100, chunked=True))
    with pytest.raises(InvalidArgument, match="max_tokens must be at least 1"):
        scheduler.add(FieldRequest("a", 1, 0))
    scheduler.add(FieldRequest("a", 1, 1))
    with pytest.raises(InvalidArgument, match="there was a request 'a' before"):
        scheduler.add(FieldRequest("a", 1, 1))
    assert scheduler.step().finished == ("a",)


def test_the_contracts_of_policies_are_asked_of_vllm_itself(workers):
    report = check_policy(
        live_system(workers("0.33.0")), contracts=["token_budget"], effort="quick"
    )
    assert report.findings[0].outcome.name == "HOLDS"


@pytest.mark.parametrize("version", [V0, *V1])
def test_limits_become_settings(workers, version):
    system = live_system(workers(version))
    limits = Limits(4, None, 64, 16, requests=9, tokens=100)
    engine = system.build(limits)
    for i in range(5):
        engine.add(FieldRequest(str(i), 2, 2))
    longest = 4 if version == V0 else 64
    with pytest.raises(InvalidArgument, match=f"together must be at most {longest} tokens"):
        engine.add(FieldRequest("long", 3, longest - 2))
    assert system.name == f"vllm=={version}, live"
    assert sum(engine.step().tokens.values()) == 4
    assert 0 <= engine.scheduler.free_blocks < 4
