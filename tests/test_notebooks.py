"""Every notebook runs from top to bottom, and is stored without what it printed."""

import json
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS_OF_A_CELL = 600
"""Only to end a notebook that hangs: a cell takes seconds, and minutes on a crowded machine."""


MOST_CELLS = 10


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks_but_not_too_many():
    assert 1 <= len(NOTEBOOKS) <= 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_short_and_begins_in_plain_language(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert len(code_cells(notebook)) <= MOST_CELLS
    first = "".join(notebook["cells"][0]["source"])
    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert first.startswith("# ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    for cell in code_cells(notebook):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_ends_with_what_it_claims(path):
    last = code_cells(json.loads(path.read_text(encoding="utf-8")))[-1]
    assert last["source"][0].startswith("assert ")


def executed(notebook, *, folder):
    """Run a notebook in a kernel of its own, as far as it comes."""
    needed = "the extra 'notebooks' runs notebooks"
    nbclient = pytest.importorskip("nbclient", reason=needed)
    nbformat = pytest.importorskip("nbformat", reason=needed)
    pytest.importorskip("ipykernel", reason=needed)
    with warnings.catch_warnings():
        # What Jupyter deprecates in itself is no concern of a notebook.
        warnings.simplefilter("ignore", DeprecationWarning)
        whole = nbformat.reads(json.dumps(notebook), as_version=4)
        nbformat.validate(whole)
        where = {"metadata": {"path": str(folder)}}
        client = nbclient.NotebookClient(whole, timeout=SECONDS_OF_A_CELL, resources=where)
        return client.execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path):
    done = executed(json.loads(path.read_text(encoding="utf-8")), folder=tmp_path)
    counts = [cell["execution_count"] for cell in code_cells(done)]
    assert counts == list(range(1, 1 + len(counts)))
    left = {file.name for file in tmp_path.iterdir()} - {".hypothesis"}
    assert not left, "a notebook leaves nothing behind but the cache of Hypothesis"


def test_a_notebook_that_claims_what_is_not_so_is_caught(tmp_path):
    """The control of this file."""
    notebook = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    first, *_, last = code_cells(notebook)
    wrong = [first, {**last, "source": "assert 1 == 2"}]
    with pytest.raises(Exception, match="AssertionError"):
        executed({**notebook, "cells": wrong}, folder=tmp_path)
