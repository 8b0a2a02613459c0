"""The fluid service of each batch rule, where it is known."""

from dataclasses import dataclass, replace
from numbers import Rational
from typing import final

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import CriticalRate
from queueing_llm.fluid._coverage import closed_critical_rate, covered_rule
from queueing_llm.fluid._service import (
    FluidService,
    exact_value,
    growing_pool_service,
    small_pool_service,
)
from queueing_llm.model import (
    DeterministicLength,
    Engine,
    IndependentLengths,
    RequestClass,
    Workload,
)
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability import best_rate, prefill_burst_growth


@final
@dataclass(frozen=True, slots=True)
class KnownService:
    """A fluid service and how it is known.

    Parameters
    ----------
    service : FluidService
        The rates in every mode; floating-point data are taken at their exact binary value,
        so that what balances does so exactly.
    critical : CriticalRate
        The critical rate that belongs to it.
    is_exact : bool
        Whether all data were integers or fractions.
    holds_decodes : bool
        Whether decodes can wait in bulk at all.
    """

    service: FluidService
    critical: CriticalRate
    is_exact: bool
    holds_decodes: bool


def known_service(engine: Engine, workload: Workload, policy: Policy) -> KnownService:
    """Return the fluid service of a rule.

    Raises
    ------
    InvalidArgument
        If the fluid limit of the combination is not known, with the reason.
    """
    rule = covered_rule(engine, workload, policy)
    critical = closed_critical_rate(engine, workload, rule)
    steps = engine.decode_steps(workload.mean_output_tokens)
    prompt, rate = workload.mean_prompt_tokens, workload.arrival_rate
    limits_residents = engine.max_batch_size is not None and rule.limit_counts == "residents"
    decode_price = _decode_seconds(engine, workload)
    grows = rule.first == "prefill" and critical.high > 0 and steps > 0 and not limits_residents
    if grows:
        known = _rates_with_growing_pool(engine, workload, rule, decode_price=decode_price)
    else:
        known = (prompt * critical.value, ratio(1, decode_price))
    data = (rate * prompt, ratio(steps, prompt), *known)
    arriving, steps_per_prompt_token, first, second = map(exact_value, data)
    service = (
        growing_pool_service(
            arriving, steps_per_prompt_token, prefill_alone=first, decode_beside=second
        )
        if grows
        else small_pool_service(
            arriving, steps_per_prompt_token, saturated_prefill=first, decode_alone=second
        )
    )
    return KnownService(
        service,
        critical,
        is_exact=all(isinstance(number, Rational) for number in data),
        holds_decodes=steps > 0 and not limits_residents,
    )


def _rates_with_growing_pool(
    engine: Engine, workload: Workload, rule: BatchRule, *, decode_price: Real
) -> tuple[Real, Real]:
    """Return what prefill serves alone, and what decode serves beside it [tokens/s]."""
    if not rule.mixed:
        return _rates_with_bursts(engine, workload, rule, decode_price=decode_price)
    prefill_price = ratio(engine.step_time(engine.token_budget), engine.token_budget)
    time_left = 1 - workload.arrival_rate * workload.mean_prompt_tokens * prefill_price
    return ratio(1, prefill_price), max(time_left, 0) / decode_price


def _rates_with_bursts(
    engine: Engine, workload: Workload, rule: BatchRule, *, decode_price: Real
) -> tuple[Real, Real]:
    """Return the same for a rule that prefills in bursts between steps of decodes.

    What decodes in bulk get does not depend on how long outputs are, nor what prompts in bulk
    get on the arrival rate, so both are read off overloads that leave either in bulk.
    """
    prompt, rate = workload.mean_prompt_tokens, workload.arrival_rate
    fastest = best_rate(engine).tokens_per_second
    flood = _with_outputs(workload, 1).scale_to(2 * fastest / prompt)
    prefill = _served_tokens(engine, flood, rule)
    if rate * prompt >= prefill:
        return prefill, 0
    long_outputs = _with_outputs(workload, int(1 / (rate * decode_price)) + 3)
    decode = _served_tokens(engine, long_outputs, rule) - float(rate * prompt)
    return prefill, max(0.0, decode)


def _served_tokens(engine: Engine, overload: Workload, rule: BatchRule) -> float:
    """Return what an overloaded engine serves: what arrives less the growth [tokens/s]."""
    growth = prefill_burst_growth(engine, overload, rule)
    if growth is None:
        msg = (
            "workload must have prefill bursts whose mean length can be computed, got "
            f"arrival_rate={float(overload.arrival_rate):g} requests/s: too near to the rate "
            "at which prefill never ends."
        )
        raise InvalidArgument(msg)
    work = engine.work_tokens(overload.mean_prompt_tokens, overload.mean_output_tokens)
    return float(overload.arrival_rate * work) - growth


def _with_outputs(workload: Workload, output_tokens: int) -> Workload:
    """Return the workload with other outputs; prompts vary only if they do so on their own."""
    output = DeterministicLength(output_tokens)

    def changed(requests: RequestClass) -> RequestClass:
        lengths, moments = requests.lengths, requests.lengths.moments
        if isinstance(lengths, IndependentLengths):
            return replace(requests, lengths=replace(lengths, output=output))
        prompt = int(moments.prompt)
        if (moments.prompt, moments.prompt_squared) != (prompt, prompt**2):
            msg = (
                f"class {requests.name!r} must have prompts of one length, or lengths that are "
                "independent, under a rule that prefills in bursts, got a mean prompt of "
                f"{float(moments.prompt):g} tokens and a mean square of "
                f"{float(moments.prompt_squared):g}."
            )
            raise InvalidArgument(msg)
        alike = IndependentLengths(DeterministicLength(prompt), output)
        return replace(requests, lengths=alike)

    return replace(workload, classes=tuple(map(changed, workload.classes)))


def _decode_seconds(engine: Engine, workload: Workload) -> Real:
    r"""Return the time that full batches of decodes take per token [s/token].

    :math:`t(\hat d) / \hat d + \gamma G / m_D`, of :math:`\hat d = \min(b, k_{max})` requests
    that read :math:`G` KV tokens each over all their steps.
    """
    together = min(engine.token_budget, engine.max_batch_size or engine.token_budget)
    seconds = ratio(engine.step_time(0, together), together)
    steps = engine.decode_steps(workload.mean_output_tokens)
    if engine.step_time.kv_slope == 0 or steps == 0:
        return seconds
    reads = workload.moments.kv_reads(engine.decode_steps(0))
    return seconds + engine.step_time.kv_slope * reads / steps
