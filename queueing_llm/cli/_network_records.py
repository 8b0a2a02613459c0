"""The JSON that ``queueing-llm network GRAPH --json`` prints: a stable schema.

========================== =============================================================
``network``                its name
``verdict``                "STABLE", "UNSTABLE" or "UNDECIDED"
``evidence``               "proved", "theorem", "numerical", "simulated", "none"
``reason``                 the decisive argument in a sentence
``unit``                   "sessions/s", of the arrival rate
``arrival_rate``           of all classes together; ``arrival_rate_exact`` as "p/q"
``engines``                list of {"name", "visit_rate" [requests/s], "prefill_rate",
                           "decode_rate" [tokens/s], "load", "least_load"}; each number also
                           as "p/q" under its name with ``_exact``; "load" is null if unknown
``bottleneck``             name of the busiest engine
``nominal_scaling``        multiple of the arrival rates above which no policy keeps up
``stable_scaling``         the network is stable at this multiple, null if unknown
``unstable_scaling``       it is unstable at this multiple, above it if it is the nominal one;
                           null if unknown; both the same: stable below, unstable above
``any_policy_scaling``     stable up to this multiple under every work-conserving policy that
                           finishes requests in order of their start, null if unknown
``any_order_scaling``      the same under every work-conserving policy, null if unknown; these
                           five and ``growth_factor`` also as "p/q" with ``_exact``
``basis``                  what the scalings rest on
``hypotheses``             list of {"name", "holds", "how"}
``virtual_stations``       groups of visits that share one station by their priorities
``growth_factor``          of a backlog in a turn of an unstable cycle, null without one
``advice``                 what would make the network stable, or more so
``certificate``            where the evidence is "proved", the document that
                           ``python -m queueing_llm.certificates check`` verifies; else null
``simulation``             with ``--simulate``: settings, counts, "grows", estimates under
                           "means" and "utilisation" (by engine), each {"value",
                           "standard_error", "observations", "method", "unit"}; else null
========================== =============================================================

Numbers are finite or null.
"""

from fractions import Fraction
from typing import Any

from queueing_llm._validate import Real
from queueing_llm.cli._records import estimate_record
from queueing_llm.decide import NetworkVerdict
from queueing_llm.networks import EngineLoad
from queueing_llm.simulate.networks import NetworkRun

RATES = ("visit_rate", "prefill_rate", "decode_rate", "load", "least_load")
SCALINGS = (
    "nominal_scaling",
    "stable_scaling",
    "unstable_scaling",
    "any_policy_scaling",
    "any_order_scaling",
    "growth_factor",
)


def network_record(verdict: NetworkVerdict, *, name: str) -> dict[str, Any]:
    """Return a verdict under the keys of the schema, without the simulation."""
    return {
        "network": name,
        "verdict": verdict.status.name,
        "evidence": verdict.evidence.value,
        "reason": verdict.reason,
        "unit": "sessions/s",
        **_both("arrival_rate", verdict.arrival_rate),
        "engines": [_engine_record(engine) for engine in verdict.engines],
        "bottleneck": verdict.bottleneck,
        **{k: v for key in SCALINGS for k, v in _both(key, getattr(verdict, key)).items()},
        "basis": verdict.basis,
        "hypotheses": [
            {"name": h.name, "holds": h.holds, "how": h.how} for h in verdict.hypotheses
        ],
        "virtual_stations": list(verdict.virtual_stations),
        "advice": list(verdict.advice),
        "certificate": verdict.certificate and verdict.certificate.document,
    }


def simulation_record(run: NetworkRun, *, seed: int) -> dict[str, Any]:
    """Return a simulation under the keys of the schema."""
    names = [engine.name for engine in run.network.engines]
    return {
        "horizon": run.horizon,
        "warmup": run.warmup,
        "replications": len(run.outcomes),
        "seed": seed,
        "steps": run.steps,
        "arrived": run.arrived,
        "completed": run.completed,
        "grows": run.grows,
        "means": {
            "throughput": estimate_record(run.throughput, "sessions/s"),
            "growth": estimate_record(run.growth, "tokens/s"),
        },
        "utilisation": {
            name: estimate_record(estimate, "1")
            for name, estimate in zip(names, run.utilisation, strict=True)
        },
    }


def _engine_record(engine: EngineLoad) -> dict[str, Any]:
    record: dict[str, Any] = {"name": engine.name}
    for key in RATES:
        record |= _both(key, getattr(engine, key))
    return record


def _both(key: str, value: Real | None) -> dict[str, Any]:
    """Return a number as a float, and as a fraction where it is one."""
    exact = str(Fraction(value)) if isinstance(value, int | Fraction) else None
    return {key: value if value is None else float(value), f"{key}_exact": exact}
