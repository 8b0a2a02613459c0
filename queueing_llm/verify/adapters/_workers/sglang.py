"""The scheduler of SGLang 0.5.6 without a model: real but for its constructor and its sampler.

Real are the loop over batches, the prefill adder, the retraction, the pools of requests and of
KV tokens, the processing of outputs and the check for leaks when it is idle. Made up are the
tokens; a request ends by its stop token, so that it can stay below what it promised.
"""

import importlib
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

SYSTEM = "sglang"
IMPORTED_FIRST = (
    "transformers.models.auto",
    "transformers.image_utils",
    "transformers.processing_utils",
    "torch._inductor.runtime.triton_heuristics",
    "torch._inductor.codegen.triton",
    "torch._inductor.kernel.mm",
)
STUBBED = (
    "sgl_kernel",
    "flashinfer",
    "triton",
    "IPython",
    "torchvision",
    "sentencepiece",
    "compressed_tensors",
    "gguf",
    "setproctitle",
    "einops",
)
# Their members are read while others are imported: an object has any, a stub of a class none.
ENUMERATIONS = (
    ("compressed_tensors.quantization", "QuantizationStrategy"),
    ("sgl_kernel.scalar_type", "scalar_types"),
)

ANY_TOKEN = 2**62
NONE = (
    "chunked_req",
    "cur_batch",
    "dllm_config",
    "idle_sleeper",
    "last_batch",
    "max_queued_requests",
    "truncation_align_size",
)
OFF = (
    "abort_on_priority_when_disabled",
    "enable_hicache_storage",
    "enable_hierarchical_cache",
    "enable_kv_cache_events",
    "enable_lora",
    "enable_metrics",
    "enable_metrics_for_all_schedulers",
    "enable_overlap",
    "enable_priority_scheduling",
    "grammar_queue",
    "is_hybrid_gdn",
    "is_hybrid_swa",
    "require_mlp_sync",
    "return_health_check_ct",
    "try_preemption",
)
ZERO = ("forward_ct", "forward_ct_decode", "num_generated_tokens")


def load() -> str:
    """Import SGLang and return its version."""
    for name, enumeration in ENUMERATIONS:
        stub = importlib.import_module(name)
        setattr(stub, enumeration, getattr(stub, enumeration)())
    _module("managers.scheduler")
    return version(SYSTEM)


def _module(name: str) -> Any:
    return importlib.import_module(f"sglang.srt.{name}")


def _server_args(config: dict[str, Any]) -> Any:
    """Return the settings as the server reads them; a dummy model leaves all else alone."""
    server_args = _module("server_args")
    settings = server_args.ServerArgs(
        model_path="dummy",
        attention_backend="torch_native",
        chunked_prefill_size=config["chunked_prefill_size"],
        device="cpu",
        disable_overlap_schedule=True,
        disable_radix_cache=True,
        enable_mixed_chunk=config["mixed"],
        max_prefill_tokens=config["max_prefill_tokens"],
        max_running_requests=config["max_running"],
        max_total_tokens=config["kv_tokens"],
        page_size=1,
        pp_max_micro_batch_size=config["max_running"],
        schedule_conservativeness=config["conservativeness"],
    )
    server_args.set_global_server_args_for_scheduler(settings)
    return settings


def _scheduler(settings: Any) -> Any:
    """Return a scheduler whose constructor, which wants a GPU and a model, has not run."""
    batches, real = _module("managers.schedule_batch"), _module("managers.scheduler").Scheduler
    scheduler = real.__new__(real)
    for names, value in ((NONE, None), (OFF, False), (ZERO, 0)):
        vars(scheduler).update(dict.fromkeys(names, value))
    scheduler.server_args = settings
    scheduler.disaggregation_mode = _module("disaggregation.utils").DisaggregationMode.NULL
    scheduler.spec_algorithm = _module("speculative.spec_info").SpeculativeAlgorithm.NONE
    scheduler.model_config = SimpleNamespace(
        is_encoder_decoder=False, is_matryoshka=False, vocab_size=ANY_TOKEN
    )
    runner = SimpleNamespace(mambaish_config=None)
    scheduler.tp_worker = SimpleNamespace(model_runner=runner)
    scheduler.attn_tp_rank, scheduler.pp_size, scheduler.page_size = 1, 1, 1
    scheduler.decode_mem_cache_buf_multiplier = 1
    scheduler.priority_scheduling_preemption_threshold = 0
    scheduler.is_generation = True
    scheduler.is_mixed_chunk = settings.enable_mixed_chunk
    scheduler.max_prefill_tokens = settings.max_prefill_tokens
    scheduler.max_total_num_tokens = settings.max_total_tokens
    scheduler.chunked_prefill_size = settings.chunked_prefill_size
    scheduler.waiting_queue = []
    scheduler.running_batch = batches.ScheduleBatch(reqs=[], batch_is_full=False)
    scheduler.stream_output = lambda *_: None
    _give_pools(scheduler, settings)
    _give_ratio(scheduler, settings)
    return scheduler


