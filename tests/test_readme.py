"""What is written is true: code runs, commands print what is shown, links lead somewhere."""

import doctest
import json
import re
import shlex
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Annotated, final

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm import _ops, _validate
from queueing_llm.cli import main
from queueing_llm.scenarios import load_scenario

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
RUN = [path for path in DOCUMENTS if path.name not in ("CONTRIBUTING.md", "findings.md")]
"""Whose console and Python blocks run; recipes for contributors have a test of their own."""
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in DOCUMENTS}
PUBLIC_DATA = ROOT / ".." / "shared" / "data"
SET_UP = (
    "python -m pip install -e . && queueing-llm check codellama34b-a100",
    "python -m pip install -e '.[dev]' && pytest",
)
EXTRA = ("python -m pip install -e '.[gpu-data]'",)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
CLOSE = 0.02
"""Simulated numbers may move a little from one version of NumPy to another."""


def blocks(language: str, text: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> dict[str, list[str]]:
    """Return what is shown below each command, in whichever document."""
    shown: dict[str, list[str]] = {}
    for path in RUN:
        for block in blocks("console", TEXTS[path.name]):
            command, *lines = block.splitlines()
            name = command.removeprefix("$ ")
            assert name not in shown, f"{name} is shown twice"
            shown[name] = [line for line in lines if line.strip()]
    return shown


def is_close(shown: str, printed: str) -> bool:
    """Whether two lines have the same words, and numbers that are nearly the same."""
    if NUMBER.sub("#", " ".join(shown.split())) != NUMBER.sub("#", " ".join(printed.split())):
        return False
    numbers = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    values = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in numbers]
    return all(abs(a - b) <= CLOSE * max(a, b) for a, b in values)


def missing_lines(shown: list[str], printed: str) -> list[str]:
    """Return the shown lines that were not printed in this order; ``...`` omits lines."""
    left = [line for line in printed.splitlines() if line.strip()]
    if "..." not in shown and len(shown) != len(left):
        return [f"{len(shown)} lines are shown, {len(left)} printed:", *left]
    remaining = iter(left)
    return [
        line
        for line in shown
        if line != "..." and not any(is_close(line, other) for other in remaining)
    ]


def set_up(text: str) -> tuple[str, ...]:
    return tuple(line for block in blocks("sh", text) for line in block.splitlines())


def test_the_set_up_is_two_lines_and_one_for_measured_gpus():
    assert set_up(TEXTS["README.md"]) == SET_UP
    assert set_up(TEXTS["guide.md"]) == EXTRA
    assert TEXTS["README.md"].count("pip install") == len(SET_UP)


def test_continuous_integration_runs_the_second_set_up_line():
    script = (ROOT / ".ci" / "run").read_text()
    install, test = SET_UP[1].split(" && ")
    steps = re.findall(r"^step (.+)$", script, flags=re.MULTILINE)
    assert steps[0] == f"{install} -c constraints.txt"
    assert steps[-1] == test


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+-]+", line)] == []


@pytest.mark.parametrize("command", commands())
def test_commands_print_what_is_shown(command, capsys, monkeypatch, tmp_path):
    program, *arguments = shlex.split(command)
    assert program == "queueing-llm"
    if "--gpu" in arguments:
        pytest.importorskip("aiconfigurator_core", reason="needs the extra gpu-data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in (a for a in arguments if a.endswith(".csv")):
        found = sorted(PUBLIC_DATA.rglob(name))
        if not found:
            pytest.skip(f"public data not at hand: {name}")
        shutil.copy(found[0], tmp_path)
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert missing_lines(commands()[command], printed) == [], f"now prints:\n{printed}"
    pictures = [a for a in arguments if a.endswith(".png")]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in pictures)


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_python_blocks_run(path):
    source = "\n".join(blocks("python", TEXTS[path.name]))
    if not source:
        pytest.skip("no Python in it")
    example = doctest.DocTestParser().get_doctest(source, {}, path.name, None, 0)
    assert example.examples
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags)
    assert runner.run(example).failed == 0


def test_every_block_is_in_a_language_that_is_run():
    known = {"sh", "console", "python", "toml", "bibtex", ""}
    for path in RUN:
        fences = re.findall(r"^```(\w*)$", TEXTS[path.name], re.MULTILINE)
        assert set(fences) <= known, path.name


