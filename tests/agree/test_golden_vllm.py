"""The recorded decisions of vLLM are repeated step for step.

The recordings (a folder ``golden`` beside the repository, if at hand) come from the scheduling
code of vLLM run without a GPU: what each request got in each step, and who was preempted.
"""

import json
from pathlib import Path

import pytest

from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._vllm_v0 import VllmV0Config, VllmV0Scheduler
from queueing_llm.policies.field._vllm_v1 import VllmV1Scheduler
from queueing_llm.policies.field._vllm_v1_config import VllmV1Config

GOLDEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden"
V1 = ("0.11.2", "0.32.0", "0.33.0")


def recording(name):
    path = GOLDEN / f"{name}.json"
    if not path.exists():
        pytest.skip(f"the recording {path.name} is not at hand")
    return json.loads(path.read_text())


def vllm_v1(recorded, config, **other):
    settings = {
        key: value
        for key, value in config.items()
        if key not in ("usable_blocks", "chunked", "max_model_len")
    }
    if "usable_blocks" in config:
        settings["num_blocks"] = config["usable_blocks"] + 1
    if "chunked" in config:
        settings["enable_chunked_prefill"] = config["chunked"]
    if recorded == "0.32.0":
        settings.pop("prefill_schedule_interval", None)  # recorded without effect
    return VllmV1Scheduler(VllmV1Config(**{"version": recorded, **settings, **other}))


def vllm_v0(config):
    return VllmV0Scheduler(
        VllmV0Config(
            max_num_batched_tokens=config["max_num_batched_tokens"],
            max_num_seqs=config["max_num_seqs"],
            num_blocks=config["num_blocks"],
            block_size=config["block_size"],
            enable_chunked_prefill=config["chunked"],
        )
    )


def request(row, number):
    """Return a recorded request; all prompts are the beginning of one text."""
    name, prompt, output, priority, step = row[:5]
    return FieldRequest(
        name,
        prompt,
        output,
        priority=priority,
        arrival=100 * step + number,
        prefix=("one text", prompt),
    )


def replay(scheduler, workload, steps):
    """Yield what the scheduler does in each step, and the scheduler after it."""
    rows = [(row[4], request(row, number)) for number, row in enumerate(workload)]
    for number in range(steps):
        for arrival, arriving in rows:
            if arrival == number:
                scheduler.add(arriving)
        yield scheduler.step()


def is_same_run(scheduler, run):
    """Whether every step of a random run is repeated, with its preemptions.

    Who is preempted is recorded in the order of the queue.
    """
    preempted = run.get("preempted", {})
    found = replay(scheduler, run["workload"], len(run["steps"]))
    return (
        all(
            step.tokens == tokens
            and sorted(step.preempted, key=scheduler.waiting.index)
            == preempted.get(str(number), [])
            for number, (tokens, step) in enumerate(zip(run["steps"], found, strict=True))
        )
        and scheduler.is_idle
    )


def first_difference(scheduler, scenario):
    """Return the first step of a scenario that differs in anything that is recorded.

    Requests that finish are recorded as still running, and as holding their blocks.
    """
    found = replay(scheduler, scenario["workload"], len(scenario["steps"]))
    for expected, step in zip(scenario["steps"], found, strict=True):
        seen = {
            "tokens": dict(step.tokens),
            "preempted": list(step.preempted),
            "finished": sorted(step.finished),
            "waiting": list(scheduler.waiting),
            "running": list(scheduler.running),
            "free_blocks": scheduler.free_blocks,
        }
        wanted = {key: expected[key] for key in seen}
        wanted["finished"] = sorted(wanted["finished"])
        wanted["running"] = [r for r in wanted["running"] if r not in wanted["finished"]]
        if wanted["finished"]:
            del seen["free_blocks"], wanted["free_blocks"]
        if seen != wanted:
            return expected["step"], wanted, seen
    return None


def steps_of(runs):
    return sum(len(run["steps"]) for run in runs)


@pytest.mark.parametrize(("version", "steps"), [*zip(V1, (10_431, 9_721, 9_722), strict=True)])
def test_random_runs_of_v1(version, steps):
    runs = recording(f"random_vllm_v1_{version}")["runs"]
    wrong = [
        number
        for number, run in enumerate(runs)
        if not is_same_run(vllm_v1(version, run["config"]), run)
    ]
    assert (len(runs), steps_of(runs)) == (120, steps)
    assert wrong == []


@pytest.mark.parametrize(
    ("version", "other"),
    [("0.11.2", {"with_defects": False}), ("0.33.0", {"version": "0.32.0"})],
)
def test_a_neighbour_does_not_repeat_the_runs(version, other):
    """Control: one rule changed, and the replay must notice."""
    runs = recording(f"random_vllm_v1_{version}")["runs"]
    assert not all(is_same_run(vllm_v1(version, run["config"], **other), run) for run in runs)


def test_random_runs_of_v0():
    runs = recording("random_vllm_v0_0.6.3")["runs"]
    wrong = [n for n, run in enumerate(runs) if not is_same_run(vllm_v0(run["config"]), run)]
    assert (len(runs), steps_of(runs)) == (120, 8_724)
    assert wrong == []


@pytest.mark.parametrize("version", V1)
def test_scenarios_of_v1(version):
    recorded = recording(f"scenarios_vllm_v1_{version}")
    for name, scenario in recorded["scenarios"].items():
        config = {**recorded["defaults"], **scenario["config"]}
        assert first_difference(vllm_v1(version, config), scenario) is None, name


@pytest.mark.parametrize("version", V1)
def test_the_recorded_prefix_cache_is_noticed(version):
    """Control: without it the second request is computed as a whole."""
    recorded = recording(f"scenarios_vllm_v1_{version}")
    scenario = recorded["scenarios"]["prefix_cache"]
    config = {**recorded["defaults"], **scenario["config"]}
    without = vllm_v1(version, config, enable_prefix_caching=False)
    step, wanted, seen = first_difference(without, scenario)
    assert (step, wanted["tokens"], seen["tokens"]) == (2, {"q": 18}, {"q": 50})


def test_scenarios_of_v0():
    recorded = recording("scenarios_vllm_v0_0.6.3")
    for name, scenario in recorded["scenarios"].items():
        config = {**recorded["defaults"], **scenario["config"]}
        assert first_difference(vllm_v0(config), scenario) is None, name
