"""Classes of requests, visit by visit and turn by turn, and the ways between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias, final

from queueing_llm._validate import decimal
from queueing_llm.model import GeometricLength
from queueing_llm.networks._classes_contexts import Context
from queueing_llm.networks._classes_turns import continuing
from queueing_llm.networks._service import ServiceMeans

Phase: TypeAlias = Literal["both", "prefill", "decode"]


class RequestKind(NamedTuple):
    """A class of requests: those of a visit, turn, phase and engine."""

    visit: int
    turn: int
    """From 1 on; the last number of a geometric law stands for all turns from there on."""
    phase: Phase
    engine: int


class Turn(NamedTuple):
    """A turn of a visit, or all of them that are alike."""

    context: Context
    again: Fraction
    """Chance of another turn after it [1]."""
    repeats: bool
    """Whether that turn is like this one, instead of the next on the list."""


@final
@dataclass(slots=True)
class Draft:
    """A network being put together; visits without an engine are nodes, too, until spliced.

    Parameters
    ----------
    kinds : list of RequestKind or None
        What each node is; None for a visit without an engine.
    seconds : list of Fraction
        Mean service of each node [s].
    rows : list of dict
        Routing between the nodes.
    arrivals : list of Fraction
        Arrivals from outside [1/s].
    """

    kinds: list[RequestKind | None] = field(default_factory=list)
    seconds: list[Fraction] = field(default_factory=list)
    rows: list[dict[int, Fraction]] = field(default_factory=list)
    arrivals: list[Fraction] = field(default_factory=list)

    def add(self, kind: RequestKind | None, seconds: Fraction) -> int:
        """Add a node and return its position."""
        self.kinds.append(kind)
        self.seconds.append(seconds)
        self.rows.append({})
        self.arrivals.append(Fraction(0))
        return len(self.kinds) - 1

    def lead(
        self, source: int, entries: Sequence[tuple[int, Fraction]], share: Fraction
    ) -> None:
        """Lead a share of what leaves a node to where a turn or visit begins."""
        for node, part in entries:
            if share * part:
                self.rows[source][node] = (
                    self.rows[source].get(node, Fraction(0)) + share * part
                )

    def splice(self) -> None:
        """Route past every node that is no class: it takes no engine's time.

        Nobody stays among such nodes for ever, so what comes back to one of them at once is
        less than what left it.
        """
        for node, kind in enumerate(self.kinds):
            if kind is not None:
                continue
            row, self.rows[node] = self.rows[node], {}
            onward = 1 - row.pop(node, Fraction(0))
            ways = [(l, share / onward) for l, share in row.items()]
            for before in range(len(self.rows)):
                self.lead(before, ways, self.rows[before].pop(node, Fraction(0)))
            came, self.arrivals[node] = self.arrivals[node], Fraction(0)
            for l, share in ways:
                self.arrivals[l] += came * share


def turns_of(means: ServiceMeans, at: int) -> list[Turn] | None:
    """Return the turns of a visit, None if they are too many to lay out.

    Further turns of a geometric number are one class that comes back to itself.
    """
    law, visit = means.flow.visits[at].turns, means.visits[at]
    if isinstance(law, GeometricLength) and law.mean > 1:
        again = 1 - 1 / decimal(law.mean, "turns")
        if visit.first == visit.later:
            return [Turn(visit.first, again, repeats=True)]
        return [
            Turn(visit.first, again, repeats=False),
            Turn(visit.later, again, repeats=True),
        ]
    chances = continuing(law)
    if chances is None:
        return None
    return [
        Turn(_context(means, at, turn), again, repeats=False)
        for turn, again in enumerate(chances, start=1)
    ]


def _context(means: ServiceMeans, at: int, turn: int) -> Context:
    """Return the mean context at a turn."""
    kind, visit = means.flow.visits[at], means.visits[at]
    if turn == 1:
        return visit.first
    if not kind.turn_carries_context or visit.lengths is None:
        return Context(Fraction(0), Fraction(0))
    grown = (turn - 1) * (visit.lengths.prompt + visit.lengths.output)
    tokens = visit.first.tokens + grown
    return Context(tokens, (1 - Fraction(kind.turn_prefix_cache_hit)) * tokens)
