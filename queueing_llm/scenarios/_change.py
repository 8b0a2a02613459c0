"""Scenarios with single values replaced."""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from queueing_llm._validate import Domain, Real, Tokens, TokensOrZero, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    AbstractArrivals,
    AbstractRequestLengths,
    ClosedArrivals,
    DeterministicLength,
    EmpiricalLengths,
    Engine,
    IndependentLengths,
    Workload,
)

Scale = Annotated[Real, Domain("s", "1", above=0)]


def change_engine(engine: Engine, **limits: int | None) -> Engine:
    """Return the engine with the limits that are not None replaced.

    Parameters
    ----------
    engine : Engine
        The engine.
    **limits : int or None
        Fields of :class:`~queueing_llm.model.Engine`; None keeps what it has.

    Raises
    ------
    InvalidArgument
        If a limit is not a positive integer, or the KV cache does not consist of whole blocks.

    Examples
    --------
    >>> from queueing_llm.scenarios import change_engine, load_scenario
    >>> change_engine(load_scenario("theorem-2").engine, token_budget=256).token_budget
    256
    """
    changes: dict[str, Any] = {name: v for name, v in limits.items() if v is not None}
    return replace(engine, **changes)


def change_workload(
    workload: Workload,
    *,
    arrival_rate: Real | None = None,
    scale: Real = 1,
    prompt_tokens: int | None = None,
    output_tokens: int | None = None,
    users: int | None = None,
    think_time: Real | None = None,
) -> Workload:
    """Return the workload with the values that are given replaced.

    Parameters
    ----------
    workload : Workload
        The workload.
    arrival_rate : Real or None
        Rate to stretch time to [requests/s].
    scale : Real
        Factor on the rate [1], applied last.
    prompt_tokens, output_tokens : int or None
        Length of every request of every class [tokens], instead of its law.
    users : int or None
        Users of a closed workload, who send the requests instead.
    think_time : Real or None
        From an answer to the next request of its user [s]; constant.

    Raises
    ------
    InvalidArgument
        If a value is out of range, a closed workload is given a rate, or an open one a think
        time.

    Examples
    --------
    >>> from queueing_llm.scenarios import change_workload, load_scenario
    >>> load = load_scenario("theorem-2").workload
    >>> change_workload(load, scale=2).arrival_rate
    Fraction(30, 1)
    """
    check(scale, "scale", Scale)
    if prompt_tokens is not None:
        check(prompt_tokens, "prompt_tokens", Tokens)
    if output_tokens is not None:
        check(output_tokens, "output_tokens", TokensOrZero)
    classes = [
        replace(c, lengths=_changed(c.lengths, prompt_tokens, output_tokens))
        for c in workload.classes
    ]
    changed = Workload(_closed(workload, users, think_time), classes)
    if arrival_rate is not None:
        changed = changed.scale_to(arrival_rate)
    return changed if scale == 1 else changed.scale_to(changed.arrival_rate * scale)


def _closed(workload: Workload, users: int | None, think_time: Real | None) -> AbstractArrivals:
    """Return the arrivals, or the users that replace them."""
    own = workload.arrivals
    if users is None and think_time is None:
        return own
    if isinstance(own, ClosedArrivals):
        own = own if users is None else replace(own, users=users)
        return own if think_time is None else replace(own, think_time=think_time)
    if users is None:
        msg = (
            f"think_time={think_time!r} is about users, and the workload has none: "
            "give users, too."
        )
        raise InvalidArgument(msg)
    return ClosedArrivals(users, think_time or 0)


def _changed(
    lengths: AbstractRequestLengths, prompt: int | None, output: int | None
) -> AbstractRequestLengths:
    if prompt is not None and output is not None:
        return IndependentLengths(DeterministicLength(prompt), DeterministicLength(output))
    if isinstance(lengths, IndependentLengths):
        return IndependentLengths(
            lengths.prompt if prompt is None else DeterministicLength(prompt),
            lengths.output if output is None else DeterministicLength(output),
        )
    if isinstance(lengths, EmpiricalLengths):
        column = np.asarray(lengths.prompt_tokens)
        if prompt is not None:
            lengths = replace(lengths, prompt_tokens=np.full_like(column, prompt))
        if output is not None:
            lengths = replace(lengths, output_tokens=np.full_like(column, output))
    return lengths
