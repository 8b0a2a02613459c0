"""What a request asks of an engine, as far as the fixed point looks at it."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    AbstractLength,
    AbstractRequestLengths,
    EmpiricalLength,
    EmpiricalLengths,
    Engine,
    IndependentLengths,
    Workload,
)

NODES = 8
MOST_TOKENS = 2**20
NEGLIGIBLE = 1e-12


@final
@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    r"""Mean tokens of a request, and the laws that a mean does not replace.

    Parameters
    ----------
    prompt : float
        :math:`E[p]` [tokens].
    prompt_scv : float
        Squared coefficient of variation of :math:`p` [1].
    prompts : float64 array, shape (P,)
        Means of equally likely parts of the law of :math:`p` [tokens]; one, if all are alike.
    steps : float
        :math:`E[D]`, mean decode steps.
    decodes : float
        Probability that a request decodes at all, :math:`P(D > 0)` [1].
    stored : float
        Mean KV tokens that a decode step of a request reads, :math:`G / E[D]` [tokens].
    output : float
        :math:`E[d]` [tokens].
    steps_beyond : float64 array, shape (L,)
        :math:`P(D > s)` of :math:`s = 0, 1, ...` [1].
    """

    prompt: float
    prompt_scv: float
    prompts: np.ndarray
    steps: float
    decodes: float
    stored: float
    output: float
    steps_beyond: np.ndarray

    @classmethod
    def of(cls, engine: Engine, workload: Workload) -> "Demand":
        """Return the demand of the requests of a workload, by the engine's accounting."""
        moments, offset = workload.moments, engine.decode_steps(0)
        prompt, steps = float(moments.prompt), float(engine.decode_steps(moments.output))
        reads = float(moments.kv_reads(offset))
        beyond = survival(workload, "output", shift=-offset)
        return cls(
            prompt=prompt,
            prompt_scv=max(0.0, float(moments.prompt_squared) / prompt**2 - 1),
            prompts=_equal_parts(survival(workload, "prompt", shift=0), prompt),
            steps=steps,
            decodes=float(beyond[0]),
            stored=reads / steps if steps else 0.0,
            output=float(moments.output),
            steps_beyond=beyond,
        )


def marginal(
    lengths: AbstractRequestLengths, length: Literal["prompt", "output"]
) -> AbstractLength | None:
    """Return the law of one of the two lengths of a class, None if it is not known."""
    if isinstance(lengths, IndependentLengths):
        return lengths.prompt if length == "prompt" else lengths.output
    if isinstance(lengths, EmpiricalLengths):
        column = lengths.prompt_tokens if length == "prompt" else lengths.output_tokens
        return EmpiricalLength(column, weights=lengths.weights)
    return None


def survival(
    workload: Workload, length: Literal["prompt", "output"], *, shift: int
) -> np.ndarray:
    """Return the chances that a length exceeds ``shift``, ``shift + 1``, ... tokens."""
    laws = [marginal(c.lengths, length) for c in workload.classes]
    most = 64
    while True:
        tokens = np.arange(shift, shift + most)
        total = np.zeros(most)
        for share, law in zip(workload.shares, laws, strict=True):
            if law is None:
                msg = f"workload must have lengths of known laws, got {workload.classes!r}."
                raise InvalidArgument(msg)
            total += float(share) * np.asarray(law.survival(tokens))
        if total[-1] <= NEGLIGIBLE:
            return total[: int(np.argmax(total <= NEGLIGIBLE)) + 1]
        if most >= MOST_TOKENS:
            return total
        most *= 2


def _equal_parts(beyond: np.ndarray, mean: float) -> np.ndarray:
    """Return the means of equally likely parts of a law on 0, 1, ..., shape (P,)."""
    chances = -np.diff(beyond, prepend=1.0)
    below = np.cumsum(chances)
    sums = np.cumsum(chances * np.arange(len(chances)))
    if np.count_nonzero(chances > NEGLIGIBLE) == 1:
        return np.array([mean])
    edges = np.linspace(0, below[-1], NODES + 1)
    at = np.searchsorted(below, edges[1:-1] - NEGLIGIBLE)
    inner = sums[at] - (below[at] - edges[1:-1]) * at
    parts = np.diff(np.concatenate([[0.0], inner, [sums[-1]]])) * NODES
    return np.asarray(parts * (mean / parts.mean()))
