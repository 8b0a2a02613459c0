"""Recorded workloads: trace files and presets behind one name."""

from pathlib import Path

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import Workload
from queueing_llm.scenarios._change import change_workload
from queueing_llm.traces import preset, preset_names, read_trace


def recorded_workload(
    name: str,
    *,
    folder: Path | None = None,
    trace_format: str | None = None,
    skip_bad_rows: bool = False,
    arrival_rate: Real | None = None,
    scale: Real = 1,
) -> Workload:
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
    >>> float(recorded_workload("azure-conv-2023", arrival_rate=2, scale=3).arrival_rate)
    6.0
    """
    path = Path(name) if folder is None else folder / name
    if path.is_file():
        trace = read_trace(path, format=trace_format, skip_bad_rows=skip_bad_rows)
        recorded = Workload.from_trace(trace, arrival_rate=arrival_rate)
        return change_workload(recorded, scale=scale)
    if name not in preset_names():
        msg = f"trace {name!r} is neither a file nor a preset: {nearest(name, preset_names())}."
        raise InvalidArgument(msg)
    return change_workload(preset(name).workload(arrival_rate), scale=scale)
