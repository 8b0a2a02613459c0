"""What the requests of each kind of visit ask of an engine on average."""

from dataclasses import dataclass, fields
from fractions import Fraction
from numbers import Rational
from typing import final

from queueing_llm._validate import decimal
from queueing_llm.model import Engine, LengthMoments
from queueing_llm.model.agents import AgentNetwork, Visit
from queueing_llm.networks._classes_contexts import (
    Context,
    first_contexts,
    leaving_of,
    varied_visits,
)
from queueing_llm.networks._classes_flow import SessionFlow
from queueing_llm.networks._classes_turns import Turns


@final
@dataclass(frozen=True, slots=True)
class RequestWork:
    """Mean work of a request at an engine.

    Parameters
    ----------
    prefill, decode : Fraction
        Prompt tokens computed, with context that is prefilled again, and decode steps.
    kv_reads : Fraction
        KV tokens that its decode steps read, the whole context among them.
    """

    prefill: Fraction
    decode: Fraction
    kv_reads: Fraction

    def full_seconds(self, engine: Engine) -> Fraction | None:
        r"""Return :math:`w\, t(b)/b + \gamma G` [s]; None if the law is not of that form."""
        slope, budget = engine.step_time.kv_slope, engine.batch_tokens_limit()
        if slope is None:
            return None
        full = decimal(engine.step_time(budget), "step_time")
        reading = decimal(slope, "per_kv_token") * self.kv_reads
        return (self.prefill + self.decode) * full / budget + reading


@final
@dataclass(frozen=True, slots=True)
class VisitMeans:
    r"""Rates and mean lengths of one kind of visit.

    Parameters
    ----------
    name : str
        The kind of visit.
    entry_rate, request_rate : Fraction
        Sessions that begin it, and requests: :math:`E[N]` turns for each [1/s].
    lengths : LengthMoments or None
        Own prompt and output, exact; None without an engine.
    first, later, mean : Context
        Context of the first turn, of a further one (of the first, if there is none), and of
        a request of any turn.
    is_varied : bool
        Whether requests of the same turn come with different mean contexts, depending on
        where their session has been: then ``first`` and ``later`` are averages.
    """

    name: str
    entry_rate: Fraction
    request_rate: Fraction
    lengths: LengthMoments | None
    first: Context
    later: Context
    mean: Context
    is_varied: bool

    def work(self, engine: Engine, *, context: Context | None = None) -> RequestWork:
        """Return the mean work of a request at an engine, with its mean context or a given one.

        Notes
        -----
        Context, lengths of this request, and number of turns are independent of each other.
        """
        assert self.lengths is not None, "only visits with an engine have work"
        carried = self.mean if context is None else context
        steps = engine.decode_steps(self.lengths.output)
        return RequestWork(
            prefill=self.lengths.prompt + carried.prefilled,
            decode=steps,
            kv_reads=self.lengths.kv_reads(engine.decode_steps(0)) + carried.tokens * steps,
        )


@final
@dataclass(frozen=True, slots=True)
class ServiceMeans:
    """Mean rates and lengths of all visits of a network.

    Parameters
    ----------
    flow : SessionFlow
        The network in exact numbers.
    visits : tuple of VisitMeans, one per visit
        Rates and mean lengths.
    is_exact : bool
        Whether no number that matters was a float, or became one.
    """

    flow: SessionFlow
    visits: tuple[VisitMeans, ...]
    is_exact: bool


