r"""The critical rate of vanilla vLLM: prefill first, never beside decodes.

Prompts wait for one decode step at most, so what grows is the pool of decodes. Once it holds
:math:`\hat d = \min(b, k_{max})` or more, every decode step serves :math:`\hat d` tokens,
whoever finishes. A cycle is such a step and the prefill burst after it, until no prompt
waits; with Poisson arrivals and prompts that are constant, or of any law and split, cycles are
independent and alike, of mean length :math:`T_c(\lambda)`. Oldest first, the pool is a queue
with :math:`\hat d` servers and one token per server and cycle: stable, for output lengths of
any law with mean :math:`m_D` decode steps, iff

.. math:: \lambda m_D T_c(\lambda) < \hat d.

Outputs may depend on prompts: a cycle ends whatever the next request to arrive will be, so
its mean decode tokens are :math:`m_D` times its mean arrivals (Wald).

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
from queueing_llm.stability.cycles._burst_system import Bursts
from queueing_llm.stability.cycles._request_laws import (
    has_known_lengths,
    prompt_chances,
    survival,
)

NARROWEST = 1e-11
WIDEST = 1e-8
NEGLIGIBLE = 1e-18
MOST_TOKENS = 2**16


def prefill_burst_rate(
    engine: Engine, workload: Workload, policy: Policy
) -> CriticalRate | None:
    r"""Return vanilla vLLM's critical rate for Poisson arrivals.

    Prompts are constant, or of any law and split if need be.

    The root of :math:`\lambda m_D T_c(\lambda) = \hat d`, enclosed: at both ends of the
    interval a bound of the error of :math:`T_c` leaves no doubt about the sign.

    Parameters
    ----------
    engine, workload, policy
        The system; the rate of the workload does not matter.

    Returns
    -------
    CriticalRate or None
        Evidence ``NUMERICAL``; None if the rule is another one, whole prompts vary, lengths
        are replayed, arrivals are not Poisson, the step time reads the KV cache or falls in
        the prefill tokens, another limit may bind, or the error cannot be bounded (as for
        prompts that span dozens of batches).

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
    if value is None:
        return None
    cycle, error = pool.bursts.cycle_seconds(value)
    width = max(NARROWEST, 2 * error / cycle) if math.isfinite(error) else math.inf
    low, high = value * (1 - width), value * (1 + width)
    if width > WIDEST or not pool.load(low)[1] < 1 < pool.load(high)[0]:
        return None
    basis = (
        f"mean cycle of a decode step of {pool.decode_tokens} tokens and the prefill burst "
        "after it, from a linear system whose truncation and rounding are bounded"
    )
    return CriticalRate(value, low, high, Evidence.NUMERICAL, basis)


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
        return arriving + float(pool.prompt) * (rate - most)
    if pool.mean_steps == 0:
        return 0.0
    cycle, error = pool.bursts.cycle_seconds(rate)
    return max(0.0, arriving - pool.decode_tokens / cycle) if error < 1e-6 * cycle else None


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """A saturated pool of decodes: what a cycle takes out, and how long it lasts."""

    bursts: Bursts
    prompt: Real
    decode_tokens: int
    mean_steps: float
    most_arrivals: Real

    @classmethod
    def of(cls, engine: Engine, workload: Workload, policy: Policy) -> "_Pool | None":
        """Return the pool, or None if the derivation does not cover the system."""
        if not _is_covered(engine, workload):
            return None
        moments = workload.moments
        brought = _brought(engine, workload, policy)
        if brought is None:
            return None
        unit, units = brought
        largest = engine.token_budget // unit
        decode_tokens = engine.token_budget
        if engine.max_batch_size is not None:
            decode_tokens = min(decode_tokens, engine.max_batch_size)
            largest = min(largest, engine.max_batch_size) if unit == moments.prompt else largest
        batch_seconds = np.asarray(engine.step_time(unit * np.arange(1, largest + 1)))
        if (np.diff(batch_seconds) < 0).any():
            return None
        full = unit * largest
        return cls(
            bursts=Bursts(float(engine.step_time(0, decode_tokens)), batch_seconds, units),
            prompt=moments.prompt,
            decode_tokens=decode_tokens,
            mean_steps=float(engine.decode_steps(moments.output)),
            most_arrivals=ratio(full, moments.prompt * engine.step_time(full)),
        )

    def load(self, rate: float) -> tuple[float, float]:
        """Return bounds of the decode tokens that arrive per cycle over those served."""
        cycle, error = self.bursts.cycle_seconds(rate)
        per_second = rate * self.mean_steps / self.decode_tokens
        if not math.isfinite(error):
            return 0.0, math.inf
        return per_second * (cycle - error), per_second * (cycle + error)

    def balanced_rate(self) -> float | None:
        """Return the rate at which as many decode tokens arrive as are served, if found."""
        from scipy.optimize import brentq

        def excess(rate: float) -> float:
            # Finite and nearly straight, also where the cycle never ends.
            cycle = self.bursts.about_cycle_seconds(rate)
            return rate - self.decode_tokens / (self.mean_steps * cycle)

        batch, units = self.bursts.batch_seconds, self.bursts.mean_units
        cheapest = units * float((batch / np.arange(1, len(batch) + 1)).min())
        decode = self.mean_steps * self.bursts.decode_seconds / self.decode_tokens
        # No cycle costs less than full decode steps and the most efficient prefill batches.
        most = (1 + 1e-6) / (decode + cheapest)
        if not isinstance(self.bursts.arrival_units, int):
            most = self.bursts.most_solvable(most)
            if excess(most) <= 0:
                return None
        return float(brentq(excess, 0.0, most, xtol=1e-13 * most, rtol=1e-12))


