"""Evenly spaced arrivals: a backlog that a work-conserving engine never exceeds."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from queueing_llm._validate import Real, check
from queueing_llm.model import DeterministicArrivals, Engine, Workload
from queueing_llm.policies import Policy
from queueing_llm.stability.drift._foster import Backlog, costliest_sizes, numeric_rate
from queueing_llm.stability.drift._work_conserving import theorem_2_hypotheses


@final
@dataclass(frozen=True, slots=True)
class PeriodicBound:
    r"""What the backlog :math:`V` never exceeds, and how soon it comes back, on every path.

    Parameters
    ----------
    batch_end_tokens : int
        Most backlog at the end of a batch, with what arrived until then and without the
        batch, if the engine was empty at first [tokens].
    any_time_tokens : int
        Most backlog at any time, with the batch that is running [tokens].
    exceptional_tokens : int
        :math:`B = (b - 1)(D + 1)`: above it every batch is full [tokens].
    drift : Fraction
        :math:`\lambda w\, t(b) - b \le 0`, the change of :math:`V` in a full batch, averaged
        over many [tokens/batch].
    batch_seconds : Fraction
        :math:`t(b)` [s].
    work_tokens : int
        :math:`w`, the work of a request [tokens].

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> every = ql.Workload.of(
    ...     ql.DeterministicArrivals.every(5),
    ...     ql.IndependentLengths(ql.DeterministicLength(1), ql.DeterministicLength(2)),
    ... )
    >>> found = periodic_bound(engine, every, policy=ql.SARATHI)
    >>> found.batch_end_tokens, found.any_time_tokens, found.return_seconds(100)
    (11, 15, Fraction(465, 1))
    """

    batch_end_tokens: int
    any_time_tokens: int
    exceptional_tokens: int
    drift: Fraction
    batch_seconds: Fraction
    work_tokens: int

    def return_seconds(self, backlog_tokens: Real) -> Fraction | None:
        r"""Bound the time until :math:`V \le B` at the end of a batch, from a backlog.

        Until then every batch is full, and fewer than :math:`1 + N \lambda t(b)` requests
        arrive in :math:`N` of them, so :math:`V_N < V_0 + w - N (b - \lambda w\, t(b))`.

        Parameters
        ----------
        backlog_tokens : number
            :math:`V_0` at the end of a batch [tokens].

        Returns
        -------
        Fraction or None
            Seconds, a bound for every path and not for the mean; 0 if the backlog is not
            above :math:`B`, and otherwise None at load 1, where it may never be.
        """
        check(backlog_tokens, "backlog_tokens", Backlog)
        excess = math.ceil(backlog_tokens) - self.exceptional_tokens
        if excess <= 0:
            return Fraction(0)
        if self.drift == 0:
            return None
        return math.ceil((excess + self.work_tokens - 1) / -self.drift) * self.batch_seconds


def periodic_bound(
    engine: Engine, workload: Workload, *, policy: Policy
) -> PeriodicBound | None:
    r"""Bound the backlog for evenly spaced arrivals, at a load up to exactly 1.

    With :math:`D` decode steps and work :math:`w` of a request, if
    :math:`\lambda w \le b / t(b)`, then at the end of every batch

    .. math:: V < w + \max_{1 \le n < b} \bigl( n D + \lambda w\, t(n) \bigr),

    which is at most :math:`b (D + 1) + p \le b w + 1` if :math:`t` does not decrease, and at
    any time :math:`V` is below that plus :math:`b`. If :math:`b = 1`, :math:`V \le w` at the
    end of every batch.

    Parameters
    ----------
    engine, workload, policy
        The system, empty at first; the first request may come at any time.

    Returns
    -------
    PeriodicBound or None
        Integers, exact for the rate and the step times as given, floats at their exact
        values. None unless arrivals are deterministic, lengths bounded, no request has fewer
        than 0 decode steps, the policy is work-conserving, no limit but the token budget binds,
        the step time depends on the token count alone, and :math:`\lambda w \le b / t(b)`.

    Raises
    ------
    InvalidArgument
        If the arrival rate or the step time is symbolic.

    Notes
    -----
    An upper bound, derived here; small systems attain it, and at :math:`b = 512` it is 2 to 4
    times the largest backlog that was seen. Let :math:`n < b` be the tokens of the last batch
    that was not full. It served its whole demand: every prompt, and one token of each of at
    most :math:`n` requests, so at most :math:`n D` tokens were left. Since it began, fewer
    than :math:`1 + \lambda (t(n) + j\, t(b))` requests arrived, and :math:`j` full batches
    took :math:`j b` tokens away. Neither a full batch that is the best batch nor a monotone
    :math:`t` is needed. The bound :math:`(b + 1) w` of a public formalisation follows if
    :math:`t` does not decrease, and fails if :math:`t(n)` is much longer than :math:`t(b)`.

    Requests that differ count as the longest one, with :math:`D = w - 1`.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.of(
    ...     ql.DeterministicArrivals(1),
    ...     ql.IndependentLengths(ql.DeterministicLength(100), ql.DeterministicLength(100)),
    ... )
    >>> critical = load.scale_to(ql.capacity(engine, load).requests_per_second)
    >>> periodic_bound(engine, critical, policy=ql.SARATHI).batch_end_tokens
    51811
    """
    longest = workload.longest_request
    if not isinstance(workload.arrivals, DeterministicArrivals) or longest is None:
        return None
    conserving, unlimited, _, of_tokens, _ = theorem_2_hypotheses(engine, workload, policy)
    if not (conserving.holds and unlimited.holds and of_tokens.holds):
        return None
    if engine.decode_steps(workload.moments.shortest_output) < 0:
        return None
    budget, work = engine.token_budget, engine.work_tokens(0, longest)
    steps = _most_decode_steps(engine, workload, work)
    token_rate = Fraction(numeric_rate(workload)) * work
    full = Fraction(engine.step_time(budget))
    drift = token_rate * full - budget
    if drift > 0:
        return None
    sizes = costliest_sizes(engine, budget - 1, per_token=steps, per_second=token_rate)
    costs = (steps * n + token_rate * Fraction(engine.step_time(n)) for n in sizes)
    batch_end = work + max(0, math.ceil(max(costs, default=0)) - 1)
    return PeriodicBound(
        batch_end_tokens=batch_end,
        any_time_tokens=batch_end + budget,
        exceptional_tokens=(budget - 1) * (steps + 1),
        drift=drift,
        batch_seconds=full,
        work_tokens=work,
    )


def _most_decode_steps(engine: Engine, workload: Workload, work: int) -> int:
    """Return the decode steps of equal requests, else the most that the longest can have."""
    moments = workload.moments
    squares = (moments.prompt_squared, moments.output_squared)
    if squares == (moments.prompt**2, moments.output**2):
        return int(engine.decode_steps(moments.output))
    return work - 1
