r"""The critical rate of exclusive batching, whose residents are a Markov chain.

With requests waiting and geometric outputs, the next number of residents depends on the
present one only: with :math:`n > N - k` residents a decode step lets
:math:`Bin(n, \pi)` of them finish, otherwise a refill starts :math:`k`. The waiting queue is
stable iff :math:`\lambda` is below the requests started per step over its mean length, both
in the stationary chain. This is a derivation of this project, not a result of
arXiv:2606.00516, which has the fluid limit of one decode phase.
"""

import numpy as np

from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import ExclusiveBatching, Policy
from queueing_llm.stability.cycles._request_laws import memoryless

MOST_SLOTS = 2048
NEGLIGIBLE = 1e-250
RELATIVE_ERROR = 1e-9
"""Allowed for the binomial chances and the elimination; tests compare with fractions."""


def exclusive_batching_rate(
    engine: Engine, workload: Workload, policy: Policy
) -> CriticalRate | None:
    r"""Return the critical rate of exclusive batching for geometric outputs.

    With :math:`\nu` the stationary chances of :math:`n` residents,

    .. math:: \frac{1}{\lambda_c} = \frac{\sum_{n > N - k} \nu_n t(n)
       + \sum_{n \le N - k} \nu_n T_p(k)}{k \sum_{n \le N - k} \nu_n} + \gamma G,

    where the prompts of a refill fill batches, :math:`T_p(k) = q\, t(b) + t(kp - qb)`, and a
    request reads :math:`G` KV tokens at :math:`\gamma` seconds each.

    Parameters
    ----------
    engine, workload, policy
        The system; the rate of the workload does not matter.

    Returns
    -------
    CriticalRate or None
        Evidence ``NUMERICAL``; None if the policy is another one, prompts vary, outputs are
        not geometric, another limit may bind, the step time is no function of the token
        count plus a multiple of the KV reads, or there are more than 2048 slots.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.policies import ExclusiveBatching
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> output = ql.GeometricLength(112)
    >>> load = ql.Workload.poisson(9, prompt_tokens=129, output_tokens=output)
    >>> policy = ExclusiveBatching(slots=128, refill=8)
    >>> round(exclusive_batching_rate(engine, load, policy).value, 3)
    11.601
    """
    lengths = memoryless(workload)
    if not isinstance(policy, ExclusiveBatching) or lengths is None:
        return None
    prompt, finishing = lengths
    at_prefill = finishing if engine.first_token_from_prefill else 0.0
    slope = engine.step_time.kv_slope
    if slope is None or at_prefill == 1 or not _is_free(engine, workload, policy):
        return None
    seconds = saturated_request_seconds(
        _decode_seconds(engine, policy.slots),
        _prefill_seconds(engine, policy.refill * prompt),
        refill=policy.refill,
        finishing=finishing,
        at_prefill=at_prefill,
    )
    reads = workload.moments.kv_reads(engine.decode_steps(0))
    value = 1 / (seconds + float(slope * reads))
    return CriticalRate(
        value=value,
        low=value * (1 - RELATIVE_ERROR),
        high=value * (1 + RELATIVE_ERROR),
        evidence=Evidence.NUMERICAL,
        basis="stationary chain of the residents in saturation: requests started over time",
    )


def saturated_request_seconds(
    decode_seconds: np.ndarray,
    refill_seconds: float,
    *,
    refill: int,
    finishing: float,
    at_prefill: float = 0.0,
) -> float:
    r"""Return the mean time per request of a saturated exclusive engine.

    Parameters
    ----------
    decode_seconds : float64 array, shape (N + 1,)
        :math:`t(n)` of a decode step of ``n`` requests; the entry 0 is not used [s].
    refill_seconds : float
        Time in which a refill of :math:`k` requests is prefilled [s].
    refill : int
        :math:`k` [requests].
    finishing, at_prefill : float
        Chance that a request finishes with a decode step, and with its prefill.

    Returns
    -------
    float
        Seconds per request.

    Examples
    --------
    >>> round(saturated_request_seconds(np.array([0, 1, 2]), 3, refill=1, finishing=0.5), 6)
    5.0
    """
    slots = len(decode_seconds) - 1
    decoding = np.arange(slots - refill + 1, slots + 1)
    chances = np.zeros((slots + 1, slots + 1))
    chances[decoding] = _decode_chances(decoding, slots, finishing)
    ends = _binomial(np.arange(refill + 1), refill, at_prefill)
    for residents in range(slots - refill + 1):
        chances[residents, residents : residents + refill + 1] = ends[::-1]
    share = _stationary(chances)
    refilling = share[: slots - refill + 1].sum()
    busy = share[decoding] @ decode_seconds[decoding] + refilling * refill_seconds
    return float(busy / (refill * refilling))


