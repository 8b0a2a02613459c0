"""The stability region of several classes of requests: a coordinate per class and phase."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Rational
from typing import final

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.linear import polytope_corners
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.bounds._class_kinds import ClassKinds, ClassPairs
from queueing_llm.stability.bounds._class_limits import check_classes, relaxations
from queueing_llm.stability.bounds._class_prices import (
    KindPrices,
    dearest_prices,
    facet_prices,
    worth,
)


@final
@dataclass(frozen=True, slots=True)
class ClassRegion:
    r"""The token rates of several classes that an engine can sustain.

    Outside it, the backlog of some class grows under every policy. Requests of class
    :math:`j` at rate :math:`\lambda_j` bring :math:`\lambda_j m_{p,j}` prefill and
    :math:`\lambda_j D_j` decode tokens/s.

    Parameters
    ----------
    engine : Engine
        The engine.
    longest_prompts : tuple of (int or None)
        :math:`p_j` [tokens] of each class, as given.
    kinds : ClassKinds
        The kinds of tokens that the limits of a batch tell apart.
    relaxations : tuple of str
        What was left out that can only shrink the region; empty if it is tight.

    Notes
    -----
    A batch tells tokens apart only by how many of them one request can hold, so a rate
    enters only through the sum over its kind: all decode tokens have one price, and so have
    the prefill tokens of classes with equal longest prompts. For a mixture of batches of
    kinds becomes one of batches of classes with any given split of the rates, if each batch
    gives all its tokens of a kind to one class, chosen at random in proportion to the rates.

    The region is thus the preimage, under these sums, of one in as many dimensions as there
    are kinds, and its vertices give each sum to one of its coordinates. Without a batch-size
    limit below the token budget there is one kind; with a limit but no longest prompts there
    are two, and the region is that of :func:`stability_region` for the total rates.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> engine = ql.Engine(step_time=step, token_budget=1024, max_batch_size=100)
    >>> region = class_region(engine, longest_prompts=(4, 990))
    >>> region.load([(100, 1000), (500, 400)])
    Fraction(14374501, 20064000)
    """

    engine: Engine
    longest_prompts: tuple[int | None, ...]
    kinds: ClassKinds = field(repr=False)
    relaxations: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the step times are integers or Fractions.

        If the rates are, too, so are all answers. Otherwise they are the floats next to the
        exact answers for these floats.
        """
        return self.kinds.is_exact

    def contains(self, rates: ClassPairs) -> bool:
        """Whether the rates lie in the region or on its boundary; decided exactly.

        Parameters
        ----------
        rates : sequence of (number, number)
            Prefill and decode rate of each class [tokens/s]; floats are taken at their exact
            values.
        """
        return self._dearest(rates).worth <= 1

    def load(self, rates: ClassPairs) -> Real:
        r"""Return the share of time that the rates need, :math:`\rho` [1].

        .. math:: \rho = \min_{u \ge 0} \Bigl\{ \sum_z u_z t(z) : \sum_z u_z z \ge \lambda
           \Bigr\} = \max_{\pi \ge 0} \{ \pi \cdot \lambda : \pi \cdot z \le t(z)
           \text{ for every allowed batch } z \}

        Parameters
        ----------
        rates : sequence of (number, number)
            Prefill and decode rate of each class [tokens/s].

        Returns
        -------
        number
            The rates can be scaled by its inverse, and no further.
        """
        return self._as_given(self._dearest(rates).worth, rates)

    def margin(self, rates: ClassPairs) -> Real:
        r"""Return the share of time that is left, :math:`1 - \rho` [1]; negative outside.

        Parameters
        ----------
        rates : sequence of (number, number)
            Prefill and decode rate of each class [tokens/s].
        """
        return 1 - self.load(rates)

    def prices(self, rates: ClassPairs) -> ClassPairs:
        r"""Return prices that prove the load: what the rates are worth at them.

        Parameters
        ----------
        rates : sequence of (number, number)
            Prefill and decode rate of each class [tokens/s].

        Returns
        -------
        tuple of (number, number)
            Prices of a prefill and of a decode token of each class [s/token]; those of a
            facet, if no rate is 0. Exact ones value no allowed batch above its time, which
            :func:`check_class_prices` confirms.
        """
        prices = self._dearest(rates).prices
        return self._spread([p if self.is_exact else float(p) for p in prices])

    def largest_rate(self, workload: Workload) -> Real:
        r"""Return the arrival rate above which every policy is unstable.

        .. math:: \lambda = \frac{1}{\rho(q_j m_{p,j}, q_j D_j) + \gamma G}

        where the share :math:`q_j` of the requests is of class :math:`j`, a request reads
        :math:`G` KV tokens, and a step takes :math:`\gamma` more per KV token read. Where a
        prefill yields a token, this is about policies that preempt nobody.

        Parameters
        ----------
        workload : Workload
            What arrives; one class for each of the region, in the same order.

        Returns
        -------
        number
            :math:`\lambda` [requests/s], exact if the region and the mean lengths are.

        Raises
        ------
        InvalidArgument
            If the number of classes differs, a class has prompts longer than the region was
            told, or a request has fewer than 0 decode steps.
        """
        check_classes(workload, self.longest_prompts)
        kv_reads = workload.moments.kv_reads(self.engine.decode_steps(0))
        moments = [c.lengths.moments for c in workload.classes]
        rates = tuple(
            (share * m.prompt, share * self.engine.decode_steps(m.output))
            for share, m in zip(workload.shares, moments, strict=True)
        )
        slope = self.engine.step_time.kv_slope
        return ratio(1, self.load(rates) + (slope * kv_reads if slope else 0))

    def facets(self) -> tuple[ClassPairs, ...]:
        r"""Return the prices of all facets but those on the axes [s/token].

        Returns
        -------
        tuple of ClassPairs
            The region is :math:`\{\lambda \ge 0 : \pi \cdot \lambda \le 1\}` for all these
            :math:`\pi`, and none can be left out. Their number grows fast with that of
            different longest prompts.

        Raises
        ------
        InvalidArgument
            If the region is not exact.
        """
        return tuple(self._spread(prices) for prices in self._facet_prices())

    def vertices(self) -> tuple[ClassPairs, ...]:
        """Return all vertices of the region [tokens/s], the origin included.

        Returns
        -------
        tuple of ClassPairs
            Rates of which the region is the convex hull; in lexicographic order.

        Raises
        ------
        InvalidArgument
            If the region is not exact.
        """
        facets = self._facet_prices()

        def beyond(sums: tuple[Fraction, ...]) -> tuple[tuple[Fraction, ...], int] | None:
            dearest = max(facets, key=lambda prices: worth(prices, sums))
            return (dearest, 1) if worth(dearest, sums) > 1 else None

        limits = [1 / max(prices) for prices in zip(*facets, strict=True)]
        corners = polytope_corners(beyond, limits)
        return tuple(sorted(v for corner in corners for v in self._lifted(corner.point)))

    def _dearest(self, rates: ClassPairs) -> KindPrices:
        by_kind = self.kinds.by_kind(rates, "rates", unit="tokens/s")
        return dearest_prices(self.kinds.tokens, [sum(of_one) for of_one in by_kind])

    def _facet_prices(self) -> list[tuple[Fraction, ...]]:
        if not self.is_exact:
            msg = (
                "step_time must have integers or Fractions as parameters for facets and "
                "vertices, of which rounding would make more than there are, got "
                f"step_time={self.engine.step_time!r}."
            )
            raise InvalidArgument(msg)
        return facet_prices(self.kinds.tokens)

    def _spread(self, by_kind: Sequence[Real]) -> ClassPairs:
        return tuple((by_kind[x], by_kind[y]) for x, y in self.kinds.of_class)

    def _lifted(self, sums: tuple[Fraction, ...]) -> Iterator[ClassPairs]:
        """Yield the rates in which each sum belongs to one of its coordinates."""
        held = [i for i, total in enumerate(sums) if total]
        flat = [kind for pair in self.kinds.of_class for kind in pair]
        holders = ([at for at, kind in enumerate(flat) if kind == i] for i in held)
        for chosen in itertools.product(*holders):
            rates = [sums[kind] if at in chosen else 0 for at, kind in enumerate(flat)]
            yield tuple(zip(rates[::2], rates[1::2], strict=True))

    def _as_given(self, value: Fraction, rates: ClassPairs) -> Real:
        exact = self.is_exact and all(isinstance(r, Rational) for pair in rates for r in pair)
        return value if exact else float(value)


