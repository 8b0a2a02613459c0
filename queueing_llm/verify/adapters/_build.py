"""Installing serving engines for their schedulers alone: no GPU, no kernels, no models.

Their wheels bring some gigabytes of code for accelerators, none of which a scheduler needs.
So the source distribution is taken and told that there is no device, and only what its
scheduler imports is installed beside it. Versions that agree about that share an interpreter.
"""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from queueing_llm.verify.adapters._environment import (
    INSTALLATIONS,
    INTERPRETERS,
    TORCH,
    Installation,
    Place,
    installation_of,
    write_listing,
)
from queueing_llm.verify.adapters._protocol import LiveFailure

Say: TypeAlias = Callable[[str], object]


def build_environment(
    folder: str | Path,
    *,
    systems: Iterable[str] = tuple(INSTALLATIONS),
    python: str = sys.executable,
    torch_index: str | None = None,
    say: Say = print,
) -> Path:
    """Install systems into a folder, which can then be used as an environment.

    What is there already is left as it is.

    Parameters
    ----------
    folder : path
        Where to; it is made if need be. Takes about 3 GB for all systems.
    systems : iterable of str
        Keys of :data:`INSTALLATIONS`.
    python : str
        The interpreter to make others from; 3.11 is the one that all systems know.
    torch_index : str or None
        Where pip finds a build of PyTorch for CPUs, if its usual index has another one.
    say : callable
        Is told of each step.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InvalidArgument
        If there is no driver for a system.
    LiveFailure
        If a step fails.

    Examples
    --------
    >>> build_environment("live", systems=["vllm==0.33.1"])
    Traceback (most recent call last):
    ...
    queueing_llm.errors.InvalidArgument: there is no driver for 'vllm==0.33.1': did you mean ...
    """
    chosen = {system: installation_of(system) for system in systems}
    root = Path(folder).absolute()
    (root / "systems").mkdir(parents=True, exist_ok=True)
    for name in sorted({installation.interpreter for installation in chosen.values()}):
        _make_interpreter(root / name, python=python, torch_index=torch_index, say=say)
    for system, installation in chosen.items():
        _install(system, installation, root, say=say)
    places = {
        system: Place(str(_python_in(root / it.interpreter)), (str(_target(system, root)),))
        for system, it in INSTALLATIONS.items()
        if _target(system, root).exists()
    }
    write_listing(root, places)
    say(f"ready: {', '.join(sorted(places))}")
    return root


def _make_interpreter(folder: Path, *, python: str, torch_index: str | None, say: Say) -> None:
    """Make an interpreter with what its systems import; what it has is written beside it."""
    wanted = "\n".join((TORCH, *INTERPRETERS[folder.name]))
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        say(f"{folder.name}: is there")
        return
    say(f"{folder.name}: making an interpreter")
    if not _python_in(folder).exists():
        _run([python, "-m", "venv", str(folder)], say=say)
    index = [] if torch_index is None else ["--index-url", torch_index]
    # Alone at first: what a build for accelerators depends on is what must not be downloaded.
    _pip(folder, ["install", "--no-deps", *index, TORCH], say=say)
    _check_torch(folder)
    _pip(folder, ["install", TORCH, *INTERPRETERS[folder.name]], say=say)
    stamp.write_text(wanted, encoding="utf-8")


def _check_torch(folder: Path) -> None:
    """Refuse a PyTorch that was built for an accelerator."""
    (version,) = folder.glob("lib/python*/site-packages/torch/version.py")
    built = runpy.run_path(str(version))
    found = [name for name in ("cuda", "hip", "xpu") if built.get(name)]
    if found:
        msg = (
            f"{TORCH} must be a build for CPUs, got one for {found[0]} {built[found[0]]}: "
            "name an index that has one with --torch-index."
        )
        raise LiveFailure(msg)


def _install(system: str, installation: Installation, root: Path, *, say: Say) -> None:
    """Install a system beside its interpreter, all at once or not at all."""
    target, name = _target(system, root), system.partition("==")[0]
    if target.exists():
        say(f"{system}: is there")
        return
    say(f"{system}: installing")
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    options = ["--no-deps", "--target", str(part)]
    if installation.from_source:
        options += ["--no-binary", name, "--no-build-isolation"]
    settings = {
        f"{name.upper()}_TARGET_DEVICE": "empty",
        # Else pip finds that what was built for no device is not what was asked for.
        f"{name.upper()}_VERSION_OVERRIDE": system.partition("==")[2],
    }
    interpreter = root / installation.interpreter
    _pip(interpreter, ["install", *options, system], say=say, settings=settings)
    part.rename(target)


def _target(system: str, root: Path) -> Path:
    return root / "systems" / system.replace("==", "-")


def _python_in(folder: Path) -> Path:
    return folder / "bin" / "python"


def _pip(
    folder: Path,
    arguments: Sequence[str],
    *,
    say: Say,
    settings: dict[str, str] | None = None,
) -> None:
    command = [str(_python_in(folder)), "-m", "pip", "--quiet", *arguments]
    _run(command, say=say, settings=settings)


def _run(command: Sequence[str], *, say: Say, settings: dict[str, str] | None = None) -> None:
    prefix = [f"{name}={text}" for name, text in (settings or {}).items()]
    say(" ".join([*prefix, *command]))
    done = subprocess.run(
        command,
        env={**os.environ, **(settings or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        msg = f"this failed: {' '.join(command)}\n{done.stdout[-2000:]}"
        raise LiveFailure(msg)
