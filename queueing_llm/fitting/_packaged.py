"""Fitted laws of common models on common GPUs, packaged as small tables."""

import functools
import importlib.resources
import json
from dataclasses import dataclass
from typing import Any, final

from queueing_llm._validate import Tokens, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.fitting._forms import form_named
from queueing_llm.steptime import AbstractStepTime

SCOPES = ("decode", "dense", "prefill", "step")


@final
@dataclass(frozen=True, slots=True)
class PackagedFit:
    """One fitted law, with what it was fitted to.

    Parameters
    ----------
    model, gpu : str
        Names.
    tp : int
        GPUs that share the model (tensor parallelism).
    scope : {"step", "decode", "prefill", "dense"}
        What the seconds are of: any batch; batches of decodes; batches of prefill tokens; the
        operators whose time depends on the tokens alone, without attention, communication,
        sampling and the processor.
    law : str
        The form, as in :func:`fit_step_time`.
    step_time : AbstractStepTime
        The law. Beyond ``tokens`` and ``kv_tokens`` it is an extrapolation.
    objective : {"relative", "absolute"}
        What the least squares were taken of.
    tokens, kv_tokens : tuple of (float, float)
        Fewest and most tokens of a batch, and KV tokens read, among the samples.
    samples : int
        How many there were.
    r_squared, mean_relative_error, worst_relative_error : float
        As in :class:`StepTimeFit`.
    source, licence : str
        Where the measurements come from, and their terms.
    notes : tuple of str
        What a user must know.

    Examples
    --------
    >>> from queueing_llm.fitting import packaged_fits
    >>> fit = packaged_fits()[0]
    >>> fit.model, fit.gpu, fit.tp, fit.scope
    ('meta-llama/Llama-3.1-8B', 'unknown', 1, 'step')
    """

    model: str
    gpu: str
    tp: int
    scope: str
    law: str
    step_time: AbstractStepTime
    objective: str
    tokens: tuple[float, float]
    kv_tokens: tuple[float, float]
    samples: int
    r_squared: float
    mean_relative_error: float
    worst_relative_error: float
    source: str
    licence: str
    notes: tuple[str, ...]


def fitted_step_time(
    model: str, gpu: str, *, tp: int = 1, law: str | None = None, scope: str | None = None
) -> AbstractStepTime:
    """Return the packaged law of a model on a GPU.

    Parameters
    ----------
    model : str
        Such as ``"meta-llama/Llama-2-7b-hf"``; the part before the slash may be left out.
    gpu : str
        Such as ``"a100"``.
    tp : int
        GPUs that share the model.
    law : str or None
        The form; needed if several are packaged.
    scope : {"step", "decode", "prefill", "dense"} or None
        What the seconds are of; likewise.

    Returns
    -------
    AbstractStepTime
        Ready for an engine. :func:`packaged_fits` says what it is made of.

    Raises
    ------
    InvalidArgument
        If none is packaged, with near matches, or more than one.

    Examples
    --------
    >>> from queueing_llm.fitting import fitted_step_time
    >>> step = fitted_step_time("CodeLlama-34b-Instruct-hf", "a100", law="staircase")
    >>> round(step.per_block, 5), step.block
    (0.03717, 128)
    """
    check(tp, "tp", Tokens)
    fits = _named(_named(packaged_fits(), "model", model), "gpu", gpu)
    fits = tuple(fit for fit in fits if fit.tp == tp) or _refuse_tp(fits, tp)
    for name, wanted in (("law", law), ("scope", scope)):
        if wanted is not None:
            fits = _named(fits, name, wanted)
    if len(fits) > 1:
        listing = "; ".join(f"law={fit.law!r}, scope={fit.scope!r}" for fit in fits)
        msg = (
            f"law and scope must choose one of the laws of {fits[0].model} on {fits[0].gpu}, "
            f"got law={law!r}, scope={scope!r}; accepted: {listing}."
        )
        raise InvalidArgument(msg)
    return fits[0].step_time


@functools.cache
def packaged_fits() -> tuple[PackagedFit, ...]:
    """Return all packaged laws.

    Returns
    -------
    tuple of PackagedFit
        In the order of their sources.

    Examples
    --------
    >>> from queueing_llm.fitting import packaged_fits
    >>> sorted({fit.gpu for fit in packaged_fits()})
    ['a100', 'h100', 'rtx4090', 'rtxpro6000', 'unknown']
    """
    folder = importlib.resources.files("queueing_llm.fitting") / "tables"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".json")),
        key=lambda file: file.name,
    )
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return tuple(_fit(entry, document) for document in documents for entry in document["fits"])


def _fit(entry: dict[str, Any], document: dict[str, Any]) -> PackagedFit:
    fields = {name: value for name, value in entry.items() if name != "parameters"}
    fields["step_time"] = form_named(entry["law"]).build(**entry["parameters"])
    fields["notes"] = (document["note"], *entry["notes"])
    for name in ("tokens", "kv_tokens"):
        fields[name] = tuple(entry[name])
    return PackagedFit(**fields, source=document["source"], licence=document["licence"])


def _named(fits: tuple[PackagedFit, ...], name: str, wanted: str) -> tuple[PackagedFit, ...]:
    """Return the fits whose field is as wanted, whatever is before its slash."""

    def last(word: object) -> str:
        return str(word).lower().rpartition("/")[2]

    found = tuple(fit for fit in fits if last(getattr(fit, name)) == last(wanted))
    if not found:
        known = nearest(str(wanted), {getattr(fit, name) for fit in fits})
        msg = f"{name} must be one of those packaged, got {name}={wanted!r}; {known}."
        raise InvalidArgument(msg)
    return found


def _refuse_tp(fits: tuple[PackagedFit, ...], tp: int) -> tuple[PackagedFit, ...]:
    known = ", ".join(map(str, sorted({fit.tp for fit in fits})))
    system = f"{fits[0].model} on {fits[0].gpu}"
    msg = f"tp must be one of those packaged for {system}, got tp={tp}; accepted: {known}."
    raise InvalidArgument(msg)
