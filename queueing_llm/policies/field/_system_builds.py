"""How the limits of an engine become the settings of each system.

Where an engine has no limit, the system gets room for all that will come. Settings without
a counterpart among the limits are left as the system has them.
"""

from typing import Any, Literal

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies._contract import blocks_for
from queueing_llm.policies.field._engine_door import EngineDoor
from queueing_llm.policies.field._faster_transformer import (
    FasterTransformerConfig,
    FasterTransformerScheduler,
)
from queueing_llm.policies.field._field_sglang_config import SglangConfig
from queueing_llm.policies.field._orca import OrcaConfig, OrcaScheduler
from queueing_llm.policies.field._sarathi_serve import SarathiServeConfig, SarathiServeScheduler
from queueing_llm.policies.field._scheduler import AbstractScheduler
from queueing_llm.policies.field._sglang import SglangScheduler
from queueing_llm.policies.field._system import Limits
from queueing_llm.policies.field._tensorrt_llm import TensorrtLlmConfig, TensorrtLlmScheduler
from queueing_llm.policies.field._tgi import TgiConfig, TgiScheduler
from queueing_llm.policies.field._vidur import VidurConfig, VidurScheduler
from queueing_llm.policies.field._vidur_lightllm import (
    VidurLightllmConfig,
    VidurLightllmScheduler,
)
from queueing_llm.policies.field._vllm_v0 import VllmV0Config, VllmV0Scheduler
from queueing_llm.policies.field._vllm_v1 import VllmV1Scheduler
from queueing_llm.policies.field._vllm_v1_config import VllmV1Config

LONG_PROMPTS_IN_A_BATCH = 2
"""How many long prompts fill a batch if their parts are capped."""


