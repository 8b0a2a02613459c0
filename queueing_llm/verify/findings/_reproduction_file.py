"""The file of a counterexample: JSON of integers and words, under a digest.

=============== ===========================================================================
``format``      ``"queueing_llm counterexample"``
``version``     1
``contract``    name of the contract that is broken
``definition``  what it promises; ``source`` where that stands; ``sentence`` what was wrong
``engine``      fields of an ``Engine`` but its step time; what is not named is as by default
``arrivals``    fields of an ``Arrival`` each; empty for a state without the way to it
``step``        number of the step that breaks the contract
``state``       columns of the ``EngineState`` that the policy was asked about then
``sha256``      of all other fields, as JSON with sorted names and without blanks
=============== ===========================================================================
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from queueing_llm._validate import unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.policies import EngineState
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.plays._books import COLUMNS, LIMITS
from queueing_llm.verify.plays._trial import Arrival, Trial

FORMAT, VERSION = "queueing_llm counterexample", 1
WORDS = ("contract", "definition", "source", "sentence")
FIELDS = {"format", "version", *WORDS, "engine", "arrivals", "step", "state", "sha256"}
MOST = 2**53


def document_of(contract: Contract, found: Counterexample) -> dict[str, Any]:
    """Return a counterexample as plain data, with its digest."""
    engine = found.trial.engine
    names = [field.name for field in fields(Engine) if field.name != "step_time"]
    content = {
        "format": FORMAT,
        "version": VERSION,
        "contract": contract.name,
        "definition": contract.definition,
        "source": contract.source,
        "sentence": found.sentence,
        "engine": {name: getattr(engine, name) for name in names},
        "arrivals": [asdict(arrival) for arrival in found.trial.arrivals],
        "step": found.decision.step,
        "state": {name: getattr(found.state, name).tolist() for name in COLUMNS},
    }
    plain: dict[str, Any] = json.loads(json.dumps(content, default=unboxed))
    return {**plain, "sha256": _digest(plain)}


def write(document: dict[str, Any], path: Path, *, makes_folder: bool = False) -> None:
    """Write a document to a file, one line for each field."""
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in document.items()]
    text = ",\n".join(lines)
    try:
        if makes_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")
    except OSError as error:
        msg = f"counterexample {str(path)!r} cannot be written: {error.strerror}."
        raise InvalidArgument(msg) from error


def read(path: Path) -> dict[str, Any]:
    """Return the document of a file, if it is as it was written."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"counterexample {str(path)!r} cannot be read: {error.strerror}."
        raise InvalidArgument(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"counterexample {str(path)!r} is not JSON: {error}."
        raise InvalidArgument(msg) from error
    wrong = _what_is_wrong(found)
    if wrong:
        msg = f"counterexample {str(path)!r} {wrong}."
        raise InvalidArgument(msg)
    document: dict[str, Any] = found
    return document


def trial_of(document: dict[str, Any]) -> Trial:
    """Return the engine and the requests of a document."""
    limits = document["engine"]
    emits = limits.get("first_token_from_prefill", False)
    if not isinstance(emits, bool):
        msg = f"first_token_from_prefill must be true or false, got {emits!r}"
        raise InvalidArgument(msg)
    rows = [dict(zip(row, _whole(row.values()), strict=True)) for row in document["arrivals"]]
    engine = Engine(step_time=AffineStepTime(1, 0), **limits)
    return Trial(engine, tuple(Arrival(**row) for row in rows))


def state_of(document: dict[str, Any], engine: Engine) -> EngineState:
    """Return the state that the policy was asked about."""
    columns: dict[str, Any] = {
        name: np.array(_whole(document["state"][name]), np.int64) for name in COLUMNS
    }
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        msg = f"state must have columns of one length above 0, got {document['state']!r}"
        raise InvalidArgument(msg)
    return EngineState(**columns, **{name: getattr(engine, name) for name in LIMITS})


def _digest(content: dict[str, Any]) -> str:
    written = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()


def _what_is_wrong(found: Any) -> str:
    """Return why a document is none that was written here, or nothing."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return f"is no counterexample: its format is not {FORMAT!r}"
    if found.get("version") != VERSION:
        return f"has version {found.get('version')!r}; accepted: {VERSION}"
    if found.keys() != FIELDS:
        other = ", ".join(sorted(found.keys() ^ FIELDS))
        return f"lacks a field or has one too many: {other}"
    content = {name: value for name, value in found.items() if name != "sha256"}
    if _digest(content) != found["sha256"]:
        return "was changed after it was written: its sha256 is another one; save it again"
    return ""


def _whole(values: Iterable[Any]) -> list[int]:
    listed = list(values)
    if any(type(value) is not int or not 0 <= value < MOST for value in listed):
        msg = f"lengths and counts must be integers from 0 to 2**53, got {listed!r}"
        raise InvalidArgument(msg)
    return listed
