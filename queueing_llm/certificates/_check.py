"""The trusted checker: exact arithmetic, the standard library, and nothing else.

A certificate is a JSON document of integers; a rational number is a pair
``[numerator, denominator]``. The checker computes every step time itself from the
parameters in the document and never sees how the certificate was found.

Kind ``overload``: *no policy whatsoever keeps up*. Let every prompt token be worth
``prices.prefill`` seconds and every decode token ``prices.decode`` seconds. If no allowed
batch is worth more than it takes,

    prefill * x + decode * y <= t(x + y)    for all allowed (x, y),

then work worth at most one second is served per second. Work worth ``arrival_rate *
(prefill * prompt_tokens + decode * decode_steps)`` arrives per second. If that exceeds 1 by
``excess``, the worth of the backlog grows by at least ``excess`` per second in the long run,
under every policy, for every stationary ergodic stream of requests with those means.

For a fixed number of tokens the worth of a batch is linear in its split, so the two extreme
splits of every size are compared: finitely many comparisons of integers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn, final

FORMAT = "queueing_llm certificate"
VERSION = 1
MOST_DIGITS = 2_000
LARGEST_BUDGET = 65_536


class Rejected(Exception):
    """The document does not prove its claim; the message says why."""


@final
@dataclass(frozen=True, slots=True)
class Checked:
    """What a certificate proves.

    Parameters
    ----------
    kind : str
        The kind of claim.
    statement : str
        The claim in a sentence.
    comparisons : int
        How many comparisons of integers established it.
    """

    kind: str
    statement: str
    comparisons: int


def check(document: object) -> Checked:
    """Verify a certificate.

    Parameters
    ----------
    document : object
        The parsed JSON.

    Returns
    -------
    Checked
        What it proves.

    Raises
    ------
    Rejected
        If it proves nothing, with the reason.
    """
    fields = _fields(
        document,
        "certificate",
        ("format", "version", "kind", "engine", "request", "arrival_rate", "prices", "excess"),
    )
    if fields["format"] != FORMAT or fields["version"] != VERSION:
        _reject(f"format must be {FORMAT!r}, version {VERSION}")
    if fields["kind"] != "overload":
        _reject(f"kind {fields['kind']!r} is not known")
    return _check_overload(fields)


def _check_overload(fields: Mapping[str, Any]) -> Checked:
    engine = _fields(
        fields["engine"],
        "engine",
        ("step_time", "token_budget", "max_batch_size", "kv_capacity"),
    )
    prices = _fields(fields["prices"], "prices", ("prefill", "decode"))
    request = _fields(fields["request"], "request", ("prompt_tokens", "decode_steps"))
    prefill = _rational(prices["prefill"], "prices.prefill", at_least=0)
    decode = _rational(prices["decode"], "prices.decode", at_least=0)
    prompt_tokens = _rational(request["prompt_tokens"], "request.prompt_tokens", at_least=0)
    decode_steps = _rational(request["decode_steps"], "request.decode_steps", at_least=0)
    rate = _rational(fields["arrival_rate"], "arrival_rate", at_least=0)
    excess = _rational(fields["excess"], "excess", at_least=0)
    comparisons = _check_prices(engine, prefill, decode)
    worth = prefill * prompt_tokens + decode * decode_steps
    if excess <= 0 or rate * worth - 1 < excess:
        _reject(
            f"work worth {float(rate * worth):.12g} s arrives per second, "
            f"which does not exceed 1 by the claimed {float(excess):.3g}"
        )
    statement = (
        f"at {float(rate):g} requests/s no policy keeps up: the backlog, weighted by the "
        f"prices, grows by at least {float(excess):.6g} seconds of work per second"
    )
    return Checked("overload", statement, comparisons + 1)


def _check_prices(engine: Mapping[str, Any], prefill: Fraction, decode: Fraction) -> int:
    """Compare the worth of the extreme batches of every size with the time they take."""
    budget = _integer(engine["token_budget"], "engine.token_budget")
    if budget > LARGEST_BUDGET:
        _reject(f"engine.token_budget must be at most {LARGEST_BUDGET}")
    members = _optional_integer(engine["max_batch_size"], "engine.max_batch_size")
    capacity = _optional_integer(engine["kv_capacity"], "engine.kv_capacity")
    limit = budget if capacity is None else min(budget, capacity)
    comparisons = 0
    for tokens in range(1, limit + 1):
        seconds = _step_seconds(engine["step_time"], tokens)
        for decodes in _extreme_splits(tokens, members):
            comparisons += 1
            if prefill * (tokens - decodes) + decode * decodes > seconds:
                batch = f"{tokens - decodes} prefill and {decodes} decode tokens"
                _reject(f"a batch of {batch} is worth more than it takes")
    return comparisons


def _extreme_splits(tokens: int, members: int | None) -> tuple[int, ...]:
    """Return the fewest and the most decodes among batches of that many tokens.

    A batch with prefill tokens has at least one member that prefills.
    """
    if members is None or tokens <= members:
        return (0, tokens)
    return (0, members - 1)


def _step_seconds(step_time: object, tokens: int) -> Fraction:
    """Return the time of a batch, in the way of the law that the certificate names."""
    law = step_time.get("law") if isinstance(step_time, Mapping) else None
    if law == "staircase":
        overhead, per_block, block = _parameters(step_time, "overhead", "per_block", "block")
        return overhead + per_block * -(-tokens // block)
    if law == "hinge":
        floor, per_token, knee = _parameters(step_time, "floor", "per_token", "knee")
        return floor + per_token * max(Fraction(0), tokens - knee)
    if law == "affine":
        base, per_token = _parameters(step_time, "base", "per_token")
        return base + per_token * tokens
    if law != "table":
        _reject(f"step_time.law {law!r} is not known")
    entries = _fields(step_time, "step_time", ("law", "seconds"))["seconds"]
    if not isinstance(entries, list) or len(entries) < tokens:
        _reject("step_time.seconds must list the time of every batch size")
    return _rational(entries[tokens - 1], "step_time.seconds", at_least=0)


def _parameters(step_time: object, *names: str) -> list[Fraction]:
    fields = _fields(step_time, "step_time", ("law", *names))
    values = [_rational(fields[name], f"step_time.{name}", at_least=0) for name in names]
    if "block" in names and values[-1] <= 0:
        _reject("step_time.block must be positive")
    return values


def _reject(reason: str) -> NoReturn:
    raise Rejected(reason)


def _fields(document: object, where: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        _reject(f"{where} must be an object")
    for name in names:
        if name not in document:
            _reject(f"{where} lacks {name!r}")
    for name in document:
        if name not in names:
            _reject(f"{where} has an unknown field {name!r}")
    return document


def _rational(value: object, where: str, *, at_least: int) -> Fraction:
    pair = value if isinstance(value, list) else None
    if pair is None or len(pair) != 2 or not all(_is_integer(part) for part in pair):
        _reject(f"{where} must be a pair of integers")
    numerator, denominator = pair
    if denominator <= 0:
        _reject(f"{where} must have a positive denominator")
    if max(abs(numerator), denominator).bit_length() > 4 * MOST_DIGITS:
        _reject(f"{where} has more than {MOST_DIGITS} digits")
    if numerator < at_least * denominator:
        _reject(f"{where} must be at least {at_least}")
    return Fraction(numerator, denominator)


def _integer(value: object, where: str) -> int:
    if not _is_integer(value) or not isinstance(value, int) or value < 1:
        _reject(f"{where} must be a positive integer")
    return value


def _optional_integer(value: object, where: str) -> int | None:
    return None if value is None else _integer(value, where)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