def decode_phase_seconds(decode_seconds: np.ndarray, *, refill: int, finishing: float) -> float:
    r"""Return the exact mean length of a decode phase begun with all slots taken.

    .. math:: V(n) = \frac{t(n) + \sum_{N - k < m < n} P(n, m) V(m)}{1 - P(n, n)}

    Parameters
    ----------
    decode_seconds, refill, finishing
        As for :func:`saturated_request_seconds`.

    Returns
    -------
    float
        Seconds until at least ``refill`` slots are free.

    Examples
    --------
    >>> costs = 8.9212e-3 + 4.5865e-5 * np.arange(257)
    >>> round(decode_phase_seconds(costs, refill=32, finishing=0.01), 4)
    0.2747
    """
    slots = len(decode_seconds) - 1
    decoding = np.arange(slots - refill + 1, slots + 1)
    chances = _decode_chances(decoding, slots, finishing)[:, decoding]
    moving = -np.expm1(decoding * np.log1p(-finishing)) if finishing < 1 else np.ones(refill)
    seconds = np.zeros(refill)
    for i, residents in enumerate(decoding):
        later = chances[i, :i] @ seconds[:i]
        seconds[i] = (decode_seconds[residents] + later) / moving[i]
    return float(seconds[-1])


def _decode_chances(decoding: np.ndarray, slots: int, finishing: float) -> np.ndarray:
    """Return the chances of 0, ..., N residents after a step, shape (k, N + 1)."""
    finished = decoding[:, None] - np.arange(slots + 1)
    return _binomial(finished, decoding[:, None], finishing)


def _binomial(successes: np.ndarray, count: np.ndarray | int, chance: float) -> np.ndarray:
    from scipy.stats import binom

    return np.asarray(binom.pmf(successes, count, chance))


def _stationary(chances: np.ndarray) -> np.ndarray:
    """Return the stationary chances, by the elimination of Grassmann, Taksar and Heyman.

    It never subtracts, so that every entry keeps its relative accuracy. States above one from
    which only a negligible chance leads up are as good as never visited.
    """
    left, last = chances.copy(), len(chances) - 1
    for i in range(last):
        up = left[i, i + 1 :]
        if up.sum() < NEGLIGIBLE:
            last = i
            break
        into = i + 1 + np.flatnonzero(left[i + 1 :, i])
        left[into, i] /= up.sum()
        left[into, i + 1 :] += left[into, i, None] * up
    share = np.zeros(len(chances))
    share[last] = 1.0
    for i in reversed(range(last)):
        share[i] = share[i + 1 : last + 1] @ left[i + 1 : last + 1, i]
        # The last state may be rare: without rescaling the others would overflow.
        share /= share.max()
    return share / share.sum()


def _is_free(engine: Engine, workload: Workload, policy: ExclusiveBatching) -> bool:
    """Whether no limit but the slots binds, and the chain is of a size to be solved."""
    places = min(engine.token_budget, engine.max_batch_size or engine.token_budget)
    fits = policy.slots <= min(places, MOST_SLOTS)
    return fits and engine.kv_capacity is None and workload.is_endless


def _decode_seconds(engine: Engine, slots: int) -> np.ndarray:
    seconds = np.zeros(slots + 1)
    seconds[1:] = engine.step_time(0, np.arange(1, slots + 1))
    return seconds


def _prefill_seconds(engine: Engine, tokens: int) -> float:
    full, rest = divmod(tokens, engine.token_budget)
    seconds = full * float(engine.step_time(engine.token_budget)) if full else 0.0
    return seconds + (float(engine.step_time(rest)) if rest else 0.0)
