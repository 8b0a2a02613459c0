"""What was reproduced as one HTML page: claim, expected, obtained, verdict, and why."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from string import Template

from queueing_llm.reproduce._attempt import Attempt, untried
from queueing_llm.reproduce._claim import KINDS, STATED_BY
from queueing_llm.reproduce._judge import Judgement, Verdict
from queueing_llm.reproduce._page_style import STYLE
from queueing_llm.reproduce._paper import Paper
from queueing_llm.reproduce._words import words

MEANING = {
    "reproduced": "what is obtained is what is expected",
    "differs, as stated": "something else is obtained; what, and why, stands beside it",
    "failed": "neither what is expected nor what was obtained before",
    "too noisy": "the standard error is larger than what the claim needs",
    "not tried": "outside the models here, unknown, or without its data, as the reason says",
    "exact": KINDS["exact"],
    "statistical": KINDS["statistical"],
    "qualitative": KINDS["qualitative"],
    **{f"stated by: {who}": what for who, what in STATED_BY.items()},
}

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Papers reproduced</title>
<style>$style</style>
</head>
<body>
<header>
<h1>Papers reproduced</h1>
<p>$counts</p>
<pre>$command</pre>
<nav>$links</nav>
</header>
<main>
$papers
</main>
<footer>
<dl>$meaning</dl>
<p>queueing-llm $version</p>
</footer>
</body>
</html>
""")
PAPER = Template("""\
<section id="$name">
<h2>$title</h2>
<p class="soft">$authors. $source</p>
<p>$about</p>
<p>$counts</p>
$figures
$untried
</section>
""")
FIGURE = Template("""\
<article id="$name.$module">
<h3>$caption</h3>
$picture
<p class="soft">$cost · <code>queueing-llm reproduce $name --figure $module</code>$files</p>
$table
</article>
""")
TABLE = Template("""\
<div class="wide"><table>
<thead><tr><th scope="col">claim</th><th scope="col">where</th><th scope="col">kind</th>
<th scope="col">expected</th><th scope="col">obtained</th><th scope="col">verdict</th></tr>
</thead>
<tbody>
$rows
</tbody>
</table></div>
""")
ROW = Template("""\
<tr id="$paper.$id"><td>$statement$reason</td>
<td>$source<small>stated by: $stated_by</small></td>
<td>$kind</td>
<td class="value">$expected</td>
<td class="value">$obtained</td>
<td><span class="badge $badge">$verdict</span></td></tr>""")


def page(
    papers: Sequence[Paper],
    attempts: Sequence[Attempt],
    *,
    command: str = "",
    whole: bool = True,
) -> str:
    """Return everything that was tried as an HTML page, complete but for its pictures.

    Parameters
    ----------
    papers : sequence of Paper
        The papers, in the order of the page.
    attempts : sequence of Attempt
        What became of their figures; figures without an attempt are left out.
    command : str
        The command that made the page.
    whole : bool, default True
        Whether claims for which there is no computation are shown, too.

    Returns
    -------
    str
        One HTML document without scripts, which shows pictures that lie beside it.
    """
    sections = [
        _paper(
            paper,
            [a for a in attempts if a.paper.name == paper.name],
            untried([paper]) if whole else (),
        )
        for paper in papers
    ]
    everything = [j for a in attempts for j in a.judgements]
    everything += untried(papers) if whole else ()
    links = " · ".join(f'<a href="#{p.name}">{escape(p.name)}</a>' for p in papers)
    return PAGE.substitute(
        style=STYLE,
        counts=_counts(everything),
        command=escape(command),
        links=links,
        papers="".join(sections),
        meaning="".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in MEANING.items()),
        version=escape(version("queueing-llm")),
    )


def _paper(paper: Paper, attempts: Sequence[Attempt], left: Sequence[Judgement]) -> str:
    order = {figure.module: place for place, figure in enumerate(paper.figures)}
    shown = sorted(attempts, key=lambda attempt: order[attempt.figure.module])
    return PAPER.substitute(
        name=paper.name,
        title=escape(paper.paper.title),
        authors=escape(paper.paper.authors),
        source=escape(paper.paper.source),
        about=escape(paper.paper.about),
        counts=_counts([j for a in shown for j in a.judgements] + list(left)),
        figures="".join(_figure(attempt) for attempt in shown),
        untried=f"<h3>Not tried</h3>{_table(paper, left)}" if left else "",
    )


def _figure(attempt: Attempt) -> str:
    pictures = [file for file in attempt.files if file.endswith(".png")]
    caption = escape(attempt.figure.caption)
    links = "".join(
        f' · <a href="{file}">{file.rpartition(".")[2].upper()}</a>' for file in attempt.files
    )
    cost = f"{attempt.seconds:.0f} s" if not attempt.reason else escape(attempt.reason)
    return FIGURE.substitute(
        name=attempt.paper.name,
        module=attempt.figure.module,
        caption=caption,
        picture="".join(f'<img src="{file}" alt="{caption}">' for file in pictures),
        cost=cost,
        files=links,
        table=_table(attempt.paper, attempt.judgements),
    )


def _table(paper: Paper, judgements: Sequence[Judgement]) -> str:
    rows = "\n".join(_row(paper, judgement) for judgement in judgements)
    return TABLE.substitute(rows=rows) if rows else ""


def _row(paper: Paper, judgement: Judgement) -> str:
    claim = judgement.claim
    expected, obtained = map(escape, judgement.written())
    tolerance = f"<small>± {words(claim.tolerance)}</small>" if claim.tolerance else ""
    return ROW.substitute(
        paper=paper.name,
        id=escape(claim.id),
        statement=escape(claim.statement),
        reason=f"<small>{escape(judgement.reason)}</small>" if judgement.reason else "",
        source=escape(claim.source),
        stated_by=claim.stated_by,
        kind=claim.kind,
        expected=f"{expected}{tolerance}" if expected else "",
        obtained=obtained,
        badge=judgement.verdict.name.lower().replace("_", "-"),
        verdict=judgement.verdict.value,
    )


def _counts(judgements: Sequence[Judgement]) -> str:
    count = Counter(judgement.verdict for judgement in judgements)
    return f"{len(judgements)} claims: " + ", ".join(
        f"{count[verdict]} {verdict.value}" for verdict in Verdict if count[verdict]
    )
