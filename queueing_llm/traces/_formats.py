"""Which columns each public trace format has, and how a file is recognised.

A new format is one more entry of :data:`FORMATS`.
"""

import json
from dataclasses import dataclass
from typing import Literal, final

from queueing_llm.errors import InvalidArgument, nearest


@final
@dataclass(frozen=True, slots=True)
class TraceFormat:
    """Where a format keeps the three numbers of a request.

    Parameters
    ----------
    encoding : "csv" or "json"
        Comma-separated values under a header, or one JSON object a line.
    time, prompt, output : str
        Column of the arrival time, the prompt tokens and the output tokens.
    clock : "date", "s" or "ms"
        Whether times are dates, seconds or milliseconds.
    time_optional : bool
        Whether files without arrival times are of this format too.
    marks : tuple of str
        Further columns that tell a file of this format when the caller does not name it.
    foreign : tuple of str
        Columns that no file of this format has.
    """

    encoding: Literal["csv", "json"]
    time: str
    prompt: str
    output: str
    clock: Literal["date", "s", "ms"]
    time_optional: bool = False
    marks: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    def missing(self, columns: list[str]) -> list[str]:
        """Return the columns that a file of this format must have and this one has not."""
        time = () if self.time_optional else (self.time,)
        return [c for c in (*time, self.prompt, self.output) if c not in columns]


# Mooncake and Qwen-Bailian share three column names but not the unit of time, so that
# neither is recognised without a column that the other lacks.
FORMATS = {
    "azure": TraceFormat("csv", "TIMESTAMP", "ContextTokens", "GeneratedTokens", "date"),
    "bailian": TraceFormat(
        "json", "timestamp", "input_length", "output_length", "s", marks=("chat_id",)
    ),
    "burstgpt": TraceFormat("csv", "Timestamp", "Request tokens", "Response tokens", "s"),
    "mooncake": TraceFormat(
        "json",
        "timestamp",
        "input_length",
        "output_length",
        "ms",
        marks=("hash_ids",),
        foreign=("chat_id",),
    ),
    "vidur": TraceFormat(
        "csv",
        "arrived_at",
        "num_prefill_tokens",
        "num_decode_tokens",
        "s",
        time_optional=True,
    ),
}


def header(line: str) -> tuple[Literal["csv", "json"], list[str] | None]:
    """Return the encoding and the column names that the first line of a file shows.

    The names are None for a line that starts like a JSON object and is none.
    """
    if not line.lstrip().startswith("{"):
        return "csv", [name.strip().strip('"') for name in line.split(",")]
    try:
        return "json", list(json.loads(line))
    except ValueError:
        return "json", None


def named(name: object, *, file: str, line: str) -> TraceFormat:
    """Return the format that the caller named, if the first line does not contradict it."""
    if not isinstance(name, str) or name not in FORMATS:
        msg = f"format must be a known trace format, got format={name!r}; "
        msg += nearest(str(name), FORMATS) + "."
        raise InvalidArgument(msg)
    known = FORMATS[name]
    encoding, columns = header(line)
    if encoding != known.encoding:
        kinds = {"csv": "comma-separated", "json": "JSON lines"}
        msg = f"{file} is {kinds[encoding]}, but format={name!r} is {kinds[known.encoding]}."
        raise InvalidArgument(msg)
    foreign = [c for c in known.foreign if c in (columns or ())]
    if foreign:
        msg = f"{file} has a column {foreign[0]!r}, which format={name!r} never has."
        raise InvalidArgument(msg)
    # A JSON object may lack a key in one row only: that is a matter of the row.
    if encoding == "csv" and columns is not None:
        _refuse_columns(name, columns, file=file)
    return known


def detected(*, file: str, line: str) -> TraceFormat:
    """Return the one format that the columns in the first line belong to."""
    encoding, columns = header(line)
    candidates = [n for n, known in FORMATS.items() if known.encoding == encoding]
    if columns is None:
        msg = f"{file}, line 1: not a JSON object, so the format is unknown; name it with "
        msg += f"format=, {nearest('', candidates)}."
        raise InvalidArgument(msg)
    complete = [n for n in candidates if not FORMATS[n].missing(columns)]
    matching = [n for n in complete if _has_marks(FORMATS[n], columns)]
    if len(complete) > 1 and len(matching) != 1:
        msg = f"{file} could be of several formats, with different units of time; name it "
        msg += f"with format=, {nearest('', complete)}."
        raise InvalidArgument(msg)
    closest = min(matching or candidates, key=lambda n: len(FORMATS[n].missing(columns)))
    _refuse_columns(closest, columns, file=file)
    return FORMATS[closest]


def _refuse_columns(name: str, columns: list[str], *, file: str) -> None:
    """Raise unless each column of a format is there, once."""
    known = FORMATS[name]
    missing = known.missing(columns)
    if missing:
        known_formats = "; ".join(
            f"{n} ({k.time}, {k.prompt}, {k.output})" for n, k in FORMATS.items()
        )
        msg = f"{file} lacks {_quoted(missing)}, needed for format {name!r}; "
        msg += f"its columns are {_quoted(columns)}. Known formats: {known_formats}."
        raise InvalidArgument(msg)
    for column in (known.time, known.prompt, known.output):
        if columns.count(column) > 1:
            msg = f"{file} has {columns.count(column)} columns {column!r}; one is accepted."
            raise InvalidArgument(msg)


def _has_marks(known: TraceFormat, columns: list[str]) -> bool:
    marked = all(c in columns for c in known.marks)
    return marked and not any(c in columns for c in known.foreign)


def _quoted(columns: list[str]) -> str:
    return ", ".join(repr(c[:40]) for c in columns[:12])
