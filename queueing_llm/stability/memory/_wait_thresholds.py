"""Thresholds of WAIT that keep up and fit (arXiv:2504.11320)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np

from queueing_llm._ops import ratio
from queueing_llm._validate import Domain, Real, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.memory._wait import (
    affine_law,
    check_alike,
    class_costs,
    wait_equilibrium,
    weighted,
)

MOST_ROUNDS = 2**16
Threshold = Annotated[int, Domain("n_j", "requests", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True)
class WaitThresholds:
    r"""What thresholds of WAIT need, and what they leave.

    Parameters
    ----------
    thresholds : tuple of int
        :math:`n_j` of each class: with so many waiting prompts it may advance [requests].
    memory_tokens : number
        :math:`M^\pi = \sum_j n_j A_j`, the most that residents hold [tokens].
    iteration_seconds : number
        :math:`d_0 + \sum_j n_j v_j`, the longest batch [s].
    slack_seconds : tuple of number
        :math:`n_j / \lambda_j` less the longest batch, of each class [s]: if all are above 0,
        latencies stay bounded; at 0 they grow with the square root of time.
    fits : bool
        Whether :math:`M^\pi \le C`.

    Examples
    --------
    >>> WaitThresholds((2,), 6, 1, (0.5,), fits=True).is_feasible
    True
    """

    thresholds: tuple[int, ...]
    memory_tokens: Real
    iteration_seconds: Real
    slack_seconds: tuple[Real, ...]
    fits: bool

    @property
    def is_feasible(self) -> bool:
        """Whether the memory suffices and every class fills its threshold in time."""
        return self.fits and min(self.slack_seconds) >= 0


def check_thresholds(
    engine: Engine, workload: Workload, thresholds: Sequence[int]
) -> WaitThresholds:
    r"""Check the two conditions of arXiv:2504.11320 on the thresholds of WAIT.

    .. math:: d_0 + \sum_i n_i v_i \le \frac{n_j}{\lambda_j} \text{ for every } j, \qquad
       M^\pi = \sum_j n_j A_j \le C

    with :math:`v_j = d_1 A_j` there. The third, :math:`M^\star \le M^\pi`, follows from the
    first: it gives :math:`n_j \ge \lambda_j \Delta T^\star`.

    Parameters
    ----------
    engine, workload
        The system, as in :func:`wait_equilibrium`; requests of one class are alike.
    thresholds : sequence of int
        :math:`n_j` of each class of the workload [requests].

    Returns
    -------
    WaitThresholds
        Exact for exact data.

    Raises
    ------
    InvalidArgument
        If there is not one threshold of at least 1 for each class, the lengths within a class
        vary, or the step time is no affine law with a positive base.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1, 1), token_budget=99)
    >>> load = ql.Workload.poisson(0.125, prompt_tokens=1, output_tokens=1)
    >>> found = check_thresholds(engine, load, [2])
    >>> found.memory_tokens, found.iteration_seconds, found.slack_seconds
    (Fraction(6, 1), Fraction(7, 1), (9.0,))
    """
    if np.shape(thresholds) != (len(workload.classes),):
        msg = (
            f"thresholds must have one entry for each of {len(workload.classes)} classes, got "
            f"thresholds={thresholds!r}."
        )
        raise InvalidArgument(msg)
    for j, threshold in enumerate(thresholds):
        check(threshold, f"thresholds[{j}]", Threshold)
    for requests in workload.classes:
        check_alike(requests)
    law, counts = affine_law(engine), [int(n) for n in thresholds]
    rates, held, seconds = class_costs(engine, workload, law)
    memory, longest = weighted(counts, held), law.base + weighted(counts, seconds)
    return WaitThresholds(
        thresholds=tuple(counts),
        memory_tokens=memory,
        iteration_seconds=longest,
        slack_seconds=tuple(
            ratio(n, rate) - longest for n, rate in zip(counts, rates, strict=True)
        ),
        fits=engine.kv_capacity is None or bool(memory <= engine.kv_capacity),
    )


def smallest_thresholds(engine: Engine, workload: Workload) -> WaitThresholds | None:
    r"""Return the smallest feasible thresholds of WAIT.

    The least integers with :math:`n_j \ge \lambda_j (d_0 + \sum_i n_i v_i)`. The right side
    only grows with the thresholds, so iterating it upwards from
    :math:`\lceil n_j^\star \rceil` never passes a solution: the first one reached is the least
    in every class at once, and so in memory.

    Parameters
    ----------
    engine, workload
        The system, as in :func:`check_thresholds`.

    Returns
    -------
    WaitThresholds or None
        None if none are feasible: the load is at least 1, or even the least do not fit.

    Raises
    ------
    InvalidArgument
        If the step time is no affine law with a positive base, the lengths within a class
        vary, or the load of several classes is so near 1 that the iteration, whose length
        grows like one over what is left, is given up.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> law = ql.AffineStepTime(base=0.02, per_token=4e-7, per_kv_token=4e-7)
    >>> engine = ql.Engine(step_time=law, token_budget=4096, kv_capacity=137_000)
    >>> load = ql.Workload.poisson(40, prompt_tokens=512, output_tokens=20)
    >>> smallest_thresholds(engine, load).thresholds
    (1,)
    """
    for requests in workload.classes:
        check_alike(requests)
    start = wait_equilibrium(engine, workload)
    if start is None or not start.is_sustainable:
        return None
    law = affine_law(engine)
    rates, held, seconds = class_costs(engine, workload, law)
    counts: list[int] = []
    raised = [max(1, math.floor(n)) for n in start.stage_requests]
    most = math.inf if engine.kv_capacity is None else engine.kv_capacity
    for _ in range(MOST_ROUNDS):
        if counts == raised or weighted(raised, held) > most:
            break
        counts = raised
        longest = law.base + weighted(counts, seconds)
        raised = [
            _least_filling(rate, longest, n) for n, rate in zip(counts, rates, strict=True)
        ]
    else:
        msg = (
            "arrival_rate must leave more of the time than a share of "
            f"{float(1 - start.load):.3g} for the least thresholds to be found, got "
            f"arrival_rate={workload.arrival_rate!r}: they are above {counts}."
        )
        raise InvalidArgument(msg)
    found = check_thresholds(engine, workload, raised)
    return found if found.is_feasible else None


def _least_filling(rate: Real, seconds: Real, least: int) -> int:
    """Return the least count, from ``least`` on, that needs so many seconds to arrive."""
    count = max(least, math.ceil(rate * seconds) - 1)
    while ratio(count, rate) < seconds:
        count += 1
    return count
