"""The worked example of Fig. 8, batch by batch.

A, B and C decode with 2, 4 and 3 tokens left; D and E arrive during the first batch with one
decode token each. Not known from the paper: the token budget and the prompts of D and E. One
prompt token each is the choice of a reproduction, and so is a budget of 5 for Orca and of 4 for
the others. Whether one budget could give all four printed rows is tried here, for prompts of D
and E of up to four tokens.
"""

from itertools import product
from typing import TYPE_CHECKING

import queueing_llm as ql
from paper_repro.dai2025._published import POLICIES
from queueing_llm.plots import COLOURS, figure_class
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRINTED = {
    "FasterTransformer": ("AdBdCd", "AdBdCd", "BdCd", "Bd", "DpEp", "DdEd"),
    "vanilla vLLM": ("AdBdCd", "DpEp", "AdBdCdDd", "BdCdEd", "Bd"),
    "Orca": ("AdBdCd", "AdBdCdDpEp", "BdCdDdEd", "Bd"),
    "Sarathi-Serve": ("AdBdCd", "AdBdCdDp", "BdCdDdEp", "BdEd"),
}
"""The rows of the figure; a member of a batch is its request and p(refill) or d(ecode)."""
BUDGETS = {"FasterTransformer": 4, "vanilla vLLM": 4, "Orca": 5, "Sarathi-Serve": 4}
TRIED_BUDGETS = range(3, 13)
"""From the three decodes of the first batch, which every row shows, to all that there is."""
LONGEST_PROMPT = 4
NAMES = "ABCDE"
TWO_SECONDS = ql.StaircaseStepTime(overhead=1, per_block=1, block=1024)


def compute(*, quick: bool = False) -> Computed:
    """Return the rows, and the budgets that give the printed ones; ``quick`` does no less."""
    del quick
    drawn = {name: batches(policy, BUDGETS[name]) for name, policy in POLICIES.items()}
    giving = {
        name: tuple(b for b in TRIED_BUDGETS if batches(policy, b) == PRINTED[name])
        for name, policy in POLICIES.items()
    }
    members = [
        (name, number, member[0], member[1])
        for name, row in drawn.items()
        for number, batch in enumerate(row, start=1)
        for member in _members(batch)
    ]
    columns = ("policy", "batch", "request", "phase")
    return Computed(
        values={
            **{f"batches_{POLICIES[name].name}": row for name, row in drawn.items()},
            **{f"budgets_{POLICIES[name].name}": found for name, found in giving.items()},
            "no_budget_gives_all": not _is_any_in_common(LONGEST_PROMPT),
            "batches_vllm_v1": batches(ql.VLLM_V1, 4),
            "batches_orca_at_4": batches(ql.ORCA, 4),
        },
        tables={
            "batches": dict(zip(columns, map(list, zip(*members, strict=True)), strict=True))
        },
    )


def _is_any_in_common(longest: int) -> bool:
    """Whether some budget gives all printed rows, with prompts up to so many tokens."""
    prompts = range(1, longest + 1)
    return any(
        all(
            batches(rule, b, prompts=(d, e)) == PRINTED[name] for name, rule in POLICIES.items()
        )
        for b, d, e in product(TRIED_BUDGETS, prompts, prompts)
    )


def batches(
    policy: ql.Policy, budget: int, *, prompts: tuple[int, int] = (1, 1)
) -> tuple[str, ...]:
    """Return the batches of the example as words, without the prefill of A, B and C."""
    engine = ql.Engine(step_time=TWO_SECONDS, token_budget=budget)
    workload = ql.Workload.of_requests(
        [0, 0, 0, 3, 3], prompt_tokens=[1, 1, 1, *prompts], output_tokens=[2, 4, 3, 1, 1]
    )
    steps = ql.watch(engine, workload, policy=policy, horizon=100)
    return tuple(_word(step.batch, step.state) for step in steps)[1:]


def plot(computed: Computed) -> "Figure":
    """Draw one row of columns for each policy: a column is a batch, a cell one token."""
    figure = figure_class()(figsize=(7.2, 6.6), layout="constrained")
    figure.suptitle(
        "Mixed batches finish the five requests of Fig. 8 in four steps;\n"
        "exclusive ones take five or six",
        x=0.02,
        ha="left",
        fontsize=11,
    )
    for axes, name in zip(
        figure.subplots(4, 1, sharex=True, sharey=True), POLICIES, strict=True
    ):
        _draw_row(axes, computed, name)
    axes.set_xlabel("number of the batch (d: decode token, p: prefill token, dashed: budget)")
    figure.supylabel("tokens in the batch", fontsize=10)
    return figure


def _draw_row(axes: "Axes", computed: Computed, name: str) -> None:
    """Draw the batches of one policy, first tokens at the bottom."""
    colours = dict(zip(NAMES, COLOURS[:5], strict=True))
    table = computed.tables["batches"]
    rows = zip(table["policy"], table["batch"], table["request"], table["phase"], strict=True)
    heights: dict[int, int] = {}
    for policy, number, request, phase in rows:
        if policy != name:
            continue
        below = heights.get(number, 0)
        heights[number] = below + 1
        axes.bar(
            number,
            1,
            0.86,
            bottom=below,
            color=colours[request],
            alpha=0.9 if phase == "d" else 0.45,
            hatch="" if phase == "d" else "///",
            edgecolor="white",
        )
        axes.text(
            number, below + 0.5, f"{request} {phase}", ha="center", va="center", fontsize=8
        )
    budget = BUDGETS[name]
    axes.axhline(budget, color="0.4", linestyle="--", linewidth=1)
    axes.set_title(f"{name}, budget of {budget} tokens", loc="left", fontsize=9)
    axes.set_xlim(0.4, 6.6)
    axes.set_ylim(0, 5.4)
    axes.set_yticks(range(0, 6, 1))
    axes.spines[["top", "right"]].set_visible(False)


def _word(batch: ql.Batch, state: ql.EngineState) -> str:
    """Return a batch as a word: its requests in order of arrival, each with its phase."""
    return "".join(
        NAMES[state.request[i]] + ("p" if state.prompt_left[i] > 0 else "d")
        for i in batch.tokens.nonzero()[0]
    )


def _members(batch: str) -> list[str]:
    return [batch[i : i + 2] for i in range(0, len(batch), 2)]
