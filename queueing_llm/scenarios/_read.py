"""Read scenario files: packaged ones by name, others by path."""

import importlib.resources
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.scenarios._build import engine_of, workload_of
from queueing_llm.scenarios._explain import explanation
from queueing_llm.scenarios._numbers import exact_number
from queueing_llm.scenarios._scenario import Scenario
from queueing_llm.scenarios._schema import ScenarioTable


def scenario_names() -> tuple[str, ...]:
    """Return the names of the packaged scenarios, sorted.

    Examples
    --------
    >>> "codellama34b-a100" in scenario_names()
    True
    """
    files = _packaged().iterdir()
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))
    )


def load_scenario(name: str | os.PathLike[str]) -> Scenario:
    """Return the scenario in a file, or the packaged scenario of that name.

    Decimal numbers in a file are read as the fractions that they are.

    Parameters
    ----------
    name : str or path
        Path of a TOML file, or one of :func:`scenario_names`.

    Raises
    ------
    InvalidArgument
        If there is no such scenario, or the file is not one; the message names the file, the
        key, its value and what is accepted.

    Examples
    --------
    >>> load_scenario("theorem-2").engine.token_budget
    512
    """
    text, folder = _text(os.fspath(name))
    label = os.fspath(name)
    try:
        table = ScenarioTable.model_validate(_parsed(text))
        load = workload_of(table.workload, folder=folder)
        return Scenario(
            name=table.name or Path(label).stem,
            description=table.description,
            source=table.source,
            served_by=engine_of(table.engine),
            workload=load.workload,
            trace=load.description,
        )
    except ValidationError as error:
        msg = f"{label}: {explanation(error)}"
        raise InvalidArgument(msg) from None
    except InvalidArgument as error:
        msg = f"{label}: {error}"
        raise InvalidArgument(msg) from None


def _text(name: str) -> tuple[str, Path | None]:
    """Return the text of a scenario, and the folder that its paths are relative to."""
    if name in scenario_names():
        return _packaged().joinpath(f"{name}.toml").read_text(encoding="utf-8"), None
    path = Path(name)
    if not path.is_file():
        what = "no readable file" if path.exists() else "neither a file nor a packaged scenario"
        msg = f"scenario {name!r} is {what}: {nearest(path.stem, scenario_names())}."
        raise InvalidArgument(msg)
    try:
        return path.read_text(encoding="utf-8-sig"), path.parent
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        msg = f"scenario {name!r} cannot be read: {reason}; a TOML file is accepted."
        raise InvalidArgument(msg) from None


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=exact_number)
    except tomllib.TOMLDecodeError as error:
        msg = f"this is not valid TOML: {error}."
        raise InvalidArgument(msg) from None


def _packaged() -> Any:
    return importlib.resources.files("queueing_llm.scenarios").joinpath("files")