def _is_covered(engine: Engine, workload: Workload) -> bool:
    return (
        isinstance(workload.arrivals, PoissonArrivals)
        and has_known_lengths(workload)
        and engine.decode_steps(workload.moments.shortest_output) >= 0
        and engine.kv_capacity is None
        and engine.step_time.kv_slope == 0
    )


def _brought(
    engine: Engine, workload: Workload, policy: Policy
) -> tuple[int, int | np.ndarray] | None:
    """Return the tokens of one unit, and the units that an arrival brings; or None.

    Whole prompts are units of their own; split ones are counted in what divides all of them
    and the budget.
    """
    if not isinstance(policy, BatchRule) or policy.mixed or policy.first != "prefill":
        return None
    places, budget = engine.max_batch_size, engine.token_budget
    if places is not None and policy.limit_counts == "residents":
        return None
    moments = workload.moments
    prompt = int(moments.prompt)
    is_constant = (moments.prompt, moments.prompt_squared) == (prompt, prompt**2)
    if not policy.chunked:
        return (prompt, 1) if is_constant and prompt <= budget else None
    chances = np.array([prompt]) if is_constant else _prompts(workload)
    if chances is None:
        return None
    lengths = chances if is_constant else np.flatnonzero(chances)
    unit = math.gcd(budget, *lengths.tolist())
    # A full batch touches most prompts if it begins and ends with one unit of a prompt.
    touched = 1 if budget == unit else 2 + (budget - 2 * unit) // int(lengths[0])
    if places is not None and places < touched:
        return None
    return unit, prompt // unit if is_constant else chances[::unit]


def _prompts(workload: Workload) -> np.ndarray | None:
    """Return the chances of all prompt lengths from 0 on, but for a share of 1e-18."""
    longest = workload.longest_prompt
    if longest is None:
        longest = 1
        while survival(workload, "prompt", np.array([longest]))[0] > NEGLIGIBLE:
            longest *= 2
            if longest > MOST_TOKENS:
                return None
    if longest > MOST_TOKENS:
        return None
    chances = prompt_chances(workload, longest)
    return chances / chances.sum()
