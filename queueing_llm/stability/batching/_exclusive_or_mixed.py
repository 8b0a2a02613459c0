r"""Exclusive or mixed batches: what a request costs with each (arXiv:2606.00516).

An exclusive engine decodes :math:`N` requests until :math:`k` slots are free and refills
them. For prompts of mean :math:`\mu_L` and geometric outputs of mean :math:`\mu_O`, a request
costs

.. math:: \beta_p \mu_L + \beta_d \mu_O + \frac{\alpha_p + \alpha_d \zeta \mu_O}{k},
   \quad \zeta = -\ln(1 - k/N), \qquad
   \beta_{MB}(r) (\mu_L + \mu_O) + \frac{\alpha_{MB} (1 + \mu_O)}{N}

seconds in exclusive and in mixed batches. The cost model is published; these sums are derived
here from it, and equating them gives the published condition. A decode phase of
:math:`\zeta \mu_O` steps is a fluid limit; the exact value is reported beside it.
"""

from dataclasses import dataclass
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, Real, check, is_symbolic
from queueing_llm.stability.batching._batching_costs import BatchingCosts, Output, vacating
from queueing_llm.stability.cycles._exclusive_rate import (
    MOST_SLOTS,
    decode_phase_seconds,
    saturated_request_seconds,
)

Prompt = Annotated[Real, Domain("mu_L", "tokens", above=0)]
Requests = Annotated[Real, Domain("N", "requests", above=0)]


@final
@dataclass(frozen=True, slots=True)
class DecodePhase:
    """How long an exclusive engine decodes, from all slots taken until enough are free.

    Parameters
    ----------
    fluid_seconds : number
        By the published formula [s].
    exact_seconds : float or None
        The mean with geometric outputs, step by step; None for symbols, and unless slots and
        refill are integers and slots at most 2048 [s].
    """

    fluid_seconds: Real
    exact_seconds: float | None


def decode_phase(
    costs: BatchingCosts, output_tokens: Real, *, slots: Real, refill: Real
) -> DecodePhase:
    r"""Return the mean length of a decode phase, :math:`\mu_O (\beta_d k + \alpha_d \zeta)`.

    Parameters
    ----------
    costs : BatchingCosts
        The cost model.
    output_tokens : number
        :math:`\mu_O` [tokens]; outputs are geometric.
    slots, refill : number
        :math:`N` and :math:`k < N` [requests].

    Returns
    -------
    DecodePhase
        The fluid formula of arXiv:2606.00516 and the exact mean.

    Notes
    -----
    The formula is low because the last step frees more than :math:`k` slots. What it frees
    counts for the next phase if refills start :math:`k` requests, so the throughput by the
    formula is nearly exact nevertheless.

    Examples
    --------
    >>> from queueing_llm.stability import BatchingCosts, decode_phase
    >>> costs = BatchingCosts(1.2786e-3, 2.4853e-5, 8.9212e-3, 4.5865e-5, 1e-3, (1e-5, 0, 0))
    >>> phase = decode_phase(costs, 100, slots=256, refill=32)
    >>> round(phase.fluid_seconds, 4), round(phase.exact_seconds, 4)
    (0.2659, 0.2747)
    """
    check(output_tokens, "output_tokens", Output)
    check(slots, "slots", Requests)
    check(refill, "refill", Requests)
    steps = vacating(refill / slots) * output_tokens
    fluid = costs.decode_per_request * output_tokens * refill + costs.decode_base * steps
    if is_symbolic(fluid) or not _are_countable(slots, refill):
        return DecodePhase(fluid, None)
    exact = decode_phase_seconds(
        _decode_seconds(costs, slots), refill=int(refill), finishing=1 / float(output_tokens)
    )
    return DecodePhase(fluid, exact)


