"""Claims about one engine: no policy keeps up, or a rule is stable.

Kind ``overload``: *no policy whatsoever keeps up*. Prices in seconds are put on a prompt token,
a decode token, a KV slot that a batch occupies, and a KV token that a decode reads. If no
allowed batch of x prompt and y decode tokens is worth more than it takes,

    prefill * x + decode * y + memory * kv_capacity <= t(x + y),    kv_read <= slope of t in K,

then work worth at most one second is served per second. A request of p prompt tokens, D decode
steps and G KV tokens read brings at least

    prefill * p + decode * D + memory * (p + D + G) + kv_read * G,

since the batch that completes the prompt occupies p slots, and a decode step one more than it
reads. If ``arrival_rate`` times the mean is at least 1 + ``excess``, the worth of the backlog
grows by ``excess`` in the long run. The worth is linear in the split of a batch, so the two
extreme splits of every size decide.

Where a prefill yields a token, a preempted request can replace a decode step by computing all
its tokens again. That counts as one decode token, so decodes may fill every place of a batch
that prefills; and as computing what it would have read, so ``kv_read <= prefill``.

Kind ``drift``: *this rule is stable*. Requests of at most ``longest`` tokens arrive in a
Poisson process. A rule that mixes phases and splits prompts, with no limit but the budget b,
gives every batch min(b, demand) tokens. Above (b - 1) * longest tokens of backlog at least b
requests are present, so every batch is full and changes the backlog by arrival_rate * work *
t(b) - b tokens on average. If that is at most ``-decrease`` < 0, Foster's criterion applies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR
from fractions import Fraction
from typing import Any, final

from queueing_llm.certificates._checker._document import (
    Checked,
    brief,
    fields_of,
    integer,
    rational,
    reject,
)

LARGEST_BUDGET = 65_536
SYSTEM = ("engine", "request", "arrival_rate")
OVERLOAD = (*SYSTEM, "prices", "excess")
DRIFT = (*SYSTEM, "rule", "arrivals", "decrease")


@final
@dataclass(frozen=True, slots=True)
class _Engine:
    seconds: Callable[[int], Fraction]
    per_kv_token: Fraction
    budget: int
    members: int | None
    slots: int | None
    prefill_yields: bool

    def most_decodes(self, tokens: int) -> int:
        """Return the most decodes in a batch of so many tokens."""
        if self.members is None or tokens <= self.members:
            return tokens
        return self.members if self.prefill_yields else self.members - 1


def check_overload(fields: Mapping[str, Any]) -> Checked:
    """Compare the worth of what arrives with that of what batches serve."""
    engine = _engine(fields["engine"])
    request = fields_of(
        fields["request"], "request", ("prompt_tokens", "output_tokens", "kv_reads")
    )
    prompt, steps = _lengths(request, engine)
    reads = rational(request["kv_reads"], "request.kv_reads")
    if reads > 0 and steps == 0:
        reject("request.kv_reads must be 0 without decode steps")
    rate = rational(fields["arrival_rate"], "arrival_rate")
    excess = rational(fields["excess"], "excess")
    names = ("prefill", "decode", "memory", "kv_read")
    listed = fields_of(fields["prices"], "prices", names)
    prices = [rational(listed[name], f"prices.{name}") for name in names]
    comparisons = _check_prices(engine, *prices)
    prefill, decode, memory, kv_read = prices
    worth = prefill * prompt + decode * steps + memory * (prompt + steps + reads)
    worth += kv_read * reads
    if excess <= 0 or rate * worth - 1 < excess:
        reject(
            f"work worth {brief(rate * worth)} s arrives per second, "
            f"which does not exceed 1 by the claimed {brief(excess)}"
        )
    statement = (
        f"at {brief(rate)} requests/s no policy keeps up: the backlog, weighted by the "
        f"prices, grows by at least {brief(excess, ROUND_FLOOR)} seconds of work per second"
    )
    return Checked("overload", statement, comparisons + 1)


def _check_prices(
    engine: _Engine, prefill: Fraction, decode: Fraction, memory: Fraction, kv_read: Fraction
) -> int:
    """Compare the worth of the extreme batches of every size with the time they take."""
    if memory > 0 and engine.slots is None:
        reject("prices.memory must be 0 without a kv_capacity")
    if kv_read > engine.per_kv_token:
        reject("a KV token read is worth more than the time it takes")
    if engine.prefill_yields and kv_read > prefill:
        reject("a KV token read is worth more than computing it again")
    held = 0 if engine.slots is None else memory * engine.slots
    limit = engine.budget if engine.slots is None else min(engine.budget, engine.slots)
    for tokens in range(1, limit + 1):
        seconds = engine.seconds(tokens)
        for decodes in (0, engine.most_decodes(tokens)):
            if prefill * (tokens - decodes) + decode * decodes + held > seconds:
                batch = f"{tokens - decodes} prefill and {decodes} decode tokens"
                reject(f"a batch of {batch} is worth more than it takes")
    return 2 * limit + 2


def check_drift(fields: Mapping[str, Any]) -> Checked:
    """Compare what arrives during a full batch with what it serves."""
    engine = _engine(fields["engine"])
    request = fields_of(
        fields["request"], "request", ("prompt_tokens", "output_tokens", "longest")
    )
    work = sum(_lengths(request, engine))
    longest = integer(request["longest"], "request.longest") - engine.prefill_yields
    rate = rational(fields["arrival_rate"], "arrival_rate")
    decrease = rational(fields["decrease"], "decrease")
    rule = fields_of(fields["rule"], "rule", ("mixed", "chunked"))
    if rule["mixed"] is not True or rule["chunked"] is not True:
        reject("only a mixed and chunked rule fills every batch")
    if fields["arrivals"] != "poisson":
        reject("arrivals must be 'poisson'")
    if engine.members is not None or engine.slots is not None:
        reject("max_batch_size and kv_capacity must be null")
    if engine.per_kv_token > 0:
        reject("reading the KV cache must take no time")
    if work > longest:
        reject("the mean work of a request exceeds that of the longest")
    for tokens in range(1, engine.budget + 1):
        if engine.seconds(tokens) <= 0:
            reject(f"a batch of {tokens} tokens takes no time")
    arriving = rate * work * engine.seconds(engine.budget)
    if decrease <= 0 or engine.budget - arriving < decrease:
        reject(
            f"{brief(arriving)} tokens arrive while a full batch serves {engine.budget}, "
            f"which is not {brief(decrease)} fewer"
        )
    statement = (
        f"at {brief(rate)} requests/s the rule is stable by Foster's criterion: above "
        f"{(engine.budget - 1) * longest} tokens the backlog falls by at least "
        f"{brief(decrease, ROUND_FLOOR)} tokens per batch on average"
    )
    return Checked("drift", statement, engine.budget + 2)


def _lengths(request: Mapping[str, Any], engine: _Engine) -> tuple[Fraction, Fraction]:
    """Return the mean prompt tokens and decode steps of a request."""
    prompt = rational(request["prompt_tokens"], "request.prompt_tokens")
    output = rational(request["output_tokens"], "request.output_tokens")
    if output < engine.prefill_yields:
        reject("request.output_tokens must be at least 1 where the prefill yields a token")
    return prompt, output - engine.prefill_yields


def _engine(document: object) -> _Engine:
    limits = ("max_batch_size", "kv_capacity")
    names = ("step_time", "token_budget", *limits, "first_token_from_prefill")
    fields = fields_of(document, "engine", names)
    budget = integer(fields["token_budget"], "token_budget")
    if budget > LARGEST_BUDGET:
        reject(f"token_budget must be at most {LARGEST_BUDGET}")
    members, slots = (
        None if fields[name] is None else integer(fields[name], name) for name in limits
    )
    prefill_yields = fields["first_token_from_prefill"]
    if not isinstance(prefill_yields, bool):
        reject("first_token_from_prefill must be true or false")
    limit = budget if slots is None else min(budget, slots)
    seconds, per_kv_token = _law(fields["step_time"], limit)
    return _Engine(seconds, per_kv_token, budget, members, slots, prefill_yields)


def _law(step_time: object, limit: int) -> tuple[Callable[[int], Fraction], Fraction]:
    """Return the seconds of a batch by its tokens, and those of a KV token read."""
    law = step_time.get("law") if isinstance(step_time, Mapping) else None
    if law == "staircase":
        names = ("overhead", "per_block", "block")
        (overhead, per_block, block), reads = _reading(step_time, *names)
        if block <= 0:
            reject("step_time.block must be positive")
        return lambda n: overhead + per_block * -(-n // block), reads
    if law == "hinge":
        (floor, per_token, knee), reads = _reading(step_time, "floor", "per_token", "knee")
        return lambda n: floor + per_token * max(Fraction(0), n - knee), reads
    if law == "affine":
        base, per_token, reads = _parameters(step_time, "base", "per_token", "per_kv_token")
        return lambda n: base + per_token * n, reads
    if law != "table":
        reject("step_time.law is not known")
    entries = fields_of(step_time, "step_time", ("law", "seconds"))["seconds"]
    if not isinstance(entries, list) or len(entries) != limit:
        reject("step_time.seconds must list the time of every batch size")
    times = [rational(entry, "step_time.seconds") for entry in entries]
    return lambda n: times[n - 1], Fraction(0)


def _parameters(step_time: object, *names: str) -> list[Fraction]:
    fields = fields_of(step_time, "step_time", ("law", *names))
    return [rational(fields[name], f"step_time.{name}") for name in names]


def _reading(step_time: object, *names: str) -> tuple[list[Fraction], Fraction]:
    """Return the parameters, and the seconds of a KV token read: 0 where they are left out."""
    if not isinstance(step_time, Mapping) or "per_kv_token" not in step_time:
        return _parameters(step_time, *names), Fraction(0)
    *values, reads = _parameters(step_time, *names, "per_kv_token")
    return values, reads
