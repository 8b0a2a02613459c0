"""The memory that the fluid equilibrium needs, against the arrival rate.

From (9) and the table of M*(lambda) in section 6.2 of arXiv:2504.11320: lmsys-chat-1m,
Llama-2-7B on an A100, C = 137,000 tokens. The paper prints neither d0 nor d1, so both are
chosen here: M* depends only on d0 A and d1 / d0, and with two numbers, fitted, all four printed
values come out to the token. That the formula can do this with two numbers for four values is
what is tested; the lengths of the sample do not matter for it.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.ao2025.engines import (
    BASE_LIFETIME,
    KV_CAPACITY,
    OUTPUT,
    PROMPT,
    SLOPE_SHARE,
    alike,
    fitted_engine,
    lifetime,
)
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRINTED = {50: 34_377, 60: 55_758, 70: 100_327, 80: 250_509}
OTHER_LENGTHS = 512, 20
"""Any other lengths must give the same M*."""


def compute(*, quick: bool = False) -> Computed:
    """Return M*, where it meets C, and lifetimes; both modes are the same."""
    memory = {rate: _memory(rate) for rate in PRINTED}
    engine = fitted_engine()
    bound = ql.three_resource_bound(engine, alike(1, PROMPT, OUTPUT))
    # M* = C where lambda (d0 A / C + d1 A) = 1.
    crossing = 1 / (BASE_LIFETIME * (Fraction(1, KV_CAPACITY) + SLOPE_SHARE))
    values: dict[str, Value] = {
        **{f"memory_{rate}": tokens for rate, tokens in memory.items()},
        **{f"share_{rate}": tokens / KV_CAPACITY for rate, tokens in memory.items()},
        "is_inside": tuple(_is_inside(rate) for rate in PRINTED),
        "lengths_do_not_matter": all(
            _memory(rate, *OTHER_LENGTHS) == tokens for rate, tokens in memory.items()
        ),
        "crossing": crossing,
        "crossing_is_the_bound": bound is not None and bound.requests_per_second == crossing,
        "what_binds": bound.binding_resource if bound is not None else "",
        "pole": 1 / (BASE_LIFETIME * SLOPE_SHARE),
        "beyond_the_pole": ql.wait_equilibrium(engine, alike(89, PROMPT, OUTPUT)) is None,
        "lifetime_20": lifetime(512, 20),
        "lifetime_50": lifetime(512, 50),
        "lifetime_mixed": (7 * lifetime(512, 20) + 3 * lifetime(512, 50)) / 10,
    }
    rates = [Fraction(n, 4) for n in range(80, 345)]
    curve = {
        "arrival_rate_requests_per_s": [float(rate) for rate in rates],
        "memory_tokens": [float(_memory(rate)) for rate in rates],
    }
    printed: dict[str, Sequence[float]] = {
        "arrival_rate_requests_per_s": list(PRINTED),
        "printed_tokens": list(PRINTED.values()),
        "memory_tokens": [float(memory[rate]) for rate in PRINTED],
    }
    return Computed(values, {"curve": curve, "printed": printed})


def plot(computed: Computed) -> "Figure":
    """Draw M* with the printed values and the capacity."""
    curve, printed = computed.tables["curve"], computed.tables["printed"]
    figure, axes = framed(
        "The memory that balance needs explodes: 74.1 requests/s still fit", height=4.0
    )
    axes.plot(
        curve["arrival_rate_requests_per_s"],
        [tokens / 1000 for tokens in curve["memory_tokens"]],
        color=COLOURS[2],
        label="M* by the formula, two numbers fitted",
    )
    axes.plot(
        printed["arrival_rate_requests_per_s"],
        [tokens / 1000 for tokens in printed["printed_tokens"]],
        "o",
        color=COLOURS[0],
        label="printed in the paper",
    )
    axes.axhline(KV_CAPACITY / 1000, color="0.3", linestyle="--", label="C = 137,000 tokens")
    crossing = float(computed["crossing"])  # type: ignore[arg-type]
    axes.axvline(crossing, color=COLOURS[3], linestyle=":", label=f"M* = C at {crossing:.2f}/s")
    axes.set_ylim(0, 400)
    axes.set_xlim(20, 88)
    axes.set_xlabel("arrival rate [requests/s]")
    axes.set_ylabel("M* [thousand tokens]")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _memory(rate: float | Fraction, prompt: int = PROMPT, output: int = OUTPUT) -> Fraction:
    found = ql.wait_equilibrium(fitted_engine(prompt, output), alike(rate, prompt, output))
    if found is None:
        msg = f"no equilibrium at {rate} requests/s"
        raise AssertionError(msg)
    return Fraction(found.memory_tokens)


def _is_inside(rate: int) -> bool:
    """Whether the equilibrium fits in the cache."""
    found = ql.wait_equilibrium(fitted_engine(), alike(rate, PROMPT, OUTPUT))
    return found is not None and found.is_sustainable
