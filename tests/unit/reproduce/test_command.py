"""``queueing-llm reproduce``: names, options, exit status, page."""

import json
import re

import pytest

from queueing_llm.cli import _reproduce, main
from queueing_llm.reproduce import read_paper


@pytest.fixture
def out(toy, tmp_path, monkeypatch):
    """The folder of the output, where the toy is the only paper that is installed."""
    pytest.importorskip("matplotlib", reason="the extra 'plots' draws figures")
    monkeypatch.setattr(_reproduce, "papers", lambda: (read_paper(toy / "claims.toml"),))
    return tmp_path / "out"


def run(*arguments):
    return main(["reproduce", *map(str, arguments)])


def test_without_a_paper_it_lists_them(out, capsys):
    assert run() == 0
    printed = capsys.readouterr().out
    assert re.search(r"toy2026 .*On <toys>.* 8 +3 +3 s +4 s", printed)
    assert run("--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)["papers"]
    assert listed["figures"] == ["fig_toy", "table_broken", "table_measured"]
    assert not out.exists()


@pytest.mark.parametrize("name", ["toy2026", "TOY2026", "0000.00001", "arXiv:0000.00001v2"])
def test_a_paper_is_known_by_folder_and_number(out, capsys, name):
    assert run(name, "--figure", "toy", "--out", out, "--jobs", 1) == 1
    assert (out / "toy2026" / "fig_toy.svg").exists()


def test_a_claim_that_fails_is_exit_status_one_and_stands_on_the_page(out, capsys):
    assert run("--all", "--quick", "--out", out, "--jobs", 1) == 1
    printed = capsys.readouterr().out
    assert "3 reproduced, 1 differs, as stated, 1 failed, 1 too noisy, 2 not tried" in printed
    assert "table_broken: its computation broke off: ZeroDivisionError: nothing" in printed
    text = (out / "index.html").read_text()
    assert "queueing-llm reproduce --all --quick</pre>" in text
    assert 'src="toy2026/fig_toy.png"' in text


def test_a_picture_that_is_not_drawn_is_exit_status_one(toy, out, capsys):
    file = toy / "claims.toml"
    file.write_text(file.read_text().replace("resolution = 0.01", "resolution = 0.1"))
    figure = toy / "fig_toy.py"
    figure.write_text(figure.read_text().replace('"A line", height=2', '"A line", high=2'))
    assert run("toy2026", "--figure", "fig_toy", "--out", out, "--jobs", 1) == 1
    assert "fig_toy: its files cannot be written: TypeError" in capsys.readouterr().out


def test_what_cannot_be_written_is_said_before_the_work(out, capsys):
    (out / "index.html").mkdir(parents=True)
    assert run("toy2026", "--out", out, "--jobs", 1) == 2
    assert "index.html' cannot be written" in capsys.readouterr().err
    assert not list((out / "toy2026").iterdir())


def test_json_has_every_claim(out, capsys):
    assert run("toy2026", "--json", "--out", out, "--jobs", 1) == 1
    record = json.loads(capsys.readouterr().out)
    claims = {claim["id"]: claim for claim in record["papers"][0]["claims"]}
    assert len(claims) == 8
    assert claims["other"]["expected"] == 3
    assert claims["other"]["obtained"] == 2.5
    assert claims["exact"]["expected"] == "1/3"
    assert claims["estimated"]["standard_error"] == 0.05
    assert claims["word"]["obtained"] == ["UNSTABLE", "STABLE"]
    assert claims["unknown"]["verdict"] == "NOT_TRIED"
    assert record["index"] == str(out / "index.html")


def test_what_holds_is_exit_status_zero(toy, out, capsys):
    file = toy / "claims.toml"
    file.write_text(file.read_text().replace("resolution = 0.01", "resolution = 0.1"))
    assert run("toy2026", "--figure", "fig_toy", "--out", out, "--jobs", 1) == 0


def test_the_page_of_a_figure_shows_the_claims_of_the_figure(out):
    run("toy2026", "--figure", "fig_toy", "--out", out, "--jobs", 1)
    text = (out / "index.html").read_text()
    assert "5 claims: " in text
    assert "axis reaches 100" not in text
    run("toy2026", "--out", out, "--jobs", 1)
    assert "axis reaches 100" in (out / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy2025"], "did you mean 'toy2026'"),
        (["toy2026", "--figure", "fig_toi"], "did you mean 'fig_toy'"),
        (["--figure", "fig_toy"], "needs one paper"),
        (["toy2026", "--jobs", "0"], "jobs must be at least 1"),
        (["toy2026", "--data", "/nowhere"], "is not a folder"),
        (["toy2026", "--out", "/dev/null/x"], "cannot be made"),
        (["toy2026", "--all"], "either"),
        (["0"], "paper '0' is not known"),
        (["0000.0000"], "is not known"),
        (["0000.00001v1"], "is tried as arXiv:0000.00001v2"),
    ],
)
def test_bad_input_is_one_sentence(out, capsys, arguments, message):
    where = [] if "--out" in arguments else ["--out", out]
    assert run(*arguments, *where) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
