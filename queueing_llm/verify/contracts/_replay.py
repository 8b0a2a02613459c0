"""What the answers of a scheduler may depend on: functions that let it play once more.

A policy can be asked about any state. A scheduler keeps a memory and can only be led to a
state, so what a contract asks of it is asked of another play, from an empty engine, of the
same requests with something changed. Each gets the system and a play of it, and returns the
position of the decision that breaks the contract and what is wrong, or None.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import numpy as np

from queueing_llm.policies.field import FieldSystem
from queueing_llm.verify.plays._decision import Decision, Play
from queueing_llm.verify.plays._field_play import Name, Told, field_steps
from queueing_llm.verify.plays._play import MANY_DECISIONS
from queueing_llm.verify.plays._trial import Arrival, Trial

Breach = tuple[int, str] | None


def deterministic(system: FieldSystem, played: Play) -> Breach:
    """Check that a fresh scheduler does the same once more."""
    again = _decisions(system, played.trial)
    return _first_difference(played.decisions, again, what="played again")


def blind_to_numbers(system: FieldSystem, played: Play) -> Breach:
    """Check that names say nothing: others, in another order, change no batch."""
    again = _decisions(system, played.trial, name=lambda number: f"r{997 - number}")
    return _first_difference(played.decisions, again, what="under other names")


def blind_to_output_lengths(system: FieldSystem, played: Play) -> Breach:
    """Check that, until a request ends, nothing shows how long its output will be.

    What the scheduler is told of an output is the same in both plays, and enough for both.
    """
    arrivals = played.trial.arrivals
    told = [arrival.output_tokens + 1 for arrival in arrivals]
    before = _decisions(system, played.trial, told=told)
    for number, arrival in enumerate(arrivals):
        longer = replace(arrival, output_tokens=arrival.output_tokens + 1)
        trial = _with(played.trial, number, longer)
        if trial is None:
            continue
        again = _decisions(system, trial, told=told)
        # In its last step the request is not done yet: the batch was formed without knowing.
        alike = _until_done(before, number)
        what = f"with a longer output of {number}"
        found = _first_difference(alike, again, what=what, but=number)
        if found is not None:
            return found
    return None


def blind_to_the_young(system: FieldSystem, played: Play) -> Breach:
    """Check that when a request arrives, nobody who is there gets less than without it."""
    arrivals = played.trial.arrivals
    steps = {decision.step: i for i, decision in enumerate(played.decisions)}
    for number in range(1, len(arrivals)):
        position = steps.get(arrivals[number].step)
        if position is None:
            continue
        fewer = replace(played.trial, arrivals=arrivals[:number])
        without = {decision.step: decision for decision in _decisions(system, fewer)}
        now, then = played.decisions[position], without.get(arrivals[number].step)
        if now.batch is None or then is None or then.batch is None:
            continue
        old = now.batch.tokens[np.isin(now.state.request, then.state.request)]
        if len(old) != len(then.batch.tokens):
            continue  # it did not do the same before, which says nothing about the young
        taken = old < then.batch.tokens
        if taken.any():
            i = int(np.argmax(taken))
            return position, (
                f"request {then.state.request[i]} gets {old[i]}, and {then.batch.tokens[i]} "
                f"without request {number}"
            )
    return None


def _decisions(
    system: FieldSystem, trial: Trial, *, name: Name = str, told: Told = None
) -> list[Decision]:
    outcomes = islice(field_steps(system, trial, name=name, told=told), MANY_DECISIONS)
    return [outcome for outcome in outcomes if isinstance(outcome, Decision)]


def _with(trial: Trial, number: int, arrival: Arrival) -> Trial | None:
    """Return the trial with another request in one place; None if it would not fit."""
    capacity = trial.engine.kv_capacity
    work = trial.engine.work_tokens(arrival.prompt_tokens, arrival.output_tokens)
    if capacity is not None and work > capacity:
        return None
    arrivals = (*trial.arrivals[:number], arrival, *trial.arrivals[number + 1 :])
    return replace(trial, arrivals=arrivals)


def _until_done(decisions: Iterable[Decision], number: int) -> list[Decision]:
    kept = []
    for decision in decisions:
        kept.append(decision)
        if decision.finished and number in decision.finished:
            break
    return kept


def _first_difference(
    decisions: Iterable[Decision],
    others: Iterable[Decision],
    *,
    what: str,
    but: int | None = None,
) -> Breach:
    """Return where two plays come apart, except that one request may end earlier in one."""
    for i, (one, other) in enumerate(zip(decisions, others, strict=False)):
        if one.batch is None or other.batch is None:
            # What is said of a failure may hold names, so only that there is one counts.
            if one.batch is not other.batch:
                return i, f"{one.failure or 'a batch'}, but {other.failure or 'one'} {what}"
            continue
        tokens, again = one.batch.tokens.tolist(), other.batch.tokens.tolist()
        if tokens != again:
            return i, f"tokens {tokens}, but {again} {what}"
        lost, gone = (np.asarray(d.batch.preempted).tolist() for d in (one, other) if d.batch)
        if lost != gone:
            return i, f"preempts {lost}, but {gone} {what}"
        done, ended = (sorted((d.finished or frozenset()) - {but}) for d in (one, other))
        if done != ended:
            return i, f"calls {done} done, but {ended} {what}"
    return None