def vllm_v1_config(
    limits: Limits,
    *,
    version: str,
    policy: Literal["fcfs", "priority"] = "fcfs",
    whole_prompts: bool = False,
    caps_long_prompts: bool = False,
    with_defects: bool = True,
) -> VllmV1Config:
    """Return settings of vLLM v1, one of whose blocks is never used."""
    cap = max(limits.token_budget // LONG_PROMPTS_IN_A_BATCH, 1) if caps_long_prompts else 0
    return VllmV1Config(
        limits.token_budget,
        _places_of_vllm(limits),
        num_blocks=limits.blocks + 1,
        block_size=limits.kv_block_size,
        version=version,
        enable_chunked_prefill=not whole_prompts,
        policy=policy,
        long_prefill_token_threshold=cap,
        with_defects=with_defects,
    )


def vllm_v1(limits: Limits, **settings: Any) -> AbstractScheduler:
    """Return vLLM v1 with :func:`vllm_v1_config`, behind the door of its engine."""
    config = vllm_v1_config(limits, **settings)
    length = _model_length(limits, whole_prompts=not config.enable_chunked_prefill)
    return EngineDoor(VllmV1Scheduler(config), max_model_len=length)


def vllm_v0_config(limits: Limits, *, chunked: bool) -> VllmV0Config:
    """Return settings of vLLM v0."""
    return VllmV0Config(
        limits.token_budget,
        _places_of_vllm(limits),
        num_blocks=limits.blocks,
        block_size=limits.kv_block_size,
        enable_chunked_prefill=chunked,
    )


def vllm_v0(limits: Limits, *, chunked: bool) -> AbstractScheduler:
    """Return vLLM v0 with :func:`vllm_v0_config`, behind the door of its engine."""
    scheduler = VllmV0Scheduler(vllm_v0_config(limits, chunked=chunked))
    length = _model_length(limits, whole_prompts=not chunked)
    return EngineDoor(scheduler, max_model_len=length)


def sglang_config(
    limits: Limits, *, mixed: bool = False, with_defects: bool = True
) -> SglangConfig:
    """Return settings of SGLang, whose pages are of one token."""
    return SglangConfig(
        _kv_tokens_alone(limits),
        limits.places,
        chunked_prefill_size=limits.token_budget,
        mixed=mixed,
        with_defects=with_defects,
    )


def sglang(limits: Limits, **settings: Any) -> AbstractScheduler:
    """Return SGLang with :func:`sglang_config`."""
    return SglangScheduler(sglang_config(limits, **settings))


def sarathi_serve(
    limits: Limits, *, policy: str, with_defects: bool = True
) -> AbstractScheduler:
    """Return Sarathi-Serve with one of its policies."""
    length = _model_length(limits, whole_prompts=policy == "vllm")
    return SarathiServeScheduler(
        SarathiServeConfig(
            policy,
            limits.places,
            num_blocks=_blocks_or_slots(limits, length),
            block_size=limits.kv_block_size,
            max_model_len=length,
            chunk_size=limits.token_budget,
            max_num_batched_tokens=limits.token_budget,
            with_defects=with_defects,
        )
    )


def vidur(limits: Limits, *, policy: str, with_defects: bool = True) -> AbstractScheduler:
    """Return a replica scheduler of vidur, whose slots are whole blocks."""
    length = _model_length(limits, whole_prompts=policy == "vllm")
    return VidurScheduler(
        VidurConfig(
            policy,
            limits.places,
            num_blocks=_blocks_or_slots(limits, length),
            block_size=limits.kv_block_size,
            max_request_tokens=length,
            chunk_size=limits.token_budget,
            max_tokens_in_batch=limits.token_budget,
            with_defects=with_defects,
        )
    )


def vidur_lightllm(limits: Limits) -> AbstractScheduler:
    """Return vidur's ``lightllm``, whose blocks are of one token."""
    return VidurLightllmScheduler(
        VidurLightllmConfig(
            limits.places,
            num_blocks=_kv_tokens_alone(limits),
            max_tokens_in_batch=limits.token_budget,
        )
    )


def tensorrt_llm(
    limits: Limits,
    *,
    capacity: Literal[
        "guaranteed_no_evict", "max_utilization", "static_batch"
    ] = "guaranteed_no_evict",
    chunking: Literal["none", "first_come_first_served", "equal_progress"] = "none",
) -> AbstractScheduler:
    """Return TensorRT-LLM, which splits prompts at the ends of blocks."""
    return TensorrtLlmScheduler(
        TensorrtLlmConfig(
            limits.places,
            limits.token_budget,
            num_blocks=limits.blocks,
            block_size=limits.kv_block_size,
            capacity_policy=capacity,
            chunking_policy=chunking,
            chunk_unit_size=min(limits.kv_block_size, limits.token_budget),
        )
    )


def tgi(limits: Limits) -> AbstractScheduler:
    """Return TGI."""
    return TgiScheduler(
        TgiConfig(
            _kv_tokens(limits),
            limits.token_budget,
            block_size=limits.kv_block_size,
            max_batch_size=limits.max_batch_size,
        )
    )


def faster_transformer(
    limits: Limits, *, finished_rows: Literal["stay", "drop"] = "stay"
) -> AbstractScheduler:
    """Return FasterTransformer, which knows no token budget."""
    _refuse_blocks(limits)
    config = FasterTransformerConfig(
        limits.places, kv_tokens=limits.kv_capacity, finished_rows=finished_rows
    )
    return FasterTransformerScheduler(config)


def orca(limits: Limits) -> AbstractScheduler:
    """Return Orca, which knows no token budget."""
    return OrcaScheduler(OrcaConfig(limits.places, _kv_tokens_alone(limits)))


def _places_of_vllm(limits: Limits) -> int:
    """Return how many may run: vLLM starts with no more places than tokens in a batch."""
    return min(limits.places, limits.token_budget)


def _kv_tokens(limits: Limits) -> int:
    return limits.blocks * limits.kv_block_size


def _kv_tokens_alone(limits: Limits) -> int:
    """Return the tokens of a cache that has no blocks."""
    _refuse_blocks(limits)
    return _kv_tokens(limits)


def _refuse_blocks(limits: Limits) -> None:
    """Refuse a cache in blocks: a system that counts tokens would seem to overfill it."""
    if limits.kv_capacity is not None and limits.kv_block_size != 1:
        msg = (
            "kv_block_size must be 1, since this system counts its KV cache in tokens, got "
            f"kv_block_size={limits.kv_block_size}."
        )
        raise InvalidArgument(msg)


def _model_length(limits: Limits, *, whole_prompts: bool) -> int:
    """Return the longest request that an engine with these limits would be started for."""
    longest = min(_kv_tokens(limits), _in_blocks(limits.tokens, limits))
    return min(longest, limits.token_budget) if whole_prompts else longest


def _in_blocks(tokens: int, limits: Limits) -> int:
    """Return the tokens of the blocks that hold so many, at least one."""
    size = limits.kv_block_size
    return blocks_for(max(tokens, 1), block_size=size) * size


def _blocks_or_slots(limits: Limits, length: int) -> int:
    """Return the KV blocks; where there is no limit, at least a slot for every request."""
    if limits.kv_capacity is not None:
        return limits.blocks
    slot = blocks_for(length, block_size=limits.kv_block_size)
    return max(limits.blocks, limits.places * slot)
