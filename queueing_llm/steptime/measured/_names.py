"""Names of models, systems, backends and versions that measurements exist for."""

import difflib
import functools
from pathlib import Path
from typing import Any

from queueing_llm.errors import InvalidArgument, MissingDependency, nearest

_MOST_NEAR = 4
_VARIANTS = ("-instruct", "-chat", "-base", "-it", "-hf")


def measurements() -> Any:
    """Import the package of measured operator times, or say which extra brings it."""
    try:
        import aiconfigurator_core.sdk.engine  # noqa: F401
        import aiconfigurator_core.sdk.perf_database as database
    except ImportError as error:
        msg = (
            "MeasuredStepTime needs aiconfigurator-core (Linux x86-64, Python 3.11 to 3.13); "
            "install it with pip install 'queueing-llm[gpu-data]'."
        )
        raise MissingDependency(msg) from error
    return database


def known_model(model: str) -> str:
    """Return the packaged name of a model, or the path of a folder with a ``config.json``.

    Only such names are ever passed on: for any other one the package of measurements would
    ask the network.
    """
    from aiconfigurator_core.sdk.common import DefaultHFModels

    if not isinstance(model, str) or not model:
        msg = f"model must be a name or the path of a folder, got model={model!r}."
        raise InvalidArgument(msg)
    folder = Path(model)
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return str(folder.resolve())
        msg = f"model must be a folder with a config.json, got model={model!r}: it has none."
        raise InvalidArgument(msg)
    packaged = set(DefaultHFModels)
    if model in packaged:
        return model
    same = {name for name in packaged if _spelling(name).endswith(_spelling(model))}
    if len(same) == 1:
        return same.pop()
    msg = (
        f"model must be one of the {len(packaged)} that the measurements describe, or a folder "
        f"with its config.json, got model={model!r}{_near_models(model, packaged)}"
    )
    raise InvalidArgument(msg)


def known_version(system: str, backend: str, version: str | None) -> str:
    """Return the version of a backend that was measured on a system."""
    measurements()
    measured = _measured()
    _require("backend", backend, {backend for _, backend in measured})
    systems = {system for system, its_backend in measured if its_backend == backend}
    _require("system", system, systems, of=f" of {backend}")
    versions = measured[system, backend]
    if version is None:
        return versions[0]
    _require("version", version, set(versions), of=f" of {backend} on {system}")
    return version


@functools.cache
def _measured() -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the versions measured of each backend on each system, the standing one first."""
    database = measurements()
    versions = {}
    for system, backends in database.get_supported_databases().items():
        for backend, others in backends.items():
            slots = database.get_version_slots(system, backend) or {"current": others[-1]}
            versions[system, backend] = tuple(dict.fromkeys([slots["current"], *others]))
    return versions


def known_precisions(gemm: str | None, kv: str | None, attention: str | None) -> None:
    """Raise unless the package of measurements has a word for each precision given."""
    from aiconfigurator_core.sdk import common

    for name, value, accepted in (
        ("gemm_precision", gemm, common.GEMMQuantMode),
        ("kv_precision", kv, common.KVCacheQuantMode),
        ("attention_precision", attention, common.FMHAQuantMode),
    ):
        if value is not None:
            _require(name, value, {mode.name for mode in accepted})


def _require(name: str, value: object, accepted: set[str], *, of: str = "") -> None:
    if not isinstance(value, str) or value not in accepted:
        clause = nearest(str(value), accepted)
        msg = f"{name} must have measurements{of}, got {name}={value!r}; {clause}."
        raise InvalidArgument(msg)


def _near_models(model: str, packaged: set[str]) -> str:
    names = {_spelling(name): name for name in sorted(packaged)}
    close = difflib.get_close_matches(_spelling(model), names, n=_MOST_NEAR, cutoff=0.5)
    listed = " or ".join(repr(names[name]) for name in close)
    return f"; did you mean {listed}?" if close else "."


def _spelling(name: str) -> str:
    """Return a name without the parts in which the same model is spelt differently."""
    owner, _, model = ("/" + name.lower()).rpartition("/")
    model = model.removeprefix("meta-")
    for variant in _VARIANTS:
        model = model.removesuffix(variant)
    return f"{owner}/{model}"
