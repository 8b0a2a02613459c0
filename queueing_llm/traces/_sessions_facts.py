"""What is worth knowing about recorded agent sessions, in one value."""

from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.traces._facts import LengthFacts, length_facts
from queueing_llm.traces._sessions import BLOCK, SessionTrace


@final
@dataclass(frozen=True, slots=True)
class SessionFacts:
    r"""How many calls agent sessions make, how long these are, and what a cache saves.

    Parameters
    ----------
    sessions, sub_agents, calls, turns : int
        How many sessions, sub-agents in them, calls, and turns of users.
    calls_per_session, calls_per_turn : LengthFacts
        Numbers of calls, in calls instead of tokens.
    context, output, uncached : LengthFacts
        Tokens that a call sends, generates, and sends without having sent them before.
    context_growth : float
        Mean gain of the context from one call of an agent to its next [tokens].
    prefix_hit : Fraction
        Share of the whole blocks sent that the session had before [1].
    tool_share : Fraction or None
        Share of the answers that call a tool, where it is recorded why they ended [1].
    think_after_tool, think_after_turn : float or None
        Median time before the call that follows an answer that calls a tool, or that ends a
        turn [s]; None if there is none.

    Examples
    --------
    >>> trace = SessionTrace(
    ...     "tiny", session=[0, 0], agent=[0, 0], position=[0, 1], times=[0.0, 9.0],
    ...     context_tokens=[320, 448], output_tokens=[20, 10], cached_tokens=[0, 320],
    ...     opens_turn=[True, False], stop=["tool_use", "end_turn"], think_times=[0.0, 2.0],
    ... )
    >>> session_facts(trace).prefix_hit
    Fraction(5, 12)
    """

    sessions: int
    sub_agents: int
    calls: int
    turns: int
    calls_per_session: LengthFacts
    calls_per_turn: LengthFacts
    context: LengthFacts
    output: LengthFacts
    uncached: LengthFacts
    context_growth: float | None
    prefix_hit: Fraction
    tool_share: Fraction | None
    think_after_tool: float | None
    think_after_turn: float | None


def session_facts(trace: SessionTrace) -> SessionFacts:
    """Return counts, lengths, cache hits and think times of recorded sessions.

    Parameters
    ----------
    trace : SessionTrace
        The calls; ``trace.of_main_agents()`` leaves out sub-agents.

    Returns
    -------
    SessionFacts
        The facts; see there for the definitions.

    Raises
    ------
    InvalidArgument
        If the trace is no :class:`SessionTrace`.

    Examples
    --------
    >>> session_facts(3)
    Traceback (most recent call last):
    queueing_llm.errors.InvalidArgument: trace must be a SessionTrace, ...
    """
    _refuse_other_than_sessions(trace)
    turns = np.asarray(trace.calls_per_turn.values)
    growth = trace.context_growth
    return SessionFacts(
        sessions=trace.session_count,
        sub_agents=trace.sub_agent_count,
        calls=len(trace),
        turns=len(turns),
        calls_per_session=length_facts(np.asarray(trace.calls_per_session.values)),
        calls_per_turn=length_facts(turns),
        context=length_facts(trace.context_tokens),
        output=length_facts(trace.output_tokens),
        uncached=length_facts(trace.uncached_tokens),
        context_growth=float(np.mean(growth)) if len(growth) else None,
        prefix_hit=_prefix_hit(trace),
        tool_share=_tool_share(trace),
        think_after_tool=_think_after(trace, "tool_use"),
        think_after_turn=_think_after(trace, "end_turn"),
    )


def _refuse_other_than_sessions(trace: object) -> None:
    if not isinstance(trace, SessionTrace):
        msg = f"trace must be a SessionTrace, as read_sessions returns it, got trace={trace!r}."
        raise InvalidArgument(msg)


def _prefix_hit(trace: SessionTrace) -> Fraction:
    """Return cached over whole blocks; a rest of less than a block is never cached."""
    whole = int(np.sum(trace.context_tokens // BLOCK)) * BLOCK
    return Fraction(int(np.sum(trace.cached_tokens)), max(whole, 1))


def _tool_share(trace: SessionTrace) -> Fraction | None:
    recorded = int(np.sum(trace.stop != ""))
    return Fraction(int(np.sum(trace.stop == "tool_use")), recorded) if recorded else None


def _think_after(trace: SessionTrace, stop: str) -> float | None:
    """Return the median time before the calls that follow an answer that ended so."""
    follows = ~trace.starts_agent[1:] & (trace.stop[:-1] == stop)
    times = trace.think_times[1:][follows]
    times = times[~np.isnan(times)]
    return float(np.median(times)) if len(times) else None
