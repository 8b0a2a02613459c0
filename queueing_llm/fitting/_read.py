"""Read measured steps: the format told, and what a caller selects."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from queueing_llm._validate import Tokens, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.fitting._read_formats import (
    STEP_FORMATS,
    StepFormat,
    detected_name,
    known_name,
    require_marks,
)
from queueing_llm.fitting._read_table import measured_file
from queueing_llm.fitting._samples import StepSamples

PHASES = ("prefill", "decode", "mixed")


def read_step_samples(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    phase: str | None = None,
    most_tokens: int | None = None,
    **selection: Any,
) -> StepSamples:
    r"""Read the batches that were measured, and the seconds that each took.

    Parameters
    ----------
    path : str or path
        A file or folder in one of the formats of ``STEP_FORMATS``.
    format : str, optional
        Its name; by default it is told from the columns, files or phrases that are there.
    phase : {"prefill", "decode", "mixed"}, optional
        Keep batches of prefill tokens only, of decodes only, or of both.
    most_tokens : int, optional
        Keep batches of at most so many tokens.
    **selection
        What the format lets one select, such as ``tensor_parallel`` (see its reader).

    Returns
    -------
    StepSamples
        Tokens and KV tokens of each batch, and its seconds; ``source`` says what was read,
        and what was left out.

    Raises
    ------
    InvalidArgument
        If nothing is there, the format is not known, a cell is not a number in its domain, a
        selection is not one of the format's or leaves more than one system or nothing.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = pathlib.Path(folder.name) / "steps.csv"
    >>> _ = file.write_text("tokens,milliseconds\n1,10.0\n512,25.5\n")
    >>> read_step_samples(file).seconds
    array([0.01  , 0.0255])
    >>> folder.cleanup()
    """
    place = measured_file(path)
    name = detected_name(place) if format is None else known_name(format)
    known: StepFormat = STEP_FORMATS[name]
    for key in selection:
        if key not in known.selections:
            clause = nearest(key, (*known.selections, "most_tokens", "phase"))
            msg = f"format {name!r} has no selection {key!r}: {clause}."
            raise InvalidArgument(msg)
    require_marks(place, name)
    for key in known.needed:
        if key not in selection:
            msg = f"format {name!r} needs {key!r}, which {place} does not tell."
            raise InvalidArgument(msg)
    samples = known.reader(place, **selection)
    return _kept(samples, place, phase=phase, most_tokens=most_tokens)


def _kept(
    samples: StepSamples, place: Path, *, phase: str | None, most_tokens: int | None
) -> StepSamples:
    """Return the samples of one phase and of at most so many tokens."""
    chosen = np.ones(len(samples), dtype=bool)
    if phase is not None:
        if phase not in PHASES:
            msg = f"phase must be a known one, got {phase!r}; {nearest(str(phase), PHASES)}."
            raise InvalidArgument(msg)
        prefills, decodes = samples.prefill_tokens > 0, samples.decode_tokens > 0
        chosen &= {"prefill": ~decodes, "decode": ~prefills, "mixed": prefills & decodes}[phase]
    if most_tokens is not None:
        check(most_tokens, "most_tokens", Tokens)
        chosen &= samples.tokens <= most_tokens
    if not chosen.any():
        msg = f"{place} has no sample with phase={phase!r} and most_tokens={most_tokens!r}."
        raise InvalidArgument(msg)
    return samples if chosen.all() else samples.select(chosen)
