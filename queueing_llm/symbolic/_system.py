"""An engine and a workload whose parameters are symbols, for the functions of the theory.

The formulas of this package are what those functions return on them: nothing is written
a second time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import (
    AbstractRequestLengths,
    Engine,
    LengthMoments,
    PoissonArrivals,
    Workload,
)
from queueing_llm.steptime import (
    AbstractStepTime,
    AffineStepTime,
    HingeStepTime,
    StaircaseStepTime,
)
from queueing_llm.symbolic._symbols import symbol

LAWS: dict[str, tuple[Callable[..., AbstractStepTime], tuple[str, ...]]] = {
    "staircase": (StaircaseStepTime, ("overhead", "per_block", "block")),
    "hinge": (HingeStepTime, ("floor", "per_token", "knee")),
    "affine": (AffineStepTime, ("base", "per_token")),
    "affine with KV reads": (AffineStepTime, ("base", "per_token", "per_kv_token")),
}


@final
@dataclass(frozen=True, slots=True)
class SymbolicLengths(AbstractRequestLengths):
    """Lengths of which nothing but the symbols of their moments is known."""

    @property
    def moments(self) -> LengthMoments:
        """Symbols, with no output shorter than one token."""
        return LengthMoments(
            prompt=symbol("mean_prompt"),
            output=symbol("mean_output"),
            prompt_squared=symbol("mean_prompt_squared"),
            output_squared=symbol("mean_output_squared"),
            product=symbol("mean_product"),
            shortest_output=1,
        )

    @property
    def longest_prompt(self) -> int | None:
        """None: not known."""
        return None

    @property
    def longest_request(self) -> int | None:
        """None: not known."""
        return None

    @property
    def is_iid(self) -> bool:
        """Requests are independent and identically distributed."""
        return True

    def sampler(self, rng: np.random.Generator, *, phase: Real = 0.0) -> Any:
        """Raise: symbols cannot be drawn."""
        msg = "symbols cannot be drawn: give the workload lengths that are numbers."
        raise InvalidArgument(msg)


def law_of_symbols(law: str) -> AbstractStepTime:
    """Return a step-time law whose parameters are symbols."""
    if law not in LAWS:
        msg = f"law must name a step-time law, got law={law!r}: {nearest(law, LAWS)}."
        raise InvalidArgument(msg)
    kind, words = LAWS[law]
    return kind(**{word: symbol(word) for word in words})


def words_of_law(law: str) -> tuple[str, ...]:
    """Return the words for the parameters of a law."""
    return LAWS[law][1]


def system(law: str, *, token_budget: Any, emits: bool) -> tuple[Engine, Workload]:
    """Return an engine and a workload of symbols."""
    engine = Engine(
        step_time=law_of_symbols(law),
        token_budget=token_budget,
        first_token_from_prefill=emits,
    )
    return engine, Workload.of(PoissonArrivals(symbol("arrival_rate")), SymbolicLengths())
