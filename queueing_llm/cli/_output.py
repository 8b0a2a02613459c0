"""Where output goes: answers to standard output, complaints and progress to standard error."""

import json
import math
import re
import sys
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from rich.console import Console


def answers() -> Console:
    """Return the console of answers; it colours only a terminal."""
    return Console(highlight=False)


def progress() -> Console:
    """Return the console of progress."""
    return Console(stderr=True, highlight=False)


def complain(sentence: str, *, status: int) -> int:
    """Print one line to standard error and return the exit status."""
    line = " ".join(_as_typed(sentence).split())
    sys.stderr.write(f"error: {line}\n")
    return status


def print_json(record: Mapping[str, Any]) -> None:
    """Print a record as JSON; what is no finite number becomes null."""
    sys.stdout.write(json.dumps(_plain(record), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _as_typed(sentence: str) -> str:
    """Say it in the words of the command line rather than of Python."""
    fraction = re.compile(r"Fraction\((-?\d+), (\d+)\)")
    plain = fraction.sub(lambda m: repr(float(Fraction(int(m[1]), int(m[2])))), sentence)
    return plain.replace("skip_bad_rows=True", "--skip-bad-rows")
