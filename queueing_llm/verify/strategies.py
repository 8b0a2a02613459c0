"""Hypothesis strategies for engines, workloads, trials, engine states and networks.

They shrink towards little: few requests, short, early, a small budget, no limits. What they
draw can always be served: every request fits in the KV cache alone. Importing this module
imports Hypothesis, which ``import queueing_llm`` does not.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from hypothesis import strategies as st

from queueing_llm._validate import Domain, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, GeometricLength, UniformLength, Workload
from queueing_llm.policies import EngineState, Policy
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify._network_strategies import agent_networks, multiclass_networks
from queueing_llm.verify.plays._books import replaced
from queueing_llm.verify.plays._play import play
from queueing_llm.verify.plays._trial import Arrival, Trial

__all__ = [
    "agent_networks",
    "crowds",
    "engine_states",
    "engines",
    "multiclass_networks",
    "trials",
    "workloads",
]

ONE_SECOND = AffineStepTime(1, 0)
SMALL_BUDGET = 8
MOST_REQUESTS = 6
SLACK = 8
MOST_IN_CROWD = 600
Classes = Annotated[int, Domain("C", "1", at_least=1, integer=True)]

lengths = st.integers(1, 12)
waiting = st.tuples(lengths, st.integers(0, 9), st.just(0))


@st.composite
def engines(
    draw: st.DrawFn,
    *,
    least_capacity: int = 2,
    most_capacity: int = 24,
    least_budget: int = 1,
    most_budget: int = SMALL_BUDGET,
    most_block_size: int = 1,
) -> Engine:
    """Draw an engine with small limits, whose steps last one second.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    least_capacity, most_capacity : int
        Ends of the range of KV capacities [tokens], where there is a cache that can fill up;
        rounded up to whole blocks.
    least_budget, most_budget : int
        Ends of the range of token budgets [tokens].
    most_block_size : int
        Most tokens in a block of such a cache [tokens].

    Examples
    --------
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import engines
    >>> find(engines(), lambda engine: engine.token_budget >= 3).token_budget
    3
    """
    budget = draw(st.integers(least_budget, most_budget))
    places = draw(st.none() | st.integers(1, 4))
    capacity = draw(st.none() | st.integers(least_capacity, most_capacity))
    block = 1 if capacity is None else draw(st.integers(1, most_block_size))
    return Engine(
        step_time=ONE_SECOND,
        token_budget=budget,
        max_batch_size=places,
        kv_capacity=None if capacity is None else -(-capacity // block) * block,
        kv_block_size=block,
    )


@st.composite
def trials(
    draw: st.DrawFn,
    *,
    engine: Engine | None = None,
    classes: int = 1,
    most_budget: int = SMALL_BUDGET,
    most_block_size: int = 1,
    whole: bool = False,
) -> Trial:
    """Draw up to six requests and the engine that serves them.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    engine : Engine, optional
        Whose limits to use; by default small ones are drawn.
    classes : int
        How many classes, or tenants, the requests may be of.
    most_budget, most_block_size : int
        As for :func:`engines`, if the engine is drawn.
    whole : bool
        Whether a batch has room for any one of the requests, prompt and output, as engines
        that do not cut prompts want it, and hardly for two; they come close together. The
        budget may exceed ``most_budget`` then.

    Raises
    ------
    InvalidArgument
        If the KV cache of the engine holds no request, or ``classes`` is not positive.

    Examples
    --------
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import trials
    >>> find(trials(), lambda trial: trial.work_tokens > 2).engine.token_budget
    1
    """
    check(classes, "classes", Classes)
    longest = 2**31 if engine is None else _longest(engine)
    if whole and engine is not None:
        longest = max(2, min(longest, engine.token_budget))
    prompts = st.integers(1, min(longest - 1, SMALL_BUDGET + 1))
    if engine is not None and engine.token_budget > SMALL_BUDGET:
        prompts |= st.integers(1, min(longest - 1, 2 * engine.token_budget))
    owners = st.just(0) if classes == 1 else st.integers(0, classes - 1)
    gaps = st.integers(0, 1 if whole else 3)
    row = st.tuples(gaps, prompts, st.integers(1, 6), owners)
    # Half of the trials are crowded; Hypothesis shrinks them into the first kind.
    few = st.lists(row, min_size=1, max_size=MOST_REQUESTS)
    crowded = st.lists(row, min_size=MOST_REQUESTS - 2, max_size=MOST_REQUESTS)
    arrivals: list[Arrival] = []
    step = 0
    for gap, prompt, output, whose in draw(few | crowded):
        step += gap if arrivals else 0
        arrivals.append(Arrival(step, prompt, min(output, longest - prompt), whose))
    if engine is None:
        needed = max(arrival.prompt_tokens + arrival.output_tokens for arrival in arrivals)
        drawn = engines(
            least_capacity=needed,
            most_capacity=needed + SLACK,
            least_budget=needed if whole else 1,
            most_budget=needed + 2 if whole else most_budget,
            most_block_size=most_block_size,
        )
        engine = draw(drawn)
    return Trial(engine, tuple(arrivals))


@st.composite
def crowds(
    draw: st.DrawFn, *, engine: Engine, lengths: Sequence[tuple[int, int]], demand: int
) -> Trial:
    """Draw up to four crowds of equal requests that come one after the other.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    engine : Engine
        What serves them.
    lengths : sequence of (int, int)
        Prompt and output tokens that a request may have, at least 1 each [tokens].
    demand : int
        What a crowd can be large enough to demand, as prompts or as decodes [tokens].

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from hypothesis import find
    >>> from queueing_llm.verify.strategies import crowds
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=8)
    >>> drawn = crowds(engine=engine, lengths=[(3, 2)], demand=8)
    >>> len(find(drawn, lambda trial: trial.work_tokens > 9).arrivals)
    2
    """
    arrivals: list[Arrival] = []
    step = work = 0
    for _ in range(draw(st.integers(1, 4))):
        prompt, output = draw(st.sampled_from(list(lengths)))
        sizes = sorted({1, 2, -(-demand // prompt), min(demand, MOST_IN_CROWD)})
        # Late enough that those before may decode, or are done.
        step += draw(
            st.integers(0, 3) | st.integers(0, output + 2 * work // engine.token_budget)
        )
        size = draw(st.sampled_from(sizes))
        arrivals += [Arrival(step, prompt, output)] * min(size, MOST_IN_CROWD)
        work += size * (prompt + output)
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