def test_the_json_schema_is_the_one_shown(capsys):
    assert (
        main(["check", "theorem-2", "--policy", "orca", "--policy", "sarathi", "--json"]) == 0
    )
    printed = json.loads(capsys.readouterr().out)
    above, table = re.search(
        r"`check --json` prints `(.+?)`(.+?)\n## ", TEXTS["json.md"], re.DOTALL
    ).groups()
    assert re.findall(r'"(\w+)"', above) == list(printed)
    first_cells = re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)
    documented = {key for cell in first_cells for key in re.findall(r"`(\w+)`", cell)}
    assert [result.keys() for result in printed["results"]] == [documented] * 2


@pytest.mark.parametrize(
    "command",
    [
        "region theorem-2",
        "network fork-join",
        "verify sarathi --contract work_conserving",
        "simulate theorem-2 --policy sarathi --horizon 9",
    ],
)
def test_every_key_of_an_answer_is_documented(command, capsys):
    assert main([*command.split(), "--json"]) == 0
    documented = set(re.findall(r"`(\w+)`", TEXTS["json.md"]))
    keys = set(json.loads(capsys.readouterr().out)) - documented
    assert {key for key in keys if key.removesuffix("_exact") not in documented} == set()


@pytest.mark.parametrize("text", blocks("toml", TEXTS["guide.md"]))
def test_scenarios_load(text, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    assert load_scenario(tmp_path / "mine.toml").workload.arrival_rate > 0


def test_recipes_for_contributors_work():
    policy, step_time, *_ = blocks("python", TEXTS["CONTRIBUTING.md"])
    names = vars(_validate) | vars(_ops) | {"np": np, "ql": ql}
    names |= {"AbstractStepTime": ql.AbstractStepTime, "Annotated": Annotated, "final": final}
    exec("from dataclasses import dataclass\n" + policy + step_time, names)
    law = names["QuadraticStepTime"](
        base=Fraction(1, 100), per_token_squared=Fraction(1, 10**6)
    )
    assert law(30, 20) == Fraction(1, 80)
    engine = ql.Engine(step_time=law, token_budget=8)
    load = ql.Workload.of_requests([0, 0], prompt_tokens=[9, 2], output_tokens=[1, 1])
    taken = ql.watch(engine, load, policy=names["shortest_prompt_first"], horizon=1)
    assert [s.batch.tokens.tolist() for s in taken] == [[6, 2], [3, 1], [1]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXTS[document.name])
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_named_in_documents_exist(document):
    places = (
        r"`((?:queueing_llm|paper_repro|proofs|notebooks|docs|tests|benchmarks)/[\w./*-]+)`"
    )
    named = [name for name in re.findall(places, TEXTS[document.name]) if "yours" not in name]
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


def test_every_notebook_and_every_package_is_named():
    notebooks = {path.name for path in ROOT.glob("notebooks/*.ipynb")}
    assert set(re.findall(r"\(notebooks/([\w.]+)\)", TEXTS["README.md"])) == notebooks
    layers = TEXTS["ARCHITECTURE.md"].split("## Layers")[1].split("```")[1]
    packages = {path.parent.name for path in ROOT.glob("queueing_llm/*/__init__.py")}
    assert packages - set(re.findall(r"\w+", layers)) == set()


def test_the_runs_that_predictions_are_held_against_are_counted():
    report = (ROOT / "paper_repro" / "validation" / "README.md").read_text(encoding="utf-8")
    runs, left_out = re.search(r"^(\d+) runs of .*? left out (.+?)\. ", report, re.M).groups()
    counted = int(runs) - sum(map(int, re.findall(r"\b(\d+) \(", left_out)))
    assert f"[{counted:,} closed-loop runs" in TEXTS["README.md"]
    assert f"against {counted:,} measured runs" in TEXTS["ARCHITECTURE.md"]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["rate 13.9"], "rate 12.9"),
        (["orca STABLE"], "orca UNSTABLE"),
        (["b", "...", "a"], "a\nb"),
        (["a"], "a\nb"),
    ],
)
def test_a_wrong_excerpt_is_found(shown, printed):
    assert missing_lines(shown, printed) != []
