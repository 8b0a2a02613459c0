"""A report about a policy as one HTML page that needs nothing else: no network, no script."""

from importlib.metadata import version
from string import Template
from typing import Any

from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.findings._page_style import STYLE
from queueing_llm.verify.findings._page_timeline import omitted_steps, shown, timeline
from queueing_llm.verify.findings._report import Finding, Outcome, PolicyReport, Support

MEANING = {
    Support.COUNTEREXAMPLE: "one decision breaks it, shown above",
    Support.PROVED: "a proof for every state",
    Support.THEOREM: "a published theorem whose hypotheses were checked",
    Support.EXHAUSTIVE: "every state up to a stated bound",
    Support.NUMERICAL: "a converged computation",
    Support.SIMULATED: "replications, with a stated probability of a wrong answer",
    Support.TESTED: "some states, drawn at random: no proof that there is no other",
    Support.NONE: "nothing that would carry an answer",
}
LONG = 8
"""Steps that a picture has room for where two stand side by side."""
WORDS = {Outcome.HOLDS: "hold", Outcome.VIOLATED: "violated", Outcome.UNDECIDED: "undecided"}

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Contracts of $policy</title>
<style>$style</style>
</head>
<body>
<header>
<h1>Which contracts <span class="name">$policy</span> keeps</h1>
<ul class="counts">$counts</ul>
$broken
</header>
<main>
$consequences
$tables
$counterexamples
<section>
<h2>How to reproduce it</h2>
$command
<p>Every counterexample comes with Python code: it plays the requests and asks the policy about
the state in question. <code>queueing-llm verify POLICY --save FOLDER</code> keeps
counterexamples as files, and <code>queueing-llm verify POLICY --replay FILE</code> says whether
the requests of a file still break their contract.</p>
</section>
</main>
<footer>
<p>What the words say, strongest first:</p>
<dl>$meaning</dl>
<p>queueing-llm $version</p>
</footer>
</body>
</html>
""")
TABLE = Template("""\
<section>
<h2>$heading</h2>
<table>
<thead><tr><th scope="col" class="c1">contract</th><th scope="col" class="c2">outcome</th>
<th scope="col" class="c3">how it is known</th><th scope="col" class="c4">source</th>
<th scope="col">what follows if it is kept</th></tr></thead>
<tbody>
$rows
</tbody>
</table>
</section>
""")
ROW = Template("""\
<tr><th scope="row"><span class="name">$name</span><small>$definition</small></th>
<td data-label="outcome"><span class="badge $kind">$outcome</span>$link</td>
<td data-label="known">$known</td>
<td data-label="source">$source</td>
<td data-label="if kept">$implies</td></tr>""")
ARTICLE = Template("""\
<article id="counterexample-$number"$long>
<h3><span class="name">$name</span></h3>
<p>$definition <span class="soft">($source)</span></p>
<p class="wrong">$sentence</p>
<figure>$picture</figure>
$note
<details><summary>Python code that leads there</summary><pre>$snippet</pre></details>
</article>
""")
LEGEND = """\
<ul class="legend soft">
<li><span class="key prefill"></span>p3: three prompt tokens</li>
<li><span class="key decode"></span>d: a decode token</li>
<li><span class="key waits"></span>gets nothing</li>
<li><span class="key preempted"></span>×: preempted, ?: no answer</li>
<li><span class="key budget"></span>token budget</li>
<li><span class="key breach"></span>the step that breaks the contract</li>
</ul>
"""


def page(report: PolicyReport, *, command: str = "") -> str:
    """Return a report as an HTML page: what is kept, what breaks the rest, what follows.

    Parameters
    ----------
    report : PolicyReport
        What :func:`check_policy` found out.
    command : str
        The command that made the report, to be shown on the page.

    Returns
    -------
    str
        One HTML document, complete in itself, without scripts. It follows the light or dark
        scheme of its reader.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> text = page(check_policy(ql.VANILLA_VLLM, contracts=["progress", "oldest_first"]))
    >>> text.count("<svg"), "<script" in text
    (2, False)
    """
    broken = [finding for finding in report.findings if finding.counterexample is not None]
    numbers = {finding.contract.name: i for i, finding in enumerate(broken, start=1)}
    groups = (
        ("Needed for throughput-optimality", True),
        ("Further properties", False),
    )
    tables = (
        _table(heading, [f for f in report.findings if f.contract.is_needed is needed], numbers)
        for heading, needed in groups
    )
    return PAGE.substitute(
        policy=shown(report.policy),
        style=STYLE,
        counts="".join(_count(report, outcome) for outcome in Outcome),
        broken=_broken(numbers),
        consequences=_consequences(report),
        tables="".join(tables),
        counterexamples=_counterexamples(broken),
        command=f"<pre>{shown(command)}</pre>" if command else "",
        meaning="".join(f"<dt>{s.value}</dt><dd>{shown(MEANING[s])}</dd>" for s in Support),
        version=shown(version("queueing-llm")),
    )


def _count(report: PolicyReport, outcome: Outcome) -> str:
    count = sum(finding.outcome is outcome for finding in report.findings)
    badge = f'<li class="badge {outcome.value}">{count} {WORDS[outcome]}</li>'
    return badge if count else ""


def _broken(numbers: dict[str, int]) -> str:
    """Return where every counterexample is shown."""
    links = (
        f'<a class="name violated" href="#counterexample-{number}">{shown(name)}</a>'
        for name, number in numbers.items()
    )
    return f"<p>Counterexamples: {', '.join(links)}</p>" if numbers else ""


def _consequences(report: PolicyReport) -> str:
    if not report.consequences:
        return ""
    sentences = "".join(f"<p>{shown(sentence)}</p>" for sentence in report.consequences)
    return f"<section><h2>What follows</h2>{sentences}</section>"


def _table(heading: str, findings: list[Finding], numbers: dict[str, int]) -> str:
    if not findings:
        return ""
    rows = "\n".join(_row(finding, numbers.get(finding.contract.name)) for finding in findings)
    return TABLE.substitute(heading=heading, rows=rows)


def _row(finding: Finding, number: int | None) -> str:
    contract = finding.contract
    grade = "" if finding.support is Support.NONE else f"{finding.support.value}: "
    return ROW.substitute(
        _words(name=contract.name, definition=contract.definition, source=contract.source),
        kind=finding.outcome.value,
        outcome=finding.outcome.value,
        link="" if number is None else f' <a href="#counterexample-{number}">shown below</a>',
        known=shown(grade + finding.basis),
        implies=shown(contract.implies),
    )


def _words(**words: Any) -> dict[str, str]:
    return {name: shown(said) for name, said in words.items()}


def _counterexamples(findings: list[Finding]) -> str:
    if not findings:
        return ""
    articles = "".join(
        _article(finding, finding.counterexample, number)
        for number, finding in enumerate(findings, start=1)
        if finding.counterexample is not None
    )
    boxed = f'<div class="broken">{articles}</div>'
    return f"<section><h2>Counterexamples</h2>{LEGEND}{boxed}</section>"


def _article(finding: Finding, found: Counterexample, number: int) -> str:
    contract, trial = finding.contract, found.trial
    notes = [] if trial.arrivals else ["A state on its own: it was found by enumeration."]
    left_out = omitted_steps(found)
    notes += [f"The first {left_out} steps are left out."] if left_out else []
    return ARTICLE.substitute(
        _words(name=contract.name, definition=contract.definition, source=contract.source),
        number=number,
        long=' class="long"' if len(found.played.decisions) > LONG else "",
        sentence=shown(found.sentence),
        picture=timeline(found),
        note="".join(f'<p class="soft">{note}</p>' for note in notes),
        snippet=shown(found.snippet()),
    )
