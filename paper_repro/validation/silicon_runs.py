"""The measured runs of dense models in the sample of aiconfigurator-core, and which count.

One row of the sample is one run of a benchmark against a real engine: the mean time to first
token and the mean time per output token while a fixed number of users waited for answers.
Which rows count is decided here, by what is recorded of a run, before anything is predicted.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from queueing_llm.errors import MissingDependency

DENSE: Mapping[str, str] = MappingProxyType(
    {
        "Qwen/Qwen3-32B": "Qwen/Qwen3-32B",
        "meta-llama/Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
        "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
        "nvidia/Llama-3.1-8B-Instruct-FP8": "meta-llama/Meta-Llama-3.1-8B",
        "nvidia/Qwen3-32B-NVFP4": "Qwen/Qwen3-32B",
    }
)
"""Dense models of the sample, and the packaged model of the same shape."""

_CONCURRENCY = r"_c(\d+)_"
_CAMPAIGN = ("model", "system", "backend", "version", "precision")
_SERIES = (*_CAMPAIGN, "tp", "isl", "osl")
_MOST_OF_PEAK = 0.8
_LITTLE_GROWTH = 0.5
_PARAMETERS = {
    name: 70.6 if "70B" in name else 8.03 if "8B" in name else 32.8 for name in DENSE
}
_TERAFLOPS = {"h100_sxm": 989.0, "h200_sxm": 989.0, "b200_sxm": 2250.0, "gb200": 2450.0}
_SPEEDUP = {"fp8": 2.0, "fp8_block": 2.0, "nvfp4": 4.0}


def package_folder() -> Path:
    """Return where aiconfigurator-core is installed.

    Raises
    ------
    MissingDependency
        If it is not.
    """
    try:
        import aiconfigurator_core
    except ImportError as error:
        msg = (
            "the measured runs come with aiconfigurator-core, which is not installed: "
            "pip install 'queueing-llm[gpu-data]'."
        )
        raise MissingDependency(msg) from error
    return Path(aiconfigurator_core.__file__).parent


def measured_runs(path: Path | None = None) -> pl.DataFrame:
    """Return every aggregated run of a dense model, one row each, with what excludes it.

    Parameters
    ----------
    path : Path, optional
        The sample; that of the package if left out.

    Returns
    -------
    polars.DataFrame
        ``model, system, backend, version, precision, tp, isl, osl, users``; the measured
        means ``ttft`` and ``tpot`` [s] and ``rate`` [requests/s], which is that of Little's
        law, users / (TTFT + (OSL - 1) TPOT); ``excluded``, a reason or null; ``peak``,
        whether the run is at saturation: it has the most users of its series, and with the
        last step the rate grew by less than the square root of the users; ``sessions``, the
        mean number of users that wait for a first token, which is rate x TTFT.
    """
    path = path or package_folder() / "systems" / "silicon_sample.csv"
    sample = pl.read_csv(path, infer_schema_length=None)
    dense = sample.filter((pl.col("mode") == "agg") & pl.col("model_path").is_in(list(DENSE)))
    runs = dense.select(
        pl.col("model_path").alias("model"),
        "system",
        "backend",
        pl.col("backend_version").alias("version"),
        pl.col("gemm_quant_mode").alias("precision"),
        pl.col("tp_size").cast(pl.Int64).alias("tp"),
        "isl",
        "osl",
        pl.col("batch_size").cast(pl.Int64).alias("users"),
        (pl.col("silicon_ttft_ms") / 1000).alias("ttft"),
        (pl.col("silicon_tpot_ms") / 1000).alias("tpot"),
        pl.col("id").str.extract(_CONCURRENCY).cast(pl.Int64).alias("recorded_users"),
    )
    answer = pl.col("ttft") + (pl.col("osl") - 1) * pl.col("tpot")
    return (
        runs.with_columns(rate=pl.col("users") / answer, excluded=_exclusion())
        .with_columns(
            sessions=pl.col("rate") * pl.col("ttft"),
            peak=_is_saturated(),
        )
        .drop("recorded_users")
    )


def _is_saturated() -> pl.Expr:
    """Return whether a run shows the throughput at saturation, by measurements alone."""
    more, faster = (
        (pl.col(name) / pl.col(name).shift(1).over(_SERIES, order_by="users")).log()
        for name in ("users", "rate")
    )
    is_most = pl.col("users") == pl.col("users").max().over(_SERIES)
    return (is_most & (faster < _LITTLE_GROWTH * more)).fill_null(value=False)


def _exclusion() -> pl.Expr:
    """Return why a run is not one engine under a known load, or null."""
    several = (pl.col("recorded_users") != pl.col("users")).any().over(_CAMPAIGN)
    return (
        pl.when(pl.col("recorded_users").is_null())
        .then(pl.lit("users not recorded"))
        .when(several)
        .then(pl.lit("users of several engines"))
        .when(_peak_share().max().over(_CAMPAIGN) > _MOST_OF_PEAK)
        .then(pl.lit("faster than the GPU can be"))
    )


def _peak_share() -> pl.Expr:
    """Return the share of the GPUs' peak arithmetic that prompts and answers would need."""
    billions = pl.col("model").replace_strict(_PARAMETERS, return_dtype=pl.Float64)
    # A GPU whose peak is not known excludes nothing.
    dense = pl.col("system").replace_strict(_TERAFLOPS, default=None, return_dtype=pl.Float64)
    faster = pl.col("precision").replace_strict(_SPEEDUP, default=1.0, return_dtype=pl.Float64)
    tokens = pl.col("isl") + pl.col("osl")
    rate = pl.col("users") / (pl.col("ttft") + (pl.col("osl") - 1) * pl.col("tpot"))
    return rate * tokens * 2 * billions * 1e9 / (pl.col("tp") * dense * faster * 1e12)


@lru_cache
def layers_of(model: str) -> int:
    """Return the transformer layers of a packaged model.

    Parameters
    ----------
    model : str
        A value of :data:`DENSE`, or the name of another packaged configuration.
    """
    name = model.replace("/", "--") + "_config.json"
    config: dict[str, Any] = json.loads((package_folder() / "model_configs" / name).read_text())
    return int(config["num_hidden_layers"])
