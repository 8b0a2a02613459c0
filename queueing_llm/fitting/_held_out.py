"""What laws say of batches that they were not fitted to."""

from collections.abc import Iterator

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._problem import solved
from queueing_llm.fitting._result import StepTimeFit
from queueing_llm.fitting._samples import StepSamples
from queueing_llm.steptime import TableStepTime

FOLDS = 5
_FEWEST_BATCHES = 10


def folds_of(samples: StepSamples) -> np.ndarray:
    """Return the fold in which each sample is held out, -1 for never, shape (N,)."""
    columns = samples.tokens, samples.decode_tokens, samples.kv_tokens
    batches, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    place = np.arange(len(batches))
    # Shifted from five to five: else five contexts of each count would be one context a fold.
    folds = (place + place // FOLDS) % FOLDS
    folds[np.isin(batches[:, 0], batches[[0, -1], 0])] = -1
    if len(batches) < _FEWEST_BATCHES or len(np.unique(folds[folds >= 0])) < FOLDS:
        msg = (
            f"samples must hold at least {_FEWEST_BATCHES} different batches to hold some out, "
            f"{FOLDS} of them between the fewest and the most tokens, got {len(batches)} and "
            f"{int(np.sum(folds >= 0))}."
        )
        raise InvalidArgument(msg)
    return np.asarray(folds[which.ravel()])


def held_out(fit: StepTimeFit, folds: np.ndarray) -> np.ndarray:
    """Return the relative errors of samples held out, fold by fold."""
    has_reads = any(each.name == "per_kv_token" for each in fit.coefficients)
    blocks = [int(each.value) for each in fit.coefficients if each.name == "block"]
    errors = []
    for kept, test in _splits(fit.samples, folds):
        problem, estimate = solved(
            kept,
            law=fit.law,
            objective=fit.objective,
            kv_reads=has_reads,
            block=blocks[0] if blocks else None,
        )
        law = problem.law(estimate)
        seconds = law(test.prefill_tokens, test.decode_tokens, test.kv_tokens)
        errors.append(np.abs(seconds / test.seconds - 1))
    return np.concatenate(errors)


def table_held_out(samples: StepSamples, folds: np.ndarray) -> np.ndarray:
    """Return the relative errors of interpolation between the samples kept."""
    errors = []
    for kept, test in _splits(samples, folds):
        seconds = np.interp(test.tokens, *_curve(kept))
        errors.append(np.abs(seconds / test.seconds - 1))
    return np.concatenate(errors)


def _splits(
    samples: StepSamples, folds: np.ndarray
) -> Iterator[tuple[StepSamples, StepSamples]]:
    for fold in range(FOLDS):
        yield samples.select(folds != fold), samples.select(folds == fold)


def _curve(samples: StepSamples) -> tuple[np.ndarray, np.ndarray]:
    """Return different token counts and the mean seconds of each."""
    tokens, which = np.unique(samples.tokens, return_inverse=True)
    return tokens, np.bincount(which, weights=samples.seconds) / np.bincount(which)


def as_table(samples: StepSamples) -> TableStepTime | None:
    """Return the samples as a table of total tokens; None if they are no such curve."""
    if samples.is_averaged or np.any(samples.kv_tokens):
        return None
    tokens, seconds = _curve(samples)
    return TableStepTime.of_tokens([int(n) for n in tokens], seconds.tolist())
