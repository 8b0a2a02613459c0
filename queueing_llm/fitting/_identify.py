"""What samples cannot tell, refused with the reason."""

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._forms import KV_SLOPE, Form
from queueing_llm.fitting._samples import StepSamples

MOST_CONDITION = 1000.0
"""Accepted condition number of the columns, each scaled to length 1."""

_SPARE_SAMPLES = 2
_COLUMNS = {
    "per_token": "the tokens",
    "per_block": "the blocks",
    "per_prefill_token": "the prefill tokens",
    "per_decode_token": "the decode tokens",
    KV_SLOPE: "the KV tokens",
}
_A_CONSTANT = "a constant"
_INVOLVED = 0.05
_ROUNDING = 1e-6


def require_enough(form: Form, samples: StepSamples, *, kv_reads: bool) -> None:
    """Raise unless there are more samples, and token counts, than coefficients."""
    words = form.words(kv_reads=kv_reads)
    coefficients = len(words) + (form.shape is not None)
    counts = len(np.unique(samples.tokens))
    # Two counts for a line; two on either side of a knee.
    fewest = 3 if form.shape is None else 5
    if counts < fewest and "per_prefill_token" not in words:
        msg = (
            f"samples must have at least {fewest} different token counts to show the form of "
            f"a law with {', '.join(_shape_and(form, words))}, got {counts}."
        )
        raise InvalidArgument(msg)
    if len(samples) < coefficients + _SPARE_SAMPLES:
        msg = (
            f"samples must hold at least {coefficients + _SPARE_SAMPLES} different batches "
            f"for the {coefficients} coefficients {', '.join(_shape_and(form, words))}, so "
            f"that some are left to judge the law by; got {len(samples)}."
        )
        raise InvalidArgument(msg)


def require_distinct(
    columns: np.ndarray, words: tuple[str, ...], *, weights: np.ndarray
) -> None:
    """Raise if the coefficients cannot be told apart, naming the columns that coincide."""
    weighted = columns * weights[:, None]
    lengths = np.linalg.norm(weighted, axis=0)
    for word, length in zip(words, lengths, strict=True):
        if length == 0:
            msg = f"{word} is not identifiable: {_COLUMNS[word]} are 0 in every sample."
            raise InvalidArgument(msg)
    _, values, rows = np.linalg.svd(weighted / lengths, full_matrices=False)
    if values[-1] * MOST_CONDITION >= values[0]:
        return
    share = np.abs(rows[-1])
    together = [
        word for word, part in zip(words, share, strict=True) if part > _INVOLVED * share.max()
    ]
    condition = values[0] / max(values[-1], np.finfo(float).tiny)
    named = [_COLUMNS.get(word, _A_CONSTANT) for word in together]
    way_out = ", or fit with kv_reads=False" if KV_SLOPE in together else ""
    msg = (
        f"{' and '.join(together)} cannot be told apart: over these samples "
        f"{named[-1]} are a combination of {' and '.join(named[:-1])}, with a condition "
        f"number of {condition:.2g} where at most {MOST_CONDITION:g} is accepted; measure "
        "batches in "
        f"which they vary apart{way_out}."
    )
    raise InvalidArgument(msg)


def require_blocks(samples: StepSamples, block: int) -> None:
    """Raise unless several token counts fall into the same block, for several blocks."""
    if samples.is_averaged:
        msg = (
            "samples must be single steps for a staircase, got token counts that are not "
            "integers: the mean of many steps has no stairs."
        )
        raise InvalidArgument(msg)
    if not has_blocks(samples, block):
        per_block = _counts_per_block(samples, block)
        msg = (
            f"block={block} [tokens] is not identifiable: the samples must reach 3 blocks and "
            f"hold several token counts in 2 of them, got {len(per_block)} blocks with at most "
            f"{per_block.max()} counts; a line fits them as well."
        )
        raise InvalidArgument(msg)


def has_blocks(samples: StepSamples, block: int) -> bool:
    """Whether samples are fine enough to show stairs of this block."""
    per_block = _counts_per_block(samples, block)
    return not samples.is_averaged and len(per_block) >= 3 and int(np.sum(per_block > 1)) >= 2


def _counts_per_block(samples: StepSamples, block: int) -> np.ndarray:
    blocks = np.ceil(np.unique(samples.tokens) / block)
    return np.unique(blocks, return_counts=True)[1]


def require_both_sides(tokens: np.ndarray, knee: float) -> None:
    """Raise unless two token counts lie on each side of the best knee."""
    counts = np.unique(tokens)
    below = int(np.sum(counts <= knee * (1 + _ROUNDING)))
    above = len(counts) - below
    if min(below, above) < 2:
        side, number = ("below", below) if below < 2 else ("above", above)
        instead = "fit an affine law" if below < 2 else "measure larger batches"
        msg = (
            f"knee is not identifiable: the best knee, {knee:.4g} [tokens], has {number} token "
            f"counts on the side {side} it, where the samples span {counts[0]:g} to "
            f"{counts[-1]:g}; {instead}."
        )
        raise InvalidArgument(msg)


def require_rising(words: tuple[str, ...], values: np.ndarray) -> None:
    """Raise if more work would take less time."""
    for word, value in zip(words[1:], values[1:], strict=True):
        if value < 0 or (word == "per_block" and value == 0):
            way_out = ": fit with kv_reads=False" if word == KV_SLOPE else ""
            msg = (
                f"{word} would be {value:.3g} [s] in the best fit, below 0: in these samples "
                f"time falls as {_COLUMNS[word]} grow{way_out}."
            )
            raise InvalidArgument(msg)


def _shape_and(form: Form, words: tuple[str, ...]) -> tuple[str, ...]:
    return words if form.shape is None else (*words, form.shape)
