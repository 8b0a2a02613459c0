"""Drives the scheduler of vLLM v0 (0.6.3); ``_loop.py`` says what a driver is.

The scheduler, its block manager and its requests are those of vLLM; what its model would
sample is made up. Lengths are unlimited, except that whole prompts fit the token budget.
"""

import importlib
import importlib.metadata
import itertools
import logging
from collections.abc import Callable
from typing import Any

SYSTEM = "vllm"
IMPORTED_FIRST = ()
STUBBED = (
    "fastapi",
    "gguf",
    "lmformatenforcer",
    "mistral_common",
    "openai",
    "outlines",
    "partial_json_parser",
    "prometheus_fastapi_instrumentator",
    "ray",
    "tiktoken",
    "uvloop",
    "xgrammar",
)
MOST_TOKENS = 2**30


def vllm(module: str, name: str) -> Any:
    """Return what vLLM has under a name in one of its modules."""
    return getattr(importlib.import_module(f"vllm.{module}"), name)


def load() -> str:
    """Import vLLM, and return its version."""
    # It warns of each preemption, and of each prompt that it gives up.
    logging.disable(logging.WARNING)
    vllm("core.scheduler", "Scheduler")
    return importlib.metadata.version(SYSTEM).partition("+")[0]


class Scheduler:
    """A scheduler, and a model that samples a new token wherever one is due."""

    def __init__(self, config: dict[str, Any], new_token: Callable[[], int]) -> None:
        self._new_token = new_token
        self._block_size = config["block_size"]
        self._is_chunked = config["enable_chunked_prefill"]
        self._scheduler = scheduler_of(config)
        self._numbers = itertools.count()

    def add(self, request: dict[str, Any], token_ids: list[int]) -> None:
        """Let a request arrive."""
        sampling = vllm("sampling_params", "SamplingParams")(
            ignore_eos=True, max_tokens=request["output_tokens"]
        )
        inputs, number = {"prompt_token_ids": token_ids}, next(self._numbers)
        sequence = vllm("sequence", "Sequence")(number, inputs, self._block_size)
        self._scheduler.add_seq_group(
            vllm("sequence", "SequenceGroup")(
                request["name"],
                [sequence],
                arrival_time=float(request["arrival"]),
                sampling_params=sampling,
                priority=request["priority"],
            )
        )

    def step(self) -> dict[str, Any]:
        """Form a batch, make up what it yields, and hand that back."""
        running = {group.request_id for group in self._scheduler.running}
        samples, planned, _ = self._scheduler.schedule()
        batch = [(it.seq_group, it.token_chunk_size) for it in planned.scheduled_seq_groups]
        prefills = planned.num_prefill_groups
        finished = [group.request_id for group in planned.ignored_seq_groups]
        waiting = self.view()["waiting"]
        for (group, tokens), sample in zip(batch, samples, strict=True):
            group.update_num_computed_tokens(tokens)
            if sample.do_sample and self._ends(group):
                finished.append(group.request_id)
        self._scheduler.free_finished_seq_groups()
        return {
            "tokens": {group.request_id: tokens for group, tokens in batch},
            # Who was preempted later waits further ahead.
            "preempted": [name for name in waiting if name in running][::-1],
            "finished": finished,
            "mode": self._mode_of(len(batch), prefills=prefills),
        }

    def view(self) -> dict[str, Any]:
        """Return who is there."""
        scheduler = self._scheduler
        waiting = [group.request_id for group in scheduler.waiting]
        running = [group.request_id for group in scheduler.running]
        return {
            "waiting": waiting,
            "running": running,
            "free_blocks": scheduler.block_manager.get_num_free_gpu_blocks(),
            "is_idle": not scheduler.has_unfinished_seqs(),
        }

    def _ends(self, group: Any) -> bool:
        """Sample a token, and return whether it was the last one."""
        (sequence,) = group.get_seqs()
        token = self._new_token()
        sequence.append_token_id(token, {token: vllm("sequence", "Logprob")(0.0)})
        if sequence.get_output_len() < group.sampling_params.max_tokens:
            return False
        sequence.status = vllm("sequence", "SequenceStatus").FINISHED_LENGTH_CAPPED
        return True

    def _mode_of(self, members: int, *, prefills: int) -> str:
        if self._is_chunked or not members:
            return ""
        return "prefill" if prefills else "decode"


def scheduler_of(config: dict[str, Any]) -> Any:
    """Return a scheduler of vLLM with these settings."""
    budget, is_chunked = config["max_num_batched_tokens"], config["enable_chunked_prefill"]
    scheduling = vllm("config", "SchedulerConfig")(
        budget,
        config["max_num_seqs"],
        MOST_TOKENS if is_chunked else budget,
        enable_chunked_prefill=is_chunked,
    )
    finds_prefixes = bool(config.get("enable_prefix_caching"))
    size, blocks = config["block_size"], config["num_blocks"]
    caching = vllm("config", "CacheConfig")(
        size, 1.0, 0, "auto", enable_prefix_caching=finds_prefixes
    )
    caching.num_gpu_blocks, caching.num_cpu_blocks = blocks, 0
    scheduler = vllm("core.scheduler", "Scheduler")(scheduling, caching, None)
    # Its scheduler does not hand a watermark on, so the blocks are laid out once more.
    scheduler.block_manager = type(scheduler.block_manager)(
        block_size=size,
        num_gpu_blocks=blocks,
        num_cpu_blocks=0,
        watermark=config["watermark"],
        enable_caching=finds_prefixes,
    )
    return scheduler
