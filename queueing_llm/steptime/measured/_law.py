r"""The law that measured operator times add up to.

.. math:: t(x, y, K) = S(x + y) + L(y + x / p) + A_p(x) + D(y, K / y),

where :math:`S` is all that is done to each token alone, :math:`L` the output projection of the
tokens that are sampled from, :math:`A_p` the attention of prompts of :math:`p` tokens, and
:math:`D` that of :math:`y` decodes which read :math:`K / y` tokens each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.steptime.measured._engine import MeasuredEngine

_MOST_CHUNKS = 8


@final
@dataclass(frozen=True, slots=True)
class MeasuredLaw:
    """The operator times of one engine, for prompts of one length.

    Parameters
    ----------
    engine : MeasuredEngine
        The operator times.
    prompt_tokens : int
        :math:`p` [tokens].
    most_tokens : int or None
        :math:`b` [tokens]. Larger batches continue the chord of :math:`S` from :math:`b / 2`
        to :math:`b`, so that a step up after :math:`b` does not leak into interpolation.
    """

    engine: MeasuredEngine
    prompt_tokens: int
    most_tokens: int | None = None

    def seconds(self, x: np.ndarray, y: np.ndarray, kv: np.ndarray) -> np.ndarray:
        """Return :math:`t` [s] of float64 arrays of one shape."""
        logits = _each(self.engine.logits_seconds, np.maximum(1, y + x / self.prompt_tokens))
        attention = _each(self._prefill_attention, x) + self._decode_attention(y, kv)
        return self._shared(x, y) + logits + attention

    def _shared(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        tokens = np.maximum(1, x + y)
        decodes_only = x == 0
        seconds = np.empty(tokens.shape)
        for only in (True, False):
            law = self._shared_law(only_decodes=only)
            seconds[decodes_only == only] = _each(law, tokens[decodes_only == only])
        return seconds

    def _shared_law(self, *, only_decodes: bool) -> Callable[[int], float]:
        def law(tokens: int) -> float:
            return self.engine.shared_seconds(tokens, only_decodes=only_decodes)

        most = self.most_tokens
        if most is None:
            return law
        half = max(1, most // 2)
        slope = (law(most) - law(half)) / max(1, most - half)
        return lambda n: law(n) if n <= most else law(most) + slope * (n - most)

    def _prefill_attention(self, tokens: int) -> float:
        r"""Return :math:`A_p(x)`.

        Fewer tokens than a prompt are a chunk of one, and any of its chunks is as likely as
        another: the mean over them. More are as many prompts as they make.
        """
        if tokens == 0:
            return 0.0
        ask, prompt = self.engine.prefill_attention_seconds, self.prompt_tokens
        if tokens > prompt:
            return _between(lambda prompts: ask(prompts, prompt, 0), tokens / prompt)
        chunks = min(_MOST_CHUNKS, -(-prompt // tokens))
        stored = (round(c * (prompt - tokens) / max(1, chunks - 1)) for c in range(chunks))
        return math.fsum(ask(1, tokens, prefix) for prefix in stored) / chunks

    def _decode_attention(self, y: np.ndarray, kv: np.ndarray) -> np.ndarray:
        each = np.where(y > 0, kv / np.maximum(y, 1), 0.0)
        batches, which = np.unique([y.ravel(), each.ravel()], axis=1, return_inverse=True)
        seconds = np.asarray([self._reads(*batch) for batch in batches.T.tolist()])
        return seconds[which.reshape(y.shape)] if y.size else np.zeros(y.shape)

    def _reads(self, decodes: float, each: float) -> float:
        def law(requests: int) -> float:
            if requests == 0:
                return 0.0
            return _between(lambda n: self.engine.decode_attention_seconds(requests, n), each)

        return _between(law, decodes)


def _each(law: Callable[[int], float], counts: np.ndarray) -> np.ndarray:
    """Return a law of whole counts on an array, linear between them."""
    distinct, which = np.unique(counts, return_inverse=True)
    seconds = np.asarray([_between(law, count) for count in distinct.tolist()], dtype=float)
    return seconds[which.reshape(counts.shape)]


def _between(law: Callable[[int], float], count: float) -> float:
    low = math.floor(count)
    weight = count - low
    return law(low) if weight == 0 else (1 - weight) * law(low) + weight * law(low + 1)
