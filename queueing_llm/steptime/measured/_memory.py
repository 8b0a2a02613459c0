"""Bytes of a model on one GPU, and the KV tokens that fit beside it."""

import functools
from dataclasses import dataclass
from typing import Annotated, Any, final

from queueing_llm._validate import Domain, Real, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime.measured._engine import MeasuredKey, quietly

OVERHEAD_BYTES = 5 * 2**28
_FRACTIONS = {"vllm": 0.9, "sglang": 0.88, "trtllm": 0.9}
_LONG = 2**17
_NEW_VLLM, _NEW_VLLM_FRACTION = (0, 22), 0.92

_Bytes = Annotated[int, Domain("W", "bytes", at_least=1, integer=True)]
_BytesOrZero = Annotated[int, Domain("o", "bytes", at_least=0, integer=True)]
_Fraction = Annotated[Real, Domain("u", "1", above=0, at_most=1)]


@final
@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """Bytes of one GPU, of the weights on it, and of the KV entries of a token on it.

    The last are None for a model that does not keep the same of every token.
    """

    memory_bytes: int
    bandwidth: float
    layers: int
    gemm_precision: str
    weight_bytes: int
    kv_bytes_per_token: int | None


@functools.lru_cache(maxsize=64)
def memory_facts(key: MeasuredKey) -> MemoryFacts:
    """Return the bytes that a model takes on each GPU, by the shapes of its operators."""
    from aiconfigurator_core.sdk.config_builders import build_model_config
    from aiconfigurator_core.sdk.models import get_model
    from aiconfigurator_core.sdk.perf_database import load_system_spec
    from aiconfigurator_core.sdk.utils import get_model_config_from_model_path

    with quietly():
        config = build_model_config(
            tp_size=key.tp,
            pp_size=1,
            attention_dp_size=1,
            moe_tp_size=key.tp,
            moe_ep_size=1,
            gemm_quant_mode=key.gemm,
            kvcache_quant_mode=key.kv,
            fmha_quant_mode=key.attention,
        )
        model = get_model(key.model, config, key.backend)
        gpu: Any = load_system_spec(key.system)["gpu"]
        config_file = get_model_config_from_model_path(key.model)
    described = config_file["raw_config"]
    # A tied output projection is the embedding table, which is stored once.
    stored = [
        op
        for op in model.context_ops
        if not (described.get("tie_word_embeddings") and op._name.endswith("embedding"))
    ]
    of_one, of_many = map(model.get_kvcache_bytes_per_sequence, (1, _LONG))
    return MemoryFacts(
        memory_bytes=int(gpu["mem_capacity"]),
        bandwidth=float(gpu["mem_bw"]),
        layers=int(config_file["layers"]),
        gemm_precision=str(model.config.gemm_quant_mode.name),
        weight_bytes=round(sum(op.get_weights() for op in stored)),
        kv_bytes_per_token=round(of_one) if of_many == _LONG * of_one else None,
    )


def kv_bytes_per_token(key: MeasuredKey) -> int:
    """Return the bytes of KV cache that a token takes on each GPU."""
    found = memory_facts(key).kv_bytes_per_token
    if found is None:
        msg = (
            "model must keep the same KV bytes of every token for its KV capacity to be known, "
            f"got model={key.model!r}, which has sliding windows or recurrent states."
        )
        raise InvalidArgument(msg)
    return found


def kv_capacity(
    key: MeasuredKey, memory_fraction: Real | None, memory_bytes: int | None
) -> int:
    """Return the KV tokens beside the weights, by the defaults of a backend and a system."""
    facts = memory_facts(key)
    return kv_cache_tokens(
        facts.memory_bytes if memory_bytes is None else memory_bytes,
        facts.weight_bytes,
        kv_bytes_per_token=kv_bytes_per_token(key),
        memory_fraction=_default_fraction(key) if memory_fraction is None else memory_fraction,
        of_free_memory=key.backend == "trtllm",
    )


def most_kv_tokens(key: MeasuredKey) -> int:
    """Return the KV tokens that would fit if nothing but the weights took memory."""
    facts = memory_facts(key)
    return kv_cache_tokens(
        facts.memory_bytes,
        facts.weight_bytes,
        kv_bytes_per_token=kv_bytes_per_token(key),
        memory_fraction=1,
        overhead_bytes=0,
    )


def _default_fraction(key: MeasuredKey) -> float:
    if key.backend != "vllm":
        return _FRACTIONS[key.backend]
    is_new = key.release >= _NEW_VLLM
    return _NEW_VLLM_FRACTION if is_new else _FRACTIONS["vllm"]


def kv_cache_tokens(
    memory_bytes: int,
    weight_bytes: int,
    *,
    kv_bytes_per_token: int,
    memory_fraction: Real,
    overhead_bytes: int = OVERHEAD_BYTES,
    of_free_memory: bool = False,
) -> int:
    r"""Return the KV tokens that fit on a GPU beside the weights.

    .. math:: \lfloor (u M - W - o) / w \rfloor
       \quad \text{or, if } u \text{ is of the free memory,} \quad
       \lfloor u (M - W - o) / w \rfloor.

    Under tensor parallelism each GPU holds a part of every token, so that the tokens of one
    GPU are those of the replica.

    Parameters
    ----------
    memory_bytes, weight_bytes : int
        :math:`M, W` [bytes] of one GPU, and of the weights on it.
    kv_bytes_per_token : int
        :math:`w` [bytes/token] on one GPU.
    memory_fraction : number
        :math:`u` in (0, 1].
    overhead_bytes : int
        :math:`o` [bytes] of activations, graphs and the runtime; 1.25 GiB by default.
    of_free_memory : bool
        Whether :math:`u` is of the memory that is left (TensorRT-LLM) or of all of it (vLLM,
        SGLang).

    Returns
    -------
    int
        Tokens.

    Raises
    ------
    InvalidArgument
        If a value is outside its domain, or not one token fits.

    Examples
    --------
    vLLM 0.19 reported 41,408 tokens for this model and GPU:

    >>> from queueing_llm.steptime import kv_cache_tokens
    >>> kv_cache_tokens(
    ...     25_250_627_584, 16_060_522_496, kv_bytes_per_token=131_072, memory_fraction=0.9
    ... )
    40610
    """
    check(memory_bytes, "memory_bytes", _Bytes)
    check(weight_bytes, "weight_bytes", _Bytes)
    check(kv_bytes_per_token, "kv_bytes_per_token", _Bytes)
    check(memory_fraction, "memory_fraction", _Fraction)
    check(overhead_bytes, "overhead_bytes", _BytesOrZero)
    taken = weight_bytes + overhead_bytes
    if of_free_memory:
        room = memory_fraction * (memory_bytes - taken)
    else:
        room = memory_fraction * memory_bytes - taken
    if room < kv_bytes_per_token:
        msg = (
            f"memory_bytes must leave room for the KV cache beside {taken} bytes of weights "
            f"and overhead, got memory_bytes={memory_bytes!r} with "
            f"memory_fraction={memory_fraction!r}: share the weights among more GPUs, or take "
            "more of their memory."
        )
        raise InvalidArgument(msg)
    return int(room // kv_bytes_per_token)
