"""What is known of the engines and benchmarks behind the sample: settings, not measurements.

Defaults are those of the systems: vLLM 0.12 (``max_num_batched_tokens`` of its server on a
GPU with 70 GiB or more), TensorRT-LLM 1.0 (``max_num_tokens``) and SGLang 0.5
(``chunked_prefill_size`` below 160 GiB). The settings of the published benchmark are those of
the scripts and the load generator of InferenceMAX in October 2025.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from queueing_llm.model import AbstractLength, DeterministicLength, UniformLength
from queueing_llm.policies import SARATHI, VANILLA_VLLM, VLLM_V1, BatchRule

POLICIES: Mapping[str, BatchRule] = MappingProxyType(
    {
        "vllm": VLLM_V1,
        "trtllm": SARATHI.variant(chunked=False, limit_counts="residents"),
        "sglang": VANILLA_VLLM.variant(chunked=True, limit_counts="residents"),
    }
)
"""vLLM splits prompts to fill a batch of decodes; TensorRT-LLM adds whole prompts to it;
SGLang stops the decodes while it prefills."""

MEMORY_FRACTION: Mapping[str, float | None] = MappingProxyType(
    {"vllm": 0.9, "trtllm": None, "sglang": None}
)
"""Share of the memory that an engine takes: 0.9 in vLLM 0.12 and in the scripts."""

RESERVES = frozenset({"trtllm", "sglang"})
"""Engines that admit a request only if its KV cache fits to the end."""


@final
@dataclass(frozen=True, slots=True)
class Benchmark:
    """How a campaign measured.

    Parameters
    ----------
    name : str
        For tables.
    shortest : float
        Shortest length as a share of the stated one; lengths are uniform between them.
    token_budget : mapping of str to int
        Tokens per step by backend.
    fp8_caches : frozenset of (str, str)
        Backends and systems whose KV cache is of 8 bits if the model is quantised; that of
        others is of 16.
    schedules_ahead : bool
        Whether vLLM prepares a step while the GPU runs the last one.
    patience : int
        Decode steps for which TensorRT-LLM lets a prompt wait for others, if prompt and
        answer are of 1024 tokens and TP is below 8; 0 for none.
    requests_per_user : int
        Requests of a run over its users.
    spacing : float
        Time [s] from one user's first request to that of the next; 0 if all begin at once.

    Examples
    --------
    >>> DEFAULTS.length(1024)
    DeterministicLength(tokens=1024)
    """

    name: str
    shortest: float
    token_budget: Mapping[str, int]
    fp8_caches: frozenset[tuple[str, str]]
    schedules_ahead: bool
    patience: int = 0
    requests_per_user: int = 10
    spacing: float = 0.0

    def length(self, tokens: int) -> AbstractLength:
        """Return the law of a length whose stated value is ``tokens``."""
        if self.shortest == 1:
            return DeterministicLength(tokens)
        return UniformLength(int(self.shortest * tokens), tokens)

    def kv_precision(
        self, backend: str, system: str, *, gemm_precision: str | None
    ) -> str | None:
        """Return the precision of the KV cache, None for that of the model."""
        small = gemm_precision is not None and (backend, system) in self.fp8_caches
        return "fp8" if small else None

    def wait_steps(
        self, backend: str, *, tp: int, prompt_tokens: int, output_tokens: int
    ) -> int:
        """Return for how many steps a prompt may be kept waiting."""
        waits = (
            backend == "trtllm" and tp < 8 and (prompt_tokens, output_tokens) == (1024, 1024)
        )
        return self.patience if waits else 0


DEFAULTS = Benchmark(
    "defaults",
    shortest=1,
    token_budget=MappingProxyType({"vllm": 8192, "trtllm": 8192, "sglang": 8192}),
    fp8_caches=frozenset(
        {("trtllm", system) for system in ("h100_sxm", "h200_sxm", "b200_sxm")}
    ),
    schedules_ahead=False,
)
"""Equal requests, and engines that nobody tuned.

Quantised checkpoints for TensorRT-LLM name an FP8 cache, without which 128 users of Qwen3-32B
would not fit where they did. The load generators are unknown: that all users begin at once is
an assumption, and equal requests in a closed system hardly forget how they began.
"""

INFERENCEMAX = Benchmark(
    "InferenceMAX",
    shortest=0.8,
    token_budget=MappingProxyType({"vllm": 8192, "trtllm": 16384, "sglang": 8192}),
    fp8_caches=frozenset(
        {(backend, gpu) for backend in ("vllm", "trtllm") for gpu in ("h200_sxm", "b200_sxm")}
    ),
    schedules_ahead=True,
    patience=20,
)
"""Its scripts: ``--random-range-ratio 0.8``, ten prompts per user, ``--async-scheduling``,
FP8 caches (not on H100), ``max_num_tokens`` 16384, ``batch_wait_timeout_iters`` 20."""

_SHAPES = frozenset({(1024, 1024), (1024, 8192), (8192, 1024)})


def benchmark_of(version: str | None, *, prompt_tokens: int, output_tokens: int) -> Benchmark:
    """Return the campaign of a run: the published one names no version and has three shapes.

    Examples
    --------
    >>> benchmark_of("0.12.0", prompt_tokens=1024, output_tokens=1024).name
    'defaults'
    """
    published = version is None and (prompt_tokens, output_tokens) in _SHAPES
    return INFERENCEMAX if published else DEFAULTS
