"""Fit the constants of the host to the runs with TP 2, which no other figure rests on.

``python -m paper_repro.validation.silicon_fit`` takes some minutes and prints them.
"""

import math
from dataclasses import astuple

import numpy as np
import polars as pl

from paper_repro.validation.silicon_engines import benchmark_of
from paper_repro.validation.silicon_host import HostCosts
from paper_repro.validation.silicon_predict import Prediction, predict
from paper_repro.validation.silicon_runs import measured_runs

TRAINING_TP = 2
_START = HostCosts(
    vllm=2e-3,
    trtllm=0.3e-3,
    sglang=1.5e-3,
    decode=10e-6,
    prefill_layer=0.2e-3,
    fused_layer=40e-6,
    frontend=0.015,
)
_TTFT_WEIGHT = 0.5
LONGEST_ANSWER = 1024


def training_runs() -> pl.DataFrame:
    """Return every second run with TP 2 and answers of at most 1024 tokens, by engine."""
    runs = measured_runs().filter(
        (pl.col("tp") == TRAINING_TP)
        & pl.col("excluded").is_null()
        & (pl.col("osl") <= LONGEST_ANSWER)
    )
    engine = ["model", "system", "backend", "version", "precision"]
    runs = runs.sort([*engine, "isl", "osl", "users"], nulls_last=True)
    runs = runs.with_columns(
        place=pl.int_range(pl.len()).over(engine), size=pl.len().over(engine)
    )
    return runs.filter(pl.col("place") % 2 == 0)


def predict_run(row: dict[str, object], costs: HostCosts | None = None) -> Prediction:
    """Predict one row of :func:`measured_runs`."""
    isl, osl = int(str(row["isl"])), int(str(row["osl"]))
    version, precision = row["version"], row["precision"]
    return predict(
        str(row["model"]),
        str(row["system"]),
        backend=str(row["backend"]),
        tp=int(str(row["tp"])),
        gemm_precision=None if precision is None else str(precision),
        prompt_tokens=isl,
        output_tokens=osl,
        users=int(str(row["users"])),
        benchmark=benchmark_of(
            None if version is None else str(version), prompt_tokens=isl, output_tokens=osl
        ),
        costs=costs,
    )


def residuals(costs: HostCosts, runs: pl.DataFrame) -> np.ndarray:
    """Return the logarithms of predicted over measured TPOT and, at half weight, TTFT.

    Runs limited by memory count for nothing; each engine counts as the root of its runs.
    """
    values = []
    for row in runs.iter_rows(named=True):
        found = predict_run(row, costs)
        weight = 0.0 if found.residents < row["users"] else row["size"] ** -0.25
        values += [
            weight * math.log(found.tpot / row["tpot"]),
            weight * _TTFT_WEIGHT * math.log(found.ttft / row["ttft"]),
        ]
    return np.asarray(values)


def fit() -> HostCosts:
    """Return the constants of least robust residuals."""
    from scipy.optimize import least_squares

    runs = training_runs()
    scale = np.asarray(astuple(_START))
    found = least_squares(
        lambda z: residuals(HostCosts(*(z * scale).tolist()), runs),
        np.ones(len(scale)),
        bounds=(0, 10),
        diff_step=0.1,
        loss="cauchy",
        f_scale=0.05,
        max_nfev=4,
    )
    return HostCosts(*(found.x * scale).tolist())


if __name__ == "__main__":
    print(fit())
