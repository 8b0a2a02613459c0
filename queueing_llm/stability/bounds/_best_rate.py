"""The best token rate of an engine, and the batch that attains it."""

from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from typing import final

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.model import Engine

NEARLY_BEST = 1e-9
ROUNDING = 1e-14


@final
@dataclass(frozen=True, slots=True)
class BestRate:
    r"""The largest token rate of an engine and the batch that attains it.

    Parameters
    ----------
    tokens_per_second : number
        :math:`r^\star = \max (x + y) / t(x, y, K)`; a Fraction if the law is exact.
    prefill_tokens, decode_tokens : int
        The batch :math:`(x, y)`; the largest one, if several are equally good [tokens].
    """

    tokens_per_second: Real
    prefill_tokens: int
    decode_tokens: int

    @property
    def batch_tokens(self) -> int:
        r""":math:`n^\star`, the effective token budget [tokens]."""
        return self.prefill_tokens + self.decode_tokens


def best_rate(engine: Engine) -> BestRate:
    r"""Return the most tokens per second that any batch of the engine attains.

    .. math:: r^\star = \max_{(x, y, K)} \frac{x + y}{t(x, y, K)}

    over the batches within the token budget, the batch-size limit and the KV cache. Every
    size is compared: a full batch need not be the best one, and real step times are not
    monotone.

    Parameters
    ----------
    engine : Engine
        The engine.

    Returns
    -------
    BestRate
        Exact if the parameters of the law are integers or Fractions.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=11, per_block=35, block=128)
    >>> best = ql.best_rate(ql.Engine(step_time=step, token_budget=130))
    >>> best.tokens_per_second, best.batch_tokens
    (Fraction(64, 23), 128)
    """
    law = engine.step_time
    batches = law.candidate_batches(
        engine.batch_tokens_limit(), most_decode_tokens=engine.max_batch_size
    )
    rates = (batches[0] + batches[1]) / np.asarray(law(*batches))
    # Floating point finds the few that may be best; exact parameters decide between them,
    # and floats that differ by rounding alone count as equal.
    near = np.flatnonzero(rates >= rates.max() * (1 - NEARLY_BEST))
    contenders = [tuple(int(counts[i]) for counts in batches) for i in near]
    ranked = [(_rate(engine, batch), batch[0] + batch[1], batch) for batch in contenders]
    best = max(rate for rate, _, _ in ranked)
    least = best * (1 - ROUNDING) if isinstance(best, float) else best
    _, _, batch = max((entry for entry in ranked if entry[0] >= least), key=itemgetter(1))
    return BestRate(best, batch[0], batch[1])


def _rate(engine: Engine, batch: tuple[int, ...]) -> Real:
    seconds = engine.step_time(*batch)
    tokens = batch[0] + batch[1]
    return tokens / (Fraction(seconds) if isinstance(seconds, int) else seconds)
