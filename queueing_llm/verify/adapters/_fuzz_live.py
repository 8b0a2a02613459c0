"""The real code of a system as a player of workloads."""

import re
from collections.abc import Sequence
from dataclasses import asdict

from queueing_llm.verify.adapters._fuzz_workload import (
    FAILED,
    MOST_STEPS,
    FieldWorkload,
    Player,
    Shown,
    shown,
)
from queueing_llm.verify.adapters._protocol import LiveFailure, LiveStep
from queueing_llm.verify.adapters._worker import Worker


def played_live(worker: Worker, *, most_steps: int = MOST_STEPS) -> Player:
    """Return the player that lets a worker's system serve a workload.

    Parameters
    ----------
    worker : Worker
        The process that has the system.
    most_steps : int
        After so many a workload ends in any case.

    Returns
    -------
    Player
        A step in which the system ends by an error, or gives somebody no token or fewer than
        none, is shown as :data:`FAILED`, and is the last one.

    Raises
    ------
    LiveFailure
        By the player, if not the system but its process fails.
    """

    def play(workload: FieldWorkload) -> Sequence[Shown]:
        settings, arrivals, steps = asdict(workload.config), workload.arrivals, most_steps
        ending: tuple[Shown, ...] = ()
        try:
            taken = worker.run(settings, arrivals, most_steps=steps)
        except LiveFailure as failure:
            # What went before is not in the answer, so it is asked for once more.
            steps, ending = _failing_step(failure), (FAILED,)
            taken = worker.run(settings, arrivals, most_steps=steps) if steps else ()
        wrong = [n for n, it in enumerate(taken) if min(it.done.tokens.values(), default=1) < 1]
        if wrong:
            taken, ending = taken[: wrong[0]], (FAILED,)
        return (*map(_shown, taken), *ending)

    return play


def _failing_step(failure: LiveFailure) -> int:
    """Return the step of a run in which the system failed; if not the system did, raise."""
    found = re.search(r"\(step (\d+)\)$", str(failure))
    if found is None:
        raise failure
    return int(found[1])


def _shown(step: LiveStep) -> Shown:
    view = step.view
    return shown(
        step.done,
        is_idle=view.is_idle,
        waiting=list(view.waiting),
        running=list(view.running),
        free=view.free_blocks,
    )
