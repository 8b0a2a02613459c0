"""How many requests an exclusive engine may hold, so that its KV cache rarely overflows."""

import math
from dataclasses import dataclass
from typing import Annotated, final

from queueing_llm._validate import Domain, Real, check
from queueing_llm.stability.batching._batching_costs import Output, logarithm, vacating
from queueing_llm.stability.batching._exclusive_or_mixed import Prompt

RefillShare = Annotated[Real, Domain("theta", "1", above=0)]
Memory = Annotated[Real, Domain("C", "tokens", above=0)]
Chance = Annotated[Real, Domain("epsilon", "1", above=0, at_most=1)]


@final
@dataclass(frozen=True, slots=True)
class SafeSlots:
    """Slots that a KV cache allows, with two margins for chance.

    Parameters
    ----------
    published : number
        With the margin of arXiv:2606.00516 [requests].
    with_spread_ages : number
        With a margin for the spread of the residents' ages, ours [requests].
    """

    published: Real
    with_spread_ages: Real

    @property
    def slots(self) -> int:
        """The smaller of the two, rounded down [requests]."""
        return math.floor(min(self.published, self.with_spread_ages))


def memory_safe_slots(
    kv_capacity: Real,
    *,
    prompt_tokens: Real,
    output_tokens: Real,
    refill_share: Real,
    overflow_chance: Real = 0.01,
) -> SafeSlots:
    r"""Return how many slots the KV cache allows in exclusive batching.

    The positive roots :math:`\sqrt N` of :math:`N D + \sigma \sqrt{N \ln(1/\epsilon)} = C`
    with :math:`\Lambda = -\ln(1 - \theta)`,

    .. math:: D = \mu_L + \frac{1 - \theta}{\theta} \Lambda \mu_O, \quad
       \sigma^2 = 2 \Lambda \mu_O^2 (1 + (\mu_L / \mu_O + \Lambda / \theta)^2)
       \quad \text{or} \quad \sigma^2 = 2 (1 - \theta) (\Lambda \mu_O / \theta)^2.

    Parameters
    ----------
    kv_capacity : number
        :math:`C` [tokens].
    prompt_tokens, output_tokens : number
        Means :math:`\mu_L`, :math:`\mu_O` [tokens]; prompts are nearly constant.
    refill_share : number
        :math:`\theta = k/N` below 1 [1].
    overflow_chance : number
        :math:`\epsilon` [1].

    Returns
    -------
    SafeSlots
        Not rounded.

    Notes
    -----
    A resident has lived through :math:`j` phases of :math:`\Lambda \mu_O` steps with chance
    :math:`\theta (1 - \theta)^j`, hence its mean :math:`D` after a refill and, in the second
    margin, its variance. The first margin is the published one as reported. It vanishes with
    :math:`\theta`, though the spread of the ages does not: at :math:`\theta = 0.0116` more
    than a tenth of the cycles overflow where 1 % may. The second one leaves out what the
    residents grow within a phase, which counts if :math:`\theta` is large. The smaller number
    of slots held in every simulation; neither is a proved bound.

    Examples
    --------
    >>> from queueing_llm.stability import memory_safe_slots
    >>> shares = {"prompt_tokens": 128, "output_tokens": 1 / 0.000475, "refill_share": 0.011578}
    >>> safe = memory_safe_slots(726_000, **shares)
    >>> round(safe.published, 1), safe.slots
    (318.8, 278)
    """
    for name, value, annotation in (
        ("kv_capacity", kv_capacity, Memory),
        ("prompt_tokens", prompt_tokens, Prompt),
        ("output_tokens", output_tokens, Output),
        ("refill_share", refill_share, RefillShare),
        ("overflow_chance", overflow_chance, Chance),
    ):
        check(value, name, annotation)
    phases = vacating(refill_share)
    # The mean age in units of an output is (1 - theta) times this.
    age = phases / refill_share
    held = prompt_tokens + (1 - refill_share) * age * output_tokens
    published = 2 * phases * (1 + (prompt_tokens / output_tokens + age) ** 2)
    spread = 2 * (1 - refill_share) * age**2

    def root(variance: Real) -> Real:
        margin = variance * output_tokens**2 * -logarithm(overflow_chance)
        return (((margin + 4 * held * kv_capacity) ** 0.5 - margin**0.5) / (2 * held)) ** 2

    return SafeSlots(root(published), root(spread))
