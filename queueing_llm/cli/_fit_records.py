"""The JSON of ``queueing-llm fit``, and the table of a scenario that it saves.

``queueing-llm fit PATH --json`` prints

.. code-block:: text

    {"source": TEXT, "samples": N, "is_averaged": BOOL,
     "tokens": {"least": TOKENS, "most": TOKENS}, "most_kv_tokens": TOKENS,
     "objective": "relative" or "absolute", "confidence": SHARE,
     "preferred": LAW, "table" or null, "reason": TEXT,
     "results": [RESULT, ...], "table_error": SHARE or null,
     "refused": [{"law": LAW, "reason": TEXT}, ...],
     "step_time": {"law": LAW, ...} or null}

with the least held-out error first among the results, each of

====================== =================================================================
``law``                "affine", "hinge", "split" or "staircase"
``coefficients``       list of {"name", "symbol", "value", "unit", "standard_error", "low",
                       "high"}, in seconds and tokens; null where there is no interval
``r_squared``          share of the variance of the seconds that the law explains
``mean_relative_error``, ``worst_relative_error``
                       of the batches that were fitted
``held_out_error``     mean relative error of batches held out; null if there are too few
``held_out_quantile``  relative error that nine held-out batches in ten do not exceed
``interval_method``    what the intervals are
``notes``              what one must know of this fit
====================== =================================================================

"step_time" is the preferred law as ``[engine] step_time`` of a scenario file takes it; null
if none is preferred or a scenario file has no such law. Numbers are finite or null.
"""

import inspect
from typing import Any

from queueing_llm.cli._fit_findings import Findings
from queueing_llm.fitting import StepTimeFit
from queueing_llm.scenarios import STEP_TIMES
from queueing_llm.steptime import AbstractStepTime, TableStepTime


def fit_record(found: Findings) -> dict[str, Any]:
    """Return fits under the keys of the schema."""
    first = found.fits[0]
    samples = first.samples
    return {
        "source": samples.source,
        "samples": len(samples),
        "is_averaged": samples.is_averaged,
        "tokens": {"least": samples.tokens.min(), "most": samples.tokens.max()},
        "most_kv_tokens": samples.kv_tokens.max(),
        "objective": first.objective,
        "confidence": first.confidence,
        "preferred": found.preferred,
        "reason": found.reason,
        "results": [
            {**_law_record(fit), "held_out_error": error, "held_out_quantile": quantile}
            for fit, error, quantile in zip(
                found.fits, found.errors, found.quantiles, strict=True
            )
        ],
        "table_error": found.table_error,
        "refused": [{"law": law, "reason": reason} for law, reason in found.refused],
        "step_time": saved_law(found.step_time),
    }


def saved_law(law: AbstractStepTime | None) -> dict[str, Any] | None:
    """Return a law as ``[engine] step_time`` of a scenario file; None if it takes no such."""
    if isinstance(law, TableStepTime):
        if len(law.axes) != 1:
            return None
        return {
            "law": "table",
            "tokens": list(law.axes[0] or ()),
            "seconds": [float(value) for value in law.seconds],
            "between": law.between,
        }
    names = {constructor: name for name, constructor in STEP_TIMES.items()}
    if law is None or type(law) not in names:
        return None
    values = {name: getattr(law, name) for name in inspect.signature(type(law)).parameters}
    return {"law": names[type(law)], **{k: v for k, v in values.items() if v != 0}}


def _law_record(fit: StepTimeFit) -> dict[str, Any]:
    return {
        "law": fit.law,
        "coefficients": [
            {
                "name": each.name,
                "symbol": each.symbol,
                "value": each.value,
                "unit": each.unit,
                "standard_error": each.standard_error,
                "low": each.low,
                "high": each.high,
            }
            for each in fit.coefficients
        ],
        "r_squared": fit.r_squared,
        "mean_relative_error": fit.mean_relative_error,
        "worst_relative_error": fit.worst_relative_error,
        "interval_method": fit.interval_method,
        "notes": list(fit.notes),
    }
