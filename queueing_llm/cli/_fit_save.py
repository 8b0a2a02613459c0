"""Write a fitted law as the ``[engine] step_time`` of a scenario file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from queueing_llm.cli._fit_findings import Findings
from queueing_llm.cli._fit_records import saved_law
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.fitting import FORMS
from queueing_llm.scenarios import STEP_TIMES


def check_save_path(path: Path) -> None:
    """Raise unless a law can be written there, before the work that finds it."""
    suffix = path.suffix.removeprefix(".").lower()
    if suffix != "toml":
        clause = nearest(suffix, ["toml"])
        msg = (
            f"--save {str(path)!r} has an unknown suffix: {clause}; --json prints the law too."
        )
        raise InvalidArgument(msg)
    if path.is_dir() or not path.parent.is_dir():
        msg = f"--save {str(path)!r} cannot be written: a file in a folder is accepted."
        raise InvalidArgument(msg)


def save_law(found: Findings, path: Path) -> None:
    """Write the preferred law to a file, with where it comes from."""
    law = saved_law(found.step_time)
    if law is None:
        what = "no law is preferred" if found.step_time is None else "a scenario has no law"
        name = "" if found.step_time is None else f" {found.preferred!r}"
        known = ", ".join(f"--law {name}" for name in FORMS if name in STEP_TIMES)
        msg = f"--save: {what}{name}; accepted: one of {known}."
        raise InvalidArgument(msg)
    try:
        path.write_text(_toml(law, _about(found)) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"--save {str(path)!r} cannot be written: {error.strerror}."
        raise InvalidArgument(msg) from None


def _about(found: Findings) -> str:
    source = found.fits[0].samples.source
    for fit, error in zip(found.fits, found.errors, strict=True):
        if fit.law == found.preferred:
            held_out = "" if error is None else f", {error:.1%} on batches held out"
            return (
                f"{fit.law} law fitted to {source}: mean relative error "
                f"{fit.mean_relative_error:.1%}, worst {fit.worst_relative_error:.1%}{held_out}"
            )
    return f"table of {source}"


def _toml(law: Mapping[str, Any], about: str) -> str:
    """Return the lines of ``[engine.step_time]``; JSON values are TOML values here."""
    comment = " ".join(about.split())
    lines = [f"# {comment}.", "[engine.step_time]"]
    return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in law.items())])
