"""Installing serving engines: what is run, what is skipped, and what stops it.

A program stands for the interpreter: it writes down what it is asked for and leaves the files
that the next step looks for.
"""

import json
import shlex
import sys
from pathlib import Path

import pytest

import queueing_llm.verify.adapters
from queueing_llm.errors import InvalidArgument
from queueing_llm.verify.adapters import (
    INSTALLATIONS,
    LiveFailure,
    Place,
    build_environment,
    open_worker,
)
from queueing_llm.verify.adapters.__main__ import main
from queueing_llm.verify.adapters._environment import INTERPRETERS, TORCH, place_of

WORKERS = Path(queueing_llm.verify.adapters.__file__).with_name("_workers")

PYTHON = """#!{python}
import os, pathlib, shutil, sys

asked = sys.argv[1:]
with open({log!r}, "a") as log:
    names = sorted(name for name in os.environ if "VLLM_" in name)
    settings = [f"{{name}}={{os.environ[name]}}" for name in names]
    log.write(" ".join([*settings, *asked]) + "\\n")
if "venv" in asked:
    folder = pathlib.Path(asked[-1])
    (folder / "bin").mkdir(parents=True)
    shutil.copy(__file__, folder / "bin" / "python")
    torch = folder / "lib" / "python3.11" / "site-packages" / "torch"
    torch.mkdir(parents=True)
    (torch / "version.py").write_text("cuda = " + os.environ.get("CUDA_OF_TORCH", "None"))
if os.environ.get("FAILS") in asked:
    sys.exit("no such distribution")
if "--target" in asked:
    pathlib.Path(asked[asked.index("--target") + 1], "system").mkdir(parents=True)
"""


@pytest.fixture
def python(tmp_path):
    path = tmp_path / "python"
    path.write_text(PYTHON.format(python=sys.executable, log=str(tmp_path / "log")))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def build(tmp_path, python):
    """Return what builds an environment and returns what was run for it."""

    def built(*systems, **options):
        log = tmp_path / "log"
        log.write_text("")
        build_environment(
            tmp_path / "live", systems=systems, python=python, say=lambda _: None, **options
        )
        return log.read_text().splitlines()

    return built


def test_the_table_is_complete():
    drivers = {path.name for path in WORKERS.glob("[!_]*.py")}
    assert {it.driver for it in INSTALLATIONS.values()} == drivers
    assert {it.interpreter for it in INSTALLATIONS.values()} == set(INTERPRETERS)
    for requirements in INTERPRETERS.values():
        assert all(name.count("==") == 1 for name in requirements)
        assert not any(name.startswith(("torch", "vllm", "sglang")) for name in requirements)


def test_two_versions_share_an_interpreter(build, tmp_path):
    run = build("vllm==0.33.0", "vllm==0.32.0")
    assert [line.split()[:2] for line in run] == [
        ["-m", "venv"],
        ["-m", "pip"],
        ["-m", "pip"],
        ["VLLM_TARGET_DEVICE=empty", "VLLM_VERSION_OVERRIDE=0.33.0"],
        ["VLLM_TARGET_DEVICE=empty", "VLLM_VERSION_OVERRIDE=0.32.0"],
    ]
    listing = json.loads((tmp_path / "live" / "environment.json").read_text())
    assert set(listing) == {"vllm==0.33.0", "vllm==0.32.0"}
    place = place_of("vllm==0.32.0", environment=tmp_path / "live")
    root = tmp_path / "live"
    assert place == Place(
        str(root / "transformers-5" / "bin" / "python"),
        (str(root / "systems" / "vllm-0.32.0"),),
    )
    assert all(Path(entry, "system").exists() for entry in place.path)


def test_no_system_comes_with_what_it_depends_on(build):
    installs = [shlex.split(line) for line in build(*INSTALLATIONS)]
    found = {words[-1]: words for words in installs if words[-1] in INSTALLATIONS}
    assert found.keys() == INSTALLATIONS.keys()
    for name, words in found.items():
        assert {"--no-deps", "--target"} <= set(words)
        assert ("--no-binary" in words) == name.startswith("vllm")
    alone = [words for words in installs if words[-1] == TORCH]
    assert len(alone) == len(INTERPRETERS)
    assert all("--no-deps" in words for words in alone)


