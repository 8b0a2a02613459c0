"""Figures are computed, judged and written; what cannot be tried says why."""

import csv

import pytest

from queueing_llm.reproduce import (
    Verdict,
    attempt,
    attempt_all,
    page,
    read_paper,
    seconds_of,
    untried,
)


def verdicts(found):
    return {judgement.claim.id: judgement.verdict for judgement in found.judgements}


def test_a_figure_judges_its_claims(toy):
    paper = read_paper(toy / "claims.toml")
    found = attempt(paper, paper.figure("toy"))
    assert verdicts(found) == {
        "exact": Verdict.REPRODUCED,
        "other": Verdict.DIFFERS,
        "noisy": Verdict.TOO_NOISY,
        "estimated": Verdict.REPRODUCED,
        "word": Verdict.REPRODUCED,
    }
    assert found.files == ()


def test_a_claim_about_nothing_computed_fails(toy):
    file = toy / "claims.toml"
    file.write_text(file.read_text().replace('value = "third"', 'value = "thrid"'))
    paper = read_paper(file)
    found = attempt(paper, paper.figure("toy"))
    assert set(verdicts(found).values()) == {Verdict.FAILED}
    assert "did you mean 'third'" in found.reason


def test_a_computation_that_breaks_off_fails(toy):
    paper = read_paper(toy / "claims.toml")
    found = attempt(paper, paper.figure("table_broken"))
    assert verdicts(found) == {"broken": Verdict.FAILED}
    assert "ZeroDivisionError: nothing" in found.reason


def test_measurements_that_are_not_at_hand_are_asked_for(toy, tmp_path):
    paper = read_paper(toy / "claims.toml")
    figure = paper.figure("measured")
    for data in (None, tmp_path):
        found = attempt(paper, figure, data=data)
        assert verdicts(found) == {"measured": Verdict.NOT_TRIED}
        assert found.reason == "needs toy/steps.csv below --data, from a public place"
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "steps.csv").write_text("ms\n1\n2\n")
    assert verdicts(attempt(paper, figure, data=tmp_path)) == {"measured": Verdict.REPRODUCED}


def test_pictures_and_tables_are_written(toy, tmp_path):
    pytest.importorskip("matplotlib")
    paper = read_paper(toy / "claims.toml")
    out = tmp_path / "out"
    found = attempt(paper, paper.figure("toy"), out=out)
    assert found.files == (
        "toy2026/fig_toy.png", "toy2026/fig_toy.svg", "toy2026/fig_toy.line.csv",
    )  # fmt: skip
    assert (out / found.files[0]).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.reader((out / found.files[2]).read_text().splitlines()))
    assert rows == [["time_s", "tokens"], ["0", "0"], ["1", "2.5"]]


def test_a_picture_that_breaks_off_leaves_the_verdicts(toy, tmp_path):
    pytest.importorskip("matplotlib")
    file = toy / "fig_toy.py"
    file.write_text(file.read_text().replace('"A line", height=2', '"A line", high=2'))
    paper = read_paper(toy / "claims.toml")
    found = attempt(paper, paper.figure("toy"), out=tmp_path / "out")
    assert verdicts(found)["exact"] is Verdict.REPRODUCED
    assert "its files cannot be written: TypeError" in found.reason


def test_a_process_that_is_killed_fails_its_claims(toy):
    file = toy / "table_broken.py"
    dead = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    file.write_text(file.read_text().replace('raise ZeroDivisionError("nothing")', dead))
    paper = read_paper(toy / "claims.toml")
    found = list(attempt_all([(paper, figure) for figure in paper.figures], jobs=2))
    assert {attempt.figure.module for attempt in found} == {f.module for f in paper.figures}
    (killed,) = [a for a in found if a.figure.module == "table_broken"]
    assert verdicts(killed) == {"broken": Verdict.FAILED}
    assert "a process was killed" in killed.reason


@pytest.mark.parametrize("jobs", [1, 2])
def test_several_figures_side_by_side_come_to_the_same(toy, jobs):
    paper = read_paper(toy / "claims.toml")
    figures = [(paper, figure) for figure in paper.figures]
    found = list(attempt_all(figures, quick=True, jobs=jobs))
    assert {a.figure.module: verdicts(a) for a in found} == {
        figure.module: verdicts(attempt(paper, figure, quick=True)) for _, figure in figures
    }


def test_the_longest_begins_first(toy):
    paper = read_paper(toy / "claims.toml")
    figures = [(paper, figure) for figure in reversed(paper.figures)]
    first = next(attempt_all(figures))
    assert seconds_of(first.figure, quick=False) == 2


def test_claims_without_a_computation_keep_their_reason(toy):
    (left,) = untried([read_paper(toy / "claims.toml")])
    assert (left.claim.id, left.verdict) == ("unknown", Verdict.NOT_TRIED)
    assert left.reason == "The paper does not say what its axis shows."


def test_the_page_shows_every_claim_and_lets_no_text_become_markup(toy):
    paper = read_paper(toy / "claims.toml")
    attempts = list(attempt_all([(paper, figure) for figure in paper.figures]))
    text = page([paper], attempts, command="queueing-llm reproduce toy2026")
    for claim in paper.claims:
        assert f'<tr id="toy2026.{claim.id}">' in text
    assert "On &lt;toys&gt;" in text
    assert "The paper rounds up &lt;always&gt;." in text
    assert "<toys>" not in text
    assert "<always>" not in text
    assert (
        "8 claims: 3 reproduced, 1 differs, as stated, 1 failed, 1 too noisy, 2 not tried"
        in text
    )
    assert "<script" not in text
