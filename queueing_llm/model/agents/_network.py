"""Networks of agents: a validated reading of a plain networkx graph."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Any, final

from queueing_llm._validate import Domain, Real, check
from queueing_llm.model._engine import Engine
from queueing_llm.model.agents._agents import policy_of
from queueing_llm.model.agents._blocks import fork_blocks
from queueing_llm.model.agents._picture import picture
from queueing_llm.model.agents._reading import read_graph
from queueing_llm.model.agents._structure import (
    check_named,
    check_network,
    check_position,
    leaving_share,
    ways_out,
)
from queueing_llm.model.agents._visits import Move, NetworkEngine, Visit
from queueing_llm.policies import Policy

Factor = Annotated[Real, Domain("s", "1", above=0)]


@final
@dataclass(frozen=True, slots=True, init=False)
class AgentNetwork:
    """Agents that call each other, and the engines that serve them.

    The graph is read once and never changed. A node is an agent or a tool, an edge is a way
    that sessions go. Attributes, with the defaults in brackets:

    ==========================  =======================================================
    of a node
    ==========================  =======================================================
    ``engine``                  name of an engine, an :class:`Engine` of its own, or a
                                list of names if several can serve it (none: a tool)
    ``prompt_tokens``,          int or length law [tokens]; the prompt is without what
    ``output_tokens``           the session carries along
    ``lengths``                 joint law of both, instead
    ``arrival_rate``            Poisson sessions that start here [sessions/s]
    ``arrivals``                arrival process, instead
    ``priority``                int, smaller is served first (that of the class, else 0)
    ``delay``                   time before each request [s] (0)
    ``random_delay``            whether the delay is exponential (False)
    ``turns``                   int or length law: visits in a row (1)
    ``turn_carries_context``    whether a further turn begins with the context (False)
    ``turn_prefix_cache_hit``   share of it that needs no prefill [1] (0)
    ``dispatch``                ``"planned"`` or ``"shortest"`` (``"planned"``)
    ``fork``                    whether all ways out are taken side by side (False)
    ``join``                    ``"all"`` or ``"any"``: which branches are waited for
    --------------------------  -------------------------------------------------------
    of an edge
    --------------------------  -------------------------------------------------------
    ``probability``             share of the sessions that take it [1] (1 for the only
                                way out or from a fork; the rest of 1 leaves)
    ``carries_context``         whether the next prompt begins with the context (False)
    ``prefix_cache_hit``        share of it that needs no prefill [1] (0)
    ``request_class``           the only class that takes it (all do)
    --------------------------  -------------------------------------------------------
    of the graph
    --------------------------  -------------------------------------------------------
    ``engines``                 ``{name: Engine}``
    ``policies``                ``{name of an engine: policy or its name}`` (Sarathi)
    ``classes``                 ``{name: attributes}`` (one class, ``"session"``)
    --------------------------  -------------------------------------------------------
    of a class
    --------------------------  -------------------------------------------------------
    ``enters``                  agent that its sessions start at
    ``arrival_rate``            Poisson sessions [sessions/s]
    ``arrivals``                arrival process, instead
    ``priority``                for all its visits (0)
    ``route``                   list of agents that it visits in this order, instead of
                                ``enters``: the same agent twice is two kinds of visit
    ``turns``                   int or bounded law: rounds of the route (1)
    ==========================  =======================================================

    An attribute of a node may be a mapping from names of classes to values. Where the graph
    has edges, routes follow them. Names that start with ``_`` and common drawing attributes
    are left alone; any other name is an error. Kinds of visit are called ``agent`` where there
    is one class, ``class@agent`` where there are several, and ``class:hop@agent`` on routes.

    Parameters
    ----------
    graph : networkx.DiGraph or networkx.MultiDiGraph
        The agents.
    engines : mapping of str to Engine, optional
        More engines, or others behind the same names.
    policies : mapping of str to policy or str, optional
        Policy, or name of one, by name of an engine; goes before the graph's.

    Attributes
    ----------
    engines : tuple of NetworkEngine
        The engines.
    visits : tuple of Visit
        The kinds of visit.
    moves : tuple of Move
        The ways between them.

    Raises
    ------
    InvalidArgument
        If an attribute is unknown or outside its domain, an agent is never reached, a session
        can never leave, probabilities exceed 1, or forks and joins do not match; the message
        names the agent or the edge and the remedy.

    Notes
    -----
    A branch remembers the forks that it came through; a join closes the latest one. If some
    branch of a fork can come to a join that closes it, then all must, surely, and the session
    enters and leaves that block by its fork and its join alone. Else the branches go their own
    ways, and the session ends with the last of them.

    Examples
    --------
    >>> import networkx as nx
    >>> import queueing_llm as ql
    >>> from queueing_llm.model.agents import AgentNetwork
    >>> gpu = ql.Engine(ql.AffineStepTime(base=1, per_token=0), token_budget=768)
    >>> graph = nx.DiGraph(engines={"gpu": gpu})
    >>> graph.add_node(
    ...     "writer", engine="gpu", prompt_tokens=400, output_tokens=100, arrival_rate=2
    ... )
    >>> graph.add_node("critic", engine="gpu", prompt_tokens=50, output_tokens=10)
    >>> graph.add_edge("writer", "critic", carries_context=True)
    >>> graph.add_edge("critic", "writer", probability=0.25)
    >>> AgentNetwork(graph).exit_probability(1)
    Fraction(3, 4)
    """

    engines: tuple[NetworkEngine, ...]
    visits: tuple[Visit, ...]
    moves: tuple[Move, ...]

    def __init__(
        self,
        graph: Any,
        *,
        engines: Mapping[str, Engine] | None = None,
        policies: Mapping[str, Policy | str] | None = None,
    ) -> None:
        self._set(*read_graph(graph, engines=engines, policies=policies))

    @classmethod
    def of(
        cls,
        engines: Iterable[NetworkEngine],
        visits: Iterable[Visit],
        moves: Iterable[Move] = (),
    ) -> "AgentNetwork":
        """Return the network with these parts, after the same checks as a graph.

        Parameters
        ----------
        engines : iterable of NetworkEngine
            The engines; visits name them by their positions.
        visits : iterable of Visit
            The kinds of visit; moves name them by their positions.
        moves : iterable of Move
            The ways between them; nothing else is left of a session after its visit.
        """
        network = object.__new__(cls)
        network._set(tuple(engines), tuple(visits), tuple(moves))
        return network

    def _set(
        self,
        engines: tuple[NetworkEngine, ...],
        visits: tuple[Visit, ...],
        moves: tuple[Move, ...],
    ) -> None:
        check_network(engines, visits, moves)
        for name, parts in (("engines", engines), ("visits", visits), ("moves", moves)):
            object.__setattr__(self, name, parts)

    def to_graph(self) -> Any:
        """Return a new graph of the agents, for drawing.

        Returns
        -------
        networkx.DiGraph
            Nodes have ``engines`` (their names), ``request_classes``, ``forks`` and ``join``.
            Edges have ``probability``: the largest among the classes that take them.
        """
        return picture(self.engines, self.visits, self.moves)

    @property
    def entries(self) -> tuple[int, ...]:
        """Positions of the kinds of visit at which sessions arrive."""
        return tuple(at for at, visit in enumerate(self.visits) if visit.arrivals is not None)

    @property
    def request_classes(self) -> tuple[str, ...]:
        """Names of the classes of sessions, in order of their first visit."""
        return tuple(dict.fromkeys(visit.request_class for visit in self.visits))

    @property
    def arrival_rate(self) -> Real:
        """Sessions that arrive from outside, all classes together [sessions/s]."""
        arrivals = (visit.arrivals for visit in self.visits)
        return sum(process.rate for process in arrivals if process is not None)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """Pairs of a fork and the join that waits for its branches, by position."""
        ways = ways_out(self.visits, self.moves)
        leaves = [leaving_share(*both) > 0 for both in zip(self.visits, ways, strict=True)]
        return tuple(sorted(fork_blocks(self.visits, ways, leaves).items()))

    def exit_probability(self, visit: int) -> Fraction:
        """Return the share of the sessions that leave after a visit [1], exactly.

        Parameters
        ----------
        visit : int
            Position of the kind of visit; any other number is refused.

        Returns
        -------
        Fraction
            What its moves leave out of 1. Floats are read as the decimals that they print as;
            a rest below 1e-12 of them is rounding, so 0. From a fork it is 0.
        """
        check_position(visit, self.visits)
        return leaving_share(self.visits[visit], ways_out(self.visits, self.moves)[visit])

    def scaled(self, factor: Real) -> "AgentNetwork":
        """Return the network with all arrival rates multiplied.

        Parameters
        ----------
        factor : number
            The factor [1], above 0.
        """
        check(factor, "factor", Factor)
        return AgentNetwork.of(
            self.engines,
            (
                visit
                if visit.arrivals is None
                else replace(
                    visit, arrivals=visit.arrivals.scaled_to(visit.arrivals.rate * factor)
                )
                for visit in self.visits
            ),
            self.moves,
        )

    def with_priorities(self, priorities: Mapping[Hashable, int]) -> "AgentNetwork":
        """Return the network with other priorities.

        Parameters
        ----------
        priorities : mapping of name to int
            Priority of a kind of visit, or of all visits to an agent; smaller is served
            first. A kind of visit goes before its agent; others keep theirs.
        """
        names = {visit.name for visit in self.visits} | {v.agent for v in self.visits}
        for name in priorities:
            check_named(name, names, "visit or agent")

        def ranked(visit: Visit) -> Visit:
            of_agent = priorities.get(visit.agent, visit.priority)
            return replace(visit, priority=priorities.get(visit.name, of_agent))

        return AgentNetwork.of(self.engines, map(ranked, self.visits), self.moves)

    def with_policies(
        self, policies: Policy | str | Mapping[str, Policy | str]
    ) -> "AgentNetwork":
        """Return the network with other policies.

        Parameters
        ----------
        policies : policy, str or mapping
            Policy, or name of one, for all engines or by the name of the engine.
        """
        if not isinstance(policies, Mapping):
            policies = {engine.name: policies for engine in self.engines}
        for name in policies:
            check_named(name, [engine.name for engine in self.engines], "engine")
        chosen = {name: policy_of(policy) for name, policy in policies.items()}
        return AgentNetwork.of(
            (replace(e, policy=chosen.get(e.name, e.policy)) for e in self.engines),
            self.visits,
            self.moves,
        )

    def with_engines(self, engines: Mapping[str, Engine]) -> "AgentNetwork":
        """Return the network with other engines behind some of its engines' names."""
        for name in engines:
            check_named(name, [engine.name for engine in self.engines], "engine")
        return AgentNetwork.of(
            (replace(e, engine=engines.get(e.name, e.engine)) for e in self.engines),
            self.visits,
            self.moves,
        )
