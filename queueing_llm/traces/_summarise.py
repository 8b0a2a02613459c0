"""Make the file of a preset: ``python -m queueing_llm.traces._summarise FILE NAME``."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import Trace
from queueing_llm.traces._facts import trace_facts
from queueing_llm.traces._read import read_trace
from queueing_llm.traces._sources import SOURCES
from queueing_llm.traces._tables import batch_table, gap_table, length_table


def summarise(trace: Trace, name: str) -> dict[str, Any]:
    """Return the content of the preset ``name``: provenance, facts and tables of a trace.

    Parameters
    ----------
    trace : Trace
        The whole trace that the preset stands for.
    name : str
        Name of the preset, one of ``SOURCES``.

    Returns
    -------
    dict
        JSON values only; no row of the trace.

    Raises
    ------
    InvalidArgument
        If the name is not that of a preset.

    Examples
    --------
    >>> import numpy as np
    >>> from queueing_llm.model import Trace
    >>> tokens = np.array([1, 2, 3, 4])
    >>> summarise(Trace("t", tokens, tokens, None, {}), "arxiv-summarization")["rows"]
    4
    """
    if name not in SOURCES:
        msg = f"name must be that of a preset, got name={name!r}; {nearest(name, SOURCES)}."
        raise InvalidArgument(msg)
    known = SOURCES[name]
    return {
        "name": name,
        "source": known.source,
        "licence": known.licence,
        "citation": known.citation,
        "changes": known.changes,
        "rows": len(trace),
        "facts": dataclasses.asdict(trace_facts(trace)),
        "arrivals": _arrivals(trace, interval=known.batch_interval),
        "lengths": length_table(trace.prompt_tokens, trace.output_tokens),
    }


def _arrivals(trace: Trace, *, interval: int | None) -> dict[str, Any] | None:
    if trace.arrival_times is None:
        return None
    if interval is None:
        return gap_table(trace.arrival_times)
    return {"interval": interval, **batch_table(trace.arrival_times, interval=interval)}


def main(arguments: list[str]) -> None:
    """Read the trace in a file and write the preset that stands for it."""
    file, name = arguments
    fields = summarise(read_trace(file), name)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items()]
    target = Path(__file__).parent / "presets" / f"{name}.json"
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
