"""What is stored beside the proofs is what the library finds today."""

import importlib
import json
from pathlib import Path

import pytest

from queueing_llm.certificates import read_certificate
from queueing_llm.certificates._checker import FORMAT

DATA = Path(__file__).resolve().parents[1] / "proofs" / "data"
STORED = {path.stem: json.loads(path.read_text()) for path in sorted(DATA.glob("*.json"))}
CERTIFICATES = [
    name
    for name, document in STORED.items()
    if isinstance(document, dict) and document.get("format") == FORMAT
]


KINDS = {
    "overload",
    "drift",
    "network-feed-forward",
    "network-growth",
    "network-overload",
    "network-stability",
}


def test_there_is_a_certificate_of_each_kind():
    assert {STORED[name]["kind"] for name in CERTIFICATES} == KINDS


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_stored_certificate_is_found_again(name, tmp_path):
    """A proof has a function ``found`` that finds anew what it stores: PROOF[.CASE].json."""
    proof, *case = name.split(".")
    found = importlib.import_module(f"proofs.{proof}").found(*case)
    again = tmp_path / "again.json"
    found.write(again)
    assert again.read_bytes() == (DATA / f"{name}.json").read_bytes()
    assert read_certificate(again).check().comparisons > 0
