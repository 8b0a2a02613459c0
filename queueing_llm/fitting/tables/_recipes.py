"""How each packaged table is made from its public measurements."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._fit import fit_step_time
from queueing_llm.fitting._read import read_step_samples
from queueing_llm.fitting._result import StepTimeFit
from queueing_llm.fitting._samples import StepSamples

BLOCK = 128
"""Tokens per tile of the matrix products on these GPUs."""

_VIDUR = {
    "Llama-2-7b-hf": "meta-llama/Llama-2-7b-hf",
    "CodeLlama-34b-Instruct-hf": "codellama/CodeLlama-34b-Instruct-hf",
    "Llama-2-70b-hf": "meta-llama/Llama-2-70b-hf",
}
_SPLITWISE = (
    ("llama2-70b", "meta-llama/Llama-2-70b-hf", "a100", (4, 8)),
    ("llama2-70b", "meta-llama/Llama-2-70b-hf", "h100", (4, 8)),
    ("bloom-176b", "bigscience/bloom", "a100", (8,)),
    ("bloom-176b", "bigscience/bloom", "h100", (8,)),
)
_SPLITWISE_CONTEXT = 512 + 128 / 2
_LLAMA_3_LAYERS = 32
_PROFILED = {"RTX4090": 41_408, "RTXPRO6000": 524_288}
"""Most KV tokens of a batch: the cache of the run beside it; about what 96 GB hold."""


class Recipe(NamedTuple):
    """What one entry is fitted to, and how."""

    model: str
    gpu: str
    tp: int
    scope: str
    samples: StepSamples
    options: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Source(NamedTuple):
    """A public set of measurements, and the recipes made of it."""

    source: str
    licence: str
    note: str
    recipes: Callable[[Path], Iterator[Recipe]]


def document(source: Source, data: Path) -> dict[str, Any]:
    """Return a table: its source, and one entry for each recipe."""
    return {
        "source": source.source,
        "licence": source.licence,
        "note": source.note,
        "fits": [_entry(recipe) for recipe in source.recipes(data)],
    }


def _entry(recipe: Recipe) -> dict[str, Any]:
    fit, refusal = _fitted(recipe)
    samples = fit.samples
    return {
        "model": recipe.model,
        "gpu": recipe.gpu,
        "tp": recipe.tp,
        "scope": recipe.scope,
        "law": fit.law,
        "objective": fit.objective,
        "parameters": {each.name: _brief(each.value) for each in fit.coefficients},
        "tokens": _range(samples.tokens),
        "kv_tokens": _range(samples.kv_tokens),
        "samples": len(samples),
        "r_squared": _brief(fit.r_squared or 0),
        "mean_relative_error": _brief(fit.mean_relative_error),
        "worst_relative_error": _brief(fit.worst_relative_error),
        "notes": [*recipe.notes, *refusal, *fit.notes],
    }


def _fitted(recipe: Recipe) -> tuple[StepTimeFit, tuple[str, ...]]:
    """Return the fit or, of a hinge without a knee, the line that it is."""
    try:
        return fit_step_time(recipe.samples, **recipe.options), ()
    except InvalidArgument as error:
        if recipe.options["law"] != "hinge":
            raise
        options = {**recipe.options, "law": "affine"}
        return fit_step_time(recipe.samples, **options), (f"No hinge: {error}",)


def _brief(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _range(values: np.ndarray) -> list[float]:
    return [_brief(float(values.min())), _brief(float(values.max()))]


def _vidur(data: Path) -> Iterator[Recipe]:
    for gpu in ("a100", "h100"):
        for file, model in _VIDUR.items():
            for tp in (1, 2, 4, 8):
                path = data / "vidur_profiling" / gpu / f"{file}.mlp.csv"
                samples = read_step_samples(path, tensor_parallel=tp)
                notes = ("Communication between GPUs is not counted.",) if tp > 1 else ()
                for law in ({"law": "hinge"}, {"law": "staircase", "block": BLOCK}):
                    options = {**law, "objective": "absolute"}
                    yield Recipe(model, gpu, tp, "dense", samples, options, notes)


def _splitwise(data: Path) -> Iterator[Recipe]:
    for name, model, gpu, workers in _SPLITWISE:
        for tp in workers:
            samples = read_step_samples(
                data / "splitwise" / "perf_model.csv",
                model=name,
                hardware=f"{gpu}-80gb",
                tensor_parallel=tp,
            )
            context = samples.kv_tokens / np.maximum(1, samples.decode_tokens)
            options = {"law": "hinge", "objective": "relative", "kv_reads": False}
            decodes = _medians(samples.select(context == _SPLITWISE_CONTEXT))
            note = (
                "Decodes of 512 prompt and up to 128 output tokens; KV reads are in the slope."
            )
            yield Recipe(model, gpu, tp, "decode", decodes, options, (note,))
            prompts = _medians(samples.select(samples.prefill_tokens > 0))
            yield Recipe(model, gpu, tp, "prefill", prompts, options)


def _medians(samples: StepSamples) -> StepSamples:
    """Return the median of the samples of each token count."""
    _, first, which = np.unique(samples.tokens, return_index=True, return_inverse=True)
    middle = [np.median(samples.seconds[which == each]) for each in range(len(first))]
    return StepSamples(
        samples.prefill_tokens[first],
        samples.decode_tokens[first],
        samples.kv_tokens[first],
        middle,
        samples.source,
    )


def _profiles(data: Path) -> Iterator[Recipe]:
    for gpu, capacity in _PROFILED.items():
        folder = data / "vllm_runs" / "profile" / gpu / "meta-llama" / "Llama-3.1-8B"
        samples = read_step_samples(
            folder, layers=_LLAMA_3_LAYERS, prompt_tokens=1024, kv_capacity=capacity
        )
        decodes = samples.select(samples.prefill_tokens == 0)
        prompts = samples.select(samples.decode_tokens == 0)
        for scope, law, chosen in (
            ("step", "hinge", samples),
            ("decode", "affine", decodes),
            ("prefill", "hinge", prompts),
        ):
            options = {"law": law, "objective": "relative"}
            yield Recipe("meta-llama/Llama-3.1-8B", gpu.lower(), 1, scope, chosen, options)


def _guidellm(data: Path) -> Iterator[Recipe]:
    samples = read_step_samples(data / "guidellm_vllm_llama31_8b" / "sweeps.csv")
    options = {"law": "split", "objective": "relative"}
    yield Recipe("meta-llama/Llama-3.1-8B", "unknown", 1, "step", samples, options)


SOURCES: Mapping[str, Source] = {
    "guidellm": Source(
        "llm-inferno/model-trainer @ 047f0ae0, experiment exp1",
        "Apache-2.0",
        "Mean operating points of a real vLLM below saturation: inter-token latency, mean "
        "concurrency, prefill tokens per step; GPU and version were not recorded.",
        _guidellm,
    ),
    "splitwise": Source(
        "Mutinifni/splitwise-sim @ 8f99e7dc, perf_model.csv (arXiv:2311.18677)",
        "MIT",
        "Medians over the rows of equal tokens.",
        _splitwise,
    ),
    "vidur": Source(
        "microsoft/vidur @ 7d475133, mlp.csv",
        "MIT",
        "Layers times the medians of nine operators; without attention, embedding, the "
        "last projection, sampling and the processor.",
        _vidur,
    ),
    "vllm_profiles": Source(
        "casys-kaist/LLMServingSim @ 5daddb21, profiles of vLLM 0.19",
        "MIT",
        "Sums of operator times in bf16; launches, scheduling and gaps between operators "
        "are not counted.",
        _profiles,
    ),
}
