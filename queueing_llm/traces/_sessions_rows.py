"""The lines of a session file as a table: cells, exact integers and what is wrong with them.

Columns: ``line`` (1-based, counting the header), ``text``, one of text for each column of the
file that is read, their values, the ``fault`` of the row (null if it is sound) and the
``role``, the column at fault. Rows are sorted by session, agent and position.
"""

from typing import TYPE_CHECKING

from queueing_llm.traces import _cells
from queueing_llm.traces._formats import header
from queueing_llm.traces._sessions import BLOCK

if TYPE_CHECKING:
    import polars as pl

ACCEPTED = {
    "trace": "the name of a session",
    "agent": "'main', or 'main/...' for a sub-agent",
    "idx": "a whole number of at least 0, above that of the agent's earlier calls",
    "t_s": "a number of seconds of at least 0, not below that of the agent's earlier calls",
    "in_tokens": _cells.accepted_tokens(),
    "out_tokens": "a whole number of tokens of at least 0, below a billion",
    "prefix_hit_blocks": f"a whole number of blocks of {BLOCK} tokens, together <= in_tokens",
    "stop": "any text",
    "input_types": "any text, with 'tool_result' in it where a tool answers",
    "think_time_s": "a number of seconds of at least 0, or nothing",
}
"""The columns that are read, and what each may hold."""

COLUMNS = tuple(ACCEPTED)


def rows_of_sessions(lines: list[str]) -> "pl.DataFrame":
    """Return one row per call, the header left out."""
    import polars as pl

    values = _cells_of(lines).with_columns(
        _count("idx").alias("position"),
        _cells.time(pl.col("t_s"), clock="s").alias("nanoseconds"),
        _cells.tokens(pl.col("in_tokens")).alias("context"),
        _count("out_tokens").alias("output"),
        _count("prefix_hit_blocks").alias("hits"),
        _cells.time(pl.col("think_time_s"), clock="s").alias("think"),
        pl.col("input_types").str.contains("tool_result", literal=True).alias("brings_result"),
        pl.col("line").min().over("trace").rank("dense").alias("session") - 1,
        pl.when(pl.col("agent") != "main")
        .then(pl.col("line").min().over("trace", "agent"))
        .alias("sub_agent_since"),
    )
    numbered = values.with_columns(
        pl.col("sub_agent_since").rank("dense").over("trace").fill_null(0).alias("agent_number")
    )
    ordered = numbered.sort("session", "agent_number", "position", "line", nulls_last=True)
    return _with_faults(ordered)


def _with_faults(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Add the first fault of each row, in the order of the columns."""
    import polars as pl

    context, hits, think = pl.col("context"), pl.col("hits"), pl.col("think_time_s")
    late = _cells.time_fault(think, pl.col("think"), clock="s")
    faults = {
        "trace": _reason(pl.col("trace") == "", "missing value"),
        "agent": _reason(~pl.col("agent").str.contains(r"^main(/.+)?$"), "not an agent"),
        "idx": _count_fault("idx", "position"),
        "t_s": _cells.time_fault(pl.col("t_s"), pl.col("nanoseconds"), clock="s"),
        "in_tokens": _cells.tokens_fault(pl.col("in_tokens"), context, role="context"),
        "out_tokens": _count_fault("out_tokens", "output"),
        "prefix_hit_blocks": pl.coalesce(
            _count_fault("prefix_hit_blocks", "hits"),
            _reason(BLOCK * hits > context, "more than the tokens sent"),
        ),
        "think_time_s": pl.when(think != "").then(late),
    }
    whole = pl.col("broken").is_null()
    faults = {role: pl.when(whole).then(fault) for role, fault in faults.items()}
    checked = rows.with_columns(
        pl.coalesce("broken", *faults.values()).alias("fault"),
        pl.coalesce(
            pl.when(fault.is_not_null()).then(pl.lit(role)) for role, fault in faults.items()
        ).alias("role"),
    )
    return _without_going_back(checked)


def _without_going_back(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Mark as faulty each call that is not after its agent's earlier calls."""
    import polars as pl

    agent = ("session", "agent_number")
    sound = pl.col("fault").is_null()
    repeated = sound & (pl.col("position").diff().over(agent) <= 0)
    back = sound & (pl.col("nanoseconds").diff().over(agent) < 0)
    return rows.with_columns(
        pl.when(repeated)
        .then(pl.lit("position is taken"))
        .when(back)
        .then(pl.lit("time goes back"))
        .otherwise(pl.col("fault"))
        .alias("fault"),
        pl.when(repeated)
        .then(pl.lit("idx"))
        .when(back)
        .then(pl.lit("t_s"))
        .otherwise(pl.col("role"))
        .alias("role"),
    )


def _count(column: str) -> "pl.Expr":
    import polars as pl

    return pl.col(column).str.extract(r"^([0-9]{1,9})$").cast(pl.Int64)


def _count_fault(column: str, value: str) -> "pl.Expr":
    import polars as pl

    return (
        pl.when(pl.col(value).is_not_null())
        .then(pl.lit(None, pl.String))
        .when(pl.col(column) == "")
        .then(pl.lit("missing value"))
        .otherwise(pl.lit("not a whole number"))
    )


def _reason(condition: "pl.Expr", reason: str) -> "pl.Expr":
    import polars as pl

    return pl.when(condition).then(pl.lit(reason))


def _cells_of(lines: list[str]) -> "pl.DataFrame":
    """Return the text of each cell; rows with another number of fields are broken."""
    import polars as pl

    names = header(lines[0])[1] or []
    text = pl.Series("text", lines[1:], dtype=pl.String).str.strip_chars(" \t\r")
    fields = pl.col("text").str.split(",")
    broken = (
        pl.when(pl.col("text") == "")
        .then(pl.lit("empty line"))
        .when(fields.list.len() != len(names))
        .then(pl.lit("wrong number of fields"))
    )
    return (
        pl.DataFrame({"text": text})
        .with_row_index("line", offset=2)
        .with_columns(
            broken.alias("broken"),
            *(
                fields.list.get(names.index(column), null_on_oob=True)
                .str.strip_chars(' \t"')
                .fill_null("")
                .alias(column)
                for column in COLUMNS
            ),
        )
    )
