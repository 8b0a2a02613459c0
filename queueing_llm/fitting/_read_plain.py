"""Read plain columns: a CSV file, or a step log with one JSON object a line."""

import difflib
from pathlib import Path

import numpy as np

from queueing_llm._validate import Domain
from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._read_table import (
    MeasuredTable,
    csv_table,
    json_table,
    short_name,
    text_of,
)
from queueing_llm.fitting._samples import StepSamples

COUNTS = ("prefill_tokens", "tokens")
TIMES = {"seconds": 1.0, "milliseconds": 1e-3}
KNOWN = {*COUNTS, *TIMES, "decode_tokens", "kv_tokens"}

_ALIKE = 0.8
_COUNT = Domain("n", "tokens", at_least=0)


def read_plain(file: Path) -> StepSamples:
    """Return one sample per row.

    The columns are ``prefill_tokens``, ``decode_tokens`` and ``kv_tokens`` (0 where a column
    is missing), or ``tokens`` alone; and ``seconds`` or ``milliseconds``. Others are ignored.

    Parameters
    ----------
    file : Path
        A comma-separated file with a header, or JSON lines.
    """
    is_json = text_of(file).lstrip().startswith("{")
    table = json_table(file) if is_json else csv_table(file)
    count, time = _one_of(table, COUNTS), _one_of(table, tuple(TIMES))
    if count == "tokens" and "decode_tokens" in table.header:
        msg = (
            f"{file} has the columns 'tokens', which are all tokens of a batch, and "
            "'decode_tokens', which are some of them; accepted beside it: 'prefill_tokens'."
        )
        raise InvalidArgument(msg)
    unit = {"seconds": "s", "milliseconds": "ms"}[time]
    seconds = TIMES[time] * table.numbers(time, Domain("t", unit, above=0))
    prefill = table.numbers(count, _COUNT)
    decode, kv = (_or_zero(table, name) for name in ("decode_tokens", "kv_tokens"))
    _require(table, prefill + decode > 0, f"{count} + decode_tokens", "above 0 [tokens]")
    _require(table, (kv == 0) | (decode > 0), "kv_tokens", "0 where nothing decodes")
    return StepSamples(prefill, decode, kv, seconds, short_name(file))


def _one_of(table: MeasuredTable, names: tuple[str, ...]) -> str:
    present = [name for name in names if name in table.header]
    if len(present) != 1:
        listing = " or ".join(repr(name) for name in names)
        msg = f"{table.file} must have one column {listing}, got {list(table.header)[:8]}."
        raise InvalidArgument(msg)
    return present[0]


def _or_zero(table: MeasuredTable, name: str) -> np.ndarray:
    """Return a column, zeros if it is missing; one that is merely misspelt is refused."""
    if name in table.header:
        return table.numbers(name, _COUNT)
    others = [column for column in table.header if column not in KNOWN]
    close = difflib.get_close_matches(name, others, n=1, cutoff=_ALIKE)
    if close:
        msg = f"{table.file} has no column {name!r}, but {close[0]!r}: rename or drop it."
        raise InvalidArgument(msg)
    return np.zeros(len(table))


def _require(table: MeasuredTable, holds: np.ndarray, name: str, accepted: str) -> None:
    if not holds.all():
        line, cells = table.rows[int(np.argmin(holds))]
        msg = f"{table.file}, line {line}: {name} must be {accepted}, got {','.join(cells)!r}."
        raise InvalidArgument(msg)
