r"""Closed critical rates of rules that do not mix phases.

FasterTransformer in saturation runs in renewal cycles: prefill until at least one prompt is
done, then decode until all those requests finish. If a cycle completes :math:`J` requests
in time :math:`C`, the queue drifts by :math:`\lambda E[C] - E[J]` per cycle once it is longer
than one prefill batch, so it is stable iff :math:`\lambda < E[J] / E[C]`. This is a
derivation of this project, not a result of arXiv:2504.07347.
"""

from fractions import Fraction

from queueing_llm._validate import Real
from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy


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


def request_level_rate(
    engine: Engine, workload: Workload, policy: Policy
) -> CriticalRate | None:
    r"""Return FasterTransformer's critical rate for requests that are all alike.

    Whole prompts, :math:`J = \min(\lfloor b / p \rfloor, k_{max})`:

    .. math:: \lambda_c = \frac{J}{t(J p) + \sum_{j=0}^{D-1} t(J, K_j)}, \qquad K_j = J (p + j).

    Chunked prompts: prefill batches hold exactly :math:`b` tokens, and :math:`J` alternates
    between the integers around :math:`b / p`, whose mean it has (1 if :math:`p > b`).

    Returns
    -------
    CriticalRate or None
        Evidence ``NUMERICAL``, exact for exact data; None if the rule is another one,
        lengths vary, or another limit may bind.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(0.5, prompt_tokens=129, output_tokens=112)
    >>> round(request_level_rate(engine, load, ql.FASTER_TRANSFORMER).value, 5)
    0.55667
    """
    lengths = _fixed_lengths(workload)
    if not isinstance(policy, BatchRule) or policy.mixed or policy.first != "decode":
        return None
    if lengths is None or engine.kv_capacity is not None or not workload.is_endless:
        return None
    if policy.chunked and engine.max_batch_size is not None:
        return None
    prompt, output = lengths
    rate = _chunked_cycle if policy.chunked else _whole_cycle
    value = rate(engine, prompt, engine.decode_steps(output))
    basis = "closed form of the saturated cycle: requests completed over its length"
    return CriticalRate.exactly(value, Evidence.NUMERICAL, basis=basis)


def _whole_cycle(engine: Engine, prompt: int, decode_steps: int) -> Real:
    together = min(engine.token_budget // prompt, engine.max_batch_size or engine.token_budget)
    prefill = engine.step_time(together * prompt)
    return together / (prefill + _decode_seconds(engine, together, prompt, decode_steps))


def _chunked_cycle(engine: Engine, prompt: int, decode_steps: int) -> Real:
    budget = engine.token_budget
    batches = max(Fraction(prompt, budget), Fraction(1))
    mean = max(Fraction(budget, prompt), Fraction(1))
    fewer = int(mean)
    share = mean - fewer
    decode = (1 - share) * _decode_seconds(engine, fewer, prompt, decode_steps)
    if share:
        decode += share * _decode_seconds(engine, fewer + 1, prompt, decode_steps)
    return mean / (batches * engine.step_time(budget) + decode)


def _decode_seconds(engine: Engine, together: int, prompt: int, decode_steps: int) -> Real:
    """Return the time in which ``together`` equal requests decode side by side."""
    contexts = (together * (prompt + step) for step in range(decode_steps))
    return sum(engine.step_time(0, together, context) for context in contexts)


def _fixed_lengths(workload: Workload) -> tuple[int, int] | None:
    moments = workload.moments
    prompt, output = moments.prompt, moments.output
    if moments.prompt_squared != prompt**2 or moments.output_squared != output**2:
        return None
    return int(prompt), int(output)
