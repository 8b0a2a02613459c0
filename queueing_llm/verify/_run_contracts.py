"""What a whole play must come to: functions of a play.

Each returns the position of the decision that breaks the contract and what is wrong, or
None.
"""

from queueing_llm.verify._play import Ending, Play, state_key


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
    after the last arrival, from where it would go round for ever.
    """
    position = len(played.decisions) - 1
    if played.ending is Ending.STALLED:
        left = len(played.decisions[position].state.request)
        return position, f"stops with nothing to come, requests unfinished: {left}"
    if played.ending is not Ending.CUT_SHORT:
        return None
    last_arrival = played.trial.arrivals[-1].step
    seen: dict[object, int] = {}
    for i, decision in enumerate(played.decisions):
        if decision.step < last_arrival:
            continue
        before = seen.setdefault(state_key(decision.state), decision.step)
        if before < decision.step:
            return i, f"step {decision.step} finds the state of step {before} again"
    return None
