"""Fig. 14 made robust: Poisson arrivals near vertex C instead of even ones on it.

Section 6.2 of arXiv:2504.07347v3 puts evenly spaced, equal requests exactly on a vertex of the
stability region, where any noise decides. This is ours, with the engine and the requests of
that section: Poisson arrivals at 0.9 of vertex C, which some policy serves with room to spare;
at 1.01 of it, where prices of tokens and places prove that none does; and at loads between.

Unknown and chosen as in ``fig_14``, with one difference: vanilla vLLM takes prompts whole, so
its budget is 1024 tokens, in which they fit. Curves show what comes in beyond what goes out
over the second half of long runs.

Two routes for Sarathi with 256 tokens: simulated growth, and what arrives less the rate of the
cycle that it runs into, in fractions.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import queueing_llm as ql
from paper_repro.dai2025._published import COLOUR
from paper_repro.dai2025._vertex_c import GAP, SARATHI_COLOUR, engine, evenly, poisson
from queueing_llm.certificates import Certificate, Rejected
from queueing_llm.plots import figure_class
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOAD, OVERLOAD = Fraction(9, 10), Fraction(101, 100)
BUDGETS = (128, 256, 512, 1024)
LOADS = tuple(Fraction(fortieths, 40) for fortieths in range(28, 43))
QUICK_LOADS = LOADS[::2]
CURVES = {
    "vanilla vLLM, b = 1024": ("vanilla_vllm", 1024, COLOUR["vanilla vLLM"]),
    "Orca, b = 128": ("orca", 128, COLOUR["Orca"]),
    "Sarathi, b = 1024": ("sarathi", 1024, SARATHI_COLOUR[1024]),
    "Sarathi, b = 256": ("sarathi", 256, SARATHI_COLOUR[256]),
    "Sarathi, b = 128": ("sarathi", 128, SARATHI_COLOUR[128]),
}
DRAWN_SECONDS = 8000


def compute(*, quick: bool = False) -> Computed:
    """Simulate below vertex C, and certify above it."""
    seconds, runs = (40_000, 12) if quick else (200_000, 12)
    cycle = ql.limit_cycle(engine(256), evenly(), policy=ql.SARATHI)
    assert cycle is not None, "a saturated engine of equal requests runs into a cycle"
    growth: dict[str, Value] = {
        f"growth {policy} {budget}": _growth(_run(policy, budget, LOAD, seconds, runs))
        for policy, budget, _ in CURVES.values()
    }
    tables = {
        "population": _population(runs),
        "growth": _growth_by_load(QUICK_LOADS if quick else LOADS, seconds, runs=runs // 3),
    }
    values = {**growth, **_proofs(), "growth_256_exact": LOAD / GAP - cycle.rate}
    return Computed(values, tables)


def _run(policy: str, budget: int, load: Fraction, seconds: float, runs: int) -> ql.Run:
    return ql.simulate(
        engine(budget),
        poisson(load),
        policy=ql.policy_named(policy),
        horizon=seconds,
        replications=runs,
        seed=budget,
    )


def _growth(run: ql.Run) -> ql.Estimate:
    """Estimate the growth of the requests present over the second half [requests/s]."""
    half = len(run.times) // 2
    present, times = run.requests_in_system, run.times
    slopes = (present[:, -1] - present[:, half]) / (times[-1] - times[half])
    return ql.Estimate.of(slopes, "replications")


def _proofs() -> dict[str, Value]:
    """Return what is certified just above C and at C, and what of a forged certificate."""
    proofs = [ql.certify_overload(engine(budget), poisson(OVERLOAD)) for budget in BUDGETS]
    found = [proof for proof in proofs if proof is not None]
    tokens_only = ql.capacity(engine(1024, places=None), poisson(OVERLOAD))
    last = found[-1].document
    forged = Certificate({**last, "engine": {**last["engine"], "max_batch_size": 128}})
    return {
        "excess": tuple(Fraction(*proof.document["excess"]) for proof in found),
        "comparisons": tuple(proof.check().comparisons for proof in found),
        "certified_at_c": sum(
            ql.certify_overload(engine(budget), poisson(1)) is not None for budget in BUDGETS
        ),
        "token_load": OVERLOAD / GAP / tokens_only.requests_per_second,
        "forged_is_rejected": _is_rejected(forged),
    }


def _is_rejected(certificate: Certificate) -> bool:
    try:
        certificate.check()
    except Rejected:
        return True
    return False


def _population(runs: int) -> dict[str, Sequence[Any]]:
    """Return the mean number of requests in the engine over time, by curve."""
    columns: dict[str, Sequence[Any]] = {}
    for name, (policy, budget, _) in CURVES.items():
        run = _run(policy, budget, LOAD, DRAWN_SECONDS, runs)
        columns["time_s"] = run.times.tolist()
        columns[f"{name} [requests]"] = run.requests_in_system.mean(axis=0).tolist()
    return columns


def _growth_by_load(
    loads: Sequence[Fraction], seconds: float, *, runs: int
) -> dict[str, Sequence[Any]]:
    """Return growth by the share of vertex C, by curve."""
    columns: dict[str, Sequence[Any]] = {"share_of_c": [float(load) for load in loads]}
    for name, (policy, budget, _) in CURVES.items():
        found = [_growth(_run(policy, budget, load, seconds, runs)).value for load in loads]
        columns[f"{name} [requests/s]"] = found
    return columns


def plot(computed: Computed) -> "Figure":
    """Draw the requests in the engine over time, and their growth by load."""
    figure = figure_class()(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, computed.tables["population"], "time_s")
    left.set_title(
        "Poisson arrivals at 0.9 C: all but one fall behind", loc="left", fontsize=11
    )
    left.set_xlabel("time [s]")
    left.set_ylabel("requests in the engine, mean of the runs")
    left.xaxis.set_major_formatter("{x:,.10g}")
    left.yaxis.set_major_formatter("{x:,.10g}")
    left.set_ylim(0)
    _draw(right, computed.tables["growth"], "share_of_c")
    right.axvspan(1, float(max(LOADS)), color="0.9", label="no policy keeps up: proved")
    right.set_title("They begin to between 0.8 and 0.9 C", loc="left", fontsize=11)
    right.set_xlabel("arrival rate, as a share of vertex C")
    right.set_ylabel("growth [requests/s]")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    return figure


def _draw(axes: "Axes", table: Any, across: str) -> None:
    for name, (_, _, colour) in CURVES.items():
        column = next(column for column in table if column.startswith(name + " ["))
        axes.plot(table[across], table[column], color=colour, label=name)
    axes.set_xlim(table[across][0], table[across][-1])
