"""The forms that a law may take: linear in its coefficients once one number is fixed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from queueing_llm._validate import Domain, domains
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.fitting._samples import StepSamples
from queueing_llm.steptime import (
    AbstractStepTime,
    AffineStepTime,
    HingeStepTime,
    StaircaseStepTime,
    TableStepTime,
)

KV_SLOPE = "per_kv_token"
FARTHEST = 2**20, 2**20, 2**31
"""Prefill, decode and KV tokens up to which the grid of a split law reaches."""

_SPLIT = {
    "base": Domain("c", "s", at_least=0),
    "per_prefill_token": Domain("a_p", "s/token", at_least=0),
    "per_decode_token": Domain("a_d", "s/token", at_least=0),
    KV_SLOPE: Domain("gamma", "s/token", at_least=0),
}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Form:
    r"""One kind of law, :math:`t = c + \sum_i s_i f_i(x, y; \theta) + \gamma K`.

    Parameters
    ----------
    constant : str
        The word for :math:`c`.
    slopes : tuple of str
        Words for :math:`s_i`.
    shape : str or None
        The word for :math:`\theta`; None if the law has no such number.
    features : callable
        :math:`f` at the samples and :math:`\theta`: one array of shape (N,) for each slope.
    declared : mapping of str to Domain
        Symbol and unit of each word.
    build : callable
        The law from its words.
    """

    constant: str
    slopes: tuple[str, ...]
    shape: str | None
    features: Callable[[StepSamples, Any], Sequence[np.ndarray]]
    declared: Mapping[str, Domain]
    build: Callable[..., AbstractStepTime]

    def words(self, *, kv_reads: bool) -> tuple[str, ...]:
        """Return the words of the linear coefficients, the constant first."""
        return (self.constant, *self.slopes, *((KV_SLOPE,) if kv_reads else ()))

    def columns(self, samples: StepSamples, *, shape: Any, kv_reads: bool) -> np.ndarray:
        """Return what the linear coefficients multiply, shape (N, P)."""
        ones = np.ones(len(samples))
        kv = (samples.kv_tokens,) if kv_reads else ()
        return np.stack([ones, *self.features(samples, shape), *kv], axis=1)


def form_named(law: str) -> Form:
    """Return a form by the name of its law."""
    if not isinstance(law, str) or law not in FORMS:
        clause = nearest(str(law), FORMS)
        msg = f"law must name a law that can be fitted, got law={law!r}: {clause}."
        raise InvalidArgument(msg)
    return FORMS[law]


def _split(
    base: float, per_prefill_token: float, per_decode_token: float, per_kv_token: float = 0
) -> AbstractStepTime:
    """Return the law with a slope for each kind of token.

    Multilinear interpolation of a linear function is that function.
    """
    prefill, decode, kv = FARTHEST
    reads = (0, kv) if per_kv_token else (0,)
    seconds = [
        [
            [
                base + per_prefill_token * x + per_decode_token * y + per_kv_token * k
                for k in reads
            ]
            for y in (0, decode)
        ]
        for x in (0, prefill)
    ]
    axes = (0, prefill), (0, decode), reads if per_kv_token else None
    return TableStepTime.of_batches(*axes, seconds)


FORMS: Mapping[str, Form] = {
    "affine": Form(
        constant="base",
        slopes=("per_token",),
        shape=None,
        features=lambda samples, _: (samples.tokens,),
        declared=domains(AffineStepTime),
        build=AffineStepTime,
    ),
    "hinge": Form(
        constant="floor",
        slopes=("per_token",),
        shape="knee",
        features=lambda samples, knee: (np.maximum(0, samples.tokens - knee),),
        declared=domains(HingeStepTime),
        build=HingeStepTime,
    ),
    "split": Form(
        constant="base",
        slopes=("per_prefill_token", "per_decode_token"),
        shape=None,
        features=lambda samples, _: (samples.prefill_tokens, samples.decode_tokens),
        declared=_SPLIT,
        build=_split,
    ),
    "staircase": Form(
        constant="overhead",
        slopes=("per_block",),
        shape="block",
        features=lambda samples, block: (np.ceil(samples.tokens / block),),
        declared=domains(StaircaseStepTime),
        build=StaircaseStepTime,
    ),
}
"""The laws that can be fitted, by name."""
