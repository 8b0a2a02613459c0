"""Laws by their name in a file; their parameters are those of the constructors."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import (
    BatchArrivals,
    DeterministicArrivals,
    DeterministicLength,
    EmpiricalLength,
    GammaArrivals,
    GeometricLength,
    LognormalLength,
    OnOffArrivals,
    PoissonArrivals,
    PoissonLength,
    RenewalArrivals,
    UniformLength,
)
from queueing_llm.steptime import (
    AffineStepTime,
    HingeStepTime,
    RooflineStepTime,
    StaircaseStepTime,
    TableStepTime,
)

Constructor = Callable[..., Any]

STEP_TIMES: Mapping[str, Constructor] = {
    "affine": AffineStepTime,
    "hardware": RooflineStepTime.from_hardware,
    "hinge": HingeStepTime,
    "roofline": RooflineStepTime,
    "staircase": StaircaseStepTime,
    "table": TableStepTime.of_tokens,
}
LENGTHS: Mapping[str, Constructor] = {
    "deterministic": DeterministicLength,
    "empirical": EmpiricalLength,
    "geometric": GeometricLength,
    "lognormal": LognormalLength,
    "poisson": PoissonLength,
    "uniform": UniformLength,
}
PROCESSES: Mapping[str, Constructor] = {
    "batch": BatchArrivals,
    "deterministic": DeterministicArrivals,
    "gamma": GammaArrivals,
    "on_off": OnOffArrivals,
    "poisson": PoissonArrivals,
    "renewal": RenewalArrivals,
}


def named_law(
    table: Mapping[str, Any], laws: Mapping[str, Constructor], *, word: str, where: str
) -> tuple[Constructor, dict[str, Any]]:
    """Return the constructor that ``table[word]`` names, and the other keys of the table."""
    if word not in table:
        msg = f"{where} needs the key {word!r}: {_listed(laws)}."
        raise InvalidArgument(msg)
    name = table[word]
    if not isinstance(name, str) or name not in laws:
        msg = f"{where}.{word} is {name!r}, which is not known: {nearest(str(name), laws)}."
        raise InvalidArgument(msg)
    return laws[name], {key: value for key, value in table.items() if key != word}


def constructed(
    law: Constructor, values: Mapping[str, Any], *, where: str, supplied: Iterable[str] = ()
) -> Any:
    """Return ``law(**values)``; errors name the table, and the key that was meant.

    ``supplied`` are parameters that come from elsewhere and are no keys of the table.
    """
    parameters = inspect.signature(law).parameters
    keys = [name for name in parameters if name not in supplied]
    for key in values:
        if key not in parameters:
            msg = f"{where} has no key {key!r}: {nearest(key, keys or ['none'])}."
            raise InvalidArgument(msg)
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in values:
            msg = f"{where} needs the key {key!r}; its keys are {_listed(keys)}."
            raise InvalidArgument(msg)
    try:
        return law(**values)
    except InvalidArgument as error:
        msg = f"{where}: {error}"
        raise InvalidArgument(msg) from None


def _listed(words: Iterable[str]) -> str:
    return ", ".join(repr(word) for word in words)