@final
@dataclass(frozen=True, slots=True)
class BatchingComparison:
    """What a request costs in exclusive and in mixed batches.

    Parameters
    ----------
    tokens_per_request : number
        Prompt and output [tokens/request].
    exclusive_seconds, mixed_seconds : number
        By the formulas of the module [s/request].
    exact_exclusive_seconds : float or None
        Of the saturated engine, step by step; None for symbols, and unless slots and refill
        are integers and slots at most 2048 [s/request].
    """

    tokens_per_request: Real
    exclusive_seconds: Real
    mixed_seconds: Real
    exact_exclusive_seconds: float | None

    @property
    def is_mixed_better(self) -> bool:
        """Whether mixed batches take less time, the published crossover condition."""
        return bool(self.mixed_seconds < self.exclusive_seconds)

    @property
    def exclusive_tokens_per_second(self) -> Real:
        """Prompt and output tokens per second of exclusive batches, fluid [tokens/s]."""
        return self.tokens_per_request / self.exclusive_seconds

    @property
    def mixed_tokens_per_second(self) -> Real:
        """Prompt and output tokens per second of mixed batches [tokens/s]."""
        return self.tokens_per_request / self.mixed_seconds


def compare_batching(
    costs: BatchingCosts,
    *,
    prompt_tokens: Real,
    output_tokens: Real,
    slots: Real,
    refill: Real,
) -> BatchingComparison:
    r"""Return what a request costs in exclusive and in mixed batches, prompts waiting.

    Parameters
    ----------
    costs : BatchingCosts
        The cost model.
    prompt_tokens, output_tokens : number
        Means :math:`\mu_L` and :math:`\mu_O` [tokens]; outputs are geometric.
    slots : number
        :math:`N`, residents of either engine [requests].
    refill : number
        :math:`k < N` [requests].

    Returns
    -------
    BatchingComparison
        Symbolic for symbols.

    Raises
    ------
    InvalidArgument
        If a number is out of range.

    Notes
    -----
    A model for signs and thresholds: measured gains are reported to be much smaller than its
    differences.

    Examples
    --------
    >>> from queueing_llm.stability import BatchingCosts, compare_batching
    >>> fitted = (2.4937e-05, 5.1929e-05, 1.4778e-05)
    >>> h200 = BatchingCosts(1.2786e-3, 2.4853e-5, 8.9212e-3, 4.5865e-5, 1.2786e-3, fitted)
    >>> size = {"prompt_tokens": 512, "output_tokens": 512, "slots": 1024, "refill": 24}
    >>> found = compare_batching(h200, **size)
    >>> round(found.exclusive_tokens_per_second), round(found.mixed_tokens_per_second)
    (25114, 18109)
    """
    exclusive, mixed = request_seconds(
        costs,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        slots=slots,
        refill=refill,
    )
    exact = None
    if not is_symbolic(exclusive) and _are_countable(slots, refill):
        prefill = costs.prefill_base + costs.prefill_per_token * prompt_tokens * refill
        exact = saturated_request_seconds(
            _decode_seconds(costs, slots),
            float(prefill),
            refill=int(refill),
            finishing=1 / float(output_tokens),
        )
    return BatchingComparison(prompt_tokens + output_tokens, exclusive, mixed, exact)


def request_seconds(
    costs: BatchingCosts,
    *,
    prompt_tokens: Real,
    output_tokens: Real,
    slots: Real,
    refill: Real,
) -> tuple[Real, Real]:
    """Return the fluid time of a request in exclusive and in mixed batches [s/request].

    Parameters are those of :func:`compare_batching`.
    """
    for name, value, annotation in (
        ("prompt_tokens", prompt_tokens, Prompt),
        ("output_tokens", output_tokens, Output),
        ("slots", slots, Requests),
        ("refill", refill, Requests),
    ):
        check(value, name, annotation)
    tokens = prompt_tokens + output_tokens
    steps = vacating(refill / slots) * output_tokens
    exclusive = costs.prefill_per_token * prompt_tokens
    exclusive += costs.decode_per_request * output_tokens
    exclusive += (costs.prefill_base + costs.decode_base * steps) / refill
    mixed = costs.mixed_token_seconds(output_tokens / tokens) * tokens
    mixed += costs.mixed_base * (1 + output_tokens) / slots
    return exclusive, mixed


def _are_countable(slots: Real, refill: Real) -> bool:
    """Whether the residents are a chain of a size to be solved."""
    return slots <= MOST_SLOTS and int(slots) == slots and int(refill) == refill


def _decode_seconds(costs: BatchingCosts, slots: Real) -> np.ndarray:
    residents = np.arange(int(slots) + 1)
    return float(costs.decode_base) + float(costs.decode_per_request) * residents
