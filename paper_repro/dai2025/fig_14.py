"""Fig. 14: requests of vertex C, evenly spaced, into engines that hold at most 100 in a batch.

Section 6.2 of arXiv:2504.07347v3: equal requests of 290 + 990 tokens every 467.5 ms. The paper
reports that Sarathi with a budget of 128 tokens is stable, and that Sarathi with 1024, Orca,
vanilla vLLM and FasterTransformer with 128 are not.

Chosen here: engines start empty, the first request comes after one gap, and one that comes at
the end of a batch joins the next; 500 s. Unknown: the axes of Fig. 14; whether the limit counts
the requests of a batch (drawn here) or all that have started; whether vLLM and
FasterTransformer split prompts (drawn here), without which a prompt of 290 tokens never fits
into 128. The table of readings has them all.

Two routes. The compiled simulation counts what is left; the verdict comes from the cycle that
the engine runs into, in fractions. Over 1870 cycles both grow by the same number of requests.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import queueing_llm as ql
from paper_repro.dai2025._published import COLOUR
from paper_repro.dai2025._vertex_c import GAP, SARATHI_COLOUR, engine, evenly
from queueing_llm.plots import framed
from queueing_llm.reproduce import Computed, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HORIZON = 500
DRAWN = {
    "FasterTransformer, b = 128": (
        "faster_transformer:chunked",
        128,
        COLOUR["FasterTransformer"],
    ),
    "vanilla vLLM, b = 128": ("vanilla_vllm:chunked", 128, COLOUR["vanilla vLLM"]),
    "Orca, b = 128": ("orca", 128, COLOUR["Orca"]),
    "Sarathi, b = 1024": ("sarathi", 1024, SARATHI_COLOUR[1024]),
    "Sarathi, b = 128": ("sarathi", 128, SARATHI_COLOUR[128]),
}
READINGS = {
    "sarathi": (128, 256, 1024),
    "sarathi:residents": (128, 1024),
    "orca": (128,),
    "orca:residents": (128,),
    "vanilla_vllm": (128, 1024),
    "vanilla_vllm:chunked": (128,),
    "vanilla_vllm:chunked,residents": (128,),
    "faster_transformer": (128, 1024),
    "faster_transformer:chunked": (128, 1024),
    "faster_transformer:chunked,residents": (128,),
}
UNDECIDED_HERE = ("vanilla_vllm", 1024)
"""Runs into no cycle within a million batches; a simulated verdict would take long."""
AVERAGED = ("sarathi", "orca", "vanilla_vllm:chunked", "faster_transformer:chunked")
CYCLES = 1870


def compute(*, quick: bool = False) -> Computed:
    """Simulate every reading for 500 s, and follow each to its cycle."""
    del quick  # Nothing here is random, so there is nothing to do less often.
    readings = [_reading(name, b) for name, budgets in READINGS.items() for b in budgets]
    population: dict[str, Sequence[Any]] = {}
    for name, (policy, token_budget, _) in DRAWN.items():
        run = _run(policy, token_budget)
        population["time_s"] = run.times.tolist()
        population[f"{name} [requests]"] = run.requests_in_system[0].tolist()
    columns = {name: [row[name] for row in readings] for name in readings[0]}
    values = {**_by_reading(readings), **_verdicts(readings), **_cycles(), **_averages()}
    return Computed(values, {"population": population, "readings": columns})


def _run(
    policy: str, token_budget: int, horizon: float = HORIZON, samples: int = 500
) -> ql.Run:
    return ql.simulate(
        engine(token_budget),
        evenly(),
        policy=ql.policy_named(policy),
        horizon=horizon,
        samples=samples,
        log_batches=12_000 if samples > 1 else 0,
    )


def _reading(policy: str, token_budget: int) -> dict[str, Any]:
    """Return what is left at the end, and the verdict with its evidence."""
    run = _run(policy, token_budget)
    row = {
        "policy": policy,
        "token_budget": token_budget,
        "arrived_requests": run.arrived,
        "left_requests": int(run.requests_in_system[0, -1]),
        "left_tokens": int(run.backlog_tokens[0, -1]),
        "verdict": "",
        "evidence": "",
        "growth_tokens_per_s": "",
    }
    if (policy, token_budget) == UNDECIDED_HERE:
        return row
    verdict = ql.check_stability(engine(token_budget), evenly(), policy=ql.policy_named(policy))
    return row | {
        "verdict": verdict.status.value,
        "evidence": verdict.evidence.value,
        "growth_tokens_per_s": float(verdict.growth) if verdict.growth is not None else "",
    }


def _by_reading(readings: list[dict[str, Any]]) -> dict[str, Value]:
    """Return the requests and tokens left by each reading, by its name and budget."""
    return {
        f"left {row['policy']} {row['token_budget']}": (
            row["left_requests"],
            row["left_tokens"],
        )
        for row in readings
    }


def _verdicts(readings: list[dict[str, Any]]) -> dict[str, Value]:
    """Return the verdict on each curve, and whether all readings of a rule share it."""
    found = {(row["policy"], row["token_budget"]): row["verdict"] for row in readings}
    per_rule: dict[tuple[str, int], set[str]] = {}
    for (policy, token_budget), verdict in found.items():
        if verdict:
            per_rule.setdefault((policy.partition(":")[0], token_budget), set()).add(verdict)
    drawn = {f"verdict {p} {b}": found[p, b] for p, b, _ in DRAWN.values()}
    return {
        **drawn,
        "verdict sarathi 256": found["sarathi", 256],
        "arrived": readings[0]["arrived_requests"],
        "verdicts_depend_on_reading": any(len(verdicts) > 1 for verdicts in per_rule.values()),
    }


def _cycles() -> dict[str, Value]:
    """Return the cycles of Sarathi from empty, and what simulation says of the second."""
    held = ql.limit_cycle(engine(128), evenly(), policy=ql.SARATHI, start="empty")
    lost = ql.limit_cycle(engine(1024), evenly(), policy=ql.SARATHI, start="empty")
    assert held is not None
    assert lost is not None
    assert held.growth is not None
    assert lost.growth is not None
    begin = lost.since + lost.seconds
    ends = (begin, begin + CYCLES * lost.seconds)
    before, after = (
        _run("sarathi", 1024, horizon=float(end), samples=1).requests_in_system[0, -1]
        for end in ends
    )
    return {
        "locked_batches": tuple(shape[:2] for shape in held.shapes),
        "locked_seconds": held.seconds,
        "growth_128": held.growth,
        "growth_1024": lost.growth,
        "decode_only_batches": (lost.shapes[0].batches, lost.batches),
        "decode_only_batch": lost.shapes[0][:2],
        "grown_by_cycles": lost.growth * CYCLES * lost.seconds,
        "grown_by_simulation": int(after - before),
        "gaps": CYCLES * lost.seconds / GAP,
    }


def _averages() -> dict[str, Value]:
    """Return time averages of the population and mean decodes of batches that decode."""
    population, decodes = [], []
    for policy in AVERAGED:
        run = _run(ql.policy_named(policy).variant(limit_counts="residents").name, 128)
        members = run.batches()["decode_tokens"]
        population.append(run.mean_requests.value)
        decodes.append(float(members[members > 0].mean()))
    return {"mean_population": tuple(population), "mean_decode_batch": tuple(decodes)}


def plot(computed: Computed) -> "Figure":
    """Draw the requests in the engine over time."""
    title = (
        "Vertex C: Sarathi keeps up with 128 tokens a batch and falls behind with 1024; "
        "the others fall behind"
    )
    figure, axes = framed(title, height=4.6)
    table = computed.tables["population"]
    for name, (_, _, colour) in DRAWN.items():
        axes.plot(table["time_s"], table[f"{name} [requests]"], color=colour, label=name)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("requests in the engine")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.set_xlim(0, HORIZON)
    axes.set_ylim(0)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return figure
