"""Whether prices are a certificate: every allowed batch compared with its time, exactly."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from numbers import Rational

import numpy as np

from queueing_llm._validate import Real, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.stability.bounds._batches import BatchLimits, is_of_token_count
from queueing_llm.stability.bounds._region import LongestPrompt, Pair
from queueing_llm.steptime import TableStepTime


def check_prices(engine: Engine, prices: Pair, *, longest_prompt: int | None = None) -> None:
    r"""Raise unless no allowed batch is worth more than its time at these prices.

    If :math:`\pi_p x + \pi_d y \le t(x, y, K)` for every allowed batch, an arrival rate with
    :math:`\lambda (\pi_p m_p + \pi_d D) > 1` is unstable under every policy: the backlog,
    valued at the prices, gains more than one second per second and loses at most one. Where a
    prefill yields a token, this is about policies that preempt nobody. The comparisons are of
    integers and Fractions, finitely many, and use nothing of the way in which the prices were
    found.

    Parameters
    ----------
    engine : Engine
        The engine, with integers or Fractions as the parameters of its step time.
    prices : tuple of number
        :math:`(\pi_p, \pi_d)` [s/token], integers or Fractions, at least 0.
    longest_prompt : int or None
        As for :func:`stability_region`.

    Raises
    ------
    InvalidArgument
        If a batch is worth more than its time (the message names it), a price is negative,
        or a number is not exact.

    Notes
    -----
    Where the time is that of the total tokens :math:`n`, the value of a batch is linear in
    :math:`y` at fixed :math:`n`, so the fewest and the most decode tokens decide. Of a grid,
    every batch is compared.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from queueing_llm import Engine, StaircaseStepTime
    >>> step = StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> check_prices(Engine(step_time=step, token_budget=128), (Fraction(1, 2738),) * 2)
    >>> check_prices(Engine(step_time=step, token_budget=128), (Fraction(1, 2737),) * 2)
    Traceback (most recent call last):
    queueing_llm.errors.InvalidArgument: prices must value no batch above its time, ...
    """
    check(longest_prompt, "longest_prompt", LongestPrompt)
    if np.shape(prices) != (2,) or not all(
        isinstance(p, int | Fraction) and p >= 0 for p in prices
    ):
        msg = (
            "prices must be two integers or Fractions at least 0 [s/token], "
            f"got prices={prices!r}."
        )
        raise InvalidArgument(msg)
    prefill_price, decode_price = prices
    for x, y, seconds in _timed(engine, longest_prompt):
        if not isinstance(seconds, Rational):
            msg = (
                "step_time must have integers or Fractions as parameters for an exact check, "
                f"got step_time={engine.step_time!r}."
            )
            raise InvalidArgument(msg)
        worth = prefill_price * x + decode_price * y
        if worth > seconds:
            msg = (
                f"prices must value no batch above its time, got prices={prices}: the batch of "
                f"{x} prefill and {y} decode tokens takes {seconds} s and is worth {worth} s."
            )
            raise InvalidArgument(msg)


def _timed(engine: Engine, longest_prompt: int | None) -> Iterator[tuple[int, int, Real]]:
    """Yield the batches that are compared and their least times."""
    limits = BatchLimits.of(engine, longest_prompt)
    law = engine.step_time
    if is_of_token_count(law):
        for n in range(1, limits.most_tokens + 1):
            seconds = law(n)
            yield n, 0, seconds
            y = limits.most_decode(n)
            yield n - y, y, seconds
        return
    if not isinstance(law, TableStepTime):
        msg = (
            "step_time must be a law of the total tokens in a batch or a TableStepTime for "
            f"prices to be checked, got step_time={law!r}."
        )
        raise InvalidArgument(msg)
    kv_tokens: Iterable[int] = law.axes[2] or (0,)
    for y in range(limits.requests + 1):
        for x in range(0 if y else 1, limits.most_prefill_beside(y) + 1):
            yield x, y, min(law(x, y, kv) for kv in (kv_tokens if y else (0,)))
