"""The JSON that commands print: a stable schema.

``queueing-llm check SCENARIO --json`` prints

.. code-block:: text

    {"scenario": NAME, "trace": TEXT or null, "unit": "requests/s", "servers": K,
     "results": [RESULT, ...]}

and, if exactly one ``--policy`` was given, one RESULT with "scenario", "trace", "unit" and
"servers" beside its own keys:

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
``load``                   arrival rate over capacity
``margin``                 1 - arrival rate / critical rate, null if unknown
``growth``                 of the backlog in the fluid limit, tokens/s; null if unknown
``reason``, ``basis``      why the verdict; why the critical rate
``hypotheses``             list of {"name", "holds", "how"}
``certificate``            where the evidence is "proved", the document that
                           ``python -m queueing_llm.certificates check`` verifies; else null
========================== =============================================================

``queueing-llm simulate`` prints the settings, counts, "means" (each {"value",
"standard_error", "observations", "method", "unit"}), "latencies" (by kind, then "mean",
"p50", "p90", "p99", in the same form; only with ``--per-request``) and "transient": whether
the backlog grew, so that they describe this horizon only.

Numbers are finite or null. The schema of ``queueing-llm region --json`` is the docstring of
``queueing_llm.cli._region``.
"""

from fractions import Fraction
from typing import Any

from queueing_llm._validate import Real
from queueing_llm.evidence import Verdict
from queueing_llm.simulate import Estimate


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
