r"""What an engine serves per second while prompts, decodes or both wait in bulk.

Two orders of the phases cover every rule. *The pool of decodes stays small*: decodes go
first, or residents are limited, or no prompt is ever served. While decodes wait in bulk they
have the engine for themselves, and prompts in bulk are served at the rate of the saturated
engine, request by request. *The pool grows*: prefill goes first, so prompts in bulk have the
engine for themselves, and decodes in bulk get what prompts leave that are served as they come.

Why this is the limit. Under decode first, prompts are served only beside or after fewer
decodes than a batch holds, so the pool stays below what one batch adds to it. Under prefill
first, prompts are a queue of their own, served by full prefill batches or not at all.
Requests are served oldest first, so all but a bounded number in the pool are untouched, and
their reads of the KV cache are those of whole requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import NamedTuple, final

from queueing_llm._validate import Real, unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.fluid._path import Mode


def exact_value(number: Real) -> Fraction:
    """Return a number as it is in the machine, so that what balances does so exactly.

    Raises
    ------
    InvalidArgument
        If it is a symbol.
    """
    value = unboxed(number)
    try:
        return Fraction(value if isinstance(value, Rational) else float(value))
    except TypeError:
        msg = f"a fluid path needs numbers, got {number!r}: substitute its symbols first."
        raise InvalidArgument(msg) from None


class Rates(NamedTuple):
    """Prefill and decode tokens that an engine serves [tokens/s]."""

    prefill: Fraction
    decode: Fraction


@final
@dataclass(frozen=True, slots=True)
class FluidService:
    r"""The fluid equations of one engine, workload and rule.

    .. math:: \dot Q_p = \lambda m_p - x, \qquad \dot A_d = \frac{m_D}{m_p} x - y

    at the rates :math:`(x, y)` of the mode. Rates in a mode in which something does not wait
    let it grow, if they do not keep up with it, and never fall below 0.

    Parameters
    ----------
    arriving : Fraction
        :math:`\lambda m_p` [tokens/s].
    steps_per_prompt_token : Fraction
        :math:`m_D / m_p` [1].
    rates : mapping of mode to Rates
        :math:`(x, y)` [tokens/s].
    """

    arriving: Fraction
    steps_per_prompt_token: Fraction
    rates: Mapping[Mode, Rates]

    def drift(self, mode: Mode) -> tuple[Fraction, Fraction]:
        """Return how prompt and available decode tokens change in a mode [tokens/s]."""
        prefill, decode = self.rates[mode]
        return self.arriving - prefill, self.steps_per_prompt_token * prefill - decode


def small_pool_service(
    arriving: Fraction,
    steps_per_prompt_token: Fraction,
    *,
    saturated_prefill: Fraction,
    decode_alone: Fraction,
) -> FluidService:
    r"""Return the service of a rule whose pool of decodes stays small.

    Parameters
    ----------
    arriving, steps_per_prompt_token : Fraction
        :math:`\lambda m_p` [tokens/s] and :math:`m_D / m_p` [1].
    saturated_prefill : Fraction
        :math:`\lambda_c m_p`, the prefill tokens served while prompts wait [tokens/s].
    decode_alone : Fraction
        The decode tokens served by full batches of decodes [tokens/s].
    """

    def requests(prefill: Fraction) -> Rates:
        return Rates(prefill, steps_per_prompt_token * prefill)

    only_decodes = Rates(Fraction(0), decode_alone)
    return FluidService(
        arriving,
        steps_per_prompt_token,
        {
            "empty": requests(min(arriving, saturated_prefill)),
            "prompts": requests(saturated_prefill),
            "decodes": only_decodes,
            "both": only_decodes,
        },
    )


def growing_pool_service(
    arriving: Fraction,
    steps_per_prompt_token: Fraction,
    *,
    prefill_alone: Fraction,
    decode_beside: Fraction,
) -> FluidService:
    r"""Return the service of a rule that prefills first.

    Parameters
    ----------
    arriving, steps_per_prompt_token : Fraction
        :math:`\lambda m_p` [tokens/s] and :math:`m_D / m_p` [1].
    prefill_alone : Fraction
        The prefill tokens served by full batches of them [tokens/s].
    decode_beside : Fraction
        The decode tokens served while decodes wait and prompts are served as they come
        [tokens/s]; 0 if the prompts that come leave no time.
    """
    served = min(arriving, prefill_alone)
    only_prompts = Rates(prefill_alone, Fraction(0))
    return FluidService(
        arriving,
        steps_per_prompt_token,
        {
            "empty": Rates(served, min(steps_per_prompt_token * served, decode_beside)),
            "prompts": only_prompts,
            "decodes": Rates(served, decode_beside),
            "both": only_prompts,
        },
    )
