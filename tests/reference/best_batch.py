"""Slow twin of ``best_rate``: try every batch."""

from fractions import Fraction


def every_batch(budget, *, most_decodes=None, kv_tokens=(0,)):
    """Yield every (prefill, decode, kv) in a budget; without decodes no KV cache is read."""
    for total in range(1, budget + 1):
        for decode in range(min(total, most_decodes or total) + 1):
            for kv in kv_tokens if decode else (0,):
                yield total - decode, decode, kv


def best_token_rate(step_time, budget, **limits):
    """Return the largest tokens per second of any batch, exactly."""
    return max(
        Fraction(x + y) / Fraction(step_time(x, y, kv))
        for x, y, kv in every_batch(budget, **limits)
    )
