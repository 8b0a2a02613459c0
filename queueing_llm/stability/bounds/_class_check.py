"""Whether prices per class are a certificate: exactly, over all batches."""

from collections.abc import Sequence
from numbers import Rational

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.stability.bounds._class_kinds import ClassKinds, ClassPairs
from queueing_llm.stability.bounds._class_prices import worth, worth_more


def check_class_prices(
    engine: Engine, prices: ClassPairs, *, longest_prompts: Sequence[int | None]
) -> None:
    r"""Raise unless no allowed batch is worth more than its time at these prices.

    If :math:`\sum_j \pi_{p,j} x_j + \pi_{d,j} y_j \le t(n)` for every allowed batch, rates
    with :math:`\sum_j \pi_{p,j} \lambda_{p,j} + \pi_{d,j} \lambda_{d,j} > 1` are unstable
    under every policy: the backlog, valued at the prices, gains more than one second per
    second and loses at most one.

    Parameters
    ----------
    engine : Engine
        The engine, with integers or Fractions as the parameters of its step time.
    prices : sequence of (number, number)
        Prices of a prefill and of a decode token of each class [s/token], integers or
        Fractions, at least 0.
    longest_prompts : sequence of (int or None)
        As for :func:`class_region`.

    Raises
    ------
    InvalidArgument
        If a batch is worth more than its time (the message names it), a price is negative,
        or a number is not exact.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from queueing_llm import Engine, StaircaseStepTime
    >>> step = StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> engine = Engine(step_time=step, token_budget=128)
    >>> cheap, dear = ([(Fraction(1, n),) * 2] * 2 for n in (2738, 2737))
    >>> check_class_prices(engine, cheap, longest_prompts=(None, None))
    >>> check_class_prices(engine, dear, longest_prompts=(None, None))
    Traceback (most recent call last):
    queueing_llm.errors.InvalidArgument: prices must value no batch above its time, ...
    """
    kinds = ClassKinds.of(engine, longest_prompts)
    by_kind = kinds.by_kind(prices, "prices", unit="s/token")
    if not kinds.is_exact or not all(isinstance(p, Rational) for pair in prices for p in pair):
        msg = (
            "prices and the parameters of step_time must be integers or Fractions for an exact "
            f"check, got prices={prices!r} and step_time={engine.step_time!r}."
        )
        raise InvalidArgument(msg)
    # In a batch, every token of a kind may be of the class that values it most.
    dearest = [max(of_one, default=0) for of_one in by_kind]
    batch = worth_more(kinds.tokens, dearest)
    if batch is not None:
        held = " and ".join(
            f"{count} tokens (up to {longest} a request)"
            for count, longest in zip(batch.tokens, kinds.tokens.longest, strict=True)
            if count
        )
        msg = (
            f"prices must value no batch above its time, got prices={prices!r}: the batch of "
            f"{held} takes {batch.seconds} s and is worth {worth(dearest, batch.tokens)} s."
        )
        raise InvalidArgument(msg)
