r"""Closed critical rates of rules that do not mix phases.

FasterTransformer in saturation runs in renewal cycles: prefill until at least one prompt is
done, then decode until all those requests finish. If a cycle completes :math:`J` requests
in time :math:`C`, the queue drifts by :math:`\lambda E[C] - E[J]` per cycle once it is longer
than one prefill batch, so it is stable iff :math:`\lambda < E[J] / E[C]`. This is a
derivation of this project, not a result of arXiv:2504.07347.
"""

import functools
import math
from collections.abc import Callable
from fractions import Fraction

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability.cycles._packed_cycle import packed_cycle_rate
from queueing_llm.stability.cycles._parting import parting_seconds

MOST_TERMS = 1_000_000


def frozen_rate(engine: Engine, workload: Workload, policy: Policy) -> CriticalRate | None:
    """Return 0 if a prompt that the rule can never serve arrives sooner or later.

    A rule that serves whole prompts, first come, first served, is blocked for ever by a
    prompt longer than the token budget.
    """
    if not isinstance(policy, BatchRule) or policy.chunked:
        return None
    longest = workload.longest_prompt
    if longest is not None and longest <= engine.token_budget:
        return None
    length = "of any length" if longest is None else f"of {longest} tokens"
    basis = (
        f"whole prompts only: a prompt {length} never fits the token budget "
        f"{engine.token_budget} and blocks all behind it"
    )
    return CriticalRate.exactly(Fraction(0), Evidence.NUMERICAL, basis=basis)


def restart_hazard(engine: Engine, workload: Workload, policy: Policy) -> str | None:
    """Return how preemption can block an engine for ever, if it can.

    A preempted request restarts as one prompt of all that it had, which a rule that serves
    whole prompts never takes if it exceeds the token budget.
    """
    if not isinstance(policy, BatchRule) or policy.chunked or engine.kv_capacity is None:
        return None
    longest = workload.longest_request
    if longest is not None and longest <= engine.token_budget:
        return None
    return (
        "a preempted request restarts as one prompt, and whole prompts above the token budget "
        f"of {engine.token_budget} tokens block all behind them: raise token_budget"
    )


def request_level_rate(
    engine: Engine, workload: Workload, policy: Policy
) -> CriticalRate | None:
    r"""Return FasterTransformer's critical rate.

    Constant whole prompts, :math:`J = \min(\lfloor b / p \rfloor, k_{max})`, of which
    :math:`N_s` take a decode step ``s``:

    .. math:: \lambda_c = \frac{J}{t(J p) + \sum_{s \ge 1} E[t(N_s, K_s); N_s > 0]}.

    Constant chunked prompts: prefill batches hold exactly :math:`b` tokens, and :math:`J`
    alternates between the integers around :math:`b / p`, whose mean it has (1 if
    :math:`p > b`). It does so whatever the outputs are, since only what is left of a prompt
    carries over.

    Random prompts: means over the stationary law of the prompts that a batch completes, see
    :mod:`queueing_llm.stability.cycles._prompt_packing`.

    Parameters
    ----------
    engine, workload, policy
        The system; the rate of the workload does not matter.

    Returns
    -------
    CriticalRate or None
        Evidence ``NUMERICAL``: exact for exact data if all requests are alike, an interval
        around the sum if lengths are random; None if the rule is another one, lengths are
        replayed, unbounded outputs depend on prompts, another limit may bind, or a sum is too
        long.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(0.5, prompt_tokens=129, output_tokens=112)
    >>> round(request_level_rate(engine, load, ql.FASTER_TRANSFORMER).value, 5)
    0.55667
    >>> prompt, output = ql.UniformLength(1, 257), ql.UniformLength(1, 223)
    >>> load = ql.Workload.poisson(0.4, prompt_tokens=prompt, output_tokens=output)
    >>> round(request_level_rate(engine, load, ql.FASTER_TRANSFORMER).value, 5)
    0.41425
    """
    if not isinstance(policy, BatchRule) or policy.mixed or policy.first != "decode":
        return None
    moments = workload.moments
    prompt = int(moments.prompt)
    if engine.kv_capacity is not None or not workload.is_endless:
        return None
    if engine.decode_steps(moments.shortest_output) < 0:
        return None
    if (moments.prompt, moments.prompt_squared) != (prompt, prompt**2):
        return packed_cycle_rate(engine, workload, chunked=policy.chunked)
    if engine.max_batch_size is not None if policy.chunked else prompt > engine.token_budget:
        return None
    rate = _chunked_cycle if policy.chunked else _whole_cycle
    if moments.output_squared == moments.output**2:
        steps = engine.decode_steps(int(moments.output))
        if engine.step_time.kv_slope is None and steps > MOST_TERMS:
            return None
        value = rate(engine, prompt, lambda n: _decode_seconds(engine, n, prompt, steps))
        basis = "closed form of the saturated cycle: requests completed over its length"
        return CriticalRate.exactly(value, Evidence.NUMERICAL, basis=basis)
    return _enclosed(engine, workload, lambda decode: rate(engine, prompt, decode))


def _enclosed(
    engine: Engine, workload: Workload, rate: Callable[[Callable[[int], Real]], Real]
) -> CriticalRate | None:
    """Return the rate for random outputs, between those of the longest and shortest sums."""
    known: dict[int, tuple[float, float]] = {}

    def decode(together: int, *, errors: int = 0) -> float:
        if together not in known:
            known[together] = parting_seconds(engine, workload, together) or (math.nan, 0.0)
        value, error = known[together]
        return value + errors * error

    value = float(rate(decode))
    if math.isnan(value):
        return None
    return CriticalRate(
        value=value,
        low=float(rate(functools.partial(decode, errors=1))),
        high=float(rate(functools.partial(decode, errors=-1))),
        evidence=Evidence.NUMERICAL,
        basis="mean of the saturated cycle, whose decodes finish one by one: a sum over its "
        "steps with its truncation and rounding bounded",
    )


def _whole_cycle(engine: Engine, prompt: int, decode_seconds: Callable[[int], Real]) -> Real:
    together = min(engine.token_budget // prompt, engine.max_batch_size or engine.token_budget)
    return ratio(together, engine.step_time(together * prompt) + decode_seconds(together))


def _chunked_cycle(engine: Engine, prompt: int, decode_seconds: Callable[[int], Real]) -> Real:
    budget = engine.token_budget
    batches = max(Fraction(prompt, budget), Fraction(1))
    mean = max(Fraction(budget, prompt), Fraction(1))
    fewer = int(mean)
    share = mean - fewer
    decode = (1 - share) * decode_seconds(fewer)
    if share:
        decode += share * decode_seconds(fewer + 1)
    return mean / (batches * engine.step_time(budget) + decode)


def _decode_seconds(engine: Engine, together: int, prompt: int, decode_steps: int) -> Real:
    """Return the time in which ``together`` equal requests decode side by side."""
    slope = engine.step_time.kv_slope
    if slope is not None:
        reads = together * (prompt * decode_steps + decode_steps * (decode_steps - 1) // 2)
        return decode_steps * engine.step_time(0, together) + slope * reads
    contexts = (together * (prompt + step) for step in range(decode_steps))
    return sum(engine.step_time(0, together, context) for context in contexts)
