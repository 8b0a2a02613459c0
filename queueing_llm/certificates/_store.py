"""Certificates on disk: JSON of integers, checked whenever they are read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from queueing_llm.certificates._checker import Checked, check
from queueing_llm.errors import InvalidArgument


@final
@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A claim with its proof, as a JSON document of integers.

    Parameters
    ----------
    document : mapping
        The parsed JSON; the trusted checker's docstring defines its fields.
    """

    document: Mapping[str, Any]

    def check(self) -> Checked:
        """Verify the proof in exact arithmetic, without a solver.

        Raises
        ------
        Rejected
            If it proves nothing, with the reason.
        """
        return check(self.document)

    def write(self, path: str | Path) -> None:
        """Write the document to a file."""
        Path(path).write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")


def read_certificate(path: str | Path) -> Certificate:
    """Read a certificate; it proves nothing until its ``check`` passes.

    Raises
    ------
    InvalidArgument
        If the file cannot be read or is not JSON.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return Certificate(json.loads(text, object_pairs_hook=_each_field_once))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"certificate {str(path)!r} cannot be read: {error}."
        raise InvalidArgument(msg) from error
    except (ValueError, RecursionError) as error:
        # Not only JSONDecodeError: Python refuses integers of thousands of digits.
        msg = f"certificate {str(path)!r} is not JSON: {error}."
        raise InvalidArgument(msg) from error


def _each_field_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # JSON keeps the last of equal names, a reader may see the first.
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"the field {twice!r} stands there twice"
        raise ValueError(msg)
    return fields
