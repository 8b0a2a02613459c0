"""One sentence for what a schema check found."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from queueing_llm.errors import nearest
from queueing_llm.scenarios._schema import TABLES

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "list_type": "an array of tables",
    "model_type": "a table",
    "string_type": "a text in quotes",
}


def explanation(error: ValidationError) -> str:
    """Return the first finding: the key, its value, and what is accepted.

    An unknown key comes first, since a misspelt key is also a missing one.
    """
    findings = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    return _sentence(findings[0])


def _sentence(finding: ErrorDetails) -> str:
    path = _path(finding)
    table, _, key = path.rpartition(".")
    place = f"[{table}]" if table else "the file"
    if finding["type"] == "extra_forbidden":
        keys = TABLES[_without_indices(finding)].model_fields
        return f"{place} has no key {key!r}: {nearest(key, keys)}."
    if finding["type"] == "missing":
        kind = "table" if path in TABLES else "key"
        return f"{place} needs the {kind} {key!r}."
    expected = _EXPECTED.get(finding["type"], finding["msg"])
    return f"{path} must be {expected}, got {path}={finding['input']!r}."


def _path(finding: ErrorDetails) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in finding["loc"])
    return "".join(steps).removeprefix(".")


def _without_indices(finding: ErrorDetails) -> str:
    return ".".join(str(step) for step in finding["loc"][:-1] if not isinstance(step, int))
