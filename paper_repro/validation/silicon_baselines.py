"""What the predictions are held against: a mean step, and a closed form of aiconfigurator.

Neither simulates: one is the step at the mean operating point, the other the estimate that
aiconfigurator-core makes of an aggregated engine at the same point.
"""

import contextlib
import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from paper_repro.validation.silicon_runs import DENSE


def mean_step(
    model: str,
    system: str,
    *,
    backend: str,
    tp: int,
    gemm_precision: str | None,
    prompt_tokens: int,
    output_tokens: int,
    users: int,
) -> float:
    """Return the time [s] of a step of all users with its share of prompts: a TPOT.

    The step holds ``users`` decodes and ``users * prompt_tokens / output_tokens`` prefill
    tokens, as if every request were decoding and prompts came evenly.
    """
    handle = _handle(DENSE.get(model, model), system, backend, tp, gemm_precision)
    prefill = max(1, round(users * prompt_tokens / output_tokens))
    return float(handle.mixed_step_latency(prefill, users, prompt_tokens, output_tokens)) / 1000


def closed_form(
    model: str,
    system: str,
    *,
    backend: str,
    tp: int,
    gemm_precision: str | None,
    kv_precision: str | None,
    prompt_tokens: int,
    output_tokens: int,
    users: int,
) -> tuple[float, float]:
    """Return the TTFT and TPOT [s] that aiconfigurator-core estimates.

    Of steps with one or two whole prompts it takes those with more throughput, as its own
    search does.
    """
    engine, database, mode = _aggregated(
        DENSE.get(model, model), system, backend, tp, gemm_precision, kv_precision
    )
    from aiconfigurator_core.sdk.config import RuntimeConfig

    runtime = RuntimeConfig(batch_size=users, isl=prompt_tokens, osl=output_tokens)
    with _silence():
        found = [
            mode.run_agg(engine, database, runtime, ctx_tokens=prompts * prompt_tokens)
            for prompts in (1, 2)
            if users > prompts or prompts == 1
        ]
    best = max((summary.get_result_dict() for summary in found), key=lambda r: r["seq/s"])
    return best["ttft"] / 1000, best["tpot"] / 1000


@lru_cache(maxsize=256)
def _handle(model: str, system: str, backend: str, tp: int, precision: str | None) -> Any:
    from aiconfigurator_core.sdk.engine import EngineHandle

    with _silence():
        return EngineHandle.compile(
            model, system, backend, tp_size=tp, gemm_quant_mode=precision
        )


@lru_cache(maxsize=256)
def _aggregated(
    model: str, system: str, backend: str, tp: int, precision: str | None, kv: str | None
) -> tuple[Any, Any, Any]:
    from aiconfigurator_core.sdk.backends.factory import get_backend
    from aiconfigurator_core.sdk.config_builders import build_model_config
    from aiconfigurator_core.sdk.models import get_model
    from aiconfigurator_core.sdk.perf_database import get_database

    with _silence():
        config = build_model_config(
            tp_size=tp,
            pp_size=1,
            attention_dp_size=1,
            moe_tp_size=1,
            moe_ep_size=1,
            gemm_quant_mode=precision,
            kvcache_quant_mode=kv,
        )
        database = get_database(system, backend, "current")
        return get_model(model, config, backend), database, get_backend(backend)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the package from reporting each interpolation."""
    log = logging.getLogger("aiconfigurator_core")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
