"""Foster's drift with explicit constants: how a work-conserving engine returns."""

from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import Annotated, final

import numpy as np

from queueing_llm._ops import ratio
from queueing_llm._validate import Domain, Real, check, is_symbolic
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, PoissonArrivals, Workload
from queueing_llm.policies import Policy
from queueing_llm.stability.bounds._best_rate import best_rate
from queueing_llm.stability.drift._work_conserving import theorem_2_hypotheses

NEARLY_MOST = 1e-9
Backlog = Annotated[Real, Domain("V", "tokens", at_least=0)]


@final
@dataclass(frozen=True, slots=True)
class FosterDrift:
    r"""The drift of the backlog :math:`V` at the ends of batches, and what follows from it.

    Parameters
    ----------
    exceptional_tokens : number
        :math:`B = (b - 1) w_{max}`: above it at least :math:`b` requests are present, so
        every batch is full [tokens].
    drift : number
        :math:`\alpha - b < 0`, the mean change of :math:`V` over a batch begun above
        :math:`B`, where :math:`\alpha` tokens arrive during a full batch [tokens/batch].
    batch_seconds : number
        :math:`t(b)` [s].
    lower_bound : number
        No policy has a smaller time average of the backlog [tokens].
    upper_bound : number
        Bound on the mean backlog at the ends of batches [tokens].
    token_budget : int
        :math:`b` [tokens/batch].

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> load = ql.Workload.poisson(Fraction(1, 5), prompt_tokens=1, output_tokens=1)
    >>> found = ql.foster_drift(engine, load, policy=ql.SARATHI)
    >>> found.exceptional_tokens, found.drift, found.return_seconds(100)
    (6, Fraction(-2, 1), Fraction(485, 2))
    """

    exceptional_tokens: Real
    drift: Real
    batch_seconds: Real
    lower_bound: Real
    upper_bound: Real
    token_budget: int

    def return_seconds(self, backlog_tokens: Real) -> Real:
        r"""Bound the mean time until :math:`V \le B` at the end of a batch, from a backlog.

        Until then all batches are full and :math:`V_n - n (\alpha - b)` is a martingale. The
        batch that ends it takes :math:`b` tokens from more than :math:`B`, so the mean number
        of batches is at most :math:`(V_0 - B + b - 1) / (b - \alpha)`. The bound is tight up
        to :math:`b - 1` tokens: the mean is at least :math:`(V_0 - B) / (b - \alpha)`.

        Parameters
        ----------
        backlog_tokens : number
            :math:`V_0` at the end of a batch [tokens].

        Returns
        -------
        number
            Seconds; 0 if the backlog is not above :math:`B`.
        """
        check(backlog_tokens, "backlog_tokens", Backlog)
        if backlog_tokens <= self.exceptional_tokens:
            return 0 * self.batch_seconds
        tokens = backlog_tokens - self.exceptional_tokens + self.token_budget - 1
        return ratio(tokens * self.batch_seconds, -self.drift)


