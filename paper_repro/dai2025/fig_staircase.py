"""The staircase of Figs. 5-6 against public profiling data of the same model and GPU.

The paper fits t = c + a ceil(n / b0) to CodeLlama-34B on one A100 80GB with TP 1. Its
measurements are not public. The data here are vidur's profile of the same model on an A100, TP
1: for each number of tokens, 48 layers times the sum of the medians of nine operators. They
leave out attention, embedding, the output layer and the host, so it is the form of the law that
is compared: where it steps and how much of the variance it explains. That c and a come out
close, too, is reported as what it is, two numbers that differ.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._published import STEP_TIME
from queueing_llm.fitting import StepTimeFit, fit_step_time
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "vidur_profiling/a100/CodeLlama-34b-Instruct-hf.mlp.csv"
MOST_TOKENS = 512
"""Batches that are fitted: up to the largest one whose time the paper prints."""
FARTHEST = 4096
DRAWN = 1024
PUBLISHED_FIT = 0.97
"""What the paper says of its own fit: R^2 above this."""


def compute(data: Path, *, quick: bool = False) -> Computed:
    """Fit both forms of the law; ``quick`` resamples less for the intervals."""
    far = ql.read_step_samples(data / FILE, tensor_parallel=1, most_tokens=FARTHEST)
    near = far.select(far.tokens <= MOST_TOKENS)
    resamples = 100 if quick else 1000
    stairs, hinge = (
        fit_step_time(near, law=law, objective="absolute", resamples=resamples)
        for law in ("staircase", "hinge")
    )
    farther = fit_step_time(far, law="staircase", objective="absolute", resamples=2)
    published = np.asarray(STEP_TIME(near.tokens), dtype=float)
    errors = np.abs(published / near.seconds - 1)
    return Computed(
        values={
            **_of_fit(stairs),
            "best_block": stairs.coefficient("block").value,
            "best_block_to_4096": farther.coefficient("block").value,
            "explains_more_than_97_percent": (stairs.r_squared or 0) > PUBLISHED_FIT,
            "r_squared": stairs.r_squared or 0.0,
            "hinge_r_squared": hinge.r_squared or 0.0,
            "hinge_worst_error": hinge.worst_relative_error,
            "worst_error_of_published": float(errors.max()),
            "mean_error_of_published": float(errors.mean()),
            "measured_steps": tuple(
                _seconds(near, n + 8) / _seconds(near, n) for n in (128, 256, 384)
            ),
        },
        tables=_tables(far, stairs, hinge),
    )


def _of_fit(fit: StepTimeFit) -> dict[str, float | bool]:
    """Return the coefficients [ms], and whether their intervals hold the published ones."""
    values: dict[str, float | bool] = {}
    for name in ("overhead", "per_block"):
        found = fit.coefficient(name)
        low, high = found.low or 0.0, found.high or 0.0
        values[f"{name}_ms"] = 1000 * found.value
        values[f"{name}_interval_holds_published"] = low <= getattr(STEP_TIME, name) <= high
    return values


def _seconds(samples: ql.StepSamples, tokens: int) -> float:
    """Return what was measured at a number of tokens [s]."""
    return float(samples.seconds[samples.tokens == tokens][0])


def _tables(far: ql.StepSamples, stairs: StepTimeFit, hinge: StepTimeFit) -> dict:
    drawn = far.select(far.tokens <= DRAWN)
    tokens = np.arange(1, DRAWN + 1)
    return {
        "measured": {
            "batch_tokens": drawn.tokens.astype(int).tolist(),
            "batch_time_ms": (1000 * drawn.seconds).tolist(),
        },
        "laws": {
            "batch_tokens": tokens.tolist(),
            "published_ms": _milliseconds(STEP_TIME, tokens),
            "staircase_fit_ms": _milliseconds(stairs.step_time, tokens),
            "hinge_fit_ms": _milliseconds(hinge.step_time, tokens),
        },
    }


def _milliseconds(law: ql.AbstractStepTime, tokens: np.ndarray) -> list[float]:
    return (1000 * np.asarray(law(tokens), dtype=float)).tolist()


def plot(computed: Computed) -> "Figure":
    """Draw what was measured, and the three laws."""
    figure, axes = framed(
        "CodeLlama-34B on an A100 takes longer in steps of 128 tokens: the published "
        "law, and public measurements that it was not fitted to",
        height=4.6,
    )
    laws, measured = computed.tables["laws"], computed.tables["measured"]
    axes.axvspan(MOST_TOKENS, DRAWN, color="0.96", zorder=0)
    for column, colour, dashes, label in (
        ("hinge_fit_ms", "0.5", ":", "hinge, fitted up to 512 tokens"),
        ("staircase_fit_ms", COLOURS[2], "--", "staircase, fitted up to 512 tokens"),
        ("published_ms", COLOURS[0], "-", "published: 11.28 ms + 35.47 ms per block of 128"),
    ):
        axes.plot(
            laws["batch_tokens"], laws[column], color=colour, linestyle=dashes, label=label
        )
    axes.plot(
        measured["batch_tokens"],
        measured["batch_time_ms"],
        "o",
        color="0.15",
        markersize=3.2,
        label="measured operators, 48 layers, TP 1, without attention (vidur)",
    )
    axes.set_xticks(range(0, DRAWN + 1, 128))
    axes.set_xlim(0, DRAWN)
    axes.set_ylim(0, None)
    axes.set_xlabel("tokens in the batch")
    axes.set_ylabel("batch time [ms]")
    axes.text(
        (MOST_TOKENS + DRAWN) / 2,
        12,
        "not used in the fits",
        ha="center",
        fontsize=9,
        color="0.4",
    )
    axes.legend(loc="upper left", frameon=False, fontsize=8.5)
    return figure
