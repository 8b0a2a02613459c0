r"""The critical rate of vanilla vLLM if the batch-size limit counts residents.

With prompts waiting, every place is taken before each decode step, and whoever finishes is
replaced at once. If outputs are geometric, each of the :math:`\hat d = \min(b, k_{max})`
requests that decode finishes with the same chance, whatever its age: cycles of a decode step
and the prefill of the replacements are independent and alike, so the waiting queue is stable
iff :math:`\lambda` is below the mean requests started per cycle over its mean length. This is
a derivation of this project, not a result of arXiv:2504.07347.
"""

import numpy as np

from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability.cycles._request_laws import memoryless

MOST_PLACES = 2**20
MOST_TERMS = 2**31
RELATIVE_ERROR = 1e-11
"""Allowed for the binomial chances; the tests compare with exact fractions."""


def replacement_rate(engine: Engine, workload: Workload, policy: Policy) -> CriticalRate | None:
    r"""Return vanilla vLLM's critical rate for geometric outputs and limited residents.

    With :math:`\pi = 1/m_d`, and :math:`\tau(j)` the mean time to fill ``j`` places,

    .. math:: \lambda_c = \frac{\hat d\, \pi / (1 - \pi_0)}
       {t(\hat d) + E\, \tau(Bin(\hat d, \pi))},

    where a request ends with its prefill with probability :math:`\pi_0 = \pi` if the prefill
    yields the first token, and never otherwise, :math:`\pi_0 = 0`.

    Parameters
    ----------
    engine, workload, policy
        The system; the rate of the workload does not matter.

    Returns
    -------
    CriticalRate or None
        Evidence ``NUMERICAL``; None if the rule or the limit is another one, prompts are
        chunked or vary, outputs are not geometric, the step time reads the KV cache, or there
        are too many places.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512, max_batch_size=128)
    >>> output = ql.GeometricLength(112)
    >>> load = ql.Workload.poisson(9, prompt_tokens=129, output_tokens=output)
    >>> rule = ql.VANILLA_VLLM.variant(limit_counts="residents")
    >>> round(replacement_rate(engine, load, rule).value, 4)
    9.4813
    """
    lengths = memoryless(workload)
    if lengths is None or not _is_covered(engine, workload, policy):
        return None
    prompt, finishing = lengths
    at_prefill = finishing if engine.first_token_from_prefill else 0.0
    if prompt > engine.token_budget or at_prefill == 1:
        return None
    places = min(engine.token_budget, engine.max_batch_size or engine.token_budget)
    if places > MOST_PLACES or places * min(engine.token_budget // prompt, places) > MOST_TERMS:
        return None
    filling = _filling_seconds(engine, places, prompt=prompt, at_prefill=at_prefill)
    cycle = float(engine.step_time(0, places)) + float(_binomial(places, finishing) @ filling)
    value = places * finishing / (1 - at_prefill) / cycle
    basis = "closed form of the saturated cycle: requests started over its length"
    return CriticalRate(
        value=value,
        low=value * (1 - RELATIVE_ERROR),
        high=value * (1 + RELATIVE_ERROR),
        evidence=Evidence.NUMERICAL,
        basis=basis,
    )


def _is_covered(engine: Engine, workload: Workload, policy: Policy) -> bool:
    if not isinstance(policy, BatchRule) or policy.mixed or policy.first != "prefill":
        return False
    limited = engine.max_batch_size is not None and policy.limit_counts == "residents"
    only_limit = engine.kv_capacity is None and engine.step_time.kv_slope == 0
    return limited and only_limit and not policy.chunked and workload.is_endless


def _filling_seconds(
    engine: Engine, places: int, *, prompt: int, at_prefill: float
) -> np.ndarray:
    """Return the mean time to fill 0, 1, ... free places [s], shape (places + 1,)."""
    together = min(engine.token_budget // prompt, places)
    prefill = np.asarray(engine.step_time(prompt * np.arange(1, together + 1)))
    seconds = np.zeros(places + 1)
    again = np.ones(1)
    for free in range(1, places + 1):
        started = min(free, together)
        if len(again) <= started:
            again = _with_one_more(again, at_prefill)
        # Of those started some end at once, and as many places are free again.
        later = again[:-1] @ seconds[free - started : free]
        seconds[free] = (prefill[started - 1] + later) / again[:-1].sum()
    return seconds


def _with_one_more(chances: np.ndarray, chance: float) -> np.ndarray:
    """Return the chances of 0, 1, ... successes in one more trial than before."""
    more = np.convolve(chances, [1 - chance, chance])
    return np.asarray(more / more.sum())


def _binomial(count: int, chance: float) -> np.ndarray:
    """Return the chances of 0, 1, ... ``count`` successes."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(count + 1), count, chance))
