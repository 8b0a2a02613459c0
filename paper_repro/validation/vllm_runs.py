"""Recorded runs of vLLM: the same requests, replayed through its rule and its scheduler."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from paper_repro.validation.serving import Served, serve, serve_by_scheduler
from paper_repro.validation.verdicts import Boundary, Judged
from paper_repro.validation.vllm_laws import (
    PROFILED,
    blocks_of,
    engine_of,
    other_law,
    step_time_of,
)
from paper_repro.validation.vllm_recorded import Recorded, measured_status, read_run
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import EmpiricalLengths, Engine

FOLDER = "vllm_runs"
LONGEST = 10.0
"""When a replay is given up, over the time of the last answer of the run."""
RULE, CACHED, OTHER = "rule", "scheduler", "scheduler, other operator times"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """A run and what was predicted of it in several ways.

    Parameters
    ----------
    recorded : Recorded
        The run.
    origin : str
        Where the step time comes from.
    predictions : mapping of str to Served
        By way.
    blocks : int
        Of the KV cache, as recorded or as assumed.
    judged : Judged or None
        Verdict; None if none was asked for or the run does not show one.
    """

    recorded: Recorded
    origin: str
    predictions: Mapping[str, Served]
    blocks: int
    judged: Judged | None

    def finished(self, way: str) -> tuple[Served, Served]:
        """Return measurement and prediction of the requests that both have finished."""
        pair = self.recorded.served, self.predictions[way]
        both = pair[0].done & pair[1].done
        names = ("arrival", "start", "first", "finish", "output_tokens")
        measured, predicted = (
            replace(served, **{name: getattr(served, name)[both] for name in names})
            for served in pair
        )
        return measured, predicted


def compute(
    data: Path, *, quick: bool = False
) -> tuple[tuple[Replayed, ...], tuple[tuple[str, str], ...]]:
    """Replay every run of which operator times are at hand.

    Parameters
    ----------
    data : Path
        Folder that holds the runs and, in ``profile``, the operator times.
    quick : bool
        Ask for no verdict.

    Returns
    -------
    tuple of Replayed
        The runs.
    tuple of (title, reason)
        The runs that could not be replayed.
    """
    root = data / FOLDER
    results, skipped = [], []
    for folder in sorted(path.parent for path in root.glob("*/*/meta.json")):
        try:
            results.append(_replayed(read_run(folder), root, quick=quick))
        except InvalidArgument as error:
            skipped.append((f"{folder.parent.name}, {folder.name}", str(error)))
    return tuple(results), tuple(skipped)


def _replayed(recorded: Recorded, root: Path, *, quick: bool) -> Replayed:
    law, origin = step_time_of(recorded, root)
    engine, requests = engine_of(recorded, law), recorded.requests
    until = _end(recorded)
    predictions = {
        RULE: serve(engine, requests, until=until),
        CACHED: _by_scheduler(recorded, engine, until=until),
    }
    other = other_law(recorded) if origin == PROFILED else None
    if other is not None:
        predictions[OTHER] = _by_scheduler(recorded, engine_of(recorded, other), until=until)
    judged = None if quick else _judged(recorded, engine)
    return Replayed(recorded, origin, predictions, blocks_of(recorded), judged)


def _end(recorded: Recorded) -> float:
    stamps = (recorded.requests.arrival_times, recorded.served.finish)
    return LONGEST * max(float(np.nanmax(times, initial=1.0)) for times in stamps)


def _by_scheduler(recorded: Recorded, engine: Engine, *, until: float) -> Served:
    return serve_by_scheduler(
        engine, recorded.requests, until=until, prefix_caching=recorded.prefix_caching
    )


def _judged(recorded: Recorded, engine: Engine) -> Judged | None:
    status = measured_status(recorded)
    if status is None:
        return None
    lengths = EmpiricalLengths(recorded.requests.prompt_tokens, recorded.requests.output_tokens)
    boundary = Boundary.of(engine, lengths)
    return Judged(f"{recorded.title}, replayed", recorded.arrival_rate, boundary, status)


def states(served: Served, at: np.ndarray, *, blocks: int) -> Iterator[np.ndarray]:
    """Yield requests that run, that wait, and the share of KV blocks held [%] at given times.

    From the steps if there are any, else from the times of the requests; then a preempted
    request counts as one that runs, and nothing is said of blocks.
    """
    if len(served.steps):
        row = np.searchsorted(served.steps[:, 0], at, side="right") - 1
        found = np.where((row >= 0)[:, None], served.steps[row, 1:], 0.0)
        over = at >= served.steps[-1, 0]
        found[over] = 0.0
        yield from (found[:, 0], found[:, 1], 100 * found[:, 2] / blocks)
        return
    arrived, started, left = (
        np.sum(times[None, :] <= at[:, None], axis=1).astype(float)
        for times in (served.arrival, served.start, served.finish)
    )
    yield from (started - left, arrived - started, np.full(len(at), np.nan))
