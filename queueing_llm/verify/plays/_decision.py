"""What a policy was asked and what it answered, one decision or a whole play of them."""

from dataclasses import dataclass
from enum import Enum
from typing import final

from queueing_llm.policies import Batch, EngineState
from queueing_llm.verify.plays._trial import Trial


class Ending(Enum):
    """Why a play is over."""

    FINISHED = "every request is finished"
    ILLEGAL = "an answer was illegal"
    STALLED = "an empty batch, and nothing more to arrive"
    CUT_SHORT = "more steps than the tokens should take"
    REFUSED = "a request was refused at the door"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One question to a policy and its answer.

    Parameters
    ----------
    step : int
        Number of the step.
    state : EngineState
        What the policy was asked about; nobody can write to it.
    batch : Batch or None
        A copy of the answer, with ``preempted`` filled in; None if there is none that could
        be read.
    failure : str
        Why not; empty if there is an answer.
    wrote : bool
        Whether the policy changed its copy of the state.
    finished : frozenset of int or None
        Numbers of the requests that are done after the step, in the words of a scheduler that
        keeps books of its own; None for a policy, which keeps none.
    """

    step: int
    state: EngineState
    batch: Batch | None
    failure: str = ""
    wrote: bool = False
    finished: frozenset[int] | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Play:
    """All decisions of a policy, or of a scheduler of the field, in one trial.

    Parameters
    ----------
    trial : Trial
        What was played.
    decisions : tuple of Decision
        In order of steps; nobody is asked while no request is present.
    ending : Ending
        Why it is over.
    remembers : bool
        Whether who played keeps more than the state shows, so that the same state may have
        another answer the next time.
    """

    trial: Trial
    decisions: tuple[Decision, ...]
    ending: Ending
    remembers: bool = False
