"""The load of each engine of a network: at full batches, and the least under any policy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from numbers import Rational
from types import MappingProxyType
from typing import final

from queueing_llm.model import MulticlassNetwork
from queueing_llm.model._multiclass_network import Row
from queueing_llm.model.agents import AgentNetwork
from queueing_llm.networks._classes_least import least_prices, least_work, priced
from queueing_llm.networks._planning import StaticPlan, plan_static
from queueing_llm.networks._service import ServiceMeans, service_means


@final
@dataclass(frozen=True, slots=True)
class EngineLoad:
    r"""What one engine has to do.

    Parameters
    ----------
    name : str
        The engine.
    visit_rate : Fraction
        Requests that come to it [requests/s].
    prefill_rate, decode_rate : Fraction
        Tokens that they need [tokens/s]; context that is prefilled again is in the first.
    load : Fraction or None
        Share of its time that it works if all batches are full [1]; None if the step time
        depends on the KV cache in a way that no share can be said.
    least_load : Fraction
        The same with the least time that its requests take under any policy [1]; visits that
        several engines can serve are shared anew for it.
    """

    name: str
    visit_rate: Fraction
    prefill_rate: Fraction
    decode_rate: Fraction
    load: Fraction | None
    least_load: Fraction


@final
@dataclass(frozen=True, slots=True)
class NetworkLoad:
    r"""The load of a network of engines.

    Parameters
    ----------
    engines : tuple of EngineLoad
        The engines, in the order of the network.
    session_rate : Fraction
        Sessions that arrive from outside [sessions/s].
    plan : StaticPlan or None
        Static planning at full batches: a class is a kind of visit, a station an engine.
        Its load is that of the busiest engine, its prices prove that no way to share the
        visits among engines lowers it. None if ``load`` is None for an engine.
    least_plan : StaticPlan
        The same for the least that requests take under any policy of the engines.
    least_servers : tuple of tuples of (int, Fraction), one per visit
        Engines that can serve a visit, with the least time that a request takes there [s].
    shares : mapping of str to tuple of Fraction
        For each kind of visit that several engines can serve, the part that each of them
        gets, by static planning [1].
    traffic : MulticlassNetwork
        Arrivals and routing behind both plans; its stations and times stand for nothing.
    is_exact : bool
        Whether the data held no float; if not, all this is exact in the decimals that floats
        print as.
    """

    engines: tuple[EngineLoad, ...]
    session_rate: Fraction
    plan: StaticPlan | None
    least_plan: StaticPlan
    least_servers: tuple[Row, ...]
    shares: Mapping[str, tuple[Fraction, ...]]
    traffic: MulticlassNetwork
    is_exact: bool

    @property
    def bottleneck(self) -> str:
        """Name of the busiest engine, at full batches if their load is known."""
        loads = (self.plan or self.least_plan).loads
        return self.engines[max(range(len(loads)), key=loads.__getitem__)].name

    @property
    def scaling(self) -> Fraction | None:
        """Multiple of the arrival rates at which the busiest engine has load 1 [1].

        Limits on batches are not in it, so ``largest_scaling`` may be smaller.
        """
        return None if self.plan is None else 1 / self.plan.load

    @property
    def largest_scaling(self) -> Fraction:
        """Multiple of the arrival rates above which every policy is unstable [1]."""
        return 1 / self.least_plan.load

    @property
    def capacity(self) -> Fraction | None:
        """Sessions per second at which the busiest engine has load 1 [sessions/s]."""
        return None if self.plan is None else self.session_rate / self.plan.load


def network_load(network: AgentNetwork) -> NetworkLoad:
    r"""Return the load of every engine of a network of agents.

    At full batches the work :math:`w_k` of a visit takes :math:`m_k = w_k\, t(b)/b` and, where
    a decode step takes :math:`\gamma` per KV token that it reads, :math:`\gamma G_k` more.
    The load is :math:`\rho_j = \sum_k \lambda_k m_k`. Visits that several engines can serve
    are shared so that the busiest engine is the least busy.

    Parameters
    ----------
    network : AgentNetwork
        The network.

    Returns
    -------
    NetworkLoad
        Exact in the decimals of the data.

    Raises
    ------
    InvalidArgument
        If a number is symbolic, or mean contexts have no bound.

    Notes
    -----
    ``least_load`` is a lower bound for every policy: tokens at the best rate of any batch, or
    the prices of all that a request uses where batch size or KV cache limit a batch; what a
    cached context reads and keeps is left out of it, and so are idle slots of KV blocks.
    ``load`` is the limit of policies that fill their batches when they can. The two agree for
    full batches that are the best ones, without limits and KV reads. Ours; the equations are
    in arXiv:2504.07347v3.

    Examples
    --------
    >>> from queueing_llm.model import *
    >>> from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
    >>> from queueing_llm.steptime import AffineStepTime
    >>> gpu = NetworkEngine("gpu", Engine(AffineStepTime(1, 0), token_budget=768))
    >>> lengths = IndependentLengths(DeterministicLength(64), DeterministicLength(32))
    >>> agent = Visit("agent", "a", "session", (0,), lengths, arrivals=PoissonArrivals(3))
    >>> load = network_load(AgentNetwork.of([gpu], [agent], [Move(0, 0, probability=0.25)]))
    >>> load.engines[0].load, load.capacity, load.is_exact
    (Fraction(1, 2), Fraction(6, 1), False)
    """
    means = service_means(network)
    engines = means.flow.engines
    full = _servers(
        means, lambda at, j: means.visits[at].work(engines[j]).full_seconds(engines[j])
    )
    traffic = _traffic(means)
    plan = None if full is None else _planned(traffic, full)
    prices = [least_prices(means, j, plan=plan) for j in range(len(engines))]
    least = _servers(means, lambda at, j: priced(prices[j], least_work(means, at, engines[j])))
    assert least is not None, "every batch has a price"
    least_plan = _planned(traffic, least)
    numbers = [getattr(price, f.name) for price in prices for f in fields(price)]
    return NetworkLoad(
        engines=_engine_loads(means, network, plan=plan, least_plan=least_plan),
        session_rate=sum(means.flow.arrival_rates, Fraction(0)),
        plan=plan,
        least_plan=least_plan,
        least_servers=tuple(least),
        shares=_shares(network, plan or least_plan),
        traffic=traffic,
        is_exact=means.is_exact and all(isinstance(number, Rational) for number in numbers),
    )


def _servers(
    means: ServiceMeans, seconds: Callable[[int, int], Fraction | None]
) -> list[Row] | None:
    """Return the engines of each visit with the time of a request; None if one is unknown."""
    rows = []
    for at, visit in enumerate(means.flow.visits):
        times = [(j, seconds(at, j)) for j in visit.engines]
        if any(time is None for _, time in times):
            return None
        rows.append(tuple((j, time) for j, time in times if time is not None))
    return rows


def _traffic(means: ServiceMeans) -> MulticlassNetwork:
    """Return kinds of visit as classes; further turns are visits that come back."""
    routing = []
    for at, (visit, out) in enumerate(zip(means.visits, means.flow.ways, strict=True)):
        once = visit.entry_rate / visit.request_rate
        row = {way.target: once * way.share / way.branches for way in out}
        row[at] = row.get(at, Fraction(0)) + 1 - once
        routing.append(tuple(row.items()))
    ones = [1] * len(routing)
    return MulticlassNetwork([0 for _ in ones], ones, means.flow.arrival_rates, routing)


def _planned(traffic: MulticlassNetwork, servers: list[Row]) -> StaticPlan:
    return plan_static(traffic.arrival_rates, traffic.routing, servers=servers)


def _shares(network: AgentNetwork, plan: StaticPlan) -> Mapping[str, tuple[Fraction, ...]]:
    return MappingProxyType(
        {
            visit.name: tuple(dict(row).get(j, Fraction(0)) for j in visit.engines)
            for visit, row in zip(network.visits, plan.shares, strict=True)
            if len(visit.engines) > 1
        }
    )


def _engine_loads(
    means: ServiceMeans,
    network: AgentNetwork,
    *,
    plan: StaticPlan | None,
    least_plan: StaticPlan,
) -> tuple[EngineLoad, ...]:
    loads = []
    for j, named in enumerate(network.engines):
        visits = prefill = decode = Fraction(0)
        for at, row in enumerate((plan or least_plan).shares):
            share = dict(row).get(j)
            if share:
                work = means.visits[at].work(means.flow.engines[j])
                rate = share * means.visits[at].request_rate
                visits += rate
                prefill += rate * work.prefill
                decode += rate * work.decode
        load = plan.loads[j] if plan else None
        loads.append(EngineLoad(named.name, visits, prefill, decode, load, least_plan.loads[j]))
    return tuple(loads)
