"""Figures computed, their claims judged, their files written, several side by side."""

import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import final

from queueing_llm.errors import MissingDependency
from queueing_llm.reproduce._computed import Computed
from queueing_llm.reproduce._files import write_figure
from queueing_llm.reproduce._judge import Judgement, Verdict, judge
from queueing_llm.reproduce._paper import Paper, PaperFigure


@final
@dataclass(frozen=True, slots=True)
class Attempt:
    """A figure and what became of its claims.

    Parameters
    ----------
    paper : Paper
        The paper.
    figure : PaperFigure
        The figure of it.
    judgements : tuple of Judgement
        One for each claim that the figure tries.
    seconds : float
        What it took [s].
    reason : str
        Why it was not computed, or not drawn; empty if it was.
    files : tuple of str
        What was written, relative to the folder of the output.
    computed : Computed or None
        What was computed.
    """

    paper: Paper
    figure: PaperFigure
    judgements: tuple[Judgement, ...]
    seconds: float = 0.0
    reason: str = ""
    files: tuple[str, ...] = ()
    computed: Computed | None = None


def attempt(
    paper: Paper,
    figure: PaperFigure,
    *,
    quick: bool = False,
    data: Path | None = None,
    out: Path | None = None,
) -> Attempt:
    """Compute a figure and judge its claims.

    Parameters
    ----------
    paper : Paper
        A paper.
    figure : PaperFigure
        One of its figures.
    quick : bool, default False
        Whether fewer replications, shorter horizons and coarser grids will do.
    data : path, optional
        The folder of the measurements that some figures read.
    out : path, optional
        Where pictures and tables are written, in a folder of the name of the paper.

    Returns
    -------
    Attempt
        With a verdict for each claim. A figure whose data or packages are not at hand is not
        tried, and says why; one whose computation breaks off fails. What cannot be drawn or
        written is judged all the same.
    """
    missing = [file for file in figure.data if data is None or not (data / file.file).is_file()]
    if missing:
        first = missing[0]
        return _left(paper, figure, f"needs {first.file} below --data, from {first.origin}")
    begin = time.perf_counter()
    try:
        computed = _compute(paper, figure, quick=quick, data=data)
        judgements = tuple(
            judge(claim, computed[claim.value]) for claim in paper.claims_of(figure)
        )
    except MissingDependency as error:
        return _left(paper, figure, str(error))
    except Exception as error:  # One broken figure must not keep the others from being tried.
        reason = f"its computation broke off: {type(error).__name__}: {error}"
        return _left(paper, figure, reason, verdict=Verdict.FAILED)
    reason, files = "", tuple[str, ...]()
    if out is not None:
        try:
            files = write_figure(paper, figure, computed, out)
        except Exception as error:  # Nor one broken picture.
            reason = f"its files cannot be written: {type(error).__name__}: {error}"
    seconds = time.perf_counter() - begin
    return Attempt(paper, figure, judgements, seconds, reason, files, computed)


def attempt_all(
    figures: Sequence[tuple[Paper, PaperFigure]],
    *,
    quick: bool = False,
    data: Path | None = None,
    out: Path | None = None,
    jobs: int = 1,
) -> Iterator[Attempt]:
    """Attempt several figures, and yield each as it is done.

    Parameters
    ----------
    figures : sequence of (Paper, PaperFigure)
        Which; the longest begin first.
    quick, data, out
        As in :func:`attempt`.
    jobs : int, default 1
        Processes that work side by side.
    """
    longest_first = sorted(figures, key=lambda pair: -seconds_of(pair[1], quick=quick))
    if jobs == 1 or len(figures) < 2:
        for paper, figure in longest_first:
            yield attempt(paper, figure, quick=quick, data=data, out=out)
        return
    # Threads of numerical libraries do not survive a fork.
    with ProcessPoolExecutor(
        min(jobs, len(figures)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_be_interrupted_silently,
    ) as pool:
        work = {
            pool.submit(attempt, paper, figure, quick=quick, data=data, out=out): (
                paper,
                figure,
            )
            for paper, figure in longest_first
        }
        try:
            for done in as_completed(work):
                try:
                    found = done.result()
                except BrokenProcessPool:
                    reason = "a process was killed while it was tried, perhaps for its memory"
                    found = _left(*work[done], reason, verdict=Verdict.FAILED)
                yield found
        finally:
            pool.shutdown(cancel_futures=True)


def _be_interrupted_silently() -> None:
    """Let an interrupt of all processes end this one without a traceback of its own."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def seconds_of(figure: PaperFigure, *, quick: bool) -> float:
    """Return what a figure is said to take on one core [s]."""
    return figure.quick_seconds if quick else figure.seconds


def untried(papers: Iterable[Paper]) -> tuple[Judgement, ...]:
    """Return the claims for which there is no computation, each with its reason."""
    return tuple(
        Judgement(claim, Verdict.NOT_TRIED, reason=claim.reason)
        for paper in papers
        for claim in paper.claims
        if not claim.is_tried
    )


def _compute(paper: Paper, figure: PaperFigure, *, quick: bool, data: Path | None) -> Computed:
    module = paper.module_of(figure)
    if figure.data:
        return module.compute(data, quick=quick)
    return module.compute(quick=quick)


def _left(
    paper: Paper, figure: PaperFigure, reason: str, *, verdict: Verdict = Verdict.NOT_TRIED
) -> Attempt:
    judgements = tuple(
        Judgement(claim, verdict, reason=reason) for claim in paper.claims_of(figure)
    )
    return Attempt(paper, figure, judgements, reason=reason)
