"""What a whole play must come to: functions of a play.

Each returns the position of the decision that breaks the contract and what is wrong, or
None.
"""

from queueing_llm.verify.plays._books import state_key
from queueing_llm.verify.plays._decision import Decision, Ending, Play
from queueing_llm.verify.plays._field_play import IDLE_STEPS, imbalance

ROUNDS = 16
"""How often a scheduler with a memory repeats itself before it is said to go round."""


def answers(played: Play) -> tuple[int, str] | None:
    """Check that every question has an answer that can be read as a batch."""
    for i, decision in enumerate(played.decisions):
        if decision.batch is None:
            return i, decision.failure
    return None


def only_reads(played: Play) -> tuple[int, str] | None:
    """Check that the policy only reads its state."""
    for i, decision in enumerate(played.decisions):
        if decision.wrote:
            return i, "the state is not the same after the question"
    return None


def finishes(played: Play) -> tuple[int, str] | None:
    """Check that every request is finished.

    Broken for sure where the policy stops with nothing to come, or comes back to a state
    after the last arrival, from where it would go round for ever. Of a scheduler with a
    memory one state says little: it is taken to have stopped after many steps in which it
    does nothing, and to go round if the play is cut short while it serves the same over and
    over. Neither is certain: the sentence says how often.
    """
    position = len(played.decisions) - 1
    if played.ending is Ending.STALLED:
        left = len(played.decisions[position].state.request)
        if played.remembers:
            position = max(position + 1 - IDLE_STEPS, 0)
            idle = f"does nothing for {IDLE_STEPS} steps with nothing to come"
            return position, f"{idle}, requests unfinished: {left}"
        return position, f"stops with nothing to come, requests unfinished: {left}"
    if played.ending is not Ending.CUT_SHORT:
        return None
    if played.remembers:
        return _goes_round(played)
    last_arrival = played.trial.arrivals[-1].step
    seen: dict[object, int] = {}
    for i, decision in enumerate(played.decisions):
        if decision.step < last_arrival:
            continue
        before = seen.setdefault(state_key(decision.state), decision.step)
        if before < decision.step:
            return i, f"step {decision.step} finds the state of step {before} again"
    return None


def _goes_round(played: Play) -> tuple[int, str] | None:
    """Return where a scheduler that repeats itself to the end has done so for two rounds."""
    last_arrival = played.trial.arrivals[-1].step
    keys = [
        (state_key(decision.state), _served(decision))
        for decision in played.decisions
        if decision.step >= last_arrival
    ]
    for period in range(1, len(keys) // ROUNDS + 1):
        alike = [one == other for one, other in zip(keys, keys[period:], strict=False)]
        same = len(alike) - (alike[::-1].index(False) if False in alike else len(alike))
        # Waiting is no round: how long a scheduler may idle is judged where it stalls.
        if len(alike) - same >= (ROUNDS - 1) * period and any(s for _, s in keys[-period:]):
            position = len(played.decisions) - len(keys) + same + 2 * period - 1
            again = f"the same {period} steps {ROUNDS} times over or more"
            return position, f"goes round with nothing to come: {again}"
    return None


def _served(decision: Decision) -> tuple[int, ...]:
    """Return what each request gets; nothing where nobody gets anything."""
    batch = decision.batch
    return () if batch is None or not batch.tokens.any() else tuple(batch.tokens.tolist())


def conservation(played: Play) -> tuple[int, str] | None:
    """Check that a request is done exactly when nothing of it is left."""
    for i, decision in enumerate(played.decisions):
        sentence = imbalance(decision)
        if sentence is not None:
            return i, sentence
    return None
