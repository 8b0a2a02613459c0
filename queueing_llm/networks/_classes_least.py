"""The least that requests of a network take from an engine, whatever its policy."""

from dataclasses import replace
from fractions import Fraction

from queueing_llm._validate import decimal
from queueing_llm.model import (
    AbstractRequestLengths,
    DeterministicLength,
    Engine,
    IndependentLengths,
    PoissonArrivals,
    RequestClass,
    Workload,
)
from queueing_llm.networks._classes_contexts import Context
from queueing_llm.networks._planning import StaticPlan
from queueing_llm.networks._service import RequestWork, ServiceMeans
from queueing_llm.stability.bounds._best_rate import best_rate
from queueing_llm.stability.bounds._planning import (
    ResourcePrices,
    resource_prices,
    token_prices,
)


def least_prices(
    means: ServiceMeans, station: int, *, plan: StaticPlan | None
) -> ResourcePrices:
    """Return the prices that bound the time of an engine's requests most tightly.

    Any prices at which no batch is worth more than its time bound it. These are found for
    requests much like those that come, to be applied to those that come.
    """
    engine, rates = means.flow.engines[station], _rates(means, station, plan=plan)
    workload = Workload(
        PoissonArrivals(1),
        [RequestClass(str(at), _alike(means, at), share=rate) for at, rate in rates.items()],
    )
    candidates = [
        token_prices(engine, workload, best=best_rate(engine)),
        # The works below count slots, of which blocks keep more: their prices would not fit.
        resource_prices(replace(engine, kv_block_size=1), workload),
    ]
    works = {at: least_work(means, at, engine) for at in rates}
    return max(
        (prices for prices in candidates if prices is not None),
        key=lambda prices: sum(rate * priced(prices, works[at]) for at, rate in rates.items()),
    )


def least_work(means: ServiceMeans, at: int, engine: Engine) -> RequestWork:
    """Return the work of a request as if what is cached took neither space nor time."""
    missed = means.visits[at].mean.prefilled
    return means.visits[at].work(engine, context=Context(missed, missed))


def priced(prices: ResourcePrices, work: RequestWork) -> Fraction:
    """Return the least seconds that a request takes, by the prices of what it uses."""
    used = (
        (prices.prefill, work.prefill),
        (prices.decode, work.decode),
        # All of the prompt in the batch that completes it, one token more at each step.
        (prices.memory, work.prefill + work.kv_reads + work.decode),
        (prices.kv_read, work.kv_reads),
    )
    return sum((decimal(price, "step_time") * amount for price, amount in used), Fraction(0))


def _rates(
    means: ServiceMeans, station: int, *, plan: StaticPlan | None
) -> dict[int, Fraction]:
    """Return the requests per second of each visit that an engine serves, or could serve."""
    able = {
        at: means.visits[at].request_rate
        for at, visit in enumerate(means.flow.visits)
        if station in visit.engines
    }
    if plan is None:
        return able
    shares = {at: dict(plan.shares[at]).get(station) for at in able}
    return {at: able[at] * share for at, share in shares.items() if share} or able


def _alike(means: ServiceMeans, at: int) -> AbstractRequestLengths:
    """Return lengths of requests much like those of a visit, context included."""
    visit, lengths = means.visits[at], means.flow.visits[at].lengths
    assert lengths is not None, "a visit with an engine has lengths"
    assert visit.lengths is not None, "and their moments"
    if not visit.mean.prefilled:
        return lengths
    return IndependentLengths(
        DeterministicLength(round(visit.lengths.prompt + visit.mean.prefilled)),
        DeterministicLength(max(1, round(visit.lengths.output))),
    )
