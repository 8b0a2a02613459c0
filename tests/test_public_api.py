"""The front door: every public name is listed, documented and shown by an example."""

import ast
import enum
import importlib
import inspect
import itertools
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from numpydoc.validate import validate

import queueing_llm

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["queueing_llm"] + [
    f"queueing_llm.{found.name}"
    for found in pkgutil.iter_modules(queueing_llm.__path__)
    if found.ispkg
]
OBJECTS = {
    name: getattr(queueing_llm, name)
    for name in queueing_llm.__all__
    if inspect.isclass(getattr(queueing_llm, name))
    or inspect.isfunction(getattr(queueing_llm, name))
}
EXCEPTIONS = {
    name for name, it in OBJECTS.items() if inspect.isclass(it) and issubclass(it, Exception)
}
ENUMERATIONS = {name for name, it in OBJECTS.items() if isinstance(it, enum.EnumMeta)}
WITHOUT_EXAMPLE = (
    EXCEPTIONS
    | ENUMERATIONS
    | {
        # Answers, shown by the functions that return them.
        "BestRate",
        "Capacity",
        "Certificate",
        "CriticalRate",
        "FluidPiece",
        "Hypothesis",
        "NetworkLoad",
        "NetworkRun",
        "NetworkVerdict",
        "Run",
        "Verdict",
        # What a policy sees and returns, shown where a policy is written.
        "Batch",
        "EngineState",
        # Takes seconds.
        "bracket_critical_rate",
    }
)
NOT_ASKED = {
    "ES01",  # an extended summary, where the first line says it all
    "EX01",  # examples, which have their own test with named exemptions
    "GL08",  # a docstring, likewise
    "PR04",  # a type for each of several parameters that stand on one line
    "RT01",  # a Returns section, where the first line says what is returned
    "SA01",  # See Also
}


def constants_with_docstring(package: Path) -> set[str]:
    """Return the module-level names that a string literal follows."""
    found = set()
    for file in package.rglob("*.py"):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for statement, after in itertools.pairwise(body):
            if not isinstance(after, ast.Expr) or not isinstance(after.value, ast.Constant):
                continue
            if isinstance(statement, ast.AnnAssign):
                found.add(ast.unparse(statement.target))
            elif isinstance(statement, ast.Assign):
                found |= {ast.unparse(target) for target in statement.targets}
    return found


def findings(it: Any) -> list[str]:
    """Return what numpydoc finds wrong with the docstring of a class or function."""
    errors = validate(f"{it.__module__}.{it.__qualname__}")["errors"]
    not_asked = NOT_ASKED | ({"PR01"} if isinstance(it, enum.EnumMeta) else set())
    return [f"{code} {message}" for code, message in errors if code not in not_asked]


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_complete(package):
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert set(module.__all__) == imported
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_hold_no_logic(package):
    tree = ast.parse(Path(importlib.import_module(package).__file__).read_text("utf-8"))
    docstring, *rest = tree.body
    assert isinstance(docstring, ast.Expr)
    assert {type(statement) for statement in rest} <= {ast.ImportFrom, ast.Assign}


@pytest.mark.parametrize("name", OBJECTS)
def test_docstrings_are_complete(name):
    assert findings(OBJECTS[name]) == []


@pytest.mark.parametrize("name", sorted(OBJECTS.keys() - WITHOUT_EXAMPLE))
def test_docstrings_have_an_example(name):
    assert ">>> " in inspect.getdoc(OBJECTS[name])


def test_exemptions_are_needed():
    assert {n for n in WITHOUT_EXAMPLE if ">>> " in inspect.getdoc(OBJECTS[n])} == set()


def test_constants_have_a_docstring():
    packages = {n for n in queueing_llm.__all__ if inspect.ismodule(getattr(queueing_llm, n))}
    constants = set(queueing_llm.__all__) - OBJECTS.keys() - packages
    assert constants
    assert constants - constants_with_docstring(ROOT / "queueing_llm") == set()


def test_classes_are_abstract_or_final():
    classes = [
        it
        for n, it in OBJECTS.items()
        if inspect.isclass(it) and n not in EXCEPTIONS | ENUMERATIONS
    ]
    assert all(inspect.isabstract(c) != getattr(c, "__final__", False) for c in classes)


def test_incomplete_docstrings_are_found(tmp_path, monkeypatch):
    text = '''
def undocumented(engine, workload):
    """Return nothing

    Parameters
    ----------
    engine : Engine
        The engine.
    """
'''
    (tmp_path / "careless.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    codes = {found[:4] for found in findings(importlib.import_module("careless").undocumented)}
    assert codes == {"PR01", "SS03"}
