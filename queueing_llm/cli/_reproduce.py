"""``queueing-llm reproduce``: claims of papers, tried, with figures and a page of verdicts.

``--json`` prints ``{"papers": [{"paper", "title", "source", "claims": [...]}], "index"}``. A
claim has ``id``, ``figure``, ``source``, ``stated_by``, ``kind``, ``statement``, ``expected``,
``tolerance``, ``obtained``, ``standard_error``, ``unit``, ``verdict`` and ``reason``.
"""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from queueing_llm.cli import _options as option
from queueing_llm.cli._output import answers, print_json, progress
from queueing_llm.cli._reproduce_records import listing, paper_record
from queueing_llm.cli._reproduce_table import print_attempts, print_papers
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.plots import figure_class
from queueing_llm.reproduce import (
    Attempt,
    Paper,
    PaperFigure,
    attempt_all,
    made_folder,
    page,
    papers,
    seconds_of,
)

NOT_REPRODUCED = 1


def reproduce(
    paper: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PAPER]...",
            help="Papers, by folder (dai2025) or arXiv number. Without any: list them.",
            show_default=False,
        ),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All papers.")] = False,
    figure: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this figure of the paper, repeatable."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Fewer replications, shorter horizons, coarser grids."),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Measurements that some figures are held against."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where pictures, tables and the page go.")
    ] = Path("reproduced"),
    jobs: Annotated[
        int | None,
        typer.Option(parser=option.whole, metavar="N", help="Processes. Default: one a core."),
    ] = None,
    as_json: option.AsJson = False,
) -> int:
    """Reproduce papers: claim, expected, obtained and verdict, with figures and tables."""
    known = papers()
    if not paper and not everything:
        if figure:
            msg = f"figure {figure[0]!r} needs one paper, got none: name the paper."
            raise InvalidArgument(msg)
        if as_json:
            print_json(listing(known))
        else:
            print_papers(known)
        return 0
    if paper and everything:
        msg = f"papers {', '.join(paper)} and --all: either is accepted, not both."
        raise InvalidArgument(msg)
    chosen = known if everything else tuple(_named(name, known) for name in paper or ())
    chosen = tuple({paper.name: paper for paper in chosen}.values())
    figures = _figures(chosen, figure)
    if data is not None and not data.is_dir():
        msg = f"data {str(data)!r} is not a folder: the folder of the measurements is accepted."
        raise InvalidArgument(msg)
    index = _page_file(out, chosen)
    figure_class()  # Without Matplotlib, say so before the work.
    count = (os.cpu_count() or 1) if jobs is None else jobs
    if count < 1:
        msg = f"jobs must be at least 1, got jobs={count}."
        raise InvalidArgument(msg)
    attempts = _attempted(figures, quick=quick, data=data, out=out, jobs=count)
    names = ["--all"] if everything else [p.name for p in chosen]
    command = _command(names, figure, quick=quick, data=data)
    whole = not figure
    text = page(chosen, attempts, command=command, whole=whole)
    index.write_text(text, encoding="utf-8")
    if as_json:
        records = [paper_record(p, attempts, whole=whole) for p in chosen]
        print_json({"papers": records, "index": str(index)})
    else:
        print_attempts(chosen, attempts, whole=whole)
        answers().print(Text(f"page: {index}"), soft_wrap=True)
    failed = any(j.verdict.is_a_failure for a in attempts for j in a.judgements)
    unwritten = any(a.reason for a in attempts if a.computed is not None)
    return NOT_REPRODUCED if failed or unwritten else 0


def _command(
    names: Sequence[str], figures: Sequence[str] | None, *, quick: bool, data: Path | None
) -> str:
    """Return the command that makes the same page, wherever it goes."""
    words = [*names]
    words += [word for name in figures or () for word in ("--figure", name)]
    words += ["--quick"] if quick else []
    words += ["--data", str(data)] if data is not None else []
    return f"queueing-llm reproduce {shlex.join(words)}"


def _page_file(out: Path, chosen: Sequence[Paper]) -> Path:
    """Return where the page goes, once all folders are there and it can be written."""
    for paper in chosen:
        made_folder(out / paper.name)
    index = out / "index.html"
    if index.exists() and not (index.is_file() and os.access(index, os.W_OK)):
        msg = f"page {str(index)!r} cannot be written: a writable file is accepted."
        raise InvalidArgument(msg)
    return index


def _named(name: str, known: Sequence[Paper]) -> Paper:
    number, _, version = name.lower().removeprefix("arxiv:").partition("v")
    for paper in known:
        if name.lower() == paper.name:
            return paper
        arxiv = re.search(r"arXiv:([\d.]+)(?:v(\d+))?", paper.paper.source)
        if arxiv is None or number != arxiv[1]:
            continue
        if version and arxiv[2] and version != arxiv[2]:
            msg = f"paper {name!r} is tried as {arxiv[0]}: no other version is accepted."
            raise InvalidArgument(msg)
        return paper
    msg = f"paper {name!r} is not known: {nearest(name, (p.name for p in known))}."
    raise InvalidArgument(msg)


def _figures(
    chosen: Sequence[Paper], wanted: Sequence[str] | None
) -> list[tuple[Paper, PaperFigure]]:
    if not wanted:
        return [(paper, figure) for paper in chosen for figure in paper.figures]
    if len(chosen) != 1:
        msg = f"figure {wanted[0]!r} needs one paper, got {len(chosen)}: name the paper."
        raise InvalidArgument(msg)
    return [(chosen[0], figure) for figure in dict.fromkeys(map(chosen[0].figure, wanted))]


def _attempted(
    figures: Sequence[tuple[Paper, PaperFigure]],
    *,
    quick: bool,
    data: Path | None,
    out: Path,
    jobs: int,
) -> list[Attempt]:
    """Attempt the figures behind a bar that moves by the seconds that each is said to take."""
    total = sum(seconds_of(figure, quick=quick) for _, figure in figures)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    attempts = []
    shown = sys.stderr.isatty()
    with Progress(*columns, console=progress(), transient=True, disable=not shown) as bar:
        task = bar.add_task(f"0 of {len(figures)} figures", total=total)
        work = attempt_all(figures, quick=quick, data=data, out=out, jobs=jobs)
        for done, found in enumerate(work, start=1):
            attempts.append(found)
            name = f"{done} of {len(figures)} figures: {found.paper.name} {found.figure.module}"
            bar.update(task, advance=seconds_of(found.figure, quick=quick), description=name)
    return attempts
