"""Playing a scheduler of the field, and keeping books beside its own.

A scheduler is an object with a memory: it is not asked about a state, it is told of arrivals
and does a step. What it did is entered into the books that a policy would be asked about, so
the contracts of policies read it as they read a policy. Where both books disagree about who
is done, the play is over.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import Batch, EngineState
from queueing_llm.policies.field import (
    FieldRequest,
    FieldStep,
    FieldSystem,
    Limits,
)
from queueing_llm.verify.plays._books import Books
from queueing_llm.verify.plays._decision import Decision, Ending
from queueing_llm.verify.plays._trial import Arrival, Trial

SPARE_STEPS = 64
IDLE_STEPS = 128
"""Empty steps in a row after which nobody waits for a scheduler any more."""
MOST_TOKENS = 2**53
"""No scheduler means more tokens for a request in one step."""

Name: TypeAlias = Callable[[int], str]
Told: TypeAlias = Sequence[int] | None


def as_real(trial: Trial) -> Trial:
    """Return the trial in the accounting of real engines: the prefill yields a token."""
    return replace(trial, engine=replace(trial.engine, first_token_from_prefill=True))


def limits_of(trial: Trial) -> Limits:
    """Return what a scheduler is built for."""
    engine, arrivals = trial.engine, trial.arrivals
    return Limits(
        engine.token_budget,
        engine.max_batch_size,
        engine.kv_capacity,
        engine.kv_block_size,
        requests=len(arrivals),
        tokens=sum(arrival.prompt_tokens + arrival.output_tokens for arrival in arrivals),
    )


def field_steps(
    system: FieldSystem, trial: Trial, *, name: Name = str, told: Told = None
) -> Iterator[Decision | Ending]:
    """Yield what a fresh scheduler decides step by step, and why the play is over.

    Parameters
    ----------
    system : FieldSystem
        Who plays.
    trial : Trial
        In the accounting of :func:`as_real`.
    name : callable
        Names of the requests, by their numbers.
    told : sequence of int or None
        Most output tokens that the scheduler is told of, by request; None: their output.
    """
    books, upcoming, limits = Books(trial.engine), list(trial.arrivals), limits_of(trial)
    try:
        scheduler = system.build(limits)
    except InvalidArgument:
        yield Ending.REFUSED
        return
    numbers: dict[str, int] = {}
    last = trial.arrivals[-1].step if trial.arrivals else 0
    most, idle, step, spent = last + 3 * trial.work_tokens + SPARE_STEPS, 0, -1, 0
    while spent < most:
        step += 1
        while upcoming and upcoming[0].step <= step:
            arrival, number = upcoming.pop(0), len(numbers)
            numbers[name(number)] = number
            promised = None if told is None else told[number]
            request = _request(arrival, number, name(number), promised)
            books.join(arrival)
            try:
                scheduler.add(request)
            except InvalidArgument:
                yield Ending.REFUSED
                return
            except Exception as error:  # whatever a scheduler raises is a finding about it
                yield _unread(step, books.state(), _raised(error))
                yield Ending.ILLEGAL
                return
        if books.is_empty and not upcoming:
            return
        state = books.state()
        try:
            done = scheduler.step()
        except Exception as error:  # whatever a scheduler raises is a finding about it
            yield _unread(step, state, _raised(error))
            yield Ending.ILLEGAL
            return
        decision = _entered(step, state, done, numbers)
        if len(state.request) or decision.batch is None:
            yield decision
        if decision.batch is None or imbalance(decision):
            yield Ending.ILLEGAL
            return
        books.serve(decision.batch)
        idle = 0 if decision.batch.tokens.any() or upcoming else idle + 1
        spent += idle == 0
        if idle == IDLE_STEPS:
            yield Ending.STALLED
            return
    yield Ending.CUT_SHORT


def imbalance(decision: Decision) -> str | None:
    """Return how the books of a scheduler and those of the play disagree after a step."""
    state, batch = decision.state, decision.batch
    if batch is None or decision.finished is None:
        return None
    victims = np.asarray(batch.preempted)
    left = state.prompt_left + state.decode_left + np.where(victims, state.stored, 0)
    after = left - batch.tokens
    starts_over = victims | (state.prompt_left > 0)
    most = np.where(starts_over, np.where(victims, left, state.prompt_left), 1)
    for i, number in enumerate(state.request.tolist()):
        if after[i] < 0 or batch.tokens[i] > most[i]:
            return f"request {number} gets {batch.tokens[i]} tokens where {most[i]} are left"
        if number in decision.finished and after[i] > 0:
            return f"request {number} is called done with {after[i]} tokens left"
        if number not in decision.finished and after[i] == 0:
            return f"request {number} has nothing left and is not called done"
    return None


def _request(arrival: Arrival, number: int, name: str, most: int | None) -> FieldRequest:
    return FieldRequest(
        name,
        arrival.prompt_tokens,
        arrival.output_tokens,
        priority=arrival.class_index,
        arrival=number,
        most_output_tokens=most,
    )


def _raised(error: Exception) -> str:
    return f"it raised {type(error).__name__}: {error}"


def _unread(
    step: int, state: EngineState, failure: str, *, finished: frozenset[int] = frozenset()
) -> Decision:
    """Return a decision that cannot be read as a batch."""
    return Decision(step, state, None, failure, finished=finished)


def _entered(step: int, state: EngineState, done: object, numbers: dict[str, int]) -> Decision:
    """Return what a scheduler did as a decision about the requests of a state."""
    if not isinstance(done, FieldStep):
        return _unread(step, state, f"it returned {done!r}, which is no FieldStep")
    present = state.request.tolist()
    here = {name for name, number in numbers.items() if number in present}
    finished = frozenset(numbers[name] for name in done.finished if name in numbers)
    named = [*done.tokens, *done.preempted, *done.finished]
    wrong = [(name, "is not there") for name in named if name not in here]
    wrong += [
        (name, f"gets {tokens!r} tokens, no integer from 0 to 2**53")
        for name, tokens in done.tokens.items()
        if not isinstance(tokens, int | np.integer) or not 0 <= tokens <= MOST_TOKENS
    ]
    if wrong:
        failure = f"it names request {wrong[0][0]!r}, which {wrong[0][1]}"
        return _unread(step, state, failure, finished=finished)
    served = {numbers[name]: tokens for name, tokens in done.tokens.items()}
    lost = {numbers[name] for name in done.preempted}
    batch = Batch(
        np.array([served.get(number, 0) for number in present], dtype=np.int64),
        np.array([number in lost for number in present], dtype=np.bool_),
    )
    return Decision(step, state, batch, finished=finished)
