"""The fluid stability region of two kinds of requests, and what it takes to be in it.

Section 3.2 of arXiv:2504.11320: with several kinds the region is all rates with M* <= C. Shown
for the two kinds of its experiments, prompts of 512 with 20 or 50 output tokens. d0 = 20 ms and
d1 = 0.4 us a token are chosen here, since the calibration of the paper is not known. Compared
with it: the bound on every policy that the package has for each mixture, certificates of
overload just outside, and where integers are found as thresholds of WAIT.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.ao2025.engines import KV_CAPACITY, engine_with, kinds, lifetime
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASE, SLOPE = Fraction(1, 50), Fraction(4, 10**7)
SHORT, LONG = (512, 20), (512, 50)
ENGINE = engine_with(BASE, SLOPE, kv_capacity=KV_CAPACITY)
OUTSIDE = Fraction(101, 100)


def compute(*, quick: bool = False) -> Computed:
    """Return the boundary by two routes, certificates outside, and thresholds inside."""
    shares = [Fraction(i, 8) for i in range(9)]
    boundary = [_boundary(share) for share in shares]
    bounds = [ql.three_resource_bound(ENGINE, _at(rates)) for rates in boundary]
    tried = shares[::4] if quick else shares
    grid = 16 if quick else 60
    inside = _feasible_thresholds(boundary, grid)
    values: dict[str, Value] = {
        "boundary_is_full": all(_memory(rates) == KV_CAPACITY for rates in boundary),
        "boundary_is_the_bound": all(
            bound is not None and bound.requests_per_second == sum(rates)
            for bound, rates in zip(bounds, boundary, strict=True)
        ),
        "overload_is_proved": all(
            _overload_is_proved(rates)
            for share, rates in zip(shares, boundary, strict=True)
            if share in tried
        ),
        "short_only": boundary[0][0],
        "long_only": boundary[-1][1],
        "thresholds_are_inside": bool(inside)
        and all(_memory(rates) <= KV_CAPACITY for rates in inside),
    }
    return Computed(
        values,
        {
            "boundary": _columns(boundary),
            "wait_thresholds": _columns(inside),
        },
    )


def plot(computed: Computed) -> "Figure":
    """Draw the boundary and the rates for which WAIT has integer thresholds."""
    edge, inside = computed.tables["boundary"], computed.tables["wait_thresholds"]
    figure, axes = framed(
        "Rates in the triangle fit; thresholds, being integers, miss its edge",
        height=4.2,
    )
    x, y = edge["short_requests_per_s"], edge["long_requests_per_s"]
    axes.fill_between(x, y, color=COLOURS[5], alpha=0.25, label="M* ≤ C")
    axes.plot(x, y, color=COLOURS[2], label="M* = C, the bound on every policy")
    axes.plot(
        inside["short_requests_per_s"],
        inside["long_requests_per_s"],
        ".",
        color=COLOURS[3],
        markersize=3,
        label="WAIT has thresholds that keep up and fit",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("requests of 512 + 20 tokens [requests/s]")
    axes.set_ylabel("requests of 512 + 50 tokens [requests/s]")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


Rates = tuple[Fraction, Fraction]


def _at(rates: Rates) -> ql.Workload:
    return kinds(dict(zip((SHORT, LONG), rates, strict=True)))


def _boundary(share: Fraction) -> Rates:
    r"""Return the rates with :math:`\sum \lambda_j A_j (d_0 / C + d_1) = 1` and that share."""
    held = (1 - share) * lifetime(*SHORT) + share * lifetime(*LONG)
    rate = 1 / (held * (BASE / KV_CAPACITY + SLOPE))
    return (1 - share) * rate, share * rate


def _memory(rates: Rates) -> Fraction:
    found = ql.wait_equilibrium(ENGINE, _at(rates))
    if found is None:
        msg = f"no equilibrium at {rates} requests/s"
        raise AssertionError(msg)
    return Fraction(found.memory_tokens)


def _overload_is_proved(rates: Rates) -> bool:
    certificate = ql.certify_overload(ENGINE, _at((rates[0] * OUTSIDE, rates[1] * OUTSIDE)))
    return certificate is not None and certificate.check().kind == "overload"


def _feasible_thresholds(boundary: list[Rates], grid: int) -> list[Rates]:
    """Return the rates of a grid over the region for which WAIT has thresholds."""
    steps = boundary[0][0] / grid, boundary[-1][1] / grid
    tried = (
        (i * steps[0], j * steps[1]) for i in range(1, grid + 1) for j in range(1, grid + 1)
    )
    return [rates for rates in tried if ql.smallest_thresholds(ENGINE, _at(rates)) is not None]


def _columns(points: list[Rates]) -> dict[str, list[float]]:
    return {
        "short_requests_per_s": [float(x) for x, _ in points],
        "long_requests_per_s": [float(y) for _, y in points],
    }
