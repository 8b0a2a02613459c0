"""The layers hold, and the check that says so rejects an import that breaks them."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = len(SETTINGS["tool"]["importlinter"]["contracts"])
LINT = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True))
"""

VIOLATIONS = {
    "upward": ("model/_engine.py", "queueing_llm.stability", "Imports go downwards only"),
    "sideways": ("simulate/_clock.py", "queueing_llm.stability", "Imports go downwards only"),
    "in-function": (
        "steptime/_hinge.py",
        "queueing_llm.model",
        "Imports go downwards only",
    ),
    "front-door": (
        "policies/_rule.py",
        "queueing_llm",
        "Nothing inside the package imports its front door",
    ),
    "policy-sees-engine": (
        "policies/_rule.py",
        "queueing_llm.model",
        "A policy sees only its EngineState",
    ),
    "room": (
        "stability/bounds/_capacity.py",
        "queueing_llm.stability.drift",
        "The rooms of stability stand on its bounds",
    ),
    "verify-room": (
        "verify/plays/_trial.py",
        "queueing_llm.verify.contracts",
        "What is asked, what is promised, what is found: verification goes one way",
    ),
    "solver": ("stability/bounds/_capacity.py", "cvxpy", "No answer rests on a solver"),
    "checker": (
        "certificates/_checker/_document.py",
        "numpy",
        "The checker of certificates trusts only the standard library",
    ),
    "heavy": (
        "steptime/_table.py",
        "polars",
        "Models, policies and closed answers need no heavy library",
    ),
}


def imports(file: Path) -> set[str]:
    """Return the top-level names that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def broken_contracts(folder: Path) -> set[str]:
    """Return the contracts that the package in ``folder`` breaks."""
    done = subprocess.run(
        [sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, check=False
    )
    report = done.stdout + done.stderr
    broken = set(re.findall(r"^(.+) BROKEN", report, flags=re.MULTILINE))
    kept = re.findall(r"^(.+) KEPT", report, flags=re.MULTILINE)
    assert len(broken) + len(kept) == CONTRACTS, report
    assert (done.returncode == 0) == (not broken), report
    return broken


@pytest.fixture
def copy(tmp_path):
    """Return a folder with a copy of the package and of its contracts."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "queueing_llm", tmp_path / "queueing_llm", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers_hold():
    assert broken_contracts(ROOT) == set()


def test_every_contract_is_broken_once():
    names = {contract["name"] for contract in SETTINGS["tool"]["importlinter"]["contracts"]}
    assert names == {contract for _, _, contract in VIOLATIONS.values()}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_layers_are_checked(copy, violation):
    file, imported, contract = VIOLATIONS[violation]
    path = copy / "queueing_llm" / file
    text = path.read_text()
    extra = f"\n\ndef _late():\n    import {imported}\n" if violation == "in-function" else ""
    extra = extra or f"\nimport {imported}\n"
    path.write_text(text + extra)
    assert contract in broken_contracts(copy)


def test_the_trusted_checker_imports_only_the_standard_library():
    files = list((ROOT / "queueing_llm" / "certificates" / "_checker").glob("*.py"))
    own = {"queueing_llm"}  # The contract above says which of it: the checker itself.
    assert files
    assert set().union(*map(imports, files)) <= sys.stdlib_module_names | own


def test_a_new_module_needs_a_layer(copy):
    (copy / "queueing_llm" / "unplaced.py").write_text('"""Nowhere."""\n')
    assert broken_contracts(copy) == {"Imports go downwards only"}
