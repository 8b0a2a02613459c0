"""The stability region: the token rates that some mixture of batches attains."""

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, final

from queueing_llm._ops import ratio
from queueing_llm._validate import Domain, Real, check, is_symbolic, unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.model._arguments import check_kind
from queueing_llm.stability.bounds._batches import (
    BatchLimits,
    TimedBatch,
    on_a_table,
    reads_kv,
    shaping_batches,
)
from queueing_llm.stability.bounds._frontier import Pair, boundary, edge_prices, has_exact_times
from queueing_llm.stability.bounds._planning import resource_prices

PrefillRate = Annotated[Real, Domain("lambda_p", "tokens/s", at_least=0)]
DecodeRate = Annotated[Real, Domain("lambda_d", "tokens/s", at_least=0)]
LongestPrompt = Annotated[
    int | None, Domain("p", "tokens", at_least=1, integer=True, optional=True)
]


@final
@dataclass(frozen=True, slots=True)
class Facet:
    r"""An edge of the region, with the prices that prove that nothing lies beyond it.

    No allowed batch is worth more than its time, :math:`\pi_p x + \pi_d y \le t(x, y, K)`, so
    under every policy work worth at most one second is served per second.

    Parameters
    ----------
    prices : tuple of number
        :math:`(\pi_p, \pi_d)` of a prefill and of a decode token [s/token], at least 0. On
        the edge, :math:`\pi_p \lambda_p + \pi_d \lambda_d = 1`.
    between : tuple of int
        The two vertices of the region that the edge joins, by their position.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> ql.Facet(prices=(0.001, 0.002), between=(1, 2)).load(300, 200)
    0.7
    """

    prices: Pair
    between: tuple[int, int]

    def load(self, prefill_rate: Real, decode_rate: Real) -> Real:
        r"""Return :math:`\pi_p \lambda_p + \pi_d \lambda_d`, above 1 beyond the edge [1]."""
        return self.prices[0] * prefill_rate + self.prices[1] * decode_rate


@final
@dataclass(frozen=True, slots=True)
class Region:
    r"""The token rates that an engine can sustain, as a polygon with a price on each edge.

    No policy processes tokens at rates outside it for long. Requests at rate :math:`\lambda`
    bring :math:`\lambda_p = \lambda m_p` prefill and :math:`\lambda_d = \lambda D` decode
    tokens/s, so outside it the backlog grows under every policy; except that where a prefill
    yields a token, a preempted request can replace decode by prefill tokens.

    Parameters
    ----------
    engine : Engine
        The engine.
    vertices : tuple of (number, number)
        :math:`(\lambda_p, \lambda_d)` [tokens/s]: the origin, then the boundary from the
        prefill axis to the decode axis.
    batches : tuple of (int, int)
        The batch :math:`(x, y)` behind each vertex [tokens]. It attains the vertex, or more
        than it where it must leave a token of the other kind out; (0, 0) at the origin.
    facets : tuple of Facet
        The edges of the boundary, in the same order; those on the axes are left out.
    is_exact : bool
        Whether every number is an integer or a Fraction; otherwise they are floats, known to
        about twelve digits, and so are the answers below.
    relaxations : tuple of str
        What was left out that can only shrink the region; empty if it is tight.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=1024, max_batch_size=100)
    >>> region = ql.stability_region(engine)
    >>> region.contains(290 * 2, 990 * 2), region.contains(290 * 2.2, 990 * 2.2)
    (True, False)
    """

    engine: Engine
    vertices: tuple[Pair, ...]
    batches: tuple[tuple[int, int], ...]
    facets: tuple[Facet, ...]
    is_exact: bool
    relaxations: tuple[str, ...]

    def contains(self, prefill_rate: Real, decode_rate: Real) -> bool:
        r"""Whether the rates lie in the region or on its boundary.

        Parameters
        ----------
        prefill_rate, decode_rate : number
            :math:`\lambda_p`, :math:`\lambda_d` [tokens/s]; a float is taken at its exact
            value if the region is exact.
        """
        rates = _checked(prefill_rate, decode_rate)
        exact = map(Fraction, rates) if self.is_exact else rates
        return bool(self.load(*exact) <= 1)

    def load(self, prefill_rate: Real, decode_rate: Real) -> Real:
        r"""Return the share of time that the rates need, :math:`\rho` [1].

        Parameters
        ----------
        prefill_rate, decode_rate : number
            :math:`\lambda_p`, :math:`\lambda_d` [tokens/s].

        Returns
        -------
        number
            :math:`\max_f (\pi_p \lambda_p + \pi_d \lambda_d)` over the facets: the rates can
            be scaled by its inverse, and no further.
        """
        rates = _checked(prefill_rate, decode_rate)
        return max(facet.load(*rates) for facet in self.facets)

    def margin(self, prefill_rate: Real, decode_rate: Real) -> Real:
        r"""Return the share of time that is left, :math:`1 - \rho` [1]; negative outside.

        Parameters
        ----------
        prefill_rate, decode_rate : number
            :math:`\lambda_p`, :math:`\lambda_d` [tokens/s].
        """
        return 1 - self.load(prefill_rate, decode_rate)

    def binding_facet(self, prefill_rate: Real, decode_rate: Real) -> Facet:
        r"""Return the facet that the rates reach first when they are scaled up.

        Parameters
        ----------
        prefill_rate, decode_rate : number
            :math:`\lambda_p`, :math:`\lambda_d` [tokens/s].
        """
        rates = _checked(prefill_rate, decode_rate)
        return max(self.facets, key=lambda facet: facet.load(*rates))

    def largest_rate(self, workload: Workload) -> Real:
        r"""Return the arrival rate above which every policy is unstable.

        .. math:: \lambda = \frac{1}{\max_f (\pi_p m_p + \pi_d D) + \gamma G}

        where a request has :math:`D` decode steps and reads :math:`G` KV tokens, and a step
        takes :math:`\gamma` more per KV token read. The optimal value of the static-planning
        linear programme, by its dual; where a prefill yields a token, that of
        :func:`resource_prices`, which allows for recomputation.

        Parameters
        ----------
        workload : Workload
            What arrives; only its mean lengths matter, not its rate.

        Returns
        -------
        number
            :math:`\lambda` [requests/s], exact if the region and the mean lengths are.

        Raises
        ------
        InvalidArgument
            If a request has fewer than 0 decode steps.
        """
        if self.engine.first_token_from_prefill:
            prices = resource_prices(self.engine, workload)
            assert prices is not None, "a law without prices has no region"
            return ratio(1, prices.seconds)
        moments = workload.moments
        kv_reads = moments.kv_reads(self.engine.decode_steps(0))
        slope = self.engine.step_time.kv_slope
        cost = self.load(moments.prompt, self.engine.decode_steps(moments.output))
        return ratio(1, cost + (slope * kv_reads if slope else 0))


