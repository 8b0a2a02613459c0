"""Playing a policy step by step, with everything that it was asked and answered on record.

Unlike the drivers of the simulator, which refuse an illegal answer, this one keeps it: what
is wrong with an answer is for the contracts to say. It also notes whether the policy wrote
to its state. Legal answers are played exactly as the transparent driver plays them.
"""

from collections.abc import Iterable, Iterator

from queueing_llm.policies import Policy
from queueing_llm.policies.field import FieldSystem
from queueing_llm.verify.plays._ask import ask, broken_rule
from queueing_llm.verify.plays._books import Books
from queueing_llm.verify.plays._decision import Decision, Ending, Play
from queueing_llm.verify.plays._field_play import as_real, field_steps
from queueing_llm.verify.plays._trial import Trial

SPARE_STEPS = 16
MANY_DECISIONS = 500
"""Decisions after which nobody waits for the end of a play that is one of many."""


def play(policy: Policy | FieldSystem, trial: Trial) -> Play:
    """Play a policy through a trial until all is done or nothing more can come of it.

    Parameters
    ----------
    policy : Policy or FieldSystem
        Who plays. A scheduler of the field plays in the accounting of real engines, in
        which a prefill yields a token, and keeps a memory.
    trial : Trial
        What is played.

    Returns
    -------
    Play
        At most ``2 work + 16`` steps besides those before the last arrival; for a scheduler
        of the field ``3 work + 64``, not counting those in which it idles, of which it gets
        128 in a row.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import Arrival, Trial, play
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    >>> played = play(ql.SARATHI, Trial(engine, (Arrival(0, 3, 1), Arrival(1, 1, 1))))
    >>> [decision.batch.tokens.tolist() for decision in played.decisions]
    [[2], [1, 1], [1, 1]]
    """
    return begun(policy, trial)


def begun(
    policy: Policy | FieldSystem, trial: Trial, *, most_decisions: int | None = None
) -> Play:
    """Play a trial, cut short after so many decisions: a slow policy takes a step a token."""
    if remembers := isinstance(policy, FieldSystem):
        trial = as_real(trial)
        outcomes = field_steps(policy, trial)
    else:
        outcomes = policy_steps(policy, trial)
    return _recorded(outcomes, trial, remembers=remembers, most_decisions=most_decisions)


def _recorded(
    outcomes: Iterable[Decision | Ending],
    trial: Trial,
    *,
    remembers: bool,
    most_decisions: int | None,
) -> Play:
    """Return decisions, and perhaps why there are no more, as a play."""
    decisions: list[Decision] = []
    ending = Ending.FINISHED
    for outcome in outcomes:
        if not isinstance(outcome, Decision):
            ending = outcome
        elif len(decisions) == most_decisions:
            ending = Ending.CUT_SHORT
            break
        else:
            decisions.append(outcome)
    return Play(trial, tuple(decisions), ending, remembers)


def policy_steps(policy: Policy, trial: Trial) -> Iterator[Decision | Ending]:
    """Yield what a policy decides step by step, and why the play is over."""
    present, upcoming = Books(trial.engine), list(trial.arrivals)
    last = upcoming[-1].step if upcoming else 0
    step, most = 0, last + 2 * trial.work_tokens + SPARE_STEPS
    while step < most:
        while upcoming and upcoming[0].step <= step:
            arrival = upcoming.pop(0)
            present.join(arrival)
        if present.is_empty:
            if not upcoming:
                return
            step = upcoming[0].step
            continue
        decision = ask(policy, present.state(), step=step)
        yield decision
        if decision.batch is None or broken_rule(decision.state, decision.batch):
            yield Ending.ILLEGAL
            return
        if not decision.batch.tokens.any():
            if not upcoming:
                yield Ending.STALLED
                return
            step = upcoming[0].step
            continue
        present.serve(decision.batch)
        step += 1
    yield Ending.CUT_SHORT
