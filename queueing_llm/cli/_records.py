"""The JSON that commands print: a stable schema.

``queueing-llm check SCENARIO --json`` prints

.. code-block:: text

    {"scenario": NAME, "trace": TEXT or null, "unit": "requests/s", "servers": K,
     "results": [RESULT, ...]}

and, if exactly one ``--policy`` was given, one RESULT with the other keys beside its own. Both
have "engine", the limits of the engine by the names of its fields, and "measured": null, or of
a model on a GPU the "model", "gpu", "backend", "version", "tp", the "prompt_tokens" for which
attention is measured, "kv_bytes_per_token" (null if tokens differ), "host" (what a step takes
beside its operators [s]: "per_step", "per_decode", "per_prefill_layer", "saved_per_layer"; null
for operators only), where default limits are from ("limits_from"), the
relative "table_error" of the step times ("median" and "worst") and "notes" on them. A RESULT:

========================== =============================================================
``policy``                 name, with its readings
``verdict``                "STABLE", "UNSTABLE" or "UNDECIDED"
``evidence``               of the verdict: "proved", "theorem", "numerical", "simulated",
                           "none"
``arrival_rate``           requests/s
``critical_rate``          requests/s, null if unknown; ``critical_rate_low`` and
                           ``critical_rate_high`` bound it on the evidence
                           ``critical_rate_evidence``
``critical_rate_exact``    the same as a fraction "p/q", null if it is not exact
``capacity``               requests/s that no policy can exceed; ``capacity_exact`` as "p/q";
                           ``capacity_is_attained`` whether some policy is known to reach it
``limited_by``             "tokens", "requests" or "kv": what most of a request's cost at the
                           prices of the capacity is for; ``limits`` the shares of "tokens",
                           "requests", "kv_memory" and "kv_reads"; ``request_seconds`` the cost
                           [s] by "prefill", "decode", "places", "kv_memory" and "kv_reads"
``load``                   arrival rate over capacity
``margin``                 1 - arrival rate / critical rate, null if unknown
``growth``                 of the backlog in the fluid limit, tokens/s; null if unknown
``reason``, ``basis``      why the verdict; why the critical rate
``hypotheses``             list of {"name", "holds", "how"}
``certificate``            where the evidence is "proved", the document that
                           ``python -m queueing_llm.certificates check`` verifies; else null
========================== =============================================================

``queueing-llm simulate`` prints the settings ("engine" and "measured" as above; of a closed
workload "users" and "think_time", and null for "arrival_rate"), counts, "means" (each {"value",
"standard_error", "observations", "method", "unit"}), "latencies" (by kind, then "mean",
"p50", "p90", "p99", in the same form; only with ``--per-request``) and "transient": whether
the backlog grew, so that they describe this horizon only.

Numbers are finite or null. The schema of ``queueing-llm region --json`` is the docstring of
``queueing_llm.cli._region``.
"""

from dataclasses import asdict
from fractions import Fraction
from typing import Any

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import RequestCost, Verdict
from queueing_llm.scenarios import Scenario
from queueing_llm.simulate import Estimate
from queueing_llm.steptime import MeasuredStepTime

LIMITS = (
    "token_budget",
    "max_batch_size",
    "kv_capacity",
    "kv_block_size",
    "first_token_from_prefill",
)


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict under the keys of the schema."""
    critical, ceiling = verdict.critical_rate, verdict.capacity
    return {
        "policy": verdict.policy,
        "verdict": verdict.status.name,
        "evidence": verdict.evidence.value,
        "arrival_rate": float(verdict.arrival_rate),
        "critical_rate": critical.value,
        "critical_rate_low": critical.low,
        "critical_rate_high": critical.high,
        "critical_rate_evidence": critical.evidence.value,
        "critical_rate_exact": _exact(critical.value),
        "capacity": ceiling.requests_per_second,
        "capacity_exact": _exact(ceiling.requests_per_second),
        "capacity_is_attained": ceiling.is_attained,
        **cost_record(ceiling.cost),
        "load": verdict.load,
        "margin": verdict.margin,
        "growth": verdict.growth,
        "reason": verdict.reason,
        "basis": critical.basis,
        "hypotheses": [
            {"name": h.name, "holds": h.holds, "how": h.how} for h in critical.hypotheses
        ],
        "certificate": verdict.certificate and verdict.certificate.document,
    }


def cost_record(cost: RequestCost | None) -> dict[str, Any]:
    """Return what limits a capacity under the keys of the schema."""
    if cost is None:
        return {"limited_by": None, "limits": None, "request_seconds": None}
    parts = {
        "prefill": cost.prefill_seconds,
        "decode": cost.decode_seconds,
        "places": cost.place_seconds,
        "kv_memory": cost.kv_memory_seconds,
        "kv_reads": cost.kv_read_seconds,
    }
    return {"limited_by": cost.limited_by, "limits": cost.shares, "request_seconds": parts}


def system_record(scenario: Scenario) -> dict[str, Any]:
    """Return the limits of the engine and, of a measured one, what was measured."""
    engine = scenario.engine
    return {
        "engine": {name: getattr(engine, name) for name in LIMITS},
        "measured": _measured_record(scenario),
    }


def _measured_record(scenario: Scenario) -> dict[str, Any] | None:
    served = scenario.measured
    if served is None:
        return None
    step = served.step_time(scenario.workload)
    median, worst = served.table_errors(scenario.workload)
    return {
        "model": step.model,
        "gpu": step.system,
        "backend": step.backend,
        "version": step.version,
        "tp": step.tp,
        "prompt_tokens": step.prompt_tokens,
        "kv_bytes_per_token": _kv_bytes_per_token(step),
        "host": step.host and asdict(step.host),
        "limits_from": served.defaults(scenario.workload).source,
        "table_error": {"median": median, "worst": worst},
        "notes": list(step.notes),
    }


def _kv_bytes_per_token(step: MeasuredStepTime) -> int | None:
    """Return the bytes of KV cache of a token, None where tokens differ."""
    try:
        return step.kv_bytes_per_token
    except InvalidArgument:
        return None


def estimate_record(estimate: Estimate, unit: str) -> dict[str, Any]:
    """Return an estimate with its standard error and unit."""
    return {
        "value": estimate.value,
        "standard_error": estimate.standard_error,
        "observations": estimate.observations,
        "method": estimate.method,
        "unit": unit,
    }


def _exact(value: Real | None) -> str | None:
    return str(Fraction(value)) if isinstance(value, int | Fraction) else None
