"""The limits with which a serving system starts, if nobody sets them."""

from dataclasses import dataclass
from typing import final

GIB = 2**30


@final
@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """Limits of a batch and of the KV cache, and where they are from.

    Parameters
    ----------
    token_budget : int
        Most tokens in a batch.
    max_batch_size : int
        Most requests that have started and are not finished.
    kv_block_size : int
        Tokens in a block of the KV cache.
    source : str
        Whose they are, and what they depend on.

    Examples
    --------
    >>> engine_defaults("vllm", system="h100_sxm", memory_bytes=80 * 2**30).token_budget
    8192
    >>> engine_defaults("vllm", system="a100_sxm", memory_bytes=80 * 2**30).token_budget
    2048
    """

    token_budget: int
    max_batch_size: int
    kv_block_size: int
    source: str


VLLM_LARGE = EngineDefaults(
    8192, 1024, 16, "vLLM V1, API server on GPUs of at least 70 GiB other than A100"
)
VLLM_SMALL = EngineDefaults(
    2048, 256, 16, "vLLM V1, API server on A100 and GPUs of less than 70 GiB"
)
TRTLLM = EngineDefaults(8192, 2048, 32, "TensorRT-LLM 1.x: max_num_tokens, max_batch_size")
SGLANG_CHUNKS = ((35, 2048), (60, 4096), (160, 8192))
"""Memory in GiB that a GPU has less than, and chunked_prefill_size."""
SGLANG_LARGEST_CHUNK = 16384
SGLANG_PLACES = 2048
"""Of max_running_requests, which is more where the model's context is short."""


def engine_defaults(backend: str, *, system: str, memory_bytes: int) -> EngineDefaults:
    """Return the limits of a backend on a GPU.

    Parameters
    ----------
    backend : {"vllm", "sglang", "trtllm"}
        The serving system.
    system : str
        The GPU, such as ``"h100_sxm"``.
    memory_bytes : int
        Its memory [bytes].
    """
    if backend == "sglang":
        gib = memory_bytes / GIB
        chunk = next((size for below, size in SGLANG_CHUNKS if gib < below), None)
        source = f"SGLang 0.5: chunked_prefill_size of a GPU of {gib:.0f} GiB"
        return EngineDefaults(chunk or SGLANG_LARGEST_CHUNK, SGLANG_PLACES, 1, source)
    if backend == "trtllm":
        return TRTLLM
    is_large = memory_bytes >= 70 * GIB and "a100" not in system
    return VLLM_LARGE if is_large else VLLM_SMALL
