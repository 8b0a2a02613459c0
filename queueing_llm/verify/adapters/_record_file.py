"""Recordings of real schedulers as JSON: of each step only what differs from the one before.

A file is ``{"schema": 1, "system", "version", "python", "runs": [...]}``, and a run is
``{"kind", "config", "arrivals", "steps"}``: the class of the settings, and those that are not
as by default; for each request the step that it arrives before and its fields in order, up to
the last one that is not as by default; and for each step what the scheduler showed, as far as
it differs from the step before, or the number of steps in which nothing differs. Nothing in it
depends on when or where it was made.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, final

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest, SglangConfig, VllmV0Config, VllmV1Config
from queueing_llm.verify.adapters._fuzz_workload import FieldWorkload, Shown, given

SCHEMA = 1
CONFIGS: Mapping[str, Any] = {
    kind.__name__: kind for kind in (SglangConfig, VllmV0Config, VllmV1Config)
}


@final
@dataclass(frozen=True, slots=True)
class FieldRecording:
    """Workloads, and what a system did with them.

    Parameters
    ----------
    system, python : str
        Such as ``"vllm==0.33.0"``, and the interpreter that ran it.
    runs : tuple of (FieldWorkload, sequence of mapping)
        Each workload with what was shown of its steps.

    Examples
    --------
    >>> FieldRecording("vllm==0.33.0", "3.11.7", ()).runs
    ()
    """

    system: str
    python: str
    runs: tuple[tuple[FieldWorkload, Sequence[Shown]], ...]


def write_recording(recording: FieldRecording, path: Path) -> None:
    """Write a recording, one run to a line.

    Parameters
    ----------
    recording : FieldRecording
        What to write.
    path : Path
        Where to.
    """
    system, _, version = recording.system.partition("==")
    head = {"schema": SCHEMA, "system": system, "version": version, "python": recording.python}
    runs = [_in_json(_encoded(*run)) for run in recording.runs]
    text = _in_json(head)[:-1] + ',"runs":[\n' + ",\n".join(runs) + "\n]}\n"
    path.write_text(text)


def read_recording(path: Path) -> FieldRecording:
    """Read a recording.

    Parameters
    ----------
    path : Path
        Of a file that :func:`write_recording` has written.

    Raises
    ------
    InvalidArgument
        If it has another schema.
    """
    content = json.loads(path.read_text())
    if content.get("schema") != SCHEMA:
        msg = f"schema of {path.name} must be {SCHEMA}, got {content.get('schema')!r}."
        raise InvalidArgument(msg)
    name = f"{content['system']}=={content['version']}"
    return FieldRecording(name, content["python"], tuple(map(_decoded, content["runs"])))


def _in_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _encoded(workload: FieldWorkload, steps: Sequence[Shown]) -> dict[str, object]:
    return {
        "kind": type(workload.config).__name__,
        "config": given(workload.config),
        "arrivals": [[step, *_row(request)] for step, request in workload.arrivals],
        "steps": list(changes(steps)),
    }


def _decoded(run: Mapping[str, Any]) -> tuple[FieldWorkload, Sequence[Shown]]:
    config = CONFIGS[run["kind"]](**run["config"])
    arrivals = [(step, _request(row)) for step, *row in run["arrivals"]]
    return FieldWorkload(config, tuple(arrivals)), tuple(restored(run["steps"]))


def _row(request: FieldRequest) -> list[object]:
    """Return the fields of a request up to the last one that is not as by default."""
    values, last = list(astuple(request)), list(given(request))[-1]
    return values[: list(asdict(request)).index(last) + 1]


def _request(row: Sequence[Any]) -> FieldRequest:
    names = [field.name for field in fields(FieldRequest)]
    values = dict(zip(names, row, strict=False))
    prefix = values.get("prefix")
    return FieldRequest(**{**values, "prefix": prefix and tuple(prefix)})


def changes(steps: Iterable[Shown]) -> Iterator[Shown | int]:
    """Yield what differs in each step from the one before, or how many steps do not differ.

    Parameters
    ----------
    steps : iterable of mapping
        What was shown of each step.

    Examples
    --------
    >>> list(changes([{"free": 3, "mode": ""}, *2 * [{"free": 2, "mode": ""}]]))
    [{'free': 3, 'mode': ''}, {'free': 2}, 1]
    """
    before: Shown = {}
    same = 0
    for step in steps:
        differing = {name: value for name, value in step.items() if before.get(name) != value}
        before, same = step, same + (not differing)
        if differing:
            yield from (same,) if same else ()
            yield differing
            same = 0
    yield from (same,) if same else ()


def restored(steps: Iterable[Mapping[str, Any] | int]) -> Iterator[Shown]:
    """Yield every step of what :func:`changes` has made shorter.

    Parameters
    ----------
    steps : iterable of mapping or int
        Changes from step to step, and numbers of steps without any.

    Examples
    --------
    >>> list(restored([{"free": 3}, {"free": 2}, 2]))
    [{'free': 3}, {'free': 2}, {'free': 2}, {'free': 2}]
    """
    step: dict[str, Any] = {}
    for change in steps:
        if isinstance(change, int):
            yield from (step for _ in range(change))
        else:
            step = {**step, **change}
            yield step
