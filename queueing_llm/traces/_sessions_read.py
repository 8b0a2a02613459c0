"""Read recorded agent sessions."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.traces._formats import header
from queueing_llm.traces._read import trace_file, trace_lines
from queueing_llm.traces._sessions import BLOCK, SessionTrace
from queueing_llm.traces._sessions_rows import ACCEPTED, COLUMNS, rows_of_sessions

if TYPE_CHECKING:
    import polars as pl


def read_sessions(path: str | os.PathLike[str]) -> SessionTrace:
    r"""Read the calls that recorded agent sessions made to a language model.

    Parameters
    ----------
    path : str or path
        A comma-separated file with one call a row and at least the columns ``trace``
        (session), ``agent`` (``main``, or ``main/...`` for a sub-agent), ``idx``, ``t_s``,
        ``in_tokens``, ``out_tokens``, ``prefix_hit_blocks`` (leading blocks of 64 tokens
        that the session had before), ``stop``, ``input_types`` and ``think_time_s``.

    Returns
    -------
    SessionTrace
        The calls, sorted by session, agent and position.

    Raises
    ------
    InvalidArgument
        If the file cannot be read, lacks a column or holds no call; or if a row is
        malformed: a number is missing, out of range or not one, more tokens are cached than
        were sent, or an agent's calls go back in time or position.

    Notes
    -----
    Cached tokens are 64 times ``prefix_hit_blocks``. ``stop`` and ``think_time_s`` may be
    empty. A malformed row cannot be left out, because its session would lose a call.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = pathlib.Path(folder.name) / "tiny.csv"
    >>> _ = file.write_text(
    ...     "trace,agent,idx,t_s,in_tokens,out_tokens,prefix_hit_blocks,stop,input_types,"
    ...     "think_time_s\n"
    ...     "s1,main,0,0.0,300,20,0,tool_use,text,0\n"
    ...     "s1,main,1,9.5,420,10,5,end_turn,tool_result,2\n"
    ... )
    >>> read_sessions(file).uncached_tokens
    array([300, 100])
    >>> folder.cleanup()
    """
    file = trace_file(path)
    lines = trace_lines(file)
    _refuse_columns(header(lines[0])[1] or [], file=str(file))
    rows = rows_of_sessions(lines)
    if len(rows) == 0:
        msg = f"{file} holds no call."
        raise InvalidArgument(msg)
    bad = rows.filter(rows["fault"].is_not_null()).sort("line")
    if len(bad):
        raise InvalidArgument(_explanation(bad.row(0, named=True), file=str(file)))
    return _trace(rows, name=file.stem)


def _trace(rows: "pl.DataFrame", *, name: str) -> SessionTrace:
    def seconds(column: str) -> np.ndarray:
        exact = rows[column].to_numpy()
        return np.asarray(exact / 1e9, dtype=np.float64)

    integers = ("session", "agent_number", "position", "context", "output", "hits")
    session, agent, position, context, output, hits = (
        np.array(rows[column], dtype=np.int64) for column in integers
    )
    return SessionTrace(
        name=name,
        session=session,
        agent=agent,
        position=position,
        times=seconds("nanoseconds"),
        context_tokens=context,
        output_tokens=output,
        cached_tokens=BLOCK * hits,
        opens_turn=~np.array(rows["brings_result"], dtype=np.bool_),
        stop=np.array(rows["stop"].to_list(), dtype=np.str_),
        think_times=seconds("think"),
    )


def _refuse_columns(found: list[str], *, file: str) -> None:
    """Raise unless each column that a session file needs is there, once."""
    for column in COLUMNS:
        if column not in found:
            msg = (
                f"{file} lacks the column {column!r} of recorded sessions, which is needed: "
                f"{nearest(column, found)}. For requests without sessions use read_trace."
            )
            raise InvalidArgument(msg)
        if found.count(column) > 1:
            msg = f"{file} has {found.count(column)} columns {column!r}; one is accepted."
            raise InvalidArgument(msg)


def _explanation(row: dict[str, Any], *, file: str) -> str:
    """Say where a malformed row is, what it holds and what would be accepted."""
    role = row["role"]
    if role is None:
        value, where = row["text"], ""
        accepted = "fields separated by commas as in the header"
    else:
        value, where, accepted = row[role], f", column {role!r}", ACCEPTED[role]
    shown = repr(value) if value is None or len(value) <= 60 else repr(value[:60] + "...")
    at = f"{file}, line {row['line']}{where}"
    return f"{at}: {row['fault']}, got {shown}; accepted: {accepted}."
