"""One symbol per word of the interface, with the assumptions that formulas rely on."""

import functools
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest

COUNT = {"integer": True, "positive": True}
POSITIVE = {"positive": True}
NONNEGATIVE = {"nonnegative": True}

SYMBOLS: dict[str, tuple[str, dict[str, bool], str]] = {
    "arrival_rate": ("lambda", POSITIVE, "requests/s"),
    "token_budget": ("b", COUNT, "tokens"),
    "max_batch_size": ("k", COUNT, "requests"),
    "kv_capacity": ("M", COUNT, "tokens"),
    "servers": ("K", COUNT, "engines"),
    "overhead": ("c", NONNEGATIVE, "s"),
    "per_block": ("a", POSITIVE, "s"),
    "block": ("b_0", COUNT, "tokens"),
    "floor": ("c", POSITIVE, "s"),
    "knee": ("b_0", NONNEGATIVE, "tokens"),
    "base": ("c", NONNEGATIVE, "s"),
    "per_token": ("beta", POSITIVE, "s/token"),
    "per_kv_token": ("gamma", NONNEGATIVE, "s/token"),
    "batch_seconds": (r"\bar{b}", POSITIVE, "s"),
    "mean_prompt": ("m_p", POSITIVE, "tokens"),
    "mean_output": ("m_d", POSITIVE, "tokens"),
    "mean_prompt_squared": ("m_pp", POSITIVE, "tokens^2"),
    "mean_output_squared": ("m_dd", POSITIVE, "tokens^2"),
    "mean_product": ("m_pd", POSITIVE, "tokens^2"),
    "longest_request": ("w", COUNT, "tokens"),
    "chunk": (r"\hat{s}", COUNT, "tokens"),
}
"""Word: letter in formulas, assumptions, unit."""


@functools.cache
def symbol(word: str) -> Any:
    """Return the SymPy symbol of a word of the interface."""
    import sympy

    letter, assumptions, _ = SYMBOLS[word]
    return sympy.Symbol(letter, **assumptions)


def occurring(words: tuple[str, ...], *expressions: Any) -> dict[str, Any]:
    """Return the symbols that occur in expressions, under those words that name them."""
    free = set().union(*(expression.free_symbols for expression in expressions))
    return {word: symbol(word) for word in words if symbol(word) in free}


def check_words(numbers: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise :class:`InvalidArgument` unless a number is given for exactly the words."""
    for word in numbers:
        if word not in expected:
            hint = nearest(word, expected)
            msg = f"{word} does not occur in this formula: {hint}."
            raise InvalidArgument(msg)
    missing = [word for word in expected if word not in numbers]
    if missing:
        msg = f"the formula needs a number for {', '.join(missing)}."
        raise InvalidArgument(msg)
