"""Slow twin of ``BatchRule`` without a KV limit: the rules of Table 1, request by request.

Straight from section 2 and Table 1 of arXiv:2504.07347v3; "members" is the batch-size limit.
"""


def granted(
    prompt_left, *, budget, limit=None, first="decode", mixed=True, chunked=True
) -> list[int]:
    """Return the tokens that each request gets, in order of arrival."""
    tokens = [0] * len(prompt_left)
    limit = len(prompt_left) if limit is None else limit

    def room():
        return budget - sum(tokens)

    def full():
        return sum(t > 0 for t in tokens) >= limit

    def decodes():
        for i, left in enumerate(prompt_left):
            if left == 0 and room() > 0 and not full():
                tokens[i] = 1

    def prefills():
        for i, left in enumerate(prompt_left):
            if left > 0:
                take = min(left, room())
                if take == 0 or full() or (take < left and not chunked):
                    return
                tokens[i] = take

    order = (decodes, prefills) if first == "decode" else (prefills, decodes)
    order[0]()
    if mixed or sum(tokens) == 0:
        order[1]()
    return tokens
