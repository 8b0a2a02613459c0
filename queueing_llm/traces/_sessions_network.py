"""The network of one agent whose sessions go as recorded ones did."""

from fractions import Fraction

import numpy as np

from queueing_llm._validate import Rate, Real, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import EmpiricalLengths, Engine, PoissonArrivals
from queueing_llm.model.agents import AgentNetwork, NetworkEngine, Visit
from queueing_llm.policies import SARATHI, Policy
from queueing_llm.traces._sessions import SessionTrace


def session_network(
    trace: SessionTrace,
    *,
    engine: Engine,
    sessions_per_second: Real,
    prefix_cache: bool = True,
    policy: Policy = SARATHI,
) -> AgentNetwork:
    """Return one agent on one engine that makes calls as recorded sessions did.

    A session makes as many calls in a row as a recorded one, drawn at random, its sub-agents'
    calls included; before each it takes time for tools and thinking.

    Parameters
    ----------
    trace : SessionTrace
        The recorded calls.
    engine : Engine
        Where every call goes.
    sessions_per_second : number
        Rate at which sessions start, as a Poisson process [sessions/s].
    prefix_cache : bool
        Whether a call prefills only the tokens that its session had not sent before, as with
        a cache without limit, instead of its whole context.
    policy : Policy
        How the engine forms batches.

    Returns
    -------
    AgentNetwork
        One engine, one kind of visit, no moves.

    Raises
    ------
    InvalidArgument
        If an argument is of the wrong kind, or if ``prefix_cache`` meets an engine whose
        memory or step time counts cached tokens: the visit carries only uncached ones.

    Notes
    -----
    Prompt and output of a call are drawn together from all recorded calls. The mean work of a
    session is that of the recorded ones (Wald's identity), and so is its capacity; what goes
    beyond means is lost: long sessions have longer contexts, and sub-agents work beside their
    main agent. Delays are exponential with the recorded mean to the nanosecond, calls without
    a record left out. A prompt that is wholly cached, or an empty output, counts as one token.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> trace = SessionTrace(
    ...     "tiny", session=[0, 0], agent=[0, 0], position=[0, 1], times=[0.0, 9.0],
    ...     context_tokens=[320, 448], output_tokens=[20, 10], cached_tokens=[0, 320],
    ...     opens_turn=[True, False], stop=["tool_use", "end_turn"], think_times=[0.0, 2.0],
    ... )
    >>> step = ql.AffineStepTime(base=0.01, per_token=0.0002)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> network = session_network(trace, engine=engine, sessions_per_second=0.1)
    >>> network.visits[0].lengths.moments.prompt
    Fraction(224, 1)
    """
    _refuse_kinds(trace, engine, prefix_cache)
    check(sessions_per_second, "sessions_per_second", Rate)
    if prefix_cache:
        _refuse_engines_that_count_context(engine)
    prompt = trace.uncached_tokens if prefix_cache else trace.context_tokens
    visit = Visit(
        name="agent",
        agent="agent",
        request_class="session",
        engines=(0,),
        lengths=EmpiricalLengths(np.maximum(prompt, 1), np.maximum(trace.output_tokens, 1)),
        arrivals=PoissonArrivals(sessions_per_second),
        delay=mean_think_time(trace),
        has_random_delay=True,
        turns=trace.calls_per_session,
    )
    return AgentNetwork.of((NetworkEngine("engine", engine, policy),), (visit,), ())


def mean_think_time(trace: SessionTrace) -> Fraction:
    """Return the mean recorded time before a call [s], exact for whole nanoseconds."""
    recorded = trace.think_times[~np.isnan(trace.think_times)]
    nanoseconds = np.rint(recorded * 1e9).astype(np.int64)
    return Fraction(int(np.sum(nanoseconds)), 10**9 * max(len(recorded), 1))


def _refuse_kinds(trace: object, engine: object, prefix_cache: object) -> None:
    for name, value, kind in (
        ("trace", trace, SessionTrace),
        ("engine", engine, Engine),
        ("prefix_cache", prefix_cache, bool),
    ):
        if not isinstance(value, kind):
            msg = f"{name} must be of type {kind.__name__}, got {name}={value!r}."
            raise InvalidArgument(msg)


def _refuse_engines_that_count_context(engine: Engine) -> None:
    """Raise if cached tokens would take memory or time that the visit leaves out."""
    if engine.kv_capacity is not None:
        what, value = "kv_capacity", repr(engine.kv_capacity)
    elif engine.step_time.kv_slope != 0:
        what, value = "a step time that reads the KV cache", repr(engine.step_time)
    else:
        return
    msg = (
        f"an engine with {what} ({value}) counts the cached context of a call, which "
        "prefix_cache=True leaves out; accepted: prefix_cache=False, or an engine without it."
    )
    raise InvalidArgument(msg)
