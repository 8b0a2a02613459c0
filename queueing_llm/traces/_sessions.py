"""Recorded agent sessions: the calls that each one made to a language model."""

from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import EmpiricalLength
from queueing_llm.model._arguments import integer_column

BLOCK = 64
"""Tokens in a block of the prefix cache."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class SessionTrace:
    """Calls of agent sessions, sorted by session, agent and position.

    A session is one main agent and the sub-agents that it started. Each call sends the whole
    context of its agent. ``N`` is the number of calls.

    Parameters
    ----------
    name : str
        What the trace is called.
    session : int array, shape (N,)
        Which session made the call, numbered from 0 without gaps.
    agent : int array, shape (N,)
        0 for the main agent, 1, 2, ... for the sub-agents of the session.
    position : int array, shape (N,)
        Place of the call among those of its agent, increasing; gaps are allowed.
    times : float array, shape (N,)
        When the call was made, from the first call of its agent [s].
    context_tokens : int array, shape (N,)
        Tokens sent, cached ones included [tokens], at least 1.
    output_tokens : int array, shape (N,)
        Tokens generated [tokens]; 0 where a call brought nothing.
    cached_tokens : int array, shape (N,)
        How many of the tokens sent, from the first on, the session had sent or generated
        before: what a prefix cache without limit still has [tokens].
    opens_turn : bool array, shape (N,)
        Whether the call begins a turn of the user: it brings no result of a tool.
    stop : str array, shape (N,)
        Why the answer ended: ``"tool_use"``, ``"end_turn"``; empty if not recorded.
    think_times : float array, shape (N,)
        Time that the client, its tools or its user took before the call [s]; nan if not
        recorded.

    Raises
    ------
    InvalidArgument
        If the columns differ in length or order, or a number is out of range.

    Examples
    --------
    >>> trace = SessionTrace(
    ...     "tiny", session=[0, 0, 1], agent=[0, 0, 0], position=[0, 1, 0],
    ...     times=[0.0, 9.0, 0.0], context_tokens=[300, 420, 100], output_tokens=[20, 10, 5],
    ...     cached_tokens=[0, 320, 0], opens_turn=[True, False, True],
    ...     stop=["tool_use", "end_turn", "end_turn"], think_times=[0.0, 2.0, 0.0],
    ... )
    >>> trace.calls_per_session.mean
    Fraction(3, 2)
    """

    name: str
    session: np.ndarray
    agent: np.ndarray
    position: np.ndarray
    times: np.ndarray
    context_tokens: np.ndarray
    output_tokens: np.ndarray
    cached_tokens: np.ndarray
    opens_turn: np.ndarray
    stop: np.ndarray
    think_times: np.ndarray

    def __post_init__(self) -> None:
        freeze = object.__setattr__
        for name, least in _LEAST.items():
            freeze(self, name, integer_column(getattr(self, name), name, at_least=least))
        for name, kind in _KINDS.items():
            column: np.ndarray = np.array(getattr(self, name), dtype=kind)
            column.flags.writeable = False
            freeze(self, name, column)
        for name in (*_LEAST, *_KINDS):
            if len(getattr(self, name)) != len(self.session):
                msg = f"{name} has {len(getattr(self, name))} rows, session has {len(self)}."
                raise InvalidArgument(msg)
        self._refuse_disorder()
        self._refuse_values()

    def __len__(self) -> int:
        return len(self.session)

    @property
    def session_count(self) -> int:
        """Number of sessions."""
        return int(self.session[-1]) + 1

    @property
    def sub_agent_count(self) -> int:
        """Number of sub-agents in all sessions."""
        return int(np.sum(self.starts_agent & (self.agent > 0)))

    @property
    def starts_agent(self) -> np.ndarray:
        """Whether each call is the first of its agent."""
        changes = np.diff(self.session, prepend=-1) != 0
        return changes | (np.diff(self.agent, prepend=-1) != 0)

    @property
    def uncached_tokens(self) -> np.ndarray:
        """What a prefix cache without limit leaves to prefill in each call [tokens]."""
        return self.context_tokens - self.cached_tokens

    @property
    def calls_per_session(self) -> EmpiricalLength:
        """Law of the number of calls in a session, its sub-agents' calls included."""
        return EmpiricalLength(np.bincount(self.session))

    @property
    def calls_per_turn(self) -> EmpiricalLength:
        """Law of the number of calls of one agent from one message of its user to the next."""
        return EmpiricalLength(self._turn_lengths())

    @property
    def context_growth(self) -> np.ndarray:
        """Tokens that the context gained from one call of an agent to its next [tokens].

        Negative where the agent shortened its context. One entry fewer for each agent than
        it has calls.
        """
        return np.diff(self.context_tokens)[~self.starts_agent[1:]]

    def chance_of_another_call(self, calls: int) -> Fraction | None:
        """Return how many of the turns that reached a number of calls go on to one more.

        Parameters
        ----------
        calls : int
            Calls that a turn has reached, at least 1.

        Returns
        -------
        Fraction or None
            Their share [1]; the same for every number of calls only if calls per turn are
            geometric. None if no turn has so many calls.
        """
        if isinstance(calls, bool) or not isinstance(calls, int | np.integer) or calls < 1:
            msg = f"calls must be an integer of at least 1, got calls={calls!r}."
            raise InvalidArgument(msg)
        lengths = self._turn_lengths()
        reached = int(np.sum(lengths >= calls))
        return Fraction(int(np.sum(lengths > calls)), reached) if reached else None

    def of_main_agents(self) -> "SessionTrace":
        """Return the calls of main agents only."""
        kept = self.agent == 0
        if not kept.any():
            msg = f"session trace {self.name!r} holds no call of a main agent."
            raise InvalidArgument(msg)
        columns = {name: getattr(self, name)[kept] for name in (*_LEAST, *_KINDS)}
        _, columns["session"] = np.unique(columns["session"], return_inverse=True)
        return SessionTrace(self.name, **columns)

    def _turn_lengths(self) -> np.ndarray:
        """Return the calls of each turn, in order."""
        first = np.flatnonzero(self.opens_turn | self.starts_agent)
        return np.diff(first, append=len(self))

    def _refuse_disorder(self) -> None:
        """Raise unless rows are sorted and every agent's clock runs forward."""
        sessions, steps = np.diff(self.session, prepend=-1), self.starts_agent
        if (sessions < 0).any() or (sessions > 1).any():
            msg = f"session must count up from 0 without gaps, got {self.session!r}."
            raise InvalidArgument(msg)
        same = ~steps[1:]
        backwards = (
            ((np.diff(self.agent) < 0) & (sessions[1:] == 0))
            | (same & (np.diff(self.position) <= 0))
            | (same & (np.diff(self.times) < 0))
        )
        if backwards.any():
            row = int(np.argmax(backwards)) + 1
            msg = (
                "calls must be sorted by session, agent and position, with times that do not "
                f"decrease within an agent; row {row} is not: agent {self.agent[row]}, "
                f"position {self.position[row]}, time {self.times[row]}."
            )
            raise InvalidArgument(msg)

    def _refuse_values(self) -> None:
        beyond = self.cached_tokens > self.context_tokens
        if beyond.any():
            row = int(np.argmax(beyond))
            msg = (
                f"cached_tokens must not exceed context_tokens, got {self.cached_tokens[row]} "
                f"of {self.context_tokens[row]} in row {row}."
            )
            raise InvalidArgument(msg)
        think = self.think_times[~np.isnan(self.think_times)]
        for name, column in (("times", self.times), ("think_times", think)):
            if not (np.isfinite(column) & (column >= 0)).all():
                msg = f"{name} must be numbers of at least 0 [s], got {column!r}."
                raise InvalidArgument(msg)


_LEAST = {
    "session": 0,
    "agent": 0,
    "position": 0,
    "context_tokens": 1,
    "output_tokens": 0,
    "cached_tokens": 0,
}
"""Columns of integers, and the smallest accepted value of each."""

_KINDS = {
    "times": np.float64,
    "opens_turn": np.bool_,
    "stop": np.str_,
    "think_times": np.float64,
}
"""The other columns, and what they hold."""
