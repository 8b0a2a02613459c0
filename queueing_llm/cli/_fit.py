"""``queueing-llm fit``: step-time laws of what was measured, with their errors.

The JSON is described in ``queueing_llm.cli._fit_records``.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from queueing_llm.cli import _options as option
from queueing_llm.cli._fit_findings import findings
from queueing_llm.cli._fit_records import fit_record
from queueing_llm.cli._fit_save import check_save_path, save_law
from queueing_llm.cli._fit_table import print_fits
from queueing_llm.cli._output import answers, print_json
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.fitting import (
    FORMS,
    OBJECTIVES,
    STEP_FORMATS,
    StepSamples,
    read_step_samples,
)

MOST_SAMPLES = 2**16
CHOOSE = "Which measurements"
FLAGS = {
    "tensor_parallel": "--tp",
    "most_tokens": "--most-tokens",
    "most_load": "--most-load",
    "prompt_tokens": "--prompt-tokens",
    "output_tokens": "--output-tokens",
    "kv_capacity": "--kv-capacity",
    "all_reduce": "--all-reduce",
    "hardware": "--hardware",
    "layers": "--layers",
    "model": "--model",
    "phase": "--phase",
    "format": "--format",
    "runs": "--run",
}
"""The options of what is selected, by the words that readers use in their errors."""


def _choice(metavar: str, text: str, *names: str, parser: Any = str) -> Any:
    return typer.Option(
        *names, parser=parser, metavar=metavar, help=text, rich_help_panel=CHOOSE
    )


def fit(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A file or folder of measured steps: " + ", ".join(STEP_FORMATS) + ".",
            show_default=False,
        ),
    ],
    *,
    law: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Law to fit, repeatable: {', '.join(FORMS)}."),
    ] = None,
    objective: Annotated[
        str, typer.Option(metavar="NAME", help="Least squares of relative or absolute errors.")
    ] = "relative",
    format: Annotated[
        str | None, _choice("FORMAT", "Format, if it is not told from what is there.")
    ] = None,
    phase: Annotated[
        str | None, _choice("PHASE", "Only batches of prefill or decode tokens, or mixed ones.")
    ] = None,
    most_tokens: Annotated[
        int | None, _choice("TOKENS", "Only batches of so many tokens.", parser=option.whole)
    ] = None,
    model: Annotated[str | None, _choice("NAME", "Model, as in the file.")] = None,
    hardware: Annotated[
        str | None, _choice("NAME", "GPU, as in the file.", "--hardware", "--gpu")
    ] = None,
    tp: Annotated[
        int | None, _choice("GPUS", "GPUs that share a layer.", parser=option.whole)
    ] = None,
    layers: Annotated[
        int | None, _choice("LAYERS", "Layers of the model.", parser=option.whole)
    ] = None,
    all_reduce: Annotated[
        Path | None, _choice("FILE", "Times of an all-reduce, beside vidur's.", parser=Path)
    ] = None,
    prompt_tokens: Annotated[
        int | None, _choice("TOKENS", "Length of the prompts.", parser=option.whole)
    ] = None,
    output_tokens: Annotated[
        int | None, _choice("TOKENS", "Length of the outputs.", parser=option.whole)
    ] = None,
    kv_capacity: Annotated[
        int | None, _choice("TOKENS", "Tokens of KV cache.", parser=option.whole)
    ] = None,
    run: Annotated[
        list[str] | None, _choice("NAME", "Kind of run of a sweep, repeatable.")
    ] = None,
    most_load: Annotated[
        float | None,
        _choice(
            "SHARE", "Largest rate of a sweep, over that at saturation.", parser=option.real
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the fits and their errors.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the law for a scenario, as TOML."),
    ] = None,
    as_json: option.AsJson = False,
) -> int:
    """Fit step-time laws to measured batches, and say which to prefer."""
    laws = _known_laws(law)
    _require_objective(objective)
    if save is not None:
        check_save_path(save)
    if plot is not None:
        from queueing_llm.plots import check_plot_path

        check_plot_path(plot)
    selection = {
        "phase": phase,
        "most_tokens": most_tokens,
        "model": model,
        "hardware": hardware,
        "tensor_parallel": tp,
        "layers": layers,
        "all_reduce": all_reduce,
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "kv_capacity": kv_capacity,
        "runs": run or None,
        "most_load": most_load,
    }
    samples = _thinned(_read(path, format=format, **selection))
    found = findings(samples, laws, objective=objective)
    if save is not None:
        save_law(found, save)
    if plot is not None:
        from queueing_llm.plots import plot_residuals

        plot_residuals(found.fits, path=plot, title=found.fits[0].samples.source)
    if as_json:
        print_json(fit_record(found))
    else:
        print_fits(answers(), found)
    return 0


def _known_laws(names: list[str] | None) -> tuple[str, ...]:
    for name in names or ():
        if name not in FORMS:
            msg = f"--law {name!r} cannot be fitted; {nearest(name, FORMS)}."
            raise InvalidArgument(msg)
    return tuple(dict.fromkeys(names)) if names else tuple(FORMS)


def _require_objective(objective: str) -> None:
    if objective not in OBJECTIVES:
        msg = f"--objective {objective!r} is not known; {nearest(objective, OBJECTIVES)}."
        raise InvalidArgument(msg)


def _read(path: str, **selection: Any) -> StepSamples:
    """Read what was selected; errors speak of options."""
    given = {key: value for key, value in selection.items() if value is not None}
    try:
        return read_step_samples(path, **given)
    except InvalidArgument as error:
        raise InvalidArgument(_as_options(str(error))) from None


def _thinned(samples: StepSamples) -> StepSamples:
    """Return as many samples as are fitted in seconds, drawn at random, and say so."""
    count = len(samples)
    if count <= MOST_SAMPLES:
        return samples
    chosen = np.random.default_rng(0).choice(count, MOST_SAMPLES, replace=False)
    about = f"{samples.source}, {MOST_SAMPLES:,} of {count:,} batches drawn at random"
    return replace(samples.select(np.sort(chosen)), source=about)


def _as_options(sentence: str) -> str:
    for word, flag in FLAGS.items():
        sentence = re.sub(rf"'{word}'", f"'{flag}'", sentence)
        sentence = re.sub(rf"\b{word}(?==| must)", flag, sentence)
    return sentence
