"""The trusted checker: exact arithmetic, the standard library, and nothing else.

A certificate is a JSON document of integers; a rational number is a pair
``[numerator, denominator]``. The checker computes everything itself from the parameters in the
document and never sees how the certificate was found. Each module says what its kinds of claim
are and why the comparisons prove them; ``SCHEMA.md`` lists the fields.
"""

from collections.abc import Callable, Mapping
from typing import Any

from queueing_llm.certificates._checker import _cycle, _engine, _pieces, _planning
from queueing_llm.certificates._checker._document import (
    FORMAT,
    VERSION,
    Checked,
    Rejected,
    fields_of,
    is_integer,
    reject,
)
from queueing_llm.certificates._checker._engine import LARGEST_BUDGET

__all__ = ["FORMAT", "LARGEST_BUDGET", "VERSION", "Checked", "Rejected", "check"]

_Check = Callable[[Mapping[str, Any]], Checked]
_KINDS: dict[str, tuple[tuple[str, ...], _Check]] = {
    "drift": (_engine.DRIFT, _engine.check_drift),
    "network-feed-forward": (_planning.FEED_FORWARD, _planning.check_feed_forward),
    "network-growth": (_cycle.GROWTH, _cycle.check_growth),
    "network-overload": (_planning.OVERLOAD, _planning.check_overload),
    "network-stability": (_pieces.STABILITY, _pieces.check_stability),
    "overload": (_engine.OVERLOAD, _engine.check_overload),
}


def check(document: object) -> Checked:
    """Return what a certificate, a parsed JSON document, proves.

    Raises
    ------
    Rejected
        If it proves nothing, with the reason.
    """
    if not isinstance(document, Mapping):
        reject("certificate must be an object")
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        reject("kind is not known")
    own, prove = _KINDS[kind]
    fields = fields_of(document, "certificate", ("format", "version", "kind", *own))
    if fields["format"] != FORMAT:
        reject(f"format must be {FORMAT!r}")
    if not is_integer(fields["version"]) or fields["version"] != VERSION:
        reject(f"version must be {VERSION}: certify the system again")
    return prove(fields)
