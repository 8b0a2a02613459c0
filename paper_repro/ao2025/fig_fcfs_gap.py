"""First come, first served at C = M*: the instance of the lower bound, simulated.

The proposition on FCFS at C = M* of arXiv:2504.11320, with the instance of its proof: kinds of
1 + 1 and 1 + 2 tokens, one request/s of each, d0 = 1 - 9 d1 with d1 < 1/9, C = M* = 9, so that
a balanced batch takes 1 s. The fluid completes 2 requests/s. The paper proves a gap that does
not vanish; how large it is it does not say. Chosen here: d1 = 1/20, and the FCFS rules of the
package, which evict the newest.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.ao2025.engines import engine_with, kinds
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value
from queueing_llm.stability import check_thresholds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOPE = Fraction(1, 20)
ENGINE = engine_with(1 - 9 * SLOPE, SLOPE, kv_capacity=9)
LOAD = kinds({(1, 1): 1, (1, 2): 1})
RULES = (ql.FASTER_TRANSFORMER, ql.VANILLA_VLLM, ql.ORCA, ql.SARATHI)
HORIZONS = (100, 400, 1600)


def compute(*, quick: bool = False) -> Computed:
    """Return the equilibrium, gaps to the fluid by horizon, and how they go on."""
    more = 1 if quick else 3
    found, needed = ql.wait_equilibrium(ENGINE, LOAD), check_thresholds(ENGINE, LOAD, [1, 1])
    gaps = {rule.name: [_gap(rule, h, 16 * more) for h in HORIZONS] for rule in RULES}
    # WAIT runs in Python, so it gets fewer replications.
    gaps["wait"] = [
        _gap(ql.Wait([1, 1]), h, n * more) for h, n in zip(HORIZONS, (24, 16, 8), strict=True)
    ]
    first, _, last = gaps["wait"]
    values: dict[str, Value] = {
        "memory": Fraction(found.memory_tokens) if found is not None else Fraction(0),
        "seconds": Fraction(found.iteration_seconds) if found is not None else Fraction(0),
        "wait_memory": Fraction(needed.memory_tokens),
        "wait_slack": tuple(Fraction(slack) for slack in needed.slack_seconds),
        "gap_stays": tuple(_stays(gaps[rule.name]) for rule in RULES),
        "wait_gap_shrinks": last.value + 3 * last.standard_error < 0.5 * first.value,
        "wait_gap_is_smaller": all(
            last.value + 3 * last.standard_error < 0.5 * gaps[rule.name][-1].value
            for rule in RULES
        ),
    }
    columns = {
        f"{name}_gap_requests_per_s": [gap.value for gap in found]
        for name, found in gaps.items()
    }
    return Computed(values, {"gaps": {"horizon_s": list(HORIZONS), **columns}})


def plot(computed: Computed) -> "Figure":
    """Draw the gaps against the horizon."""
    table = computed.tables["gaps"]
    figure, axes = framed(
        "With C = M* first come, first served loses for ever; WAIT does not", height=4.0
    )
    for name, word, colour in (
        ("vanilla_vllm", "vLLM of 2023", COLOURS[1]),
        ("faster_transformer", "FasterTransformer", COLOURS[0]),
        ("sarathi", "Sarathi = Orca", COLOURS[3]),
        ("wait", "WAIT, thresholds 1 and 1", COLOURS[2]),
    ):
        column = table[f"{name}_gap_requests_per_s"]
        axes.plot(table["horizon_s"], column, "o-", color=colour, label=word)
    axes.set_xscale("log")
    axes.set_xticks(list(HORIZONS))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("horizon [s]; a balanced batch takes 1 s")
    axes.set_ylabel("fluid less completed [requests/s]")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _gap(policy: ql.Policy, horizon: float, replications: int) -> ql.Estimate:
    """Return what the fluid completes and the policy does not [requests/s].

    What arrives is what the fluid completes, on average; counting what is left in the system
    instead leaves out the randomness of the arrivals.
    """
    run = ql.simulate(
        ENGINE, LOAD, policy=policy, horizon=horizon, replications=replications, seed=23
    )
    return ql.Estimate.of(run.requests_in_system[:, -1] / horizon, "replications")


def _stays(gaps: list[ql.Estimate]) -> bool:
    """Whether the gap of the longest horizon is more than half of that of the shortest."""
    last = gaps[-1]
    return last.value - 3 * last.standard_error > 0.5 * gaps[0].value > 0
