"""Every proof in this folder is found, checked, and shown to reject something."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from proofs._claim import HEADINGS, KINDS, NotProved

FOLDER = Path(__file__).parent
FILES = sorted(p for p in FOLDER.glob("[!_]*.py") if p.name != "test_proofs.py")


@pytest.fixture(autouse=True)
def no_solver(monkeypatch):
    """Nothing that is proved here asks a solver: there is none."""
    for solver in ("cvxpy", "highspy", "scipy", "scipy.optimize"):
        monkeypatch.setitem(sys.modules, solver, None)


def load(path: Path) -> ModuleType:
    return importlib.import_module(f"proofs.{path.stem}")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_claim_is_proved(path):
    proof = load(path)
    assert proof.KIND in KINDS
    assert proof.prove() > 0


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_false_claims_are_rejected(path):
    controls = load(path).CONTROLS
    assert controls
    for control in controls:
        with pytest.raises(NotProved):
            control()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_docstring_says_what_is_and_is_not_checked(path):
    found = re.findall(r"\*\*([\w ]+)\.\*\*", load(path).__doc__)
    assert tuple(found) == HEADINGS


def test_the_readme_lists_every_proof():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = [table_row(path) for path in FILES]
    assert "\n".join(rows) in readme, "the table should read:\n" + "\n".join(rows)


def table_row(path: Path) -> str:
    """Return the row of the README's table that belongs to a proof."""
    proof = load(path)
    claim = proof.__doc__.splitlines()[0]
    return f"| [{path.stem}]({path.name}) | {proof.KIND} | {claim} |"
