"""The recorded decisions of Sarathi-Serve, vidur and SGLang are repeated step for step.

While KV blocks are plenty, they and TensorRT-LLM also form the batches of our batch rules.

The recordings (a folder ``golden`` beside the repository, if at hand) come from the scheduling
code of the systems run without a GPU. Every recorded run is replayed.
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies.field import FieldRequest, blocks_for
from queueing_llm.policies.field._faster_transformer import (
    FasterTransformerConfig,
    FasterTransformerScheduler,
)
from queueing_llm.policies.field._field_sglang_config import SglangConfig
from queueing_llm.policies.field._orca import OrcaConfig, OrcaScheduler
from queueing_llm.policies.field._sarathi_serve import SarathiServeConfig, SarathiServeScheduler
from queueing_llm.policies.field._sglang import SglangScheduler
from queueing_llm.policies.field._systems import SYSTEMS
from queueing_llm.policies.field._tensorrt_llm import TensorrtLlmConfig, TensorrtLlmScheduler
from queueing_llm.policies.field._vidur import VidurConfig, VidurScheduler
from queueing_llm.policies.field._vidur_lightllm import (
    VidurLightllmConfig,
    VidurLightllmScheduler,
)

GOLDEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden"


def policy(recorded):
    return "faster_transformer" if recorded == "ft" else recorded


def sarathi_serve(config):
    return SarathiServeConfig(
        policy(config["policy"]),
        config["max_num_seqs"],
        num_blocks=config["num_blocks"],
        block_size=config["block_size"],
        max_model_len=config["max_model_len"],
        watermark=config["watermark"],
        chunk_size=config.get("chunk_size", 512),
    )


def vidur(config):
    if config["policy"] == "lightllm":
        return VidurLightllmConfig(
            config["batch_size_cap"],
            num_blocks=config["num_blocks"],
            max_tokens_in_batch=config["max_tokens_in_batch"],
        )
    return VidurConfig(
        policy(config["policy"]),
        config["batch_size_cap"],
        num_blocks=config["num_blocks"],
        block_size=config["block_size"],
        max_request_tokens=config.get("max_request_tokens", config.get("max_len")),
        chunk_size=config["chunk_size"],
        max_tokens_in_batch=config["max_tokens_in_batch"],
        watermark=config["watermark"],
    )


def sglang(config):
    return SglangConfig(
        kv_tokens=config["kv_tokens"],
        max_running=config["max_running"],
        chunked_prefill_size=config["chunked_prefill_size"],
        max_prefill_tokens=config["max_prefill_tokens"],
        mixed=config["mixed"],
        conservativeness=config["conservativeness"],
    )


RECORDED = {
    "sarathi_serve_96f9911": (sarathi_serve, 160, 13_971, 9),
    "vidur_7d47513": (vidur, 160, 19_087, 11),
    "sglang_0.5.6": (sglang, 180, 20_331, 7),
}
SCHEDULERS = {
    SarathiServeConfig: SarathiServeScheduler,
    VidurConfig: VidurScheduler,
    VidurLightllmConfig: VidurLightllmScheduler,
    SglangConfig: SglangScheduler,
}


def scheduler_of(config):
    return SCHEDULERS[type(config)](config)


def recording(kind, system):
    path = GOLDEN / f"{kind}_{system}.json"
    if not path.exists():
        pytest.skip(f"the recording {path.name} is not at hand")
    return json.loads(path.read_text())


def replay(scheduler, workload, steps):
    """Yield what the scheduler does in each step of a recorded workload."""
    for number in range(steps):
        for row in workload:
            if row[4] == number:
                name, prompt, output, _, _, *most = row
                told = most[0] if most else None
                scheduler.add(FieldRequest(name, prompt, output, most_output_tokens=told))
        yield scheduler.step()


def is_repeated(run, scheduler):
    preempted, modes = run.get("preempted", {}), run.get("modes")
    played = replay(scheduler, run["workload"], len(run["steps"]))
    return (
        all(
            dict(step.tokens) == tokens
            and (
                modes is not None
                or sorted(step.preempted) == sorted(preempted.get(str(number), []))
            )
            and (modes is None or step.mode[0] == modes[number])
            for number, (step, tokens) in enumerate(zip(played, run["steps"], strict=True))
        )
        and scheduler.is_idle
    )


@pytest.mark.parametrize("system", RECORDED)
def test_every_random_run(system):
    configured, runs, steps, _ = RECORDED[system]
    recorded = recording("random", system)
    assert len(recorded["runs"]) == runs
    assert sum(len(run["steps"]) for run in recorded["runs"]) == steps
    for number, run in enumerate(recorded["runs"]):
        config = configured(recorded["fixed"] | run["config"])
        assert is_repeated(run, scheduler_of(config)), f"run {number}"


@pytest.mark.parametrize("system", RECORDED)
def test_the_defects_are_in_the_recordings(system):
    configured, *_ = RECORDED[system]
    recorded = recording("random", system)
    configs = [configured(recorded["fixed"] | run["config"]) for run in recorded["runs"]]
    mended = [
        is_repeated(run, scheduler_of(replace(config, with_defects=False)))
        for run, config in zip(recorded["runs"], configs, strict=True)
    ]
    assert not all(mended), "control: without defects other batches are formed"
    assert any(mended)


@pytest.mark.parametrize("system", RECORDED)
def test_every_scenario(system):
    configured, *_, scenarios = RECORDED[system]
    recorded = recording("scenarios", system)
    assert len(recorded["scenarios"]) == scenarios
    for name, scenario in recorded["scenarios"].items():
        engine = scheduler_of(configured(recorded["defaults"] | scenario["config"]))
        steps = scenario["steps"]
        played = replay(engine, scenario["workload"], len(steps))
        for step, seen in zip(played, steps, strict=True):
            found = shown(engine, step)
            differing = {key for key in found if key in seen and found[key] != seen[key]}
            assert not differing, f"{name}, step {seen['step']}"
        assert engine.is_idle


def shown(engine, step):
    """Return what the recordings show of a step, as far as the scheduler does."""
    found = {
        "tokens": dict(step.tokens),
        "preempted": list(step.preempted),
        "finished": list(step.finished),
        "waiting": list(engine.waiting),
        "queue": list(engine.waiting),
    }
    if isinstance(engine, SglangScheduler):
        ratio = round(engine.new_token_ratio, 4)
        return found | {"mode": step.mode, "free": engine.free_tokens, "ratio": ratio}
    # What blocks are free was recorded before those that finished gave theirs back.
    return found if step.finished else found | {"free_blocks": engine.free_blocks}


def recorded_with_slots(policy):
    """Yield recorded runs of Sarathi-Serve with slots, their limits, and a slot in tokens."""
    recorded = recording("random", "sarathi_serve_96f9911")
    for run in recorded["runs"]:
        config = recorded["fixed"] | run["config"]
        if config["policy"] == policy:
            slot = blocks_for(config["max_model_len"], block_size=config["block_size"])
            yield run, config, config["num_blocks"] // slot


def is_repeated_by(scheduler, run, *, slot=None):
    """Whether a run is repeated by a scheduler that is told of requests as long as a slot."""
    workload = [row if slot is None else [*row, slot - row[1]] for row in run["workload"]]
    return is_repeated(run | {"workload": workload}, scheduler)


def test_the_orca_of_the_paper_with_slots_of_one_length_is_that_of_sarathi_serve():
    runs = list(recorded_with_slots("orca"))
    assert len(runs) == 32
    repeated = []
    for run, config, slots in runs:
        length = config["max_model_len"]
        paper = OrcaConfig(config["max_num_seqs"], num_slots=slots * length)
        assert is_repeated_by(OrcaScheduler(paper), run, slot=length)
        repeated.append(is_repeated_by(OrcaScheduler(paper), run))
    assert not all(repeated), "control: slots by request admit more"


@pytest.mark.parametrize("finished_rows", ["stay", "drop"])
def test_static_batches_are_those_of_sarathi_serve(finished_rows):
    runs = list(recorded_with_slots("ft"))
    assert len(runs) == 37
    orca = []
    for run, config, slots in runs:
        rows = min(config["max_num_seqs"], slots)
        static = FasterTransformerConfig(rows, finished_rows=finished_rows)
        assert is_repeated_by(FasterTransformerScheduler(static), run)
        orca.append(is_repeated_by(OrcaScheduler(OrcaConfig(rows, PLENTY)), run))
    assert not all(orca), "control: a batch that is joined"


WITH_THESE_SETTINGS = {
    "": {"policy": "fcfs", "chunked": True, "capped": False},
    ":long-prefill": {"policy": "fcfs", "chunked": True, "capped": True},
    ":priority": {"policy": "priority", "chunked": True, "capped": False},
    ":whole-prompts": {"policy": "fcfs", "chunked": False, "capped": False},
}


def of_vllm_v1(version):
    for run in recording("random", f"vllm_v1_{version}")["runs"]:
        config = run["config"] | {"capped": run["config"]["long_prefill_token_threshold"] > 0}
        for setting, wanted in WITH_THESE_SETTINGS.items():
            if wanted.items() <= config.items():
                yield f"vllm=={version}{setting}"


def of_vllm_v0():
    for run in recording("random", "vllm_v0_0.6.3")["runs"]:
        yield "vllm==0.6.3:chunked" if run["config"]["chunked"] else "vllm==0.6.3"


def of_sglang():
    for run in recording("random", "sglang_0.5.6")["runs"]:
        yield "sglang==0.5.6:mixed" if run["config"]["mixed"] else "sglang==0.5.6"


def of_policies(system, recorded):
    for run in recording("random", recorded)["runs"]:
        name = f"{system}:{policy(run['config']['policy']).replace('_', '-')}"
        yield system if name == "sarathi-serve:sarathi" else name


def test_as_many_runs_are_repeated_as_the_systems_say():
    named = [
        *(name for version in ("0.11.2", "0.32.0", "0.33.0") for name in of_vllm_v1(version)),
        *of_vllm_v0(),
        *of_sglang(),
        *of_policies("sarathi-serve", "sarathi_serve_96f9911"),
        *of_policies("vidur", "vidur_7d47513"),
    ]
    by_scenario = {"sarathi-serve:simple-chunking", "vidur:lightllm"}
    found = {
        name: int(system.known_by.split()[0])
        for name, system in SYSTEMS.items()
        if "recorded run" in system.known_by and name not in by_scenario
    }
    literature = {"static-batching:drop": found.pop("static-batching:drop")}
    assert found == Counter(named)
    assert literature == {"static-batching:drop": 37}
    assert all(SYSTEMS[name].known_by.startswith("1 recorded run ") for name in by_scenario)


HORIZON = 90
PLENTY = 10_000
RULES = {
    "sarathi": "sarathi:residents",
    "vllm": "vanilla_vllm:whole,residents",
    "orca": "orca:whole,residents",
    "faster_transformer": "faster_transformer:whole,residents",
}


def of_sarathi_serve(policy, budget, limit):
    return SarathiServeScheduler(
        SarathiServeConfig(
            policy,
            limit,
            num_blocks=PLENTY,
            max_model_len=400,
            chunk_size=budget,
            max_num_batched_tokens=budget,
        )
    )


def of_vidur(policy, budget, limit):
    return VidurScheduler(
        VidurConfig(policy, limit, num_blocks=PLENTY, max_request_tokens=400, chunk_size=budget)
    )


def of_tensorrt_llm(policy, budget, limit):
    return TensorrtLlmScheduler(
        TensorrtLlmConfig(
            limit,
            budget,
            num_blocks=PLENTY,
            chunking_policy="first_come_first_served",
            chunk_unit_size=1,
        )
    )


def of_faster_transformer(policy, budget, limit):
    return FasterTransformerScheduler(FasterTransformerConfig(limit))


def of_orca(policy, budget, limit):
    return OrcaScheduler(OrcaConfig(limit, num_slots=PLENTY))


def batches_of_rule(rule, rows, *, budget, limit):
    """Return the tokens of each request in each step of one second."""
    engine = ql.Engine(
        step_time=ql.HingeStepTime(floor=1, per_token=1, knee=budget),
        token_budget=budget,
        max_batch_size=limit,
        first_token_from_prefill=True,
    )
    load = ql.Workload.of_requests(
        [row[4] for row in rows],
        prompt_tokens=[row[1] for row in rows],
        output_tokens=[row[2] for row in rows],
    )
    found = [{} for _ in range(HORIZON)]
    for step in ql.watch(engine, load, policy=rule, horizon=HORIZON):
        served = zip(step.state.request, step.batch.tokens, strict=True)
        found[step.start // 10**9] = {rows[i][0]: int(n) for i, n in served if n}
    return found


@pytest.mark.parametrize(
    ("system", "policy"),
    [
        *((of_sarathi_serve, policy) for policy in RULES),
        *((of_vidur, policy) for policy in RULES if policy != "vllm"),
        (of_tensorrt_llm, "sarathi"),
        (of_faster_transformer, "faster_transformer"),
        (of_orca, "orca"),
    ],
)
@given(
    lengths=st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 9), st.integers(0, 9)),
        min_size=1,
        max_size=8,
    ),
    budget=st.integers(30, 60),
    limit=st.integers(1, 5),
)
def test_with_plenty_of_blocks_it_is_the_batch_rule(system, policy, lengths, budget, limit):
    lengths = sorted(lengths, key=lambda row: row[2])
    rows = [[str(i), prompt, output, 0, due] for i, (prompt, output, due) in enumerate(lengths)]
    # The slots of Orca and FasterTransformer know no token budget.
    most = 400 if policy in ("orca", "faster_transformer") else budget
    played = replay(system(policy, budget, limit), rows, HORIZON)
    rule = ql.policy_named(RULES[policy])
    expected = batches_of_rule(rule, rows, budget=most, limit=limit)
    assert [dict(step.tokens) for step in played] == expected
