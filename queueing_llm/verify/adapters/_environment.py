"""Which serving engines can be driven, and where a folder has them installed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from queueing_llm.errors import InvalidArgument, nearest

LISTING = "environment.json"


@final
@dataclass(frozen=True, slots=True)
class Installation:
    """How a version of a serving engine is installed and driven.

    Parameters
    ----------
    driver : str
        File that drives its scheduler.
    interpreter : str
        Key of :data:`INTERPRETERS`: what it shares with other versions.
    from_source : bool
        Whether to take the source distribution and to build nothing of it: its wheel brings
        code for accelerators.

    Examples
    --------
    >>> INSTALLATIONS["vllm==0.6.3"].driver
    'vllm_v0.py'
    """

    driver: str
    interpreter: str
    from_source: bool


INSTALLATIONS: Mapping[str, Installation] = MappingProxyType(
    {
        "vllm==0.33.0": Installation("vllm_v1.py", "transformers-5", from_source=True),
        "vllm==0.32.0": Installation("vllm_v1.py", "transformers-5", from_source=True),
        "vllm==0.11.2": Installation("vllm_v1.py", "transformers-4", from_source=True),
        "vllm==0.6.3": Installation("vllm_v0.py", "transformers-4", from_source=True),
        "sglang==0.5.6": Installation("sglang.py", "transformers-4", from_source=False),
    }
)
"""The systems whose schedulers can be driven, newest version first."""

TORCH = "torch==2.13.0"

COMMON = (
    "aiohttp==3.14.5",
    "blake3==1.0.11",
    "cachetools==8.0.1",
    "cbor2==6.2.1",
    "cloudpickle==3.1.2",
    "dill==0.4.1",
    "fastapi==0.165.0",
    "msgspec==0.22.0",
    "numpy==2.4.6",
    "openai==3.54.0",
    "orjson==3.13.0",
    "partial-json-parser==0.2.1.1.post7",
    "pillow==13.0.0",
    "prometheus_client==0.26.0",
    "psutil==7.2.2",
    "py-cpuinfo==9.0.0",
    "pybase64==1.5.1",
    "pydantic==2.14.3",
    "pyzmq==27.3.0",
    "regex==2026.11.15",
    "requests==2.34.2",
    "safetensors==0.8.0",
    "urllib3==2.8.0",
    "uvloop==0.23.0",
)

FOR_BUILDING = (
    "jinja2==3.1.6",
    "ninja==1.13.2",
    "packaging==26.3",
    "setuptools==80.9.0",
    "setuptools-rust==1.13.0",
    "setuptools-scm==10.3.4",
    "wheel==0.48.0",
)

INTERPRETERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "transformers-4": (*COMMON, *FOR_BUILDING, "transformers==4.57.6"),
        "transformers-5": (*COMMON, *FOR_BUILDING, "transformers==5.20.2"),
    }
)
"""What each interpreter has besides PyTorch, pinned to what the drivers were tried with."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a serving engine is installed.

    Parameters
    ----------
    python : str
        The interpreter.
    path : tuple of str
        Where it finds the system: entries for its ``sys.path``.

    Examples
    --------
    >>> Place("live/transformers-5/bin/python", ("live/systems/vllm-0.33.0",)).path
    ('live/systems/vllm-0.33.0',)
    """

    python: str
    path: tuple[str, ...]


def installation_of(system: str) -> Installation:
    """Return how a system is installed and driven.

    Raises
    ------
    InvalidArgument
        If there is no driver for it; the nearest name is suggested.

    Examples
    --------
    >>> installation_of("sglang==0.5.6").interpreter
    'transformers-4'
    """
    if system not in INSTALLATIONS:
        msg = f"there is no driver for {system!r}: {nearest(system, INSTALLATIONS)}."
        raise InvalidArgument(msg)
    return INSTALLATIONS[system]


def place_of(system: str, *, environment: str | Path) -> Place:
    """Return where a folder has a system.

    Parameters
    ----------
    system : str
        Such as ``"vllm==0.33.0"``.
    environment : path
        A folder that ``python -m queueing_llm.verify.adapters build`` made, or a Python
        interpreter that can import the system.

    Raises
    ------
    InvalidArgument
        If there is no driver for the system, or the folder does not have it.
    """
    installation_of(system)
    if Path(environment).is_file():
        return Place(str(environment), ())
    listing = Path(environment) / LISTING
    try:
        found = _read(listing)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"environment must be a folder with a good {LISTING}, got {str(environment)!r} "
            f"({type(error).__name__}): make one with "
            f"`python -m queueing_llm.verify.adapters build {environment}`."
        )
        raise InvalidArgument(msg) from error
    if system not in found:
        msg = (
            f"{system} is not installed in {str(environment)!r}, which has "
            f"{', '.join(sorted(found)) or 'nothing'}: add it with `python -m "
            f"queueing_llm.verify.adapters build {environment} --system {system}`."
        )
        raise InvalidArgument(msg)
    return found[system]


def write_listing(folder: Path, places: Mapping[str, Place]) -> None:
    """Say in a folder where it has its systems."""
    listing = {
        name: {"python": place.python, "path": list(place.path)}
        for name, place in sorted(places.items())
    }
    text = json.dumps(listing, indent=2) + "\n"
    (folder / LISTING).write_text(text, encoding="utf-8")


def _read(listing: Path) -> dict[str, Place]:
    entries: dict[str, Any] = json.loads(listing.read_text(encoding="utf-8"))
    return {
        name: Place(str(entry["python"]), tuple(map(str, entry["path"])))
        for name, entry in entries.items()
    }
