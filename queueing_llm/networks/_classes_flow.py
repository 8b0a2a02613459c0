"""How often sessions begin each kind of visit, and which ways they take from there."""

from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import NamedTuple, final

from queueing_llm._validate import decimal
from queueing_llm.model import Engine
from queueing_llm.model._arguments import check_kind
from queueing_llm.model.agents import AgentNetwork, Move, Visit
from queueing_llm.networks._classes_decimals import as_decimals
from queueing_llm.networks._traffic import flow_rates


class Way(NamedTuple):
    """A way out of a visit, in exact numbers."""

    target: int
    share: Fraction
    """Of the sessions at the source, those that take it [1]."""
    branches: int
    """How many branches the join at its end makes one of; 1 if there is no join."""
    carries_context: bool
    missed: Fraction
    """Share of the carried context that must be prefilled again [1]."""


@final
@dataclass(frozen=True, slots=True)
class SessionFlow:
    r"""A network in exact numbers, and the rate at which its visits are begun.

    Parameters
    ----------
    visits, engines
        Those of the network, floats read as the decimals that they print as.
    arrival_rates : tuple of Fraction, one per visit
        Sessions that start there [sessions/s].
    ways : tuple of tuples of Way, one per visit
        Ways out that are ever taken.
    entry_rates : tuple of Fraction, one per visit
        Sessions, or branches of them, that begin the visit [1/s]; a join counts once for
        all its branches.
    is_exact : bool
        Whether no number was a float.
    """

    visits: tuple[Visit, ...]
    engines: tuple[Engine, ...]
    arrival_rates: tuple[Fraction, ...]
    ways: tuple[tuple[Way, ...], ...]
    entry_rates: tuple[Fraction, ...]
    is_exact: bool

    @classmethod
    def of(cls, network: AgentNetwork) -> "SessionFlow":
        """Return the flow of a network's sessions, by the traffic equations of its visits."""
        check_kind(network, "network", kind=AgentNetwork, such_as="AgentNetwork(graph)")
        visits, exact_visits = as_decimals(network.visits)
        engines, exact_engines = as_decimals(tuple(e.engine for e in network.engines))
        moves, exact_moves = as_decimals(network.moves)
        rates = [0 if v.arrivals is None else v.arrivals.rate for v in visits]
        laws = [(engine.step_time, engine.batch_tokens_limit()) for engine in engines]
        # A law of the user's own may hold floats where they cannot be read.
        times = [number for law, most in laws for number in (law(most), law.kv_slope or 0)]
        exact_rates = all(isinstance(number, Rational) for number in (*rates, *times))
        arrivals = tuple(decimal(rate, "arrival_rate") for rate in rates)
        ways = _ways(network, moves)
        routing = [tuple((w.target, w.share / w.branches) for w in out) for out in ways]
        entries = flow_rates(arrivals, routing, names=[visit.name for visit in visits])
        is_exact = exact_visits and exact_engines and exact_moves and exact_rates
        return cls(visits, engines, arrivals, ways, entries, is_exact)


def _ways(network: AgentNetwork, moves: tuple[Move, ...]) -> tuple[tuple[Way, ...], ...]:
    out: list[list[Move]] = [[] for _ in network.visits]
    for move in moves:
        if move.probability > 0:
            out[move.source].append(move)
    branches = {join: len(out[fork]) for fork, join in network.blocks}
    ways = []
    for at, taken in enumerate(out):
        total = sum(Fraction(move.probability) for move in taken)
        # Printed decimals may miss 1 by rounding where nobody is meant to leave.
        scale = total if taken and not network.exit_probability(at) else Fraction(1)
        scale = Fraction(1) if network.visits[at].forks else scale
        ways.append(
            tuple(
                Way(
                    target=move.target,
                    share=move.probability / scale,
                    branches=branches.get(move.target, 1),
                    carries_context=move.carries_context,
                    missed=1 - Fraction(move.prefix_cache_hit),
                )
                for move in taken
            )
        )
    return tuple(ways)
