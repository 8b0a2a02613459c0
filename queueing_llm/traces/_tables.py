"""Small tables that stand for a trace: joint lengths, gaps, batch sizes.

A table has one representative, the mean, per cell of sorted requests, and the number of
requests as its weight: means are kept, second moments lose what varies within a cell. Cells
hold equal counts, and ever fewer requests in the upper tail, where the second moment sits;
never fewer than two, so that no cell is a row of the trace.
"""

import numpy as np

LEAST_REQUESTS = 2
"""Fewest requests that a cell averages."""

PROMPT_BINS = 32
OUTPUT_BINS = 16

LEAST_PROMPT_BIN = 32
"""Fewest requests of a prompt bin: two for each of its output bins."""

LONGEST_SHARE = 100
"""One request in so many, those with the longest outputs, has output bins of its own."""

LONGEST_BINS = 64

GAP_BINS = 32


def cuts(count: int, bins: int, *, least: int = LEAST_REQUESTS) -> list[int]:
    """Return where to cut ``count`` sorted values: equal bins, finer and finer in the last.

    Examples
    --------
    >>> cuts(40, 4)
    [0, 10, 20, 30, 32, 34, 36, 38, 40]
    """
    bins = max(1, min(bins, count // least))
    edges = [round(count * i / bins) for i in range(bins)]
    while count - edges[-1] >= 2 * least:
        # A quarter of what is left each time: cells shrink geometrically.
        edges.append(edges[-1] + max(least, (count - edges[-1]) // 4))
    return [*edges, count]


def length_table(prompt: np.ndarray, output: np.ndarray) -> dict[str, list[int]]:
    """Return the joint table of N requests: cell means, rounded to tokens, and counts.

    Prompt bins are cut into output bins; the requests with the longest outputs of all are
    kept apart first, because they are few in each prompt bin and hold much of the second
    moment.
    """
    by_output = np.lexsort((prompt, output))
    kept_apart = len(prompt) // LONGEST_SHARE
    if kept_apart < LEAST_REQUESTS:
        kept_apart = 0
    body, longest = np.split(by_output, [len(prompt) - kept_apart])
    body = body[np.lexsort((output[body], prompt[body]))]
    groups = [(rows, OUTPUT_BINS) for rows in _parts(body, PROMPT_BINS, least=LEAST_PROMPT_BIN)]
    groups += [(longest, LONGEST_BINS)] if kept_apart else []
    cells = [
        cell
        for rows, bins in groups
        for cell in _parts(rows[np.argsort(output[rows], kind="stable")], bins)
    ]
    return {
        "weights": [len(cell) for cell in cells],
        "prompt_tokens": [round(float(prompt[cell].mean())) for cell in cells],
        "output_tokens": [round(float(output[cell].mean())) for cell in cells],
    }


def gap_table(arrival_times: np.ndarray) -> dict[str, list[float] | list[int]]:
    """Return the table of the N - 1 gaps: bin means [s] and counts."""
    bins = _parts(np.sort(np.diff(arrival_times)), GAP_BINS)
    return {"gaps": [float(b.mean()) for b in bins], "weights": [len(b) for b in bins]}


def batch_table(arrival_times: np.ndarray, *, interval: int) -> dict[str, list[int]]:
    """Return how often each number of requests arrives on the ticks of a time grid."""
    ticks = np.rint(arrival_times / interval).astype(np.int64)
    sizes, weights = np.unique(np.bincount(ticks), return_counts=True)
    return {"sizes": sizes.tolist(), "weights": weights.tolist()}


def _parts(values: np.ndarray, bins: int, *, least: int = LEAST_REQUESTS) -> list[np.ndarray]:
    return np.split(values, cuts(len(values), bins, least=least)[1:-1])
