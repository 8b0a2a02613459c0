"""The page of findings says what plays show: every counterexample breaks its contract again."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from queueing_llm.policies.field import SYSTEMS
from queueing_llm.verify import CONTRACTS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load():
    sys.path.insert(0, str(DOCS))  # as for a script: its folder comes first
    spec = importlib.util.spec_from_file_location("findings", DOCS / "findings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


findings = load()
FOUND = json.loads((DOCS / "findings.json").read_text(encoding="utf-8"))


def test_the_page_is_what_the_plays_show():
    # Writing it plays every counterexample again and refuses one that shows something else.
    assert findings.page(FOUND) == (DOCS / "findings.md").read_text(encoding="utf-8")


def test_every_system_on_the_page_was_asked_about_every_contract():
    names = {name for family in findings.columns().values() for name in family}
    assert names == FOUND.keys() <= SYSTEMS.keys()
    assert all(entries.keys() == CONTRACTS.keys() for entries in FOUND.values())


def test_every_broken_contract_is_explained():
    broken = {
        contract
        for entries in FOUND.values()
        for contract, entry in entries.items()
        if entry["outcome"] == "VIOLATED"
    }
    assert broken <= findings.MEANINGS.keys() <= CONTRACTS.keys()


def test_a_counterexample_that_shows_something_else_is_refused():
    name, contract = "vllm==0.33.0", "preempts_nobody"
    entry = FOUND[name][contract]
    findings.counterexample(name, contract, entry)
    with pytest.raises(ValueError, match="breaks preempts_nobody with"):
        findings.counterexample(name, contract, {**entry, "basis": "request 0 loses nothing"})
    fewer = {**entry, "arrivals": entry["arrivals"][:1]}
    with pytest.raises(ValueError, match="breaks preempts_nobody with"):
        findings.counterexample(name, contract, fewer)
