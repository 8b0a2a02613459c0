"""Admission by budgets: what so many new requests a batch will ever hold in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np

from queueing_llm._ops import ratio
from queueing_llm._validate import Domain, Real, check
from queueing_llm.errors import InvalidArgument

Lifetime = Annotated[Real, Domain("w_k", "token batches/request", above=0)]
Budget = Annotated[int, Domain("b_k", "requests/batch", at_least=0, integer=True)]
Arrivals = Annotated[Real, Domain("lambda_k", "requests/batch", at_least=0)]
Slots = Annotated[int, Domain("M", "tokens", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True)
class FlowControl:
    r"""What activation budgets guarantee, and what no budgets could change.

    Parameters
    ----------
    memory_load : number
        :math:`\sum_k \lambda_k w_k / M` [1]: above 1 every policy is unstable.
    peak_tokens : number
        :math:`\sum_k b_k w_k`, the most that is ever held [tokens].
    fits : bool
        Whether the peak is within the KV cache, so that nothing is ever evicted.
    growth : tuple of number
        :math:`(\lambda_k - b_k)^+` of each class, in the fluid limit [requests/batch].
    is_stable : bool
        Whether memory suffices and every budget exceeds the arrivals of its class.

    Examples
    --------
    >>> FlowControl(0.5, 8, fits=True, growth=(0, 0), is_stable=True).is_stable
    True
    """

    memory_load: Real
    peak_tokens: Real
    fits: bool
    growth: tuple[Real, ...]
    is_stable: bool


def flow_control(
    lifetimes: Sequence[Real],
    budgets: Sequence[int],
    *,
    arrivals_per_batch: Sequence[Real],
    kv_capacity: int,
) -> FlowControl:
    r"""Check activation budgets: at most :math:`b_k` requests of class :math:`k` start a batch.

    Each request then runs in every batch until it ends, so at most :math:`b_k` requests of a
    class have any one age, and all together hold at most :math:`\sum_k b_k w_k` slots:

    .. math:: \sum_k b_k w_k \le M, \quad \lambda_k < b_k \;\Rightarrow\; \text{stable},
       \qquad \sum_k \lambda_k w_k > M \;\Rightarrow\; \text{unstable}.

    Parameters
    ----------
    lifetimes : sequence of number
        :math:`w_k`, slots that a request of a class holds, summed over its batches
        [token batches/request]: :func:`kv_lifetime` of requests that are all alike, whatever
        the blocks; or, in single slots, :math:`l o + o (o + 1) / 2` where prompts take no
        batch of their own.
    budgets : sequence of int
        :math:`b_k` [requests/batch].
    arrivals_per_batch : sequence of number
        :math:`\lambda_k` [requests/batch].
    kv_capacity : int
        :math:`M` [tokens].

    Returns
    -------
    FlowControl
        Exact for exact data.

    Raises
    ------
    InvalidArgument
        If there is no class, the sequences differ in length, or a number is out of range.

    Notes
    -----
    Conditions of arXiv:2604.11001: the first is sufficient where the requests of a class are
    alike and batches have no other limit, the second is necessary. In between, other budgets
    may do.

    Examples
    --------
    >>> found = flow_control(
    ...     [410, 1220, 2430], [4, 4, 4], arrivals_per_batch=[3.9] * 3, kv_capacity=16_492
    ... )
    >>> found.peak_tokens, found.is_stable
    (16240, True)
    """
    check(kv_capacity, "kv_capacity", Slots)
    shapes = {np.shape(numbers) for numbers in (lifetimes, budgets, arrivals_per_batch)}
    if shapes != {(max(1, np.size(lifetimes)),)}:
        msg = (
            "lifetimes, budgets and arrivals_per_batch must have one entry for each class, got "
            f"{lifetimes!r}, {budgets!r} and {arrivals_per_batch!r}."
        )
        raise InvalidArgument(msg)
    classes = list(zip(lifetimes, budgets, arrivals_per_batch, strict=True))
    for k, (lifetime, budget, arrivals) in enumerate(classes):
        check(lifetime, f"lifetimes[{k}]", Lifetime)
        check(budget, f"budgets[{k}]", Budget)
        check(arrivals, f"arrivals_per_batch[{k}]", Arrivals)
    peak = sum(b * w for w, b, _ in classes)
    fits = bool(peak <= kv_capacity)
    return FlowControl(
        memory_load=ratio(sum(a * w for w, _, a in classes), kv_capacity),
        peak_tokens=peak,
        fits=fits,
        growth=tuple(max(a - b, 0) for _, b, a in classes),
        is_stable=fits and all(a < b for _, b, a in classes),
    )
