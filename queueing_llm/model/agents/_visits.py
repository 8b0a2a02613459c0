"""What a network of agents is made of: engines, kinds of visit, and moves between them.

A *session* enters the network, makes one visit after another and leaves. A visit is one
request to one engine. A fork splits a session into branches that go on side by side, a join
waits for them.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final, get_args

from queueing_llm._validate import Domain, Real, decimal, validate
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model._arguments import check_kind
from queueing_llm.model._arrivals import AbstractArrivals
from queueing_llm.model._closed_arrivals import check_open
from queueing_llm.model._engine import Engine
from queueing_llm.model._joint_lengths import AbstractRequestLengths
from queueing_llm.model._lengths import AbstractLength
from queueing_llm.policies import SARATHI, Policy, check_policy

Join = Literal["all", "any"]
Dispatch = Literal["planned", "shortest"]
Share = Annotated[Real, Domain("q", "1", at_least=0, at_most=1)]
Delay = Annotated[Real, Domain("z", "s", at_least=0)]
Rank = Annotated[int, Domain("r", "1", integer=True)]


@final
@dataclass(frozen=True, slots=True)
class NetworkEngine:
    """An engine of a network.

    Parameters
    ----------
    name : str
        Its name, different from that of every other engine.
    engine : Engine
        Step time and limits.
    policy : Policy
        How it forms batches. It sees the requests in this order: first those that have
        started, in order of start; then those that wait, by priority, then in order of
        arrival at the engine. So priorities never interrupt a request that has started.

    Raises
    ------
    InvalidArgument
        If the name is empty, or the engine or the policy is something else.

    Examples
    --------
    >>> from queueing_llm.model import Engine
    >>> from queueing_llm.model.agents import NetworkEngine
    >>> from queueing_llm.steptime import AffineStepTime
    >>> NetworkEngine("gpu", Engine(AffineStepTime(1, 0), token_budget=768)).policy.name
    'sarathi'
    """

    name: str
    engine: Engine
    policy: Policy = SARATHI

    def __post_init__(self) -> None:
        _check_name(self.name, "name of an engine")
        check_kind(self.engine, f"engine {self.name!r}", kind=Engine, such_as="Engine")
        check_policy(self.policy)


@final
@dataclass(frozen=True, slots=True)
class Visit:
    """A kind of visit: what one request class asks of one agent.

    Parameters
    ----------
    name : str
        Its name, different from that of every other kind of visit.
    agent : hashable
        Node of the graph that it belongs to.
    request_class : str
        Class of the sessions that make it.
    engines : tuple of int
        Positions of the engines that can serve it; empty if it takes only its delay.
    lengths : AbstractRequestLengths or None
        Prompt and output tokens of the request, without the context that moves carry along;
        None without an engine.
    arrivals : AbstractArrivals or None
        Sessions that start here.
    priority : int
        Smaller is served first among the requests that wait at an engine; equals wait in
        order of arrival.
    delay : number
        Mean time before the request is sent, for tools and thinking [s]; it keeps no engine
        busy. Exponential if ``has_random_delay``, else constant.
    has_random_delay : bool
        Whether the delay is drawn from an exponential law.
    turns : AbstractLength or None
        Law of the number of visits in a row, at least 1; None for one visit. Each further
        one waits for the delay again.
    turn_carries_context, turn_prefix_cache_hit
        As for :class:`Move`, between the visits in a row.
    dispatch : {"planned", "shortest"}
        Which of several engines gets a request: at random with the probabilities of static
        planning (a simulation is told them as ``shares``), or the one with the fewest tokens
        of work left.
    forks : bool
        Whether all moves from here are taken, not one of them.
    join : {"all", "any"} or None
        Whether a session goes on here when all branches, or the first one, of its latest
        fork have arrived. A branch that comes later ends here.

    Raises
    ------
    InvalidArgument
        If a value is outside its domain, or lengths are given without an engine or missing
        with one; the message names the visit.

    Examples
    --------
    >>> from queueing_llm.model.agents import Visit
    >>> Visit("search", "search", "session", delay=2).engines
    ()
    """

    name: str
    agent: Hashable
    request_class: str
    engines: tuple[int, ...] = ()
    lengths: AbstractRequestLengths | None = None
    arrivals: AbstractArrivals | None = None
    priority: Rank = 0
    delay: Delay = 0
    has_random_delay: bool = False
    turns: AbstractLength | None = None
    turn_carries_context: bool = False
    turn_prefix_cache_hit: Share = 0
    dispatch: Dispatch = "planned"
    forks: bool = False
    join: Join | None = None

    def __post_init__(self) -> None:
        _check_name(self.name, "name of a visit")
        _check_name(self.request_class, f"request_class of visit {self.name!r}")
        object.__setattr__(self, "engines", tuple(self.engines))
        try:
            validate(self)
            self._check_kinds()
        except InvalidArgument as error:
            msg = f"visit {self.name!r}: {error}"
            raise InvalidArgument(msg) from None

    def _check_kinds(self) -> None:
        """Check what is no number."""
        _check_flags(self, ("has_random_delay", "turn_carries_context", "forks"))
        if (self.lengths is None) == bool(self.engines):
            what = "needs" if self.engines else "has no engine, so it must not have"
            msg = f"it {what} lengths: prompt and output tokens of its request."
            raise InvalidArgument(msg)
        kinds: tuple[tuple[str, type, str], ...] = (
            ("lengths", AbstractRequestLengths, "IndependentLengths"),
            ("arrivals", AbstractArrivals, "PoissonArrivals"),
            ("turns", AbstractLength, "GeometricLength"),
        )
        for name, kind, such_as in kinds:
            if getattr(self, name) is not None:
                check_kind(getattr(self, name), name, kind=kind, such_as=such_as)
        check_open(self.arrivals, "arrivals")
        if self.turns is not None and self.turns.smallest < 1:
            msg = f"turns must be at least 1, got turns={self.turns!r}, which can be 0."
            raise InvalidArgument(msg)
        _check_word(self.dispatch, "dispatch", get_args(Dispatch))
        if self.join is not None:
            _check_word(self.join, "join", get_args(Join))


@final
@dataclass(frozen=True, slots=True)
class Move:
    """A way from one kind of visit to the next.

    Parameters
    ----------
    source, target : int
        Positions of the kinds of visit.
    probability : number
        Share of the sessions at the source that take it [1]; 1 from a fork. What the moves
        from a visit leave out of 1 ends the session.
    carries_context : bool
        Whether the next prompt begins with the whole context so far: what the session has
        carried here, and the prompt and output of the visit just made. If not, the session
        starts again with an empty context.
    prefix_cache_hit : number
        Share of the carried context that the next engine still has in its KV cache and need
        not prefill [1]. What it must prefill is rounded to a whole number of tokens at
        random, so that the mean is exact.

    Raises
    ------
    InvalidArgument
        If a share is not between 0 and 1.

    Examples
    --------
    >>> from queueing_llm.model.agents import Move
    >>> Move(0, 1, carries_context=True).probability
    1
    """

    source: int
    target: int
    probability: Share = 1
    carries_context: bool = False
    prefix_cache_hit: Share = 0

    def __post_init__(self) -> None:
        validate(self)
        decimal(self.probability, "probability")
        _check_flags(self, ("carries_context",))


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not name:
        msg = f"the {what} must be a text that is not empty, got {name!r}."
        raise InvalidArgument(msg)


def _check_flags(model: object, names: Iterable[str]) -> None:
    for name in names:
        if not isinstance(getattr(model, name), bool):
            msg = f"{name} must be True or False, got {name}={getattr(model, name)!r}."
            raise InvalidArgument(msg)


def _check_word(value: Any, name: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        msg = f"{name} is {value!r}: {nearest(str(value), accepted)}."
        raise InvalidArgument(msg)
