"""What a set of samples says of the laws asked for."""

from collections.abc import Sequence
from typing import NamedTuple

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import (
    StepSamples,
    StepTimeFit,
    compare_step_times,
    fit_step_time,
)
from queueing_llm.steptime import AbstractStepTime


class Findings(NamedTuple):
    """Fits, refusals and the law to use.

    ``errors`` and ``quantiles`` are of batches held out, None where there are too few of
    them; then no law is preferred to another, and ``reason`` says so.
    """

    fits: Sequence[StepTimeFit]
    errors: Sequence[float | None]
    quantiles: Sequence[float | None]
    table_error: float | None
    refused: Sequence[tuple[str, str]]
    preferred: str | None
    step_time: AbstractStepTime | None
    reason: str


def findings(samples: StepSamples, laws: Sequence[str], *, objective: str) -> Findings:
    """Fit laws and compare them; a law that is alone is the one to use."""
    try:
        compared = compare_step_times(samples, laws=laws, objective=objective)
    except InvalidArgument as error:
        return _uncompared(samples, laws, objective=objective, error=error)
    alone = len(laws) == 1
    return Findings(
        fits=compared.fits,
        errors=compared.errors,
        quantiles=compared.quantiles,
        table_error=compared.table_error,
        refused=compared.refused,
        preferred=compared.fits[0].law if alone else compared.preferred,
        step_time=compared.fits[0].step_time if alone else compared.step_time,
        reason=compared.reason,
    )


def _uncompared(
    samples: StepSamples, laws: Sequence[str], *, objective: str, error: InvalidArgument
) -> Findings:
    """Return the fits that there are where no batches can be held out."""
    fits, refused = [], []
    for law in laws:
        try:
            fits.append(fit_step_time(samples, law=law, objective=objective))
        except InvalidArgument as reason:
            refused.append((law, str(reason)))
    alone = len(laws) == 1
    if not fits:
        raise InvalidArgument(refused[0][1])
    unknown = [None] * len(fits)
    return Findings(
        fits=fits,
        errors=unknown,
        quantiles=unknown,
        table_error=None,
        refused=refused,
        preferred=fits[0].law if alone else None,
        step_time=fits[0].step_time if alone else None,
        reason=f"the laws are not compared: {error}",
    )