def stability_region(engine: Engine, *, longest_prompt: int | None = None) -> Region:
    r"""Return the token rates that some policy could sustain, with prices as a certificate.

    .. math:: R = \{ \lambda \ge 0 : \lambda \le r \text{ for an } r \in \operatorname{conv}
       \{ (x, y) / t(x, y, K) \} \}

    over the batches of :math:`x + y` tokens within the token budget and the KV cache, held by
    :math:`y + \lceil x / p \rceil` requests within ``max_batch_size``. The region behind
    Theorem 10 of arXiv:2504.07347v3, whose vertex :math:`(29, 99) / t(128)` it has.

    Parameters
    ----------
    engine : Engine
        The engine.
    longest_prompt : int or None
        :math:`p` [tokens], most prompt tokens that one request can prefill in a batch. None
        counts the prefill of a batch as one request, however long it is.

    Returns
    -------
    Region
        Exact if the parameters of the law are integers or Fractions.

    Raises
    ------
    InvalidArgument
        If ``longest_prompt`` is not a positive integer, an allowed batch has no known time,
        or the law is neither one of the token count nor a table.

    Notes
    -----
    An outer bound: each batch of every policy contributes :math:`(x, y)` in time
    :math:`t(x, y, K)`, so no policy sustains rates outside. A mixture of batches attains every
    rate inside, unless what ``Region.relaxations`` lists prevents it; prompts at least as long
    as the chunks used can be prefilled by one request a batch.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> engine = ql.Engine(step_time=step, token_budget=128, max_batch_size=100)
    >>> region = ql.stability_region(engine)
    >>> region.batches[2], region.vertices[2]
    ((29, 99), (Fraction(116000, 187), Fraction(36000, 17)))
    """
    check_kind(engine, "engine", kind=Engine, such_as="Engine(step_time=..., token_budget=512)")
    check(longest_prompt, "longest_prompt", LongestPrompt)
    engine = on_a_table(engine)
    limits = BatchLimits.of(engine, longest_prompt)
    batches = shaping_batches(engine.step_time, limits)
    _check_numeric(batches)
    corners, rates = boundary(batches)
    return Region(
        engine=engine,
        vertices=((0, 0), *rates),
        batches=((0, 0), *((b.prefill_tokens, b.decode_tokens) for b in corners)),
        facets=tuple(
            Facet(edge_prices(*ends), (i, i + 1))
            for i, ends in enumerate(itertools.pairwise(rates), start=1)
        ),
        is_exact=has_exact_times(batches),
        relaxations=_relaxations(engine, limits),
    )


def _checked(prefill_rate: Real, decode_rate: Real) -> Pair:
    check(prefill_rate, "prefill_rate", PrefillRate)
    check(decode_rate, "decode_rate", DecodeRate)
    return unboxed(prefill_rate), unboxed(decode_rate)


def _check_numeric(batches: list[TimedBatch]) -> None:
    for x, y, seconds in batches:
        if is_symbolic(seconds) and not seconds.is_number:
            msg = (
                "step_time must have numbers as parameters for its region to be found, got "
                f"{seconds} s for {x} prefill and {y} decode tokens: substitute its symbols."
            )
            raise InvalidArgument(msg)


def _relaxations(engine: Engine, limits: BatchLimits) -> tuple[str, ...]:
    left_out = []
    if limits.requests < limits.tokens:
        each = "all" if limits.prompt == limits.tokens else f"up to {limits.prompt:,} tokens"
        left_out.append(f"one request can prefill {each} of a batch, whatever its prompt is")
    if engine.kv_capacity is not None:
        left_out.append("the KV cache bounds the tokens of a batch, not those between batches")
    if reads_kv(engine.step_time):
        left_out.append("step times are the least over the KV tokens that a batch may read")
    return tuple(left_out)
