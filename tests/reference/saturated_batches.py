"""FasterTransformer's saturated cycle, every batch of a few rows enumerated in fractions."""

from fractions import Fraction


def rate(step_time, *, budget, rows, chunked=False, places=None, saved=0):
    """Return requests per second of cycles that always find more prompts.

    ``rows`` are equally likely pairs (prompt, output); ``saved`` decode steps are saved by
    the prefill. The state is the request that heads the next batch, as tokens left and output,
    or None for a fresh one.
    """
    share = Fraction(1, len(rows))
    found, moves = [None], {}
    for state in found:
        moves[state] = {"seconds": Fraction(0), "requests": Fraction(0), "to": {}}
        to = moves[state]["to"]
        for chance, outputs, tokens, rest in batches(
            state, budget, rows, chunked, places, share
        ):
            moves[state]["seconds"] += chance * (
                step_time(tokens) + decode_seconds(step_time, outputs, saved)
            )
            moves[state]["requests"] += chance * len(outputs)
            to[rest] = to.get(rest, 0) + chance
            if rest not in found:
                found.append(rest)
    law = stationary(found, {state: moves[state]["to"] for state in found})
    requests = sum(law[s] * moves[s]["requests"] for s in found)
    return requests / sum(law[s] * moves[s]["seconds"] for s in found)


def batches(state, budget, rows, chunked, places, share):
    """Yield every batch from a state: chance, outputs completed, tokens, next state."""
    stack = [(Fraction(1), (), 0, state)]
    while stack:
        chance, outputs, tokens, head = stack.pop()
        if tokens == budget or len(outputs) == places:
            yield chance, outputs, tokens, None
        elif head is None:
            stack += [(chance * share, outputs, tokens, row) for row in rows]
        elif tokens + head[0] <= budget:
            stack.append((chance, (*outputs, head[1]), tokens + head[0], None))
        elif chunked:
            yield chance, outputs, budget, (head[0] - (budget - tokens), head[1])
        else:
            yield chance, outputs, tokens, head


def decode_seconds(step_time, outputs, saved):
    steps = range(1, max(outputs, default=0) - saved + 1)
    return sum((step_time(0, sum(d - saved >= s for d in outputs)) for s in steps), Fraction(0))


def stationary(states, moves):
    """Solve for the stationary law by Gaussian elimination in fractions."""
    at = {state: i for i, state in enumerate(states)}
    size = len(states)
    table = [[Fraction(0)] * (size + 1) for _ in range(size)]
    for state in states:
        table[at[state]][at[state]] -= 1
        for after, chance in moves[state].items():
            table[at[after]][at[state]] += chance
    table[-1] = [Fraction(1)] * (size + 1)
    for column in range(size):
        pivot = next(r for r in range(column, size) if table[r][column] != 0)
        table[column], table[pivot] = table[pivot], table[column]
        scale = table[column][column]
        table[column] = [value / scale for value in table[column]]
        for row in range(size):
            factor = table[row][column]
            if row != column and factor != 0:
                table[row] = [
                    x - factor * y for x, y in zip(table[row], table[column], strict=True)
                ]
    return {state: table[at[state]][size] for state in states}
