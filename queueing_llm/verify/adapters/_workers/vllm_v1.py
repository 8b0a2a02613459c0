"""Drives the scheduler of vLLM v1 (0.11.2, 0.32.0, 0.33.0); ``_loop.py`` says what a driver is.

The scheduler, its KV cache and its requests are those of vLLM, with synchronous steps. There is
no model: what it would sample is made up, and its configuration is a stand-in in which what is
not set is None. Lengths are unlimited, so requests stay within the model.
"""

import importlib
import importlib.metadata
import inspect
import logging
import types
from collections.abc import Callable, Iterable
from typing import Any

SYSTEM = "vllm"
IMPORTED_FIRST = ()
STUBBED = (
    "diskcache",
    "lmformatenforcer",
    "llguidance",
    "openai_harmony",
    "outlines_core",
    "xgrammar",
)
CACHING = "enable_prefix_caching"
MOST_TOKENS = 2**30
NEWER = {"scheduler_reserve_full_isl": None, "watermark": 0, "prefill_schedule_interval": 1}
"""Settings that some versions lack, and what leaves them alone."""
OFF = ("num_speculative_tokens", "num_lookahead_tokens", "num_prefill_lookahead_tokens")


class Unset(types.SimpleNamespace):
    """What a configuration holds; all that was not set is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def vllm(module: str, name: str) -> Any:
    """Return what vLLM has under a name in one of its modules."""
    return getattr(importlib.import_module(f"vllm.{module}"), name)


def load() -> str:
    """Import vLLM, and return its version."""
    # A scheduler that has nowhere to run says so at every step.
    logging.disable(logging.WARNING)
    vllm("v1.core.sched.scheduler", "Scheduler")
    vllm("v1.core.kv_cache_utils", "init_none_hash")(vllm("utils.hashing", "sha256"))
    return importlib.metadata.version(SYSTEM).partition("+")[0]


class Scheduler:
    """A scheduler, and a model that samples a new token wherever one is due."""

    def __init__(self, config: dict[str, Any], new_token: Callable[[], int]) -> None:
        self._new_token = new_token
        self._block_size = config["block_size"]
        self._scheduler = scheduler_of(config)
        self._hasher = hasher_of(self._block_size) if config.get(CACHING) else None

    def add(self, request: dict[str, Any], token_ids: list[int]) -> None:
        """Let a request arrive."""
        sampling = vllm("sampling_params", "SamplingParams")
        self._scheduler.add_request(
            made(
                vllm("v1.request", "Request"),
                request_id=request["name"],
                prompt_token_ids=token_ids,
                sampling_params=sampling(ignore_eos=True, max_tokens=request["output_tokens"]),
                pooling_params=None,
                eos_token_id=None,
                arrival_time=float(request["arrival"]),
                priority=request["priority"],
                block_hasher=self._hasher,
            )
        )

    def step(self) -> dict[str, Any]:
        """Form a batch, make up what it yields, and hand that back."""
        scheduler = self._scheduler
        running = {request.request_id for request in scheduler.running}
        planned = scheduler.schedule()
        tokens = dict(planned.num_scheduled_tokens)
        preempted = [it.request_id for it in self._waiting() if it.request_id in running]
        requests = dict(scheduler.requests)
        # The count of computed tokens has gone on already.
        hits = {
            name: requests[name].num_computed_tokens - tokens[name]
            for name in tokens.keys() - running
        }
        scheduler.update_from_output(planned, self._sampled(tokens))
        return {
            "tokens": tokens,
            # Who was preempted later waits further ahead, by the stack or by priority.
            "preempted": preempted[::-1],
            "finished": [name for name in requests if name not in scheduler.requests],
            "cached": {name: count for name, count in hits.items() if count},
        }

    def view(self) -> dict[str, Any]:
        """Return who is there."""
        waiting = [request.request_id for request in self._waiting()]
        running = [request.request_id for request in self._scheduler.running]
        return {
            "waiting": waiting,
            "running": running,
            "free_blocks": self._scheduler.kv_cache_manager.block_pool.get_num_free_blocks(),
            "is_idle": not (waiting or running),
        }

    def _waiting(self) -> list[Any]:
        """Return who waits, the next to be served first."""
        held = getattr(self._scheduler, "kv_holding_waiting", ())
        return [*held, *self._scheduler.waiting]

    def _sampled(self, tokens: Iterable[str]) -> Any:
        """Return a token for whoever has computed all that is known of it."""
        output = vllm("v1.outputs", "ModelRunnerOutput")
        names = list(tokens)
        requests = [self._scheduler.requests[name] for name in names]
        sampled: list[Any] = [
            [self._new_token()] if it.num_computed_tokens >= it.num_tokens else []
            for it in requests
        ]
        if "ndarray" in str(inspect.signature(output)):
            array = importlib.import_module("numpy").array
            sampled = [array(ids, dtype="int64") for ids in sampled]
        return made(
            output,
            req_ids=names,
            req_id_to_index={name: index for index, name in enumerate(names)},
            sampled_token_ids=sampled,
            logprobs=None,
            prompt_logprobs_dict={},
            pooler_output=[],
        )


def made(kind: Callable[..., Any], **fields: object) -> Any:
    """Return an object from those fields that its version knows."""
    known = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in fields.items() if name in known})


def hasher_of(block_size: int) -> Any:
    """Return what hashes the blocks of a request."""
    hasher = vllm("v1.core.kv_cache_utils", "get_request_block_hasher")
    return hasher(block_size, vllm("utils.hashing", "sha256"))


def scheduler_of(config: dict[str, Any]) -> Any:
    """Return a scheduler of vLLM with these settings."""
    scheduling, caching = scheduling_of(config), caching_of(config)
    return made(
        vllm("v1.core.sched.scheduler", "Scheduler"),
        vllm_config=engine_of(config, scheduling, caching),
        kv_cache_config=blocks_of(config),
        structured_output_manager=Unset(
            should_advance=lambda *_: False, accept_tokens=lambda *_: True
        ),
        block_size=config["block_size"],
        log_stats=False,
    )


def scheduling_of(config: dict[str, Any]) -> Any:
    """Return the settings of the scheduler itself."""
    budget, is_chunked = config["max_num_batched_tokens"], config["enable_chunked_prefill"]
    kind = vllm("config", "SchedulerConfig")
    asked = {name: config.get(name, unset) for name, unset in NEWER.items()}
    newer = {name: value for name, value in asked.items() if value != NEWER[name]}
    unknown = newer.keys() - inspect.signature(kind).parameters
    if any(newer[name] for name in unknown):
        msg = f"this version has no setting {', '.join(sorted(unknown))}"
        raise ValueError(msg)
    return made(
        kind,
        max_num_batched_tokens=budget,
        max_num_seqs=config["max_num_seqs"],
        # With whole prompts vLLM starts only if one of the longest fits.
        max_model_len=MOST_TOKENS if is_chunked else budget,
        is_encoder_decoder=False,
        enable_chunked_prefill=is_chunked,
        policy=config["policy"],
        long_prefill_token_threshold=config["long_prefill_token_threshold"],
        **newer,
    )


def caching_of(config: dict[str, Any]) -> Any:
    """Return the settings of the KV cache."""
    caching = made(
        vllm("config", "CacheConfig"),
        block_size=config["block_size"],
        enable_prefix_caching=bool(config.get(CACHING)),
    )
    caching.num_gpu_blocks = config["num_blocks"]
    return caching


def engine_of(config: dict[str, Any], scheduling: Any, caching: Any) -> Any:
    """Return a stand-in for the configuration of the engine."""
    return Unset(
        scheduler_config=scheduling,
        cache_config=caching,
        parallel_config=vllm("config", "ParallelConfig")(),
        model_config=Unset(max_model_len=MOST_TOKENS),
        observability_config=Unset(),
        aux_output_config=Unset(),
        ec_manager_config=Unset(get_encoder_cache_manager_obj=lambda: None),
        max_concurrent_batches=1,
        max_in_flight_tokens=config["max_num_batched_tokens"],
        num_hash_lookahead_tokens=0,
        **dict.fromkeys(OFF, 0),
    )


def blocks_of(config: dict[str, Any]) -> Any:
    """Return the layout of a KV cache with one layer."""
    layer = made(
        vllm("v1.kv_cache_interface", "FullAttentionSpec"),
        block_size=config["block_size"],
        num_kv_heads=1,
        head_size=1,
        dtype=importlib.import_module("torch").float32,
    )
    group = vllm("v1.kv_cache_interface", "KVCacheGroupSpec")(["layer"], layer)
    return vllm("v1.kv_cache_interface", "KVCacheConfig")(config["num_blocks"], [], [group])
