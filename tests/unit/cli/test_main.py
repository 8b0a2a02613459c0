"""The entry point: exit statuses, quiet interruptions, defects in one sentence."""

import importlib.metadata
import json
import subprocess
import sys

import pytest

from queueing_llm.cli import main
from queueing_llm.cli._output import complain, print_json

LIST = ["-c", "import sys; from queueing_llm.cli import main; sys.exit(main(['list']))"]


def test_the_version_is_that_of_the_distribution(capsys):
    assert main(["--version"]) == 0
    version = importlib.metadata.version("queueing-llm")
    assert capsys.readouterr().out == f"queueing-llm {version}\n"


@pytest.mark.parametrize("argv", [[], ["--help"], ["check", "--help"], ["simulate", "--help"]])
def test_help_is_an_answer(capsys, argv):
    assert main(argv) == 0
    assert "Usage: queueing-llm" in capsys.readouterr().out


def test_a_defect_is_one_sentence_and_status_70(capsys, monkeypatch):
    monkeypatch.delenv("QUEUEING_LLM_DEBUG", raising=False)
    _break_check(monkeypatch, ZeroDivisionError("two\nlines"))
    assert main(["check", "theorem-2"]) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert "please report" in line
    assert "ZeroDivisionError: two lines" in line


def test_debugging_shows_where_a_defect_is(capsys, monkeypatch):
    monkeypatch.setenv("QUEUEING_LLM_DEBUG", "1")
    _break_check(monkeypatch, ZeroDivisionError("here"))
    assert main(["check", "theorem-2"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_is_quiet(capsys, monkeypatch):
    _break_check(monkeypatch, KeyboardInterrupt())
    assert main(["check", "theorem-2"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_closed_pipe_is_quiet():
    program = subprocess.Popen(
        [sys.executable, *LIST], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    complaint = program.stderr.read()
    program.stderr.close()
    assert (program.wait(), complaint) == (141, b"")


def test_json_holds_no_number_that_json_has_not(capsys):
    print_json({"a": float("nan"), "b": [float("-inf"), 1.5], "c": None, "d": True})
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"a": None, "b": [None, 1.5], "c": None, "d": True}


def test_a_complaint_speaks_of_options_and_decimals(capsys):
    assert complain("got x=Fraction(-7, 2).\nPass skip_bad_rows=True.", status=2) == 2
    assert capsys.readouterr().err == "error: got x=-3.5. Pass --skip-bad-rows.\n"


def _break_check(monkeypatch, error):
    def broken(*_args, **_options):
        raise error

    monkeypatch.setattr("queueing_llm.cli._check.check_stability", broken)