def service_means(network: AgentNetwork) -> ServiceMeans:
    r"""Return what each kind of visit asks of an engine, contexts included.

    The first of :math:`N` turns begins with the context :math:`C` that a move carried, turn
    :math:`j` with :math:`C + (j - 1)(p + d)` if turns carry it on, so a visit prefills

    .. math:: E[N] E[p] + E[Y] + (1 - h) \Bigl( (E[N] - 1) E[C]
              + E\bigl[\tfrac{N (N - 1)}{2}\bigr] (E[p] + E[d]) \Bigr)

    tokens, where :math:`Y` is what the prefix cache missed of :math:`C`, and :math:`h` the
    hit share between turns. Mean contexts solve the linear equations of their flow.

    Parameters
    ----------
    network : AgentNetwork
        The network. Its floats are read as the decimals that they print as.

    Returns
    -------
    ServiceMeans
        Exact in these numbers.

    Raises
    ------
    InvalidArgument
        If a mean context is infinite, or a number is symbolic.

    Notes
    -----
    Each branch of a fork goes on with the context of its session. A join of all branches
    carries on the sum of what they bring, so what they share counts once for each.

    Examples
    --------
    >>> from queueing_llm.model import *
    >>> from queueing_llm.model.agents import AgentNetwork, NetworkEngine, Visit
    >>> from queueing_llm.steptime import AffineStepTime
    >>> gpu = NetworkEngine("gpu", Engine(AffineStepTime(1, 1), token_budget=64))
    >>> lengths = IndependentLengths(DeterministicLength(30), DeterministicLength(10))
    >>> agent = Visit(
    ...     "agent", "agent", "session", (0,), lengths, arrivals=PoissonArrivals(1),
    ...     turns=UniformLength(1, 3), turn_carries_context=True,
    ... )
    >>> visit = service_means(AgentNetwork.of([gpu], [agent])).visits[0]
    >>> visit.request_rate, visit.mean.tokens
    (Fraction(2, 1), Fraction(80, 3))
    """
    flow = SessionFlow.of(network)
    turns = [Turns.of(visit.turns) for visit in flow.visits]
    lengths = [_exact_moments(visit, flow.engines) for visit in flow.visits]
    leaving = [
        leaving_of(visit, moments, number)
        for visit, (moments, _), number in zip(flow.visits, lengths, turns, strict=True)
    ]
    contexts = first_contexts(flow, leaving)
    varied = varied_visits(flow, contexts, leaving=leaving, turns=turns)
    visits = tuple(
        _means(
            visit,
            flow.entry_rates[at],
            moments=lengths[at][0],
            first=contexts[at],
            turns=turns[at],
            is_varied=varied[at],
        )
        for at, visit in enumerate(flow.visits)
    )
    is_exact = flow.is_exact and all(rational for _, rational in lengths)
    return ServiceMeans(flow, visits, is_exact and all(number.is_exact for number in turns))


def _exact_moments(
    visit: Visit, engines: tuple[Engine, ...]
) -> tuple[LengthMoments | None, bool]:
    """Return the moments as Fractions, and whether those that matter were rational."""
    if visit.lengths is None:
        return None, True
    moments = visit.lengths.moments
    numbers = {f.name: getattr(moments, f.name) for f in fields(moments)}
    shortest = int(numbers.pop("shortest_output"))
    exact = {name: decimal(number, name) for name, number in numbers.items()}
    matter = ["prompt", "output"]
    if any(engines[j].step_time.kv_slope != 0 or engines[j].kv_capacity for j in visit.engines):
        matter += ["product", "output_squared"]
    rational = all(isinstance(numbers[name], Rational) for name in matter)
    return LengthMoments(**exact, shortest_output=shortest), rational


def _means(
    visit: Visit,
    entry_rate: Fraction,
    *,
    moments: LengthMoments | None,
    first: Context,
    turns: Turns,
    is_varied: bool,
) -> VisitMeans:
    further = turns.mean - 1
    total = Fraction(0)
    if visit.turn_carries_context and moments is not None:
        total = further * first.tokens + turns.pairs * (moments.prompt + moments.output)
    missed = (1 - Fraction(visit.turn_prefix_cache_hit)) * total
    return VisitMeans(
        name=visit.name,
        entry_rate=entry_rate,
        request_rate=entry_rate * turns.mean,
        lengths=moments,
        first=first,
        later=Context(total / further, missed / further) if further else first,
        mean=Context(
            (first.tokens + total) / turns.mean, (first.prefilled + missed) / turns.mean
        ),
        is_varied=is_varied,
    )
