"""Every paper in ``paper_repro``: its claims come out as they say, its figures can be read.

Claims are found by their files. Figures whose quick computation takes longer than
``SECONDS`` run with ``--runslow``; so does every figure in full.
"""

import ast
import functools
import inspect
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from paper_repro import contents
from queueing_llm.reproduce import Attempt, Judgement, Verdict, attempt, page, papers

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SECONDS = 15
PAPERS = {paper.name: paper for paper in papers()}
FIGURES = [(paper.name, figure.module) for paper in PAPERS.values() for figure in paper.figures]
PAGES = contents.pages()


def marked(name, module, *values):
    """Return a parameter of a test, marked slow if its figure takes long."""
    takes_long = PAPERS[name].figure(module).quick_seconds > SECONDS
    marks = [pytest.mark.slow] if takes_long else []
    return pytest.param(
        name, module, *values, marks=marks, id="-".join((name, module, *values))
    )


CLAIMS = [
    marked(paper.name, claim.figure, claim.id)
    for paper in PAPERS.values()
    for claim in paper.claims
    if claim.is_tried
]


@functools.cache
def attempted(name, module, *, quick=True):
    paper = PAPERS[name]
    return attempt(paper, paper.figure(module), quick=quick, data=DATA)


def held(found, claim=None):
    """Check that claims came out as they say."""
    for judgement in found.judgements:
        if claim in (None, judgement.claim.id):
            if judgement.verdict is Verdict.NOT_TRIED:
                pytest.skip(judgement.reason)
            assert not judgement.verdict.is_a_failure, f"{judgement}"


def test_there_are_papers():
    assert PAPERS


@pytest.mark.parametrize(("name", "module", "claim"), CLAIMS)
def test_a_claim_comes_out_as_it_says(name, module, claim):
    held(attempted(name, module), claim)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "module"), FIGURES)
def test_the_claims_of_a_figure_come_out_in_full(name, module):
    held(attempted(name, module, quick=False))


@pytest.mark.parametrize(("name", "module"), [marked(*figure) for figure in FIGURES])
def test_a_figure_is_drawn_with_labelled_axes(name, module):
    pytest.importorskip("matplotlib", reason="the extra 'plots' draws figures")
    paper = PAPERS[name]
    module_ = paper.module_of(paper.figure(module))
    if not hasattr(module_, "plot"):
        pytest.skip("a table")
    found = attempted(name, module)
    if found.computed is None:
        pytest.skip(found.reason)
    figure = module_.plot(found.computed)
    figure.canvas.draw()
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.axison]
    assert shown
    assert figure.get_suptitle() or any(a.get_title(loc="left") or a.get_title() for a in shown)
    unlabelled = [
        (axes, side) for axes in shown for side in "xy" if not label(axes, side, shown)
    ]
    assert not unlabelled


def label(axes, side, shown):
    """Return what says what an axis shows: its label, a neighbour's, or words at its ticks."""
    lines = {"x": "colspan", "y": "rowspan"}[side]
    places = [(other, other.get_subplotspec()) for other in shown]
    own = axes.get_subplotspec()
    beside = [
        other
        for other, place in places
        if other is axes or (own and place and getattr(own, lines) == getattr(place, lines))
    ]
    texts = [getattr(other, f"get_{side}label")() for other in beside]
    texts.append(getattr(axes.figure, f"get_sup{side}label")())
    ticks = [tick.get_text() for tick in getattr(axes, f"get_{side}ticklabels")()]
    return any(texts) or any(text[:1].isalpha() for text in ticks)


@pytest.mark.parametrize("name", PAPERS)
def test_every_module_of_a_paper_has_an_entry_and_a_claim(name):
    paper = PAPERS[name]
    modules = {
        file.stem for part in ("fig", "table") for file in paper.folder.glob(f"{part}_*.py")
    }
    assert modules == {figure.module for figure in paper.figures}
    for figure in paper.figures:
        assert paper.claims_of(figure), f"{figure.module} tries no claim"


@pytest.mark.parametrize(("name", "module"), FIGURES)
def test_a_computation_does_not_draw(name, module):
    """``compute`` is separate from ``plot``, and needs no Matplotlib."""
    paper = PAPERS[name]
    module_ = paper.module_of(paper.figure(module))
    parameters = inspect.signature(module_.compute).parameters
    assert ("data" in parameters) == bool(paper.figure(module).data)
    assert parameters["quick"].default is False
    tree = ast.parse(Path(module_.__file__).read_text(encoding="utf-8"))
    names = [
        alias.name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (*node.names, ast.alias(getattr(node, "module", None) or ""))
    ]
    assert not [name for name in names if name.startswith("matplotlib")]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.parent.name)
def test_generated_tables_are_up_to_date(file):
    assert file.read_text(encoding="utf-8") == PAGES[file], "run python -m paper_repro.contents"


class Tags(HTMLParser):
    """What a page names, where it points, and which of its tags are open."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.ids, self.targets, self.open = Counter(), set(), []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.ids[given["id"]] += 1
        if given.get("href", "").startswith("#"):
            self.targets.add(given["href"][1:])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_of_all_papers_is_well_formed_and_names_everything_once():
    attempts = [
        Attempt(
            paper,
            figure,
            tuple(
                Judgement(claim, Verdict.REPRODUCED, claim.expected)
                for claim in paper.claims_of(figure)
            ),
        )
        for paper in PAPERS.values()
        for figure in paper.figures
    ]
    tags = Tags()
    tags.feed(page(tuple(PAPERS.values()), attempts, command="queueing-llm reproduce --all"))
    assert tags.open == []
    assert tags.targets == set(PAPERS)
    assert tags.targets <= tags.ids.keys()
    assert set(tags.ids.values()) == {1}
    claims = sum(len(paper.claims) for paper in PAPERS.values())
    assert len(tags.ids) == len(PAPERS) + len(FIGURES) + claims


def test_a_claim_that_is_not_so_is_caught():
    """The control of this file."""
    paper = next(p for p in PAPERS.values() if any(c.status == "reproduced" for c in p.claims))
    claim = next(c for c in paper.claims if c.status == "reproduced" and c.kind == "exact")
    wrong = paper.model_copy(
        update={"claims": (claim.model_copy(update={"expected": -12345}),)}
    )
    (judgement,) = attempt(wrong, wrong.figure(claim.figure), quick=True, data=DATA).judgements
    assert judgement.verdict is Verdict.FAILED
