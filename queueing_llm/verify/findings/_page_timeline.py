"""A picture of a play: one row per request, a box per step, and how full the batches are.

Drawn as SVG that takes its colours from the page around it. What the colours say is also
written in the boxes, and each has a title that tells its story in words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, final

import numpy as np

from queueing_llm.policies import Batch, EngineState
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.plays._books import victims
from queueing_llm.verify.plays._decision import Decision

LABELS, CELL, ROW, HEAD, CHART, GAP = 132, 44, 30, 44, 56, 12
"""Widths and heights [px]: row labels, a step, a request, step numbers, bars, between parts."""
SHOWN = 60
"""Most steps in a picture; what came before the last of them is left out and said so."""


@final
@dataclass(frozen=True, slots=True)
class Box:
    """What one request gets in one step.

    Parameters
    ----------
    kind : str
        ``prefill``, ``decode``, ``preempted``, ``waits`` or ``unread``, for the colour.
    mark : str
        What is written in it.
    story : str
        The same in words.
    """

    kind: str
    mark: str
    story: str


def shown(words: object) -> str:
    """Return words as text of a page: whatever they hold, it is shown and does nothing."""
    return escape(str(words).encode("utf-8", "replace").decode("utf-8"))


def timeline(found: Counterexample) -> str:
    """Return the batches of a counterexample as SVG, the step that breaks the contract marked.

    Parameters
    ----------
    found : Counterexample
        What breaks a contract.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> report = check_policy(ql.VANILLA_VLLM, contracts=["oldest_first"])
    >>> picture = timeline(report.findings[0].counterexample)
    >>> picture.count('class="box prefill"'), picture.count('class="breach"')
    (2, 1)
    """
    decisions = found.played.decisions[-SHOWN:]
    requests = sorted({int(n) for d in decisions for n in d.state.request})
    rows = [_row(decisions, number, place) for place, number in enumerate(requests)]
    below = HEAD + ROW * len(requests) + GAP
    counts = _counts(decisions)
    height = below + CHART + 18 * len(counts) + GAP
    width = LABELS + CELL * len(decisions) + GAP
    texts = "".join(
        _line(name, row, below + CHART + 18 * place)
        for place, (name, row) in enumerate(counts, start=1)
    )
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    words = shown(f"{len(requests)} requests over {len(decisions)} steps: {found.sentence}")
    return (
        f'<svg {size} role="img" aria-label="{words}">'
        f"{_head(decisions, height)}{''.join(rows)}{_bars(decisions, below)}{texts}</svg>"
    )


def omitted_steps(found: Counterexample) -> int:
    """Return how many steps a picture leaves out."""
    return max(0, len(found.played.decisions) - SHOWN)


def _head(decisions: Sequence[Decision], height: int) -> str:
    """Return the step numbers, and the band of the step that breaks the contract."""
    last = LABELS + CELL * (len(decisions) - 1)
    band = (
        f'<rect class="breach" x="{last}" y="2" width="{CELL}" height="{height - 4}" rx="6"/>'
    )
    flag = _text("flag", last + CELL // 2, 17, "breaks")
    numbers = (
        _text("step", LABELS + CELL * i + CELL // 2, 35, str(d.step))
        for i, d in enumerate(decisions)
    )
    return band + flag + _text("label", 0, 35, "step") + "".join(numbers)


def _row(decisions: Sequence[Decision], number: int, place: int) -> str:
    top = HEAD + ROW * place
    drawn = [_text("label", 0, top + 20, f"request {number}")]
    for i, decision in enumerate(decisions):
        box = _box(decision, number)
        if box is None:
            continue
        x = LABELS + CELL * i
        title = (
            f"<title>{shown(f'step {decision.step}, request {number}: {box.story}')}</title>"
        )
        shape = (
            f'<rect x="{x + 3}" y="{top + 3}" width="{CELL - 6}" height="{ROW - 6}" rx="4"/>'
        )
        size = "long" if len(box.mark) > 5 else ""
        mark = _text(size, x + CELL // 2, top + 20, box.mark)
        drawn.append(f'<g class="box {box.kind}">{title}{shape}{mark}</g>')
    return "".join(drawn)


def _box(decision: Decision, number: int) -> Box | None:
    """Return what a request gets; None where it is not there."""
    numbers = decision.state.request.tolist()
    if number not in numbers:
        return None
    i = numbers.index(number)
    if decision.batch is None:
        return Box("unread", "?", decision.failure)
    tokens, left = int(decision.batch.tokens[i]), int(decision.state.prompt_left[i])
    if victims(decision.state, decision.batch)[i]:
        lost = f"preempted, {decision.state.stored[i]} tokens lost"
        return Box("preempted", f"×{tokens or ''}", f"{lost}, and gets {tokens}")
    if tokens == 0:
        return Box("waits", "·", "gets nothing")
    if left > 0:
        return Box("prefill", f"p{tokens}", f"{tokens} of {left} prompt tokens that are left")
    return Box("decode", "d" if tokens == 1 else f"d{tokens}", f"decode tokens: {tokens}")


def _bars(decisions: Sequence[Decision], top: int) -> str:
    """Return a stacked bar per batch, and the line of the token budget above them."""
    budget = decisions[-1].state.token_budget
    parts = [_parts(decision) for decision in decisions]
    most = max([budget, *(sum(part) for part in parts)])
    floor = top + CHART
    drawn = [_text("label", 0, floor - CHART * budget / most + 14, f"budget {budget:,}")]
    for i, (prefill, decode) in enumerate(parts):
        x, bottom = LABELS + CELL * i + 8, float(floor)
        for kind, tokens in (("prefill", prefill), ("decode", decode)):
            high = CHART * tokens / most
            bottom -= high
            shape = f'x="{x}" y="{bottom:.1f}" width="{CELL - 16}" height="{high:.1f}"'
            drawn.append(f'<rect class="bar {kind}" {shape}/>' if tokens else "")
    right, line = LABELS + CELL * len(decisions), floor - CHART * budget / most
    drawn.append(f'<line class="floor" x1="{LABELS}" x2="{right}" y1="{floor}" y2="{floor}"/>')
    at = f'y1="{line:.1f}" y2="{line:.1f}"'
    drawn.append(f'<line class="budget" x1="{LABELS}" x2="{right}" {at}/>')
    return "".join(drawn)


def _parts(decision: Decision) -> tuple[int, int]:
    """Return the prefill and the decode tokens of a batch."""
    if decision.batch is None:
        return 0, 0
    batch, state = decision.batch, decision.state
    return batch.prefill_tokens(state), batch.decode_tokens(state)


def _counts(decisions: Sequence[Decision]) -> list[tuple[str, list[str]]]:
    """Return what the batches take of every limit that there is, by the name of what counts."""
    state = decisions[-1].state
    cache = "KV tokens" if state.kv_block_size == 1 else "KV blocks"
    limits: tuple[tuple[str, int | None, Callable[[EngineState, Batch], Any]], ...] = (
        ("tokens", state.token_budget, lambda _, batch: batch.tokens.sum()),
        ("requests", state.max_batch_size, lambda _, batch: (batch.tokens > 0).sum()),
        (cache, state.kv_blocks, _held),
    )
    return [
        (
            f"{name} of {limit:,}",
            ["?" if d.batch is None else str(taken(d.state, d.batch)) for d in decisions],
        )
        for name, limit, taken in limits
        if limit is not None
    ]


def _held(state: EngineState, batch: Batch) -> Any:
    """Return what the cache holds after the step."""
    kept = np.where(victims(state, batch), 0, state.stored)
    return state.blocks_of(kept + batch.tokens).sum()


def _line(name: str, row: Sequence[str], y: int) -> str:
    cells = (
        _text("count", LABELS + CELL * i + CELL // 2, y, cell) for i, cell in enumerate(row)
    )
    return _text("label", 0, y, name) + "".join(cells)


def _text(kind: str, x: float, y: float, words: str) -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:g}" y="{y:g}">{shown(words)}</text>'