def foster_drift(engine: Engine, workload: Workload, *, policy: Policy) -> FosterDrift | None:
    r"""Return the drift and its constants, where Theorem 2(b) gives stability.

    With :math:`T = t(b)`, :math:`t_m = \max_n t(n)`, work :math:`w` of a request,
    :math:`\alpha = \lambda \bar w T` and :math:`\alpha_m = \lambda \bar w t_m`,

    .. math:: E_\pi[V] \le B + \frac{\max(K_0, K_1)}{2 (b - \alpha)}, \qquad
       K_1 = \lambda T E[w^2] + (b - \alpha)^2,

    .. math:: K_0 = \lambda t_m E[w^2] + \alpha_m^2
       + \max(2 B \alpha_m,\; 2 \bar w \alpha_m + E[w^2]),

    because :math:`V^2` changes on average by at most :math:`K_1 - 2 V (b - \alpha)` above
    :math:`B` and by at most :math:`K_0` below. The lower bound is the workload
    :math:`\lambda E[w^2] / (2 r^\star (1 - \rho))` of a fluid server of rate
    :math:`r^\star` fed by the same arrivals, below which no policy can stay.

    Parameters
    ----------
    engine, workload, policy
        The system.

    Returns
    -------
    FosterDrift or None
        Exact for exact data; None unless all hypotheses of Theorem 2(b) hold, arrivals are
        Poisson, lengths are bounded, no request has fewer than 0 decode steps, and the load
        is below 1.

    Raises
    ------
    InvalidArgument
        If the arrival rate or the step time is symbolic.

    Notes
    -----
    The upper bound is explicit and very loose: almost all of it is :math:`B`. Derived here;
    that work-conserving policies are positive recurrent is Theorem 2(b) of
    arXiv:2504.07347v3.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(1, prompt_tokens=100, output_tokens=100)
    >>> half = load.scale_to(ql.capacity(engine, load).requests_per_second / 2)
    >>> found = foster_drift(engine, half, policy=ql.SARATHI)
    >>> round(found.lower_bound), round(found.upper_bound)
    (100, 204628)
    """
    longest = workload.longest_request
    is_poisson = isinstance(workload.arrivals, PoissonArrivals) and workload.has_iid_lengths
    if not is_poisson or longest is None:
        return None
    if engine.decode_steps(workload.moments.shortest_output) < 0:
        return None
    if not all(h.holds for h in theorem_2_hypotheses(engine, workload, policy)):
        return None
    budget, rate = engine.token_budget, numeric_rate(workload)
    full = engine.step_time(budget)
    sizes = costliest_sizes(engine, budget, per_token=0, per_second=1)
    slowest = max(engine.step_time(n) for n in sizes)
    mean, square = _work(engine, workload)
    arriving, arriving_most = rate * mean * full, rate * mean * slowest
    if arriving >= budget:
        return None
    exceptional = (budget - 1) * engine.work_tokens(0, longest)
    above = rate * full * square + (budget - arriving) ** 2
    below = rate * slowest * square + arriving_most**2
    below += max(2 * exceptional * arriving_most, 2 * mean * arriving_most + square)
    best = best_rate(engine).tokens_per_second
    return FosterDrift(
        exceptional_tokens=exceptional,
        drift=arriving - budget,
        batch_seconds=full,
        lower_bound=ratio(rate * square, 2 * (best - rate * mean)),
        upper_bound=exceptional + ratio(max(above, below), 2 * (budget - arriving)),
        token_budget=budget,
    )


def numeric_rate(workload: Workload) -> Real:
    """Return the arrival rate; raise :class:`InvalidArgument` if it holds a symbol."""
    rate = workload.arrival_rate
    if is_symbolic(rate) and not rate.is_number:
        msg = f"arrival_rate must be a number, got {rate!r}: substitute its symbols."
        raise InvalidArgument(msg)
    return Fraction(rate) if isinstance(rate, Rational) else float(rate)


def costliest_sizes(
    engine: Engine, most_tokens: int, *, per_token: Real, per_second: Real
) -> list[int]:
    r"""Return the few sizes of batches among which one costs the most.

    Parameters
    ----------
    engine : Engine
        The engine, whose step time is one of the token count.
    most_tokens : int
        :math:`m` [tokens], most tokens in a batch; at least 0.
    per_token, per_second : number
        Prices :math:`c` and :math:`r` of a token and of a second, at least 0.

    Returns
    -------
    list of int
        Sizes that hold one of largest :math:`c\, n + r\, t(n)` over :math:`1 \le n \le m`;
        floating point finds them, and exact numbers can decide between them.
    """
    if most_tokens == 0:
        return []
    tokens = np.arange(1, most_tokens + 1)
    costs = float(per_token) * tokens + float(per_second) * np.asarray(engine.step_time(tokens))
    return [int(n) for n in tokens[costs >= costs.max() * (1 - NEARLY_MOST)]]


def _work(engine: Engine, workload: Workload) -> tuple[Real, Real]:
    """Return the first two moments of the work of a request [tokens], [tokens^2]."""
    moments = workload.moments
    sum_squared = moments.prompt_squared + 2 * moments.product + moments.output_squared
    mean, offset = moments.prompt + moments.output, engine.decode_steps(0)
    return mean + offset, sum_squared + 2 * offset * mean + offset**2
