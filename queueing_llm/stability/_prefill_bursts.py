r"""The critical rate of vanilla vLLM: prefill first, never beside decodes.

Prompts wait for one decode step at most, so what grows is the pool of decodes. Once it holds
:math:`\hat d = \min(b, k_{max})` or more, every decode step serves :math:`\hat d` tokens,
whoever finishes. A cycle is such a step and the prefill burst after it, until no prompt
waits; with Poisson arrivals and constant prompts cycles are independent and alike, of mean
length :math:`T_c(\lambda)`. Oldest first, the pool is a queue with :math:`\hat d` servers and
one token per server and cycle: stable, for output lengths of any law with mean :math:`m_D`
decode steps, iff

.. math:: \lambda m_D T_c(\lambda) < \hat d.

Longer steps let more arrive, so :math:`T_c` grows with :math:`\lambda` if the step time of a
prefill batch does not fall in its tokens. This is a derivation of this project, not a result
of arXiv:2504.07347.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, PoissonArrivals, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability._burst_system import Bursts

WIDTHS = (1e-11, 1e-10, 1e-9)


def prefill_burst_rate(
    engine: Engine, workload: Workload, policy: Policy
) -> CriticalRate | None:
    r"""Return vanilla vLLM's critical rate for Poisson arrivals of constant prompts.

    The root of :math:`\lambda m_D T_c(\lambda) = \hat d`, enclosed: at both ends of the
    interval a bound of the error of :math:`T_c` leaves no doubt about the sign.

    Parameters
    ----------
    engine, workload, policy
        The system; the rate of the workload does not matter.

    Returns
    -------
    CriticalRate or None
        Evidence ``NUMERICAL``; None if the rule is another one, prompts vary, arrivals are
        not Poisson, the step time reads the KV cache or falls in the prefill tokens, another
        limit may bind, or the error cannot be bounded.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(10.4, prompt_tokens=129, output_tokens=112)
    >>> round(prefill_burst_rate(engine, load, ql.VANILLA_VLLM).value, 4)
    10.4973
    """
    pool = _Pool.of(engine, workload, policy)
    if pool is None:
        return None
    if pool.mean_steps == 0:
        basis = "no decode steps: prefill batches alone, which are full in saturation"
        return CriticalRate.exactly(pool.most_arrivals, Evidence.NUMERICAL, basis=basis)
    value = pool.balanced_rate()
    for width in WIDTHS:
        low, high = value * (1 - width), value * (1 + width)
        if pool.load(low)[1] < 1 < pool.load(high)[0]:
            basis = (
                f"mean cycle of a decode step of {pool.decode_tokens} tokens and the prefill "
                "burst after it, from a linear system whose truncation and rounding are bounded"
            )
            return CriticalRate(value, low, high, Evidence.NUMERICAL, basis)
    return None


def prefill_burst_growth(engine: Engine, workload: Workload, policy: Policy) -> float | None:
    r"""Return the growth of vanilla vLLM's backlog in the fluid limit [tokens/s].

    .. math:: \dot V = \Bigl(\lambda m_D - \frac{\hat d}{T_c(\lambda)}
       + p\, (\lambda - \lambda_p)^+\Bigr)^+

    where from :math:`\lambda_p` on prefill never ends, so that nothing is decoded.

    Parameters
    ----------
    engine, workload, policy
        The system.

    Returns
    -------
    float or None
        0 below the critical rate; None where :func:`prefill_burst_rate` has no answer.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(11.5, prompt_tokens=129, output_tokens=112)
    >>> round(prefill_burst_growth(engine, load, ql.VANILLA_VLLM), 2)
    271.33
    """
    pool = _Pool.of(engine, workload, policy)
    if pool is None:
        return None
    rate, most = float(workload.arrival_rate), float(pool.most_arrivals)
    arriving = rate * pool.mean_steps
    if rate >= most:
        return arriving + pool.prompt * (rate - most)
    if pool.mean_steps == 0:
        return 0.0
    cycle, error = pool.bursts.cycle_seconds(rate)
    return max(0.0, arriving - pool.decode_tokens / cycle) if error < 1e-6 * cycle else None


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """A saturated pool of decodes: what a cycle takes out, and how long it lasts."""

    bursts: Bursts
    prompt: int
    decode_tokens: int
    mean_steps: float
    most_arrivals: Real

    @classmethod
    def of(cls, engine: Engine, workload: Workload, policy: Policy) -> "_Pool | None":
        """Return the pool, or None if the derivation does not cover the system."""
        moments = workload.moments
        prompt = int(moments.prompt)
        unit = _unit(engine, prompt, policy)
        if unit is None or not _is_covered(engine, workload):
            return None
        largest = engine.token_budget // unit
        decode_tokens = engine.token_budget
        if engine.max_batch_size is not None:
            decode_tokens = min(decode_tokens, engine.max_batch_size)
            largest = min(largest, engine.max_batch_size) if unit == prompt else largest
        batch_seconds = np.asarray(engine.step_time(unit * np.arange(1, largest + 1)))
        if (np.diff(batch_seconds) < 0).any():
            return None
        full = unit * largest
        return cls(
            bursts=Bursts(
                float(engine.step_time(0, decode_tokens)), batch_seconds, prompt // unit
            ),
            prompt=prompt,
            decode_tokens=decode_tokens,
            mean_steps=float(engine.decode_steps(moments.output)),
            most_arrivals=ratio(full, prompt * engine.step_time(full)),
        )

    def load(self, rate: float) -> tuple[float, float]:
        """Return bounds of the decode tokens that arrive per cycle over those served."""
        cycle, error = self.bursts.cycle_seconds(rate)
        per_second = rate * self.mean_steps / self.decode_tokens
        if not math.isfinite(error):
            return 0.0, math.inf
        return per_second * (cycle - error), per_second * (cycle + error)

    def balanced_rate(self) -> float:
        """Return the rate at which as many decode tokens arrive as are served."""
        from scipy.optimize import brentq

        def excess(rate: float) -> float:
            # Finite and nearly straight, also where the cycle never ends.
            cycle, _ = self.bursts.cycle_seconds(rate)
            return rate - self.decode_tokens / (self.mean_steps * cycle)

        batch, units = self.bursts.batch_seconds, self.bursts.arrival_units
        cheapest = units * float((batch / np.arange(1, len(batch) + 1)).min())
        decode = self.mean_steps * self.bursts.decode_seconds / self.decode_tokens
        # No cycle costs less than full decode steps and the most efficient prefill batches.
        most = (1 + 1e-6) / (decode + cheapest)
        return float(brentq(excess, 0.0, most, xtol=1e-13 * most, rtol=1e-12))


def _is_covered(engine: Engine, workload: Workload) -> bool:
    moments = workload.moments
    prompt = int(moments.prompt)
    return (
        (moments.prompt, moments.prompt_squared) == (prompt, prompt**2)
        and isinstance(workload.arrivals, PoissonArrivals)
        and workload.has_iid_lengths
        and engine.decode_steps(moments.shortest_output) >= 0
        and engine.kv_capacity is None
        and engine.step_time.kv_slope == 0
    )


def _unit(engine: Engine, prompt: int, policy: Policy) -> int | None:
    """Return the tokens in which prefill batches are counted, None for other rules."""
    if not isinstance(policy, BatchRule) or policy.mixed or policy.first != "prefill":
        return None
    places, budget = engine.max_batch_size, engine.token_budget
    if places is not None and policy.limit_counts == "residents":
        return None
    if not policy.chunked:
        return prompt if prompt <= budget else None
    unit = math.gcd(prompt, budget)
    # A full batch touches most prompts if it begins and ends with one unit of a prompt.
    touched = 1 if budget == unit else 2 + (budget - 2 * unit) // prompt
    return unit if places is None or places >= touched else None
