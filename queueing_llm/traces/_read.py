"""Read a public request trace."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Trace
from queueing_llm.traces import _cells
from queueing_llm.traces._formats import TraceFormat, detected, named
from queueing_llm.traces._rows import rows_of

if TYPE_CHECKING:
    import polars as pl


def read_trace(
    path: str | os.PathLike[str], *, format: str | None = None, skip_bad_rows: bool = False
) -> Trace:
    r"""Read the requests that a serving system recorded.

    Parameters
    ----------
    path : str or path
        A text file in one of the formats below.
    format : str, optional
        ``"azure"`` (Azure LLM 2023 and 2024), ``"bailian"`` (Qwen-Bailian), ``"burstgpt"``,
        ``"mooncake"`` or ``"vidur"``. By default it is told from the first line.
    skip_bad_rows : bool
        Whether malformed rows are left out and counted in ``Trace.skipped`` rather than
        refused.

    Returns
    -------
    Trace
        Lengths [tokens] and arrival times [s] from the first request that was kept; the
        times are None if the file has none (vidur's length files).

    Raises
    ------
    InvalidArgument
        If the file cannot be read, is of no known format or holds no request; or if a row is
        malformed and not skipped: a field is missing or not a number, a length is zero,
        negative or not whole, a time cannot be read or is before that of an earlier row.

    Notes
    -----
    A request with zero output tokens (BurstGPT records failed requests so) was not served:
    the row counts as malformed, under the reason ``"zero output tokens"``. With
    ``skip_bad_rows`` the rows in the file are the requests returned plus the sum of
    ``Trace.skipped``; empty lines at the end of a file are no rows.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = pathlib.Path(folder.name) / "tiny.csv"
    >>> _ = file.write_text(
    ...     "arrived_at,num_prefill_tokens,num_decode_tokens\n3,10,2\n4.5,20,0\n5,30,1"
    ... )
    >>> trace = read_trace(file, skip_bad_rows=True)
    >>> trace.arrival_times, trace.skipped
    (array([0., 2.]), {'zero output tokens': 1})
    >>> folder.cleanup()
    """
    file = trace_file(path)
    lines = trace_lines(file)
    known = (
        detected(file=str(file), line=lines[0])
        if format is None
        else named(format, file=str(file), line=lines[0])
    )
    rows = rows_of(lines, known)
    bad = rows.filter(rows["fault"].is_not_null())
    if len(bad) and not skip_bad_rows:
        raise InvalidArgument(_explanation(bad.row(0, named=True), known, file=file))
    good = rows.filter(rows["fault"].is_null())
    skipped = {str(fault): int(n) for fault, n in sorted(bad["fault"].value_counts().rows())}
    if len(good) == 0:
        msg = f"{file} holds no request" + (f": left out {skipped}." if skipped else ".")
        raise InvalidArgument(msg)
    return Trace(
        name=file.stem,
        prompt_tokens=np.array(good["prompt_tokens"], dtype=np.int64),
        output_tokens=np.array(good["output_tokens"], dtype=np.int64),
        arrival_times=_from_first(good["nanoseconds"]),
        skipped=skipped,
    )


def trace_file(path: object) -> Path:
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        msg = f"path must be the path of a trace file, got path={path!r}."
        raise InvalidArgument(msg)
    return Path(path)


def trace_lines(file: Path) -> list[str]:
    """Return the lines of a text file up to the last that is not empty."""
    try:
        text = file.read_bytes().decode("utf-8-sig").rstrip()
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        msg = f"path must be a readable trace file, got {str(file)!r}: {error.strerror}."
        raise InvalidArgument(msg) from None
    if "\0" in text:
        msg = f"{file} is not a text file in UTF-8; decompress or convert it first."
        raise InvalidArgument(msg)
    if not text:
        msg = f"{file} is empty: a trace with at least one request is needed."
        raise InvalidArgument(msg)
    return text.split("\n")


def _explanation(row: dict[str, Any], known: TraceFormat, *, file: Path) -> str:
    """Say where a malformed row is, what it holds and what would be accepted."""
    role = row["role"]
    if role is None:
        where, value = "", row["text"]
        kind = "fields separated by commas as in the header"
        accepted = kind if known.encoding == "csv" else "one JSON object a line"
    else:
        where, value = f", column {getattr(known, role)!r}", row[role]
        accepted = (
            _cells.accepted_time(known.clock) if role == "time" else _cells.accepted_tokens()
        )
    shown = repr(value) if value is None or len(value) <= 60 else repr(value[:60] + "...")
    at = f"{file}, line {row['line']}{where}"
    return (
        f"{at}: {row['fault']}, got {shown}; accepted: {accepted}. "
        "Pass skip_bad_rows=True to leave such rows out and count them."
    )


def _from_first(nanoseconds: "pl.Series") -> np.ndarray | None:
    """Return seconds from the first request, or None if there are no times."""
    if nanoseconds.null_count():
        return None
    exact = np.array(nanoseconds, dtype=np.int64)
    return (exact - exact[0]) / 1e9