def test_what_is_there_is_left(build):
    assert build("vllm==0.6.3")
    assert build("vllm==0.6.3") == []
    (line,) = build("vllm==0.6.3", "vllm==0.11.2")
    assert line.endswith("vllm==0.11.2")


def test_a_failure_leaves_nothing_half_done(build, tmp_path, monkeypatch):
    monkeypatch.setenv("FAILS", "vllm==0.6.3")
    with pytest.raises(LiveFailure, match="no such distribution"):
        build("vllm==0.6.3")
    with pytest.raises(InvalidArgument, match=r"must be a folder with a good environment.json"):
        place_of("vllm==0.6.3", environment=tmp_path / "live")
    monkeypatch.delenv("FAILS")
    (line,) = build("vllm==0.6.3")
    assert line.endswith("vllm==0.6.3")
    assert list((tmp_path / "live" / "systems").iterdir()) == [
        tmp_path / "live" / "systems" / "vllm-0.6.3"
    ]


def test_a_torch_for_accelerators_is_refused_before_what_it_needs(build, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_OF_TORCH", "'13.0'")
    with pytest.raises(LiveFailure, match=r"build for CPUs, got one for cuda 13.0"):
        build("vllm==0.6.3")
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert "--no-deps" in last
    assert last.endswith(TORCH)


def test_where_torch_comes_from(build):
    run = build("vllm==0.6.3", torch_index="https://example.org/cpu")
    assert [line for line in run if "example.org" in line] == [
        f"-m pip --quiet install --no-deps --index-url https://example.org/cpu {TORCH}"
    ]


def test_an_unknown_system_is_refused_before_anything_is_made(build, tmp_path):
    with pytest.raises(InvalidArgument, match=r"did you mean 'vllm==0.33.0'"):
        build("vllm==0.33.1")
    assert not (tmp_path / "live").exists()


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{", '{"vllm==0.6.3": {}}', '{"vllm==0.6.3": 1}']
)
def test_a_folder_that_is_no_environment(tmp_path, text):
    if text is not None:
        (tmp_path / "environment.json").write_text(text)
    with pytest.raises(InvalidArgument, match=r"make one with `python -m .* build"):
        open_worker("vllm==0.6.3", environment=tmp_path)


def test_a_folder_that_lacks_the_system(build, tmp_path):
    build("vllm==0.6.3")
    with pytest.raises(
        InvalidArgument, match=r"which has vllm==0.6.3: add it with .* --system"
    ):
        open_worker("vllm==0.33.0", environment=tmp_path / "live")


def test_the_command(tmp_path, python, capsys):
    folder = tmp_path / "live"
    arguments = ["build", str(folder), "--system", "vllm==0.6.3", "--python", python]
    assert main(arguments) == 0
    assert "ready: vllm==0.6.3" in capsys.readouterr().out
    assert main([*arguments[:3], "vllm==6", "--python", python]) == 2
    assert "error: there is no driver for 'vllm==6'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["install", str(folder)])


def test_an_interpreter_that_lacks_the_system(tmp_path):
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\necho no module named vllm >&2\nexit 1\n")
    bare.chmod(0o755)
    with pytest.raises(InvalidArgument, match=r"that has vllm==0.33.0, got .*no module named"):
        open_worker("vllm==0.33.0", environment=bare)


@pytest.mark.parametrize("command", ["build", "record"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, python, capsys, command):
    (tmp_path / "taken").write_text("")
    place = str(tmp_path / "taken" / "folder")
    options = {
        "build": ["--system", "vllm==0.6.3", "--python", python],
        "record": ["--system", "vllm==0.6.3", "--environment", str(tmp_path)],
    }
    assert main([command, place, *options[command]]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "taken" in said


def test_no_workloads_are_no_comparison(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fuzz", "--environment", ".", "--system", "vllm==0.6.3", "--workloads", "0"])
    assert "must be at least 1, got 0" in capsys.readouterr().err
