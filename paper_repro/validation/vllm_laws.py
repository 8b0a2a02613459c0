"""Step times and limits of recorded runs: from a profile of the GPU, or from elsewhere."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from paper_repro.validation.vllm_recorded import Recorded
from queueing_llm.errors import InvalidArgument, MissingDependency
from queueing_llm.fitting import read_profile
from queueing_llm.model import Engine
from queueing_llm.steptime import AbstractStepTime, MeasuredStepTime

LAYERS = {"Llama-3.1-8B": 32, "Llama-3.1-70B": 80, "Qwen3-8B": 36, "Qwen3-32B": 64}
"""Of models that need neither a ``config.json`` nor the extra ``gpu-data``."""
MEMORY_SHARE, PLENTY = 0.9, 500_000
"""Of the GPU, what vLLM takes by default; tokens of a KV cache of which nothing is known."""
SYSTEMS = {
    "A100": "a100_sxm",
    "B200": "b200_sxm",
    "H100": "h100_sxm",
    "H200": "h200_sxm",
    "L40S": "l40s",
    "RTXPRO6000": "rtx_pro_6000_server",
}
"""GPUs for which operator times from elsewhere are at hand, too."""
ANY_SYSTEM = "h100_sxm"
"""For what does not depend on the GPU."""
PROFILED, ELSEWHERE = "profile of this GPU", "operator times from elsewhere"
_TP = re.compile(r"tp\d+")


def engine_of(recorded: Recorded, step_time: AbstractStepTime) -> Engine:
    """Return the engine of a run with a law."""
    blocks = blocks_of(recorded)
    return Engine(
        step_time=step_time,
        token_budget=recorded.token_budget,
        max_batch_size=recorded.max_batch_size,
        kv_capacity=blocks * recorded.block_size,
        kv_block_size=recorded.block_size,
        first_token_from_prefill=True,
    )


def step_time_of(recorded: Recorded, root: Path) -> tuple[AbstractStepTime, str]:
    """Return the step time of a run and where it comes from: its own GPU if possible.

    Parameters
    ----------
    recorded : Recorded
        The run.
    root : Path
        Folder with profiles in ``profile/GPU/.../MODEL``, beneath which a folder ``tp2`` holds
        those with TP 2.

    Raises
    ------
    InvalidArgument
        If there are no operator times of this model, GPU and TP.
    """
    if recorded.meta["engine_kwargs"].get("data_parallel_size") not in (None, 1):
        msg = "several engines share its requests."
        raise InvalidArgument(msg)
    try:
        return _profiled_law(recorded, root / "profile" / recorded.name), PROFILED
    except InvalidArgument as error:
        if (law := other_law(recorded)) is None:
            raise InvalidArgument(str(error)) from error
        return law, ELSEWHERE


def _profiled_law(recorded: Recorded, folder: Path) -> AbstractStepTime:
    """Return the sum of the operators that were timed one by one on this GPU."""
    names = {recorded.model, recorded.model_name.rpartition("/")[2]}
    found = sorted(path.parent.relative_to(folder) for path in folder.rglob("dense.csv"))
    named = [path for path in found if names & {*path.parts}]
    at_tp = [path for path in named if f"tp{recorded.tp}" in path.parts]
    plain = [path for path in named if not any(map(_TP.fullmatch, path.parts))]
    chosen = [folder / path for path in (*at_tp, *(plain if recorded.tp == 1 else ()))]
    if not chosen:
        msg = f"there is no profile of its GPU and model with TP {recorded.tp}."
        raise InvalidArgument(msg)
    profile = read_profile(
        chosen[0],
        layers=layers_of(recorded, chosen[0]),
        prompt_tokens=recorded.prompt_of_a_token,
    )
    return profile.table(**_reach(recorded))


def layers_of(recorded: Recorded, profile: Path) -> int:
    """Return the layers of a model, which neither a run nor its profile tells.

    Raises
    ------
    InvalidArgument
        If there is no ``config.json`` beside the profile and the model is not known.
    """
    for folder in (profile, *profile.parents[:2]):
        if (folder / "config.json").is_file():
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            return int(config["num_hidden_layers"])
    name = recorded.model_name
    try:
        return MeasuredStepTime(name, ANY_SYSTEM).layers
    except (InvalidArgument, MissingDependency) as error:
        for known in (recorded.model, name.rpartition("/")[2]):
            if known in LAYERS:
                return LAYERS[known]
        msg = f"the layers of {name} are not known: put its config.json beside the profile."
        raise InvalidArgument(msg) from error


def other_law(recorded: Recorded) -> AbstractStepTime | None:
    """Return operator times of vLLM on this GPU that somebody else measured, if there are."""
    law = _elsewhere(recorded)
    with suppress(InvalidArgument):
        return None if law is None else law.table(**_reach(recorded))
    return None


def _elsewhere(recorded: Recorded) -> MeasuredStepTime | None:
    system = SYSTEMS.get(recorded.name.upper())
    with suppress(InvalidArgument, MissingDependency):
        if system is not None:
            return MeasuredStepTime(
                recorded.model_name,
                system,
                tp=recorded.tp,
                prompt_tokens=recorded.prompt_of_a_token,
            )
    return None


def blocks_of(recorded: Recorded) -> int:
    """Return the blocks of the KV cache.

    Of a run that did not record them: what fits beside the weights if the memory of the GPU
    is recorded or known to aiconfigurator-core, else plenty.
    """
    capacity = recorded.kv_capacity
    if capacity is None:
        capacity = PLENTY
        memory = (recorded.meta.get("hardware") or {}).get("device_total_memory_bytes")
        system = SYSTEMS.get(recorded.name.upper(), ANY_SYSTEM if memory else None)
        with suppress(InvalidArgument, MissingDependency):
            if system is not None:
                law = MeasuredStepTime(recorded.model_name, system, tp=recorded.tp)
                capacity = law.kv_capacity(MEMORY_SHARE, memory_bytes=memory)
    return capacity // recorded.block_size


def _reach(recorded: Recorded) -> dict[str, Any]:
    return {
        "token_budget": recorded.token_budget,
        "most_decode_tokens": recorded.max_batch_size,
        "kv_capacity": blocks_of(recorded) * recorded.block_size,
    }
