"""Virtual workload conditions: two stations that in effect work one at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, final

from queueing_llm.model import MulticlassNetwork

Pair: TypeAlias = tuple[Fraction, Fraction]
Classes: TypeAlias = tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class WorkloadCondition:
    r"""A condition that classes of two stations fit into the time of one.

    .. math:: \frac{\rho_1(V)}{1 - \rho_1(F)} + \frac{\rho_2(V)}{1 - \rho_2(F)} < 1, \qquad
       \rho_j(V) = \sum_{k \in V,\, s(k) = j} \lambda_k m_k

    Under priority to the *push start* :math:`F`, beginnings of routes, and then to the
    *virtual station* :math:`V`, classes of :math:`V` at different stations are never served
    at the same time, so their work must fit into the time that :math:`F` leaves.

    Parameters
    ----------
    push_start, virtual_station : tuple of int
        The classes in :math:`F` and :math:`V`. With empty :math:`F` and all classes of one
        station in :math:`V` it is the load of that station.
    push_loads, virtual_loads : tuple of two Fractions
        :math:`\rho_j(F)` and :math:`\rho_j(V)` of the two stations [1].
    priority : tuple of int, one per class
        Ranks, smaller first: :math:`F`, then :math:`V`, then the rest.
    text : str
        The condition in letters: ``"alpha (m_2 + m_4) < 1"``.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> condition = WorkloadCondition(
    ...     push_start=(0,), virtual_station=(2, 4),
    ...     push_loads=(F(3, 10), F(0)), virtual_loads=(F(2, 5), F(1, 2)),
    ...     priority=(0, 2, 1, 2, 1), text="",
    ... )
    >>> condition.load
    Fraction(15, 14)
    """

    push_start: Classes
    virtual_station: Classes
    push_loads: Pair
    virtual_loads: Pair
    priority: Classes
    text: str

    @property
    def load(self) -> Fraction | None:
        """The left side at the given arrival rates [1]; None if a push start needs all time."""
        if max(self.push_loads) >= 1:
            return None
        return sum(
            (v / (1 - f) for v, f in zip(self.virtual_loads, self.push_loads, strict=True)),
            Fraction(0),
        )

    def scaling(self, *, bits: int = 64) -> Pair:
        r"""Enclose the multiple :math:`x` of all arrival rates at which the condition binds.

        It is the smaller root of :math:`1 - (F_1 + F_2 + V_1 + V_2) x + (F_1 F_2 + V_1 F_2 +
        V_2 F_1) x^2`, where :math:`F_j` and :math:`V_j` are the loads.

        Parameters
        ----------
        bits : int
            The ends differ by less than :math:`2^{2 - \mathtt{bits}}` of the root.

        Returns
        -------
        tuple of two Fractions
            Lower and upper end; equal if the root is rational.
        """
        total = sum((*self.push_loads, *self.virtual_loads), Fraction(0))
        low, high = self._root(bits)
        return 2 / (total + high), 2 / (total + low)

    def price(self, *, bits: int = 64) -> Pair | None:
        r"""Enclose the price of time at the second station at which both stations bind.

        It solves :math:`F_1 + V_1 + V_2 t = F_2 + V_2 + V_1 / t`; None if no :math:`t > 0`
        does.
        """
        (v_1, v_2), (f_1, f_2) = self.virtual_loads, self.push_loads
        ahead = (f_1 + v_1) - (f_2 + v_2)
        low, high = self._root(bits)
        if ahead > 0:
            return (2 * v_1 / (ahead + high), 2 * v_1 / (ahead + low)) if v_1 else None
        return ((low - ahead) / (2 * v_2), (high - ahead) / (2 * v_2)) if v_2 and low else None

    def _root(self, bits: int) -> Pair:
        """Enclose the root of the discriminant, which both equations share."""
        (v_1, v_2), (f_1, f_2) = self.virtual_loads, self.push_loads
        square = (f_1 + v_1 - f_2 - v_2) ** 2 + 4 * v_1 * v_2
        whole = square.numerator * square.denominator
        exact = math.isqrt(whole)
        if exact * exact == whole:
            root = Fraction(exact, square.denominator)
            return root, root
        shift = bits + square.denominator.bit_length()
        root = Fraction(math.isqrt(whole << 2 * shift), square.denominator << shift)
        return root, root + Fraction(1, square.denominator << shift)


def workload_condition(
    network: MulticlassNetwork, push_start: Classes, *, virtual_station: Classes
) -> WorkloadCondition:
    """Return the condition of a push start and a virtual station in a network of two stations.

    Parameters
    ----------
    network : MulticlassNetwork
        Two stations and fixed routes.
    push_start, virtual_station : tuple of int
        Classes, as for :class:`WorkloadCondition`.
    """
    ranks = [2] * network.class_count
    for rank, classes in enumerate((push_start, virtual_station)):
        for k in classes:
            ranks[k] = rank
    order = sorted(range(network.class_count), key=lambda k: (ranks[k], k))
    return WorkloadCondition(
        push_start=push_start,
        virtual_station=virtual_station,
        push_loads=_loads(network, push_start),
        virtual_loads=_loads(network, virtual_station),
        priority=tuple(order.index(k) for k in range(network.class_count)),
        text=_text(network, push_start, virtual_station),
    )


def _loads(network: MulticlassNetwork, classes: Classes) -> Pair:
    loads, chosen = [Fraction(0), Fraction(0)], set(classes)
    for route in network.routes() or ():
        for k in chosen.intersection(route):
            load = network.arrival_rates[route[0]] * network.mean_service[k]
            loads[network.stations[k]] += load
    return loads[0], loads[1]


def _text(network: MulticlassNetwork, push_start: Classes, virtual_station: Classes) -> str:
    plain: list[int] = []
    terms: list[str] = []
    for station in (0, 1):
        virtual, push = (
            [k for k in classes if network.stations[k] == station]
            for classes in (virtual_station, push_start)
        )
        if not push:
            plain += virtual
        elif virtual:
            work = _work(network, virtual)
            above = work[0] if len(work) == 1 else f"({' + '.join(work)})"
            terms.append(f"{above} / (1 - {' - '.join(_work(network, push))})")
    return f"{' + '.join(_work(network, plain) + terms) or '0'} < 1"


def _work(network: MulticlassNetwork, classes: Sequence[int]) -> list[str]:
    """Return the load of some classes in letters, route by route."""
    routes, chosen = network.routes() or (), set(classes)
    parts = []
    for route in routes:
        means = [f"m_{network.class_names[k]}" for k in route if k in chosen]
        if means:
            rate = "alpha" if len(routes) == 1 else f"alpha_{network.class_names[route[0]]}"
            total = means[0] if len(means) == 1 else f"({' + '.join(means)})"
            parts.append(f"{rate} {total}")
    return parts