def class_region(engine: Engine, *, longest_prompts: Sequence[int | None]) -> ClassRegion:
    r"""Return the token rates of several classes that some policy could sustain.

    .. math:: R = \{ \lambda \ge 0 : \lambda \le r \text{ for an } r \in \operatorname{conv}
       \{ (x, y) / t(n) \} \}, \qquad n = \sum_j (x_j + y_j)

    over the batches of :math:`x_j` prefill and :math:`y_j` decode tokens of class :math:`j`,
    with :math:`n` within the token budget and the KV cache, held by
    :math:`\sum_j (y_j + \lceil x_j / p_j \rceil)` requests within ``max_batch_size``.

    Parameters
    ----------
    engine : Engine
        The engine; its step time must be a law of the total tokens, to which a multiple of
        the KV tokens read may add.
    longest_prompts : sequence of (int or None)
        :math:`p_j` [tokens] of each class, most prompt tokens that one of its requests can
        prefill in a batch. None counts the prefill of the class in a batch as one request.

    Returns
    -------
    ClassRegion
        Exact if the parameters of the law are integers or Fractions.

    Raises
    ------
    InvalidArgument
        If there is no class, a longest prompt is not a positive integer, an allowed batch has
        no known time, the law is of another form, or the engine is too large (batch-size
        limit times token budget above 2^28).

    Notes
    -----
    An outer bound, as :func:`stability_region` is for one class: each batch of every policy
    contributes :math:`(x, y)` in a time of at least :math:`t(n)`, and at least
    :math:`\lceil x_j / p_j \rceil` requests of class :math:`j` hold its prefill tokens, since
    a request belongs to one class. A mixture of batches attains every rate inside, unless
    what ``ClassRegion.relaxations`` lists prevents it. Ours.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> engine = ql.Engine(step_time=step, token_budget=128, max_batch_size=100)
    >>> class_region(engine, longest_prompts=(None, None)).load([(290, 500), (0, 490)])
    Fraction(187, 400)
    """
    kinds = ClassKinds.of(engine, longest_prompts)
    return ClassRegion(
        engine=engine,
        longest_prompts=tuple(longest_prompts),
        kinds=kinds,
        relaxations=relaxations(engine),
    )