def _give_pools(scheduler: Any, settings: Any) -> None:
    memory, size = "mem_cache", settings.max_total_tokens
    torch = importlib.import_module("torch")
    requests = _module(f"{memory}.memory_pool").ReqToTokenPool(
        settings.max_running_requests,
        max_context_len=size + 1,
        device="cpu",
        enable_memory_saver=False,
    )
    tokens = _module(f"{memory}.allocator").TokenToKVPoolAllocator(
        size, dtype=torch.int64, device="cpu", kvcache=None, need_sort=False
    )
    params = _module(f"{memory}.cache_init_params").CacheInitParams(
        disable=True, req_to_token_pool=requests, token_to_kv_pool_allocator=tokens, page_size=1
    )
    scheduler.req_to_token_pool, scheduler.token_to_kv_pool_allocator = requests, tokens
    scheduler.tree_cache = _module(f"{memory}.chunk_cache").ChunkCache(params)
    scheduler.policy = _module("managers.schedule_policy").SchedulePolicy(
        settings.schedule_policy,
        scheduler.tree_cache,
        enable_hierarchical_cache=False,
        enable_priority_scheduling=False,
        schedule_low_priority_values_first=False,
    )


def _give_ratio(scheduler: Any, settings: Any) -> None:
    """Set the estimate of outputs as the constructor does."""
    known = _module("environ").envs
    first = known.SGLANG_INIT_NEW_TOKEN_RATIO.get() * settings.schedule_conservativeness
    scheduler.init_new_token_ratio = scheduler.new_token_ratio = min(first, 1.0)
    least = scheduler.init_new_token_ratio * known.SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR.get()
    scheduler.min_new_token_ratio = min(least, 1.0)
    scheduler.new_token_ratio_decay = (
        scheduler.init_new_token_ratio - scheduler.min_new_token_ratio
    ) / known.SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS.get()


class Scheduler:
    """The event loop of the server around its scheduler, one pass a step."""

    def __init__(self, config: dict[str, Any], new_token: Callable[[], int]) -> None:
        self._server = _scheduler(_server_args(config))
        self._new_token = new_token
        self._stop_token = new_token()
        self._outputs: dict[str, int] = {}

    def add(self, request: dict[str, Any], token_ids: list[int]) -> None:
        """Let a request arrive; its stop token will be the last of its output."""
        name, output = request["name"], request["output_tokens"]
        most = request["most_output_tokens"]
        sampling = _module("sampling.sampling_params").SamplingParams(
            max_new_tokens=output if most is None else most,
            stop=[],
            stop_regex=[],
            stop_token_ids=[self._stop_token],
        )
        request_class = _module("managers.schedule_batch").Req
        added = request_class(name, "", token_ids, sampling, vocab_size=ANY_TOKEN)
        self._outputs[name] = output
        self._server._add_request_to_queue(added)

    def step(self) -> dict[str, Any]:
        """Take one pass of the loop."""
        server = self._server
        waited = {request.rid for request in server.waiting_queue}
        batch = server.cur_batch = server.get_next_batch_to_run()
        step: dict[str, Any] = {
            "tokens": {},
            "preempted": [r.rid for r in server.waiting_queue if r.rid not in waited],
            "finished": [],
            "mode": batch.forward_mode.name if batch else "IDLE",
        }
        if batch:
            extends = batch.forward_mode.is_extend()
            tokens = batch.extend_lens if extends else [1] * len(batch.reqs)
            requests = list(batch.reqs)
            names = [request.rid for request in requests]
            step["tokens"] = dict(zip(names, tokens, strict=True))
            self._run(batch)
            step["finished"] = [request.rid for request in requests if request.finished()]
        else:
            server.self_check_during_idle()
        server.last_batch = batch
        for name in step["finished"]:
            del self._outputs[name]
        return step

    def _run(self, batch: Any) -> None:
        """Make up a token for each request of a batch, as if a model had run."""
        torch, results = importlib.import_module("torch"), _module("managers.utils")
        sampled = torch.tensor([self._token_of(request) for request in batch.reqs])
        batch.output_ids = sampled
        result = results.GenerationBatchResult(next_token_ids=sampled)
        self._server.process_batch_result(batch, result)

    def _token_of(self, request: Any) -> int:
        is_last = len(request.output_ids) + 1 == self._outputs[request.rid]
        return self._stop_token if is_last else self._new_token()

    def view(self) -> dict[str, Any]:
        """Return who waits and runs; what is free is counted in KV tokens."""
        server, split = self._server, self._server.chunked_req
        resident = [
            *server.running_batch.reqs,
            *(server.last_batch or server.running_batch).reqs,
        ]
        resident += [split] if split else []
        running = dict.fromkeys(r.rid for r in resident if not r.finished())
        return {
            "waiting": [request.rid for request in server.waiting_queue],
            "running": list(running),
            "free_blocks": server.token_to_kv_pool_allocator.available_size(),
            "is_idle": not self._outputs,
        }
