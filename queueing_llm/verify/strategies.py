"""Hypothesis strategies for engines, workloads, trials and engine states.

They shrink towards little: few requests, short, early, a small budget, no limits. What they
draw can always be served: every request fits in the KV cache alone. Importing this module
imports Hypothesis, which ``import queueing_llm`` does not.
"""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, GeometricLength, UniformLength, Workload
from queueing_llm.policies import EngineState, Policy
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify._play import play, replaced
from queueing_llm.verify._trial import Arrival, Trial

__all__ = ["engine_states", "engines", "trials", "workloads"]

ONE_SECOND = AffineStepTime(1, 0)
SMALL_BUDGET = 8
MOST_REQUESTS = 6
SLACK = 8

lengths = st.integers(1, 12)
waiting = st.tuples(lengths, st.integers(0, 9), st.just(0))


@st.composite
def engines(draw: st.DrawFn, *, least_capacity: int = 2, most_capacity: int = 24) -> Engine:
    """Draw an engine with small limits, whose steps last one second.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    least_capacity, most_capacity : int
        Ends of the range of KV capacities [tokens], where there is a cache that can fill up.

    Examples
    --------
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import engines
    >>> find(engines(), lambda engine: engine.token_budget >= 3).token_budget
    3
    """
    return Engine(
        step_time=ONE_SECOND,
        token_budget=draw(st.integers(1, SMALL_BUDGET)),
        max_batch_size=draw(st.none() | st.integers(1, 4)),
        kv_capacity=draw(st.none() | st.integers(least_capacity, most_capacity)),
    )


@st.composite
def trials(draw: st.DrawFn, *, engine: Engine | None = None) -> Trial:
    """Draw up to six requests and the engine that serves them.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    engine : Engine, optional
        Whose limits to use; by default small ones are drawn.

    Raises
    ------
    InvalidArgument
        If the KV cache of the engine holds no request.

    Examples
    --------
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import trials
    >>> find(trials(), lambda trial: trial.work_tokens > 2).engine.token_budget
    1
    """
    longest = 2**31 if engine is None else _longest(engine)
    prompts = st.integers(1, min(longest - 1, SMALL_BUDGET + 1))
    if engine is not None and engine.token_budget > SMALL_BUDGET:
        prompts |= st.integers(1, min(longest - 1, 2 * engine.token_budget))
    row = st.tuples(st.integers(0, 3), prompts, st.integers(1, 6))
    # Half of the trials are crowded; Hypothesis shrinks them into the first kind.
    few = st.lists(row, min_size=1, max_size=MOST_REQUESTS)
    crowded = st.lists(row, min_size=MOST_REQUESTS - 2, max_size=MOST_REQUESTS)
    arrivals: list[Arrival] = []
    step = 0
    for gap, prompt, output in draw(few | crowded):
        step += gap if arrivals else 0
        arrivals.append(Arrival(step, prompt, min(output, longest - prompt)))
    if engine is None:
        needed = max(arrival.prompt_tokens + arrival.output_tokens for arrival in arrivals)
        engine = draw(engines(least_capacity=needed, most_capacity=needed + SLACK))
    return Trial(engine, tuple(arrivals))


def _longest(engine: Engine) -> int:
    """Return the most prompt and output tokens of a request."""
    if engine.kv_capacity is None:
        return 2**31
    longest = engine.kv_capacity + int(engine.first_token_from_prefill)
    if longest < 2:
        msg = f"engine must hold a request in its cache, got kv_capacity={engine.kv_capacity}."
        raise InvalidArgument(msg)
    return longest


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Draw Poisson arrivals of requests whose lengths are constant, uniform or geometric.

    Parameters
    ----------
    draw
        Given by Hypothesis.

    Examples
    --------
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import workloads
    >>> find(workloads(), lambda workload: workload.arrival_rate >= 2).arrival_rate
    Fraction(2, 1)
    """
    law = (
        lengths
        | st.tuples(lengths, lengths).map(lambda ends: UniformLength(min(ends), max(ends)))
        | lengths.map(GeometricLength)
    )
    rate = draw(st.fractions(min_value="1/100", max_value=20, max_denominator=100))
    return Workload.poisson(rate, prompt_tokens=draw(law), output_tokens=draw(law))


def engine_states(
    *,
    engine: Engine | None = None,
    reachable_by: Policy | None = None,
    limits: bool = True,
    residents_fit: bool = False,
) -> st.SearchStrategy[EngineState]:
    """Return the strategy of what a policy can be asked about: at least one request present.

    Parameters
    ----------
    engine : Engine, optional
        Whose limits to use; by default they are drawn.
    reachable_by : Policy, optional
        Only states that this policy comes to from an empty engine. By default any state of
        an engine that serves first come, first served: the oldest requests decode, at most
        one more is partly prefilled, the rest wait.
    limits : bool
        Whether to draw a batch-size limit and a KV capacity.
    residents_fit : bool
        Whether no more requests have started than ``max_batch_size`` allows, as under a rule
        that counts residents.

    Raises
    ------
    InvalidArgument
        If an engine is given for states that are not reached by a policy.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import engine_states
    >>> states = engine_states(reachable_by=ql.SARATHI)
    >>> find(states, lambda state: len(state.decoding) > 1).stored.tolist()
    [1, 1]
    """
    if reachable_by is not None:
        return _reached(engine=engine, policy=reachable_by)
    if engine is not None:
        msg = f"engine needs reachable_by, the policy that runs it, got engine={engine!r}."
        raise InvalidArgument(msg)
    return _any_states(limits=limits, residents_fit=residents_fit)


@st.composite
def _reached(draw: st.DrawFn, *, engine: Engine | None, policy: Policy) -> EngineState:
    decisions = play(policy, draw(trials(engine=engine))).decisions
    return decisions[draw(st.integers(0, len(decisions) - 1))].state


@st.composite
def _any_states(draw: st.DrawFn, *, limits: bool, residents_fit: bool) -> EngineState:
    rows = draw(st.lists(st.tuples(st.just(0), lengths, lengths), max_size=8))
    rows += draw(st.lists(st.tuples(lengths, st.integers(0, 9), lengths), max_size=1))
    started = max(1, len(rows))
    rows += draw(st.lists(waiting, min_size=0 if rows else 1, max_size=6))
    prompt_left, decode_left, stored = (list(column) for column in zip(*rows, strict=True))
    needed = max(sum(stored), *(sum(row) for row in rows))
    fewest = started if residents_fit else 1
    places = st.none() | st.integers(fewest, fewest + 8)
    capacity = st.none() | st.integers(needed, needed + 20)
    return _state(
        prompt_left,
        decode_left,
        stored,
        token_budget=draw(st.integers(1, 16)),
        max_batch_size=draw(places) if limits else None,
        kv_capacity=draw(capacity) if limits else None,
    )


def _state(
    prompt_left: list[int], decode_left: list[int], stored: list[int], **limits: Any
) -> EngineState:
    """Return a state whose arrays nobody can write to."""
    numbers = range(3, 3 + len(stored))
    listed = (numbers, [0] * len(stored), prompt_left, decode_left, stored)
    columns: list[Any] = [np.array(values, dtype=np.int64) for values in listed]
    return replaced(EngineState(*columns, **limits))
