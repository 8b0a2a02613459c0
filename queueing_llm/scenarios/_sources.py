"""Recorded workloads: trace files and presets behind one name."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import Trace, Workload
from queueing_llm.scenarios._change import change_workload
from queueing_llm.traces import preset, preset_names, read_trace


@final
@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded workload and a line that says what was read.

    Parameters
    ----------
    workload : Workload
        The workload.
    description : str
        File or preset, its requests, and what was left out.

    Examples
    --------
    >>> from queueing_llm.scenarios import read_recording
    >>> read_recording("azure-conv-2023").description
    'preset azure-conv-2023 of 19,366 requests'
    """

    workload: Workload
    description: str


def read_recording(
    name: str,
    *,
    folder: Path | None = None,
    trace_format: str | None = None,
    skip_bad_rows: bool = False,
    arrival_rate: Real | None = None,
    scale: Real = 1,
) -> Recording:
    """Return the workload of a trace file or of a preset.

    Parameters
    ----------
    name : str
        Path of a trace file, or one of :func:`~queueing_llm.traces.preset_names`.
    folder : Path, optional
        What a relative path is relative to; the working directory by default.
    trace_format : str, optional
        Format of the file; by default it is told from its first line.
    skip_bad_rows : bool
        Whether malformed rows are left out.
    arrival_rate : Real or None
        Rate to stretch time to [requests/s]; None keeps the recorded one.
    scale : Real
        Factor on the arrival rate [1], above 0.

    Raises
    ------
    InvalidArgument
        If there is no such file or preset, or it gives no workload.

    Examples
    --------
    >>> load = read_recording("azure-conv-2023", arrival_rate=2, scale=3).workload
    >>> round(load.arrival_rate, 9)
    6.0
    """
    path = Path(name) if folder is None else folder / name
    if path.is_file():
        trace = read_trace(path, format=trace_format, skip_bad_rows=skip_bad_rows)
        workload = Workload.from_trace(trace, arrival_rate=arrival_rate)
        return Recording(change_workload(workload, scale=scale), _trace_text(path, trace))
    if name not in preset_names():
        msg = f"trace {name!r} is neither a file nor a preset: {nearest(name, preset_names())}."
        raise InvalidArgument(msg)
    known = preset(name)
    workload = change_workload(known.workload(arrival_rate), scale=scale)
    return Recording(workload, f"preset {name} of {known.rows:,} requests")


def _trace_text(path: Path, trace: Trace) -> str:
    left_out = ", ".join(f"{rows:,} ({fault})" for fault, rows in trace.skipped.items())
    text = f"{path.name}, {len(trace):,} requests"
    return f"{text}; left out: {left_out}" if left_out else text
