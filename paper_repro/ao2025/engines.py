"""Engines of arXiv:2504.11320: a batch takes d0 + d1 for each cached token of its members."""

from fractions import Fraction
from typing import Any

import queueing_llm as ql

KV_CAPACITY = 137_000
"""KV-cache tokens of Llama-2-7B on an A100 with 80 GB, as the paper rounds it."""
BASE_LIFETIME = Fraction("298.838915")
r""":math:`d_0 A` [token s], with ``SLOPE_SHARE`` the only two numbers that M* depends on."""
SLOPE_SHARE = Fraction("0.00003783668")
r""":math:`d_1 / d_0` [1/token]; both are fitted to the four printed values of M*, ours."""
PROMPT, OUTPUT = 59, 147
"""Mean lengths of the filtered lmsys-chat-1m, 58.6 and 147.3, rounded [tokens]."""
BUDGET = 2**14


def lifetime(prompt: int, output: int) -> Fraction:
    r"""Return :math:`A = (l' + 1)(l + l' / 2)`, what a request holds over its batches.

    Parameters
    ----------
    prompt, output : int
        :math:`l`, :math:`l'` [tokens].

    Examples
    --------
    >>> lifetime(512, 20)
    Fraction(10962, 1)
    """
    return (output + 1) * (prompt + Fraction(output, 2))


def engine_with(base: Fraction, slope: Fraction, *, kv_capacity: int | None) -> ql.Engine:
    r"""Return an engine whose batches take :math:`d_0 + d_1 \cdot` (cached tokens).

    Parameters
    ----------
    base, slope : Fraction
        :math:`d_0` [s] and :math:`d_1` [s/token].
    kv_capacity : int or None
        :math:`C` [tokens].

    Notes
    -----
    A prefill counts its prompt, a decode step what it reads and the token that it adds, so
    tokens computed and tokens read cost the same. No budget binds.

    Examples
    --------
    >>> engine_with(Fraction(1, 2), Fraction(1, 4), kv_capacity=9).step_time(2, 1, 5)
    Fraction(5, 2)
    """
    law = ql.AffineStepTime(base=base, per_token=slope, per_kv_token=slope)
    return ql.Engine(step_time=law, token_budget=BUDGET, kv_capacity=kv_capacity)


def fitted_engine(
    prompt: int = PROMPT, output: int = OUTPUT, *, kv_capacity: int = KV_CAPACITY
) -> ql.Engine:
    """Return an engine with the printed M*, for requests of these lengths.

    Parameters
    ----------
    prompt, output : int
        Lengths of every request [tokens]; M* is the same for all.
    kv_capacity : int
        :math:`C` [tokens].

    Examples
    --------
    >>> found = ql.wait_equilibrium(fitted_engine(), alike(70, PROMPT, OUTPUT))
    >>> round(found.memory_tokens)
    100327
    """
    base = BASE_LIFETIME / lifetime(prompt, output)
    return engine_with(base, SLOPE_SHARE * base, kv_capacity=kv_capacity)


def alike(rate: Any, prompt: int, output: int) -> ql.Workload:
    """Return Poisson arrivals of requests that are all alike.

    Examples
    --------
    >>> float(alike(2, 5, 3).arrival_rate)
    2.0
    """
    return ql.Workload.poisson(rate, prompt_tokens=prompt, output_tokens=output)


def kinds(rates: dict[tuple[int, int], Any]) -> ql.Workload:
    """Return Poisson arrivals of several kinds of requests, by prompt and output.

    Parameters
    ----------
    rates : dict of (int, int) to number
        Rate of each kind [requests/s]; those without arrivals are left out.

    Examples
    --------
    >>> float(kinds({(8, 4): 2, (8, 10): 1}).arrival_rate)
    3.0
    """
    classes = [
        ql.RequestClass(
            f"{prompt}+{output}",
            ql.IndependentLengths(
                ql.DeterministicLength(prompt), ql.DeterministicLength(output)
            ),
            share=rate,
        )
        for (prompt, output), rate in rates.items()
        if rate > 0
    ]
    return ql.Workload(ql.PoissonArrivals(sum(rates.values())), classes)
