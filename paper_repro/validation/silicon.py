"""Part 1 of the validation: closed-loop benchmarks of dense models on real GPUs.

:func:`compute` predicts every measured run of the sample from a step time and a policy,
:func:`summary` says how wrong the predictions are, :func:`plot` shows them. The model and its
seven constants are explained in :mod:`silicon_host`, the engines in :mod:`silicon_engines`,
and which runs count in :mod:`silicon_runs`.

The runs with TP 2 fitted the constants and only the others test them. What the engines are
set to was read from published scripts where there are any. Where there are none, first tokens
are predicted much worse than rates: they depend on how the clients begin, and in some of these
runs one user more waits than any scheduler explains (``sessions`` of at least 1 at any load).
"""

from pathlib import Path
from typing import Any

import polars as pl

from paper_repro.validation.silicon_baselines import closed_form, mean_step
from paper_repro.validation.silicon_engines import Benchmark, benchmark_of
from paper_repro.validation.silicon_fit import TRAINING_TP
from paper_repro.validation.silicon_host import NOTHING
from paper_repro.validation.silicon_plot import plot
from paper_repro.validation.silicon_predict import predict
from paper_repro.validation.silicon_runs import measured_runs
from paper_repro.validation.silicon_summary import summary
from queueing_llm.errors import InvalidArgument

__all__ = ["compute", "plot", "summary"]

_QUICK_SHARE = 13
_ESTIMATES = ("predicted", "bare", "closed_form")
_PREDICTED: dict[str, Any] = {
    "note": pl.String,
    "load": pl.String,
    **{f"{kind}_{x}": pl.Float64 for kind in _ESTIMATES for x in ("ttft", "tpot", "rate")},
    "mean_step_tpot": pl.Float64,
}
_SERVED = ("model", "system", "backend", "version", "precision", "tp", "isl", "osl", "users")


def compute(
    *, quick: bool = False, sample: int | None = None, sample_file: Path | None = None
) -> pl.DataFrame:
    """Predict the measured runs of dense models.

    Parameters
    ----------
    quick : bool
        Only every thirteenth run.
    sample : int, optional
        Only so many runs, at even distances.
    sample_file : Path, optional
        Measured runs in the format of the packaged ``silicon_sample.csv``, which is taken if
        this is left out.

    Returns
    -------
    polars.DataFrame
        The columns of :func:`measured_runs`; predictions ``predicted_ttft``,
        ``predicted_tpot`` [s] and ``predicted_rate`` [requests/s]; the same without the
        costs of the host (``bare_``), of aiconfigurator's closed form (``closed_form_``), and
        ``mean_step_tpot``; relative errors ``ttft_error``, ``tpot_error``, ``rate_error``;
        ``load``, "memory" where not all users fit into the KV cache, else "below";
        ``training``, whether the constants were fitted to such runs; ``note``, the settings
        that were taken.
    """
    runs = measured_runs(sample_file).sort(_SERVED, nulls_last=True)
    step = _QUICK_SHARE if quick else 1
    if sample is not None:
        step = max(1, runs.height // sample)
    runs = runs.gather_every(step)
    if not runs.height:
        msg = "there are no aggregated runs of the dense models that are known."
        raise InvalidArgument(msg)
    rows = [_predictions_or_reason(row) for row in runs.iter_rows(named=True)]
    found = pl.DataFrame(rows, schema={"failed": pl.String, **_PREDICTED})
    return (
        pl.concat([runs, found], how="horizontal")
        .with_columns(
            _error("ttft"),
            _error("tpot"),
            _error("rate"),
            excluded=pl.coalesce("excluded", "failed"),
            training=pl.col("tp") == TRAINING_TP,
        )
        .drop("failed")
    )


def _predictions_or_reason(row: dict[str, Any]) -> dict[str, Any]:
    """Return predictions of a run, or why there are none for its engine and GPU."""
    try:
        return {"failed": None, **_predictions(row)}
    except InvalidArgument as error:
        return {"failed": f"not predicted: {error}", **dict.fromkeys(_PREDICTED)}


def _error(quantity: str) -> pl.Expr:
    return (pl.col(f"predicted_{quantity}") / pl.col(quantity) - 1).alias(f"{quantity}_error")


def _predictions(row: dict[str, Any]) -> dict[str, Any]:
    asked = {
        "backend": row["backend"],
        "tp": row["tp"],
        "gemm_precision": row["precision"],
        "prompt_tokens": row["isl"],
        "output_tokens": row["osl"],
        "users": row["users"],
    }
    who = (row["model"], row["system"])
    benchmark = benchmark_of(row["version"], prompt_tokens=row["isl"], output_tokens=row["osl"])
    found = predict(*who, **asked, benchmark=benchmark)
    bare = predict(*who, **asked, benchmark=benchmark, costs=NOTHING)
    kv = benchmark.kv_precision(row["backend"], row["system"], gemm_precision=row["precision"])
    ttft, tpot = closed_form(*who, **asked, kv_precision=kv)
    return {
        "note": _note(benchmark, kv_precision=kv, backend=row["backend"]),
        "load": "memory" if found.residents < row["users"] else "below",
        "predicted_ttft": found.ttft,
        "predicted_tpot": found.tpot,
        "predicted_rate": found.rate,
        "bare_ttft": bare.ttft,
        "bare_tpot": bare.tpot,
        "bare_rate": bare.rate,
        "closed_form_ttft": ttft,
        "closed_form_tpot": tpot,
        "closed_form_rate": row["users"] / (ttft + (row["osl"] - 1) * tpot),
        "mean_step_tpot": mean_step(*who, **asked),
    }


def _note(benchmark: Benchmark, *, kv_precision: str | None, backend: str) -> str:
    lengths = "equal lengths" if benchmark.shortest == 1 else "lengths from 0.8 to 1"
    cache = "cache as the model" if kv_precision is None else f"{kv_precision} cache"
    budget = benchmark.token_budget[backend]
    return f"{benchmark.name}: {lengths}, {budget} tokens per step, {cache}"
