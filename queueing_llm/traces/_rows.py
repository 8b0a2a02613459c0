"""The lines of a trace as a table: cells, exact integers and what is wrong with them.

Columns: ``line`` (1-based, counting a header), ``text``, the cells ``time``, ``prompt`` and
``output``, their values ``nanoseconds``, ``prompt_tokens`` and ``output_tokens``, the
``fault`` of the row (null if it is sound) and the ``role`` of the cell at fault.
"""

from typing import TYPE_CHECKING

from queueing_llm.traces import _cells
from queueing_llm.traces._formats import TraceFormat, header

if TYPE_CHECKING:
    import polars as pl


def rows_of(lines: list[str], known: TraceFormat) -> "pl.DataFrame":
    """Return one row per line of the file, the header left out."""
    import polars as pl

    cells = _csv_cells(lines, known) if known.encoding == "csv" else _json_cells(lines, known)
    # Lazy, because only the lazy engine evaluates the shared pattern of a date once.
    values = cells.lazy().with_columns(
        _cells.time(pl.col("time"), clock=known.clock).alias("nanoseconds"),
        _cells.tokens(pl.col("prompt")).alias("prompt_tokens"),
        _cells.tokens(pl.col("output")).alias("output_tokens"),
    )
    timed = not known.time_optional or known.time in (header(lines[0])[1] or ())
    rows = _first_fault(values.collect(), known, timed=timed)
    return _without_going_back(rows)


def _first_fault(values: "pl.DataFrame", known: TraceFormat, *, timed: bool) -> "pl.DataFrame":
    """Add the first fault of each row: a row is counted under one reason."""
    import polars as pl

    time, prompt, output = pl.col("time"), pl.col("prompt"), pl.col("output")
    late = _cells.time_fault(time, pl.col("nanoseconds"), clock=known.clock)
    faults = {
        "time": late if timed else pl.lit(None, pl.String),
        "prompt": _cells.tokens_fault(prompt, pl.col("prompt_tokens"), role="prompt"),
        "output": _cells.tokens_fault(output, pl.col("output_tokens"), role="output"),
    }
    whole = pl.col("broken").is_null()
    at_fault = (pl.when(whole & f.is_not_null()).then(pl.lit(r)) for r, f in faults.items())
    return values.with_columns(
        pl.coalesce("broken", *faults.values()).alias("fault"),
        pl.coalesce(*at_fault).alias("role"),
    )


def _without_going_back(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Mark as faulty each row whose time is before that of an earlier sound row."""
    import polars as pl

    sound_time = pl.when(pl.col("fault").is_null()).then(pl.col("nanoseconds"))
    latest = sound_time.cum_max().forward_fill().shift(1)
    back = (sound_time < latest).fill_null(value=False)
    return rows.with_columns(
        pl.when(back).then(pl.lit("time goes back")).otherwise(pl.col("fault")).alias("fault"),
        pl.when(back).then(pl.lit("time")).otherwise(pl.col("role")).alias("role"),
    )


def _csv_cells(lines: list[str], known: TraceFormat) -> "pl.DataFrame":
    import polars as pl

    names = header(lines[0])[1] or []
    text = pl.col("text")
    fields = text.str.split(",")

    def cell(name: str) -> pl.Expr:
        if name not in names:
            return pl.lit(None, pl.String)
        return fields.list.get(names.index(name), null_on_oob=True).str.strip_chars(' \t"')

    broken = (
        pl.when(text == "")
        .then(pl.lit("empty line"))
        .when(fields.list.len() != len(names))
        .then(pl.lit("wrong number of fields"))
    )
    return _numbered(lines[1:], first=2).with_columns(
        cell(known.time).alias("time"),
        cell(known.prompt).alias("prompt"),
        cell(known.output).alias("output"),
        broken.alias("broken"),
    )


def _json_cells(lines: list[str], known: TraceFormat) -> "pl.DataFrame":
    import polars as pl

    text = pl.col("text")
    cells = _numbered(lines, first=1).with_columns(
        text.str.json_path_match(f"$.{known.time}").alias("time"),
        text.str.json_path_match(f"$.{known.prompt}").alias("prompt"),
        text.str.json_path_match(f"$.{known.output}").alias("output"),
    )
    broken = (
        pl.when(text == "")
        .then(pl.lit("empty line"))
        .when(pl.all_horizontal(pl.col("time", "prompt", "output").is_null()))
        .then(pl.lit("not a JSON request"))
    )
    return cells.with_columns(broken.alias("broken"))


def _numbered(lines: list[str], *, first: int) -> "pl.DataFrame":
    import polars as pl

    text = pl.Series("text", lines, dtype=pl.String).str.strip_chars()
    return pl.DataFrame({"text": text}).with_row_index("line", offset=first)
