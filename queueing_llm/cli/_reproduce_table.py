"""Papers and what became of their claims, as tables on the terminal."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from queueing_llm.cli._output import answers
from queueing_llm.reproduce import (
    Attempt,
    Judgement,
    Paper,
    Verdict,
    seconds_of,
    untried,
)

STYLES = {
    Verdict.REPRODUCED: "green",
    Verdict.DIFFERS: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.TOO_NOISY: "bold red",
    Verdict.NOT_TRIED: "dim",
}


def print_papers(papers: Sequence[Paper]) -> None:
    """Print what can be reproduced, and how long that takes on one core."""
    table = _table("paper", "title")
    for heading in ("claims", "figures", "quick", "full"):
        table.add_column(heading, justify="right")
    for paper in papers:
        table.add_row(
            paper.name,
            Text(f"{paper.paper.title} ({paper.paper.source})"),
            str(len(paper.claims)),
            str(len(paper.figures)),
            *(
                f"{sum(seconds_of(f, quick=quick) for f in paper.figures):.0f} s"
                for quick in (True, False)
            ),
        )
    answers().print(table)


def print_attempts(
    papers: Sequence[Paper], attempts: Sequence[Attempt], *, whole: bool
) -> None:
    """Print counts for each paper, and its claims: all of one paper, else those that fail.

    If ``whole``, claims for which there is no computation are among them.
    """
    console = answers()
    for paper in papers:
        own = [attempt for attempt in attempts if attempt.paper.name == paper.name]
        judged = [judgement for attempt in own for judgement in attempt.judgements]
        judged += untried([paper]) if whole else ()
        count = Counter(judgement.verdict for judgement in judged)
        counted = ", ".join(f"{count[v]} {v.value}" for v in Verdict if count[v])
        heading = Text.assemble((paper.name, "bold"), f"  {paper.paper.title}: {counted}")
        console.print(heading, soft_wrap=True)
        for attempt in own:
            if attempt.reason:
                reason = Text(f"  {attempt.figure.module}: {attempt.reason}")
                console.print(reason, soft_wrap=True)
        shown = [j for j in judged if len(papers) == 1 or j.verdict.is_a_failure]
        if shown:
            console.print(_claims(shown))


def _claims(judged: Sequence[Judgement]) -> Table:
    table = _table("claim", "expected", "obtained", "verdict")
    for judgement in judged:
        expected, obtained = judgement.written()
        verdict = Text(judgement.verdict.value, STYLES[judgement.verdict])
        table.add_row(Text(judgement.claim.id), Text(expected), Text(obtained), verdict)
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("claim", "verdict"))
    return table
