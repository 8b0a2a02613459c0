"""Which law to prefer: by what each says of batches that it was not fitted to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from queueing_llm._validate import Domain
from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._fit import fit_step_time, require_objective
from queueing_llm.fitting._forms import FORMS, form_named
from queueing_llm.fitting._held_out import (
    FOLDS,
    as_table,
    folds_of,
    held_out,
    table_held_out,
)
from queueing_llm.fitting._result import StepTimeFit
from queueing_llm.fitting._samples import StepSamples
from queueing_llm.model._arguments import check_kind
from queueing_llm.steptime import AbstractStepTime

QUANTILE = 0.9
"""Share of the held-out batches whose errors the tolerance is for."""

ALIKE = 0.02
"""Share of the least error by which another is never taken to be larger."""

TABLE = "table"
_TOLERANCE = Domain("epsilon", "1", above=0, at_most=1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class StepTimeComparison:
    """The laws that samples determine, in the order of their errors, and which to prefer.

    Parameters
    ----------
    fits : tuple of StepTimeFit
        To all samples; least cross-validated error first.
    errors : tuple of float
        Mean relative error of each on batches held out.
    quantiles : tuple of float
        Relative error that nine held-out batches in ten do not exceed.
    table_error : float or None
        Mean relative error of interpolation between the samples themselves; None if they are
        no curve of the token count.
    refused : tuple of (str, str)
        Laws that the samples do not determine, and why.
    preferred : str
        The law to use, or ``"table"``.
    step_time : AbstractStepTime
        Its step time.
    reason : str
        Why, as a sentence.

    Examples
    --------
    >>> import numpy as np
    >>> from queueing_llm.fitting import StepSamples, compare_step_times
    >>> tokens = np.arange(8, 1025, 8)
    >>> noise = np.random.default_rng(1).normal(0, 0.01, 128)
    >>> seconds = (0.011 + 0.035 * np.ceil(tokens / 128)) * (1 + noise)
    >>> compared = compare_step_times(StepSamples.of_tokens(tokens, seconds))
    >>> compared.preferred, compared.step_time.block
    ('staircase', 128)
    """

    fits: tuple[StepTimeFit, ...]
    errors: tuple[float, ...]
    quantiles: tuple[float, ...]
    table_error: float | None
    refused: tuple[tuple[str, str], ...]
    preferred: str
    step_time: AbstractStepTime
    reason: str


class _Candidate(NamedTuple):
    fit: StepTimeFit
    held_out: np.ndarray

    @property
    def error(self) -> float:
        return float(np.mean(self.held_out))

    @property
    def quantile(self) -> float:
        return float(np.quantile(self.held_out, QUANTILE))


def compare_step_times(
    samples: StepSamples,
    *,
    laws: Sequence[str] = tuple(FORMS),
    objective: str = "relative",
    tolerance: float = 0.1,
    seed: int = 0,
) -> StepTimeComparison:
    """Fit several laws to samples, and say which to prefer.

    Parameters
    ----------
    samples : StepSamples
        The batches and their seconds.
    laws : sequence of str
        Laws of :func:`fit_step_time` to try.
    objective : {"relative", "absolute"}
        As there.
    tolerance : float
        Relative error that nine held-out batches in ten must not exceed for a law to be
        preferred to a table of the samples.
    seed : int
        Of the intervals.

    Returns
    -------
    StepTimeComparison
        The fits in order, the refusals, and the law preferred with the reason.

    Raises
    ------
    InvalidArgument
        If an argument is outside its domain, there are too few different batches, or
        the samples determine none of the laws.

    Notes
    -----
    Of each five batches in the order of tokens, one is held out in turn; equal batches are
    held out together, and those of the fewest and the most tokens never, so that no count of
    tokens is extrapolated. Of the laws whose mean error is within 2 % of the least, or within
    one standard error (of paired differences, over the five folds), the one with the fewest
    coefficients is preferred. If it misses the tolerance and interpolation between the other
    samples does better, as at tile steps, the table is. Ours.

    Examples
    --------
    >>> import numpy as np
    >>> from queueing_llm.fitting import StepSamples, compare_step_times
    >>> tokens = np.arange(1, 60)
    >>> noise = np.random.default_rng(1).normal(0, 0.01, 59)
    >>> samples = StepSamples.of_tokens(tokens, (0.01 + 1e-4 * tokens) * (1 + noise))
    >>> compare_step_times(samples).preferred
    'affine'
    """
    _TOLERANCE.check("tolerance", tolerance)
    check_kind(samples, "samples", kind=StepSamples, such_as="read_step_samples(path)")
    require_objective(objective)
    if isinstance(laws, str) or not laws:
        msg = f"laws must be a sequence of at least one law, got laws={laws!r}."
        raise InvalidArgument(msg)
    for law in laws:
        form_named(law)
    folds = folds_of(samples)
    candidates, refused = [], []
    for law in dict.fromkeys(laws):
        try:
            fit = _fitted(samples, law, objective=objective, seed=seed)
            candidates.append(_Candidate(fit, held_out(fit, folds)))
        except InvalidArgument as error:
            refused.append((law, str(error)))
    if not candidates:
        reasons = "; ".join(f"{law}: {reason}" for law, reason in refused)
        msg = f"samples must determine one of the laws {', '.join(laws)}, got {reasons}"
        raise InvalidArgument(msg)
    candidates.sort(key=lambda each: each.error)
    table, table_error = as_table(samples), None
    if table is not None:
        table_error = float(np.mean(table_held_out(samples, folds)))
    chosen = _simplest(candidates, folds)
    is_table = (
        table_error is not None and chosen.quantile > tolerance and table_error < chosen.error
    )
    return StepTimeComparison(
        fits=tuple(each.fit for each in candidates),
        errors=tuple(each.error for each in candidates),
        quantiles=tuple(each.quantile for each in candidates),
        table_error=table_error,
        refused=tuple(refused),
        preferred=TABLE if is_table else chosen.fit.law,
        step_time=table if is_table and table is not None else chosen.fit.step_time,
        reason=_reason(chosen, candidates, table_error=table_error, tolerance=tolerance),
    )


def _fitted(samples: StepSamples, law: str, *, objective: str, seed: int) -> StepTimeFit:
    """Return a fit with KV reads if they are identifiable, else without."""
    try:
        return fit_step_time(samples, law=law, objective=objective, seed=seed)
    except InvalidArgument as error:
        if not np.any(samples.kv_tokens):
            raise
        try:
            return fit_step_time(
                samples, law=law, objective=objective, kv_reads=False, seed=seed
            )
        except InvalidArgument:
            raise error from None


def _simplest(candidates: Sequence[_Candidate], folds: np.ndarray) -> _Candidate:
    """Return the law of fewest coefficients among those as good as the best."""
    best = candidates[0]
    sizes = np.cumsum([int(np.sum(folds == fold)) for fold in range(FOLDS)])[:-1]

    def is_as_good(each: _Candidate) -> bool:
        by_fold = [d.mean() for d in np.split(each.held_out - best.held_out, sizes)]
        noise = float(np.std(by_fold, ddof=1)) / math.sqrt(FOLDS)
        return each.error <= best.error + max(noise, ALIKE * best.error)

    as_good = [each for each in candidates if is_as_good(each)]
    return min(as_good, key=lambda each: len(each.fit.coefficients))


def _reason(
    chosen: _Candidate,
    candidates: Sequence[_Candidate],
    *,
    table_error: float | None,
    tolerance: float,
) -> str:
    law, best = chosen.fit.law, candidates[0].fit.law
    said = f"{law} is within {_percent(chosen.quantile)} for nine held-out batches in ten"
    if chosen.quantile > tolerance:
        said += f", more than {_percent(tolerance)}"
        if table_error is None:
            return f"{said}, but the samples are no curve that a table could replace it by."
        if table_error < chosen.error:
            return (
                f"{said}, while interpolation between the samples errs by "
                f"{_percent(table_error)} on average instead of {_percent(chosen.error)}: tile "
                "steps that no law here follows."
            )
        return f"{said}, but interpolation between the samples does no better."
    if law == best:
        return f"{said} and has the least mean error, {_percent(chosen.error)}."
    return (
        f"{said}; its mean error, {_percent(chosen.error)}, is within noise of that of {best}, "
        f"{_percent(candidates[0].error)}, which has more coefficients."
    )


def _percent(share: float) -> str:
    return f"{round(100 * share, 4):.3g} %"
