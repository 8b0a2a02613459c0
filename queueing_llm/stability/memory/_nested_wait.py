"""Nested WAIT: thresholds for unknown output lengths, and the memory that they need."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np

from queueing_llm._ops import ratio
from queueing_llm._validate import Domain, Real, Seconds, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.memory._boundary_exponent import boundary_exponent
from queueing_llm.stability.memory._wait import affine_law, check_alike, stage_lifetime
from queueing_llm.steptime import AffineStepTime

Threshold = Annotated[int, Domain("n_k", "requests", at_least=1, integer=True)]
Risk = Annotated[Real, Domain("delta", "1", above=0, at_most=1)]


@final
@dataclass(frozen=True, slots=True)
class NestedWaitPlan:
    r"""What thresholds of Nested WAIT need.

    Parameters
    ----------
    thresholds : tuple of int
        :math:`n_k` of each segment, shortest outputs first [requests].
    advance_probabilities : tuple of number
        :math:`p_k`, the share of requests of segment :math:`k - 1` that enter segment
        :math:`k`, for :math:`k \ge 2` [1].
    exponents : tuple of float
        :math:`\theta_k` for :math:`k \ge 2`: the chance that a queue between segments
        exceeds :math:`n_k + x` falls like :math:`e^{-\theta_k x}` [1/request].
    iteration_seconds : number
        Time of the longest batch, with every segment [s].
    slack_seconds : number
        :math:`n_1 / \sum_j \lambda_j` less that time [s]; it must be above 0.
    memory_tokens : number
        :math:`M^\pi`, held by full stages [tokens].
    buffer_tokens : float
        For the queues between segments, exceeded with the chosen probability at most
        [tokens].
    is_feasible : bool
        Whether the slack is positive and memory and buffer are within the KV cache.

    Examples
    --------
    >>> plan = NestedWaitPlan((4, 2), (0.3,), (0.9,), 1, 0.5, 60, 20.5, is_feasible=True)
    >>> plan.required_tokens
    80.5
    """

    thresholds: tuple[int, ...]
    advance_probabilities: tuple[Real, ...]
    exponents: tuple[float, ...]
    iteration_seconds: Real
    slack_seconds: Real
    memory_tokens: Real
    buffer_tokens: float
    is_feasible: bool

    @property
    def required_tokens(self) -> Real:
        """KV cache that suffices with the chosen probability [tokens]."""
        return self.memory_tokens + self.buffer_tokens


def nested_wait_plan(
    engine: Engine,
    workload: Workload,
    *,
    thresholds: Sequence[int],
    horizon: Real,
    overflow_probability: Real,
) -> NestedWaitPlan:
    r"""Check the conditions of arXiv:2504.11320 on the thresholds of Nested WAIT.

    .. math:: \Delta T(n) < \frac{n_1}{\sum_j \lambda_j}, \qquad
       p_k = \frac{\sum_{j \ge k} \lambda_j}{\sum_{j \ge k-1} \lambda_j}
       < \frac{n_k}{n_{k-1}} < 1,

    .. math:: C \ge M^\pi + \sum_{k \ge 2} (l + l'_{k-1})
       \Bigl(n_k + \frac{1}{\theta_k} \ln \frac{m (1 + T / d_0)}{\delta}\Bigr).

    Segment 1 has the prompt and the first :math:`l'_1` decode steps, segment :math:`k` the
    steps from :math:`l'_{k-1} + 1` to :math:`l'_k`.

    Parameters
    ----------
    engine, workload
        The system, as in :func:`wait_equilibrium`; the classes have one common prompt length
        and each its own output length, both constant. Their order does not matter.
    thresholds : sequence of int
        :math:`n_k` [requests], one for each class, shortest outputs first.
    horizon : number
        :math:`T`, how long the memory shall suffice [s]; at most :math:`T / d_0` batches.
    overflow_probability : number
        :math:`\delta` [1], chance that it does not.

    Returns
    -------
    NestedWaitPlan
        Exact for exact data, but for the exponents and the buffer.

    Raises
    ------
    InvalidArgument
        If the lengths are of another form, there is not one threshold for each class, or one
        is not strictly between :math:`p_k n_{k-1}` and :math:`n_{k-1}`.

    Notes
    -----
    Sufficient conditions; the buffer is an upper bound by a maximal inequality for each queue
    and the sum over queues and batches.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> law = ql.AffineStepTime(base=0.02, per_token=4e-7, per_kv_token=4e-7)
    >>> engine = ql.Engine(step_time=law, token_budget=4096, kv_capacity=137_000)
    >>> lengths = ql.EmpiricalLengths([512], [20]), ql.EmpiricalLengths([512], [50])
    >>> classes = [ql.RequestClass(str(i), law, 7 - 4 * i) for i, law in enumerate(lengths)]
    >>> plan = nested_wait_plan(
    ...     engine,
    ...     ql.Workload(ql.PoissonArrivals(50), classes),
    ...     thresholds=[4, 2],
    ...     horizon=3600,
    ...     overflow_probability=0.01,
    ... )
    >>> plan.memory_tokens, round(plan.required_tokens), plan.is_feasible
    (Fraction(76698, 1), 83224, True)
    """
    check(horizon, "horizon", Seconds)
    check(overflow_probability, "overflow_probability", Risk)
    law = affine_law(engine)
    prompt, outputs, rates = _segments(engine, workload)
    counts = _checked(thresholds, len(outputs))
    tails = list(itertools.accumulate(reversed(rates)))[::-1]
    chances = [ratio(tail, before) for before, tail in itertools.pairwise(tails)]
    exponents = [
        boundary_exponent(n, before, p)
        for (before, n), p in zip(itertools.pairwise(counts), chances, strict=True)
    ]
    memory, longest = _full_batch(law, prompt, outputs, counts)
    chance = overflow_probability / (len(counts) * (1 + horizon / law.base))
    queues = [
        n - math.log(chance) / theta for n, theta in zip(counts[1:], exponents, strict=True)
    ]
    buffer = sum((prompt + end) * q for end, q in zip(outputs[:-1], queues, strict=True))
    slack = ratio(counts[0], tails[0]) - longest
    fits = engine.kv_capacity is None or memory + buffer <= engine.kv_capacity
    return NestedWaitPlan(
        thresholds=tuple(counts),
        advance_probabilities=tuple(chances),
        exponents=tuple(exponents),
        iteration_seconds=longest,
        slack_seconds=slack,
        memory_tokens=memory,
        buffer_tokens=float(buffer),
        is_feasible=bool(slack > 0 and fits),
    )


def _full_batch(
    law: AffineStepTime, prompt: int, outputs: list[int], counts: list[int]
) -> tuple[Real, Real]:
    """Return what full stages hold [tokens], and the time of a batch of them all [s]."""
    memory, seconds = 0, law.base
    for k, (begin, end) in enumerate(itertools.pairwise([-1, *outputs])):
        held = counts[k] * (stage_lifetime(prompt, end) - stage_lifetime(prompt, begin))
        # The stage of the prompt has all its tokens, every other stage one.
        tokens = counts[k] * (end - begin + (prompt - 1 if k == 0 else 0))
        memory += held
        seconds += law.per_token * tokens + law.per_kv_token * (held - tokens)
    return memory, seconds


def _segments(engine: Engine, workload: Workload) -> tuple[int, list[int], list[Real]]:
    """Return the prompt, the decode steps and the rates of the classes, shortest first."""
    segments, prompts = [], set()
    for requests, share in zip(workload.classes, workload.shares, strict=True):
        moments = requests.lengths.moments
        prompts.add(moments.prompt)
        check_alike(requests)
        steps = int(engine.decode_steps(moments.output))
        segments.append((steps, workload.arrival_rate * share))
    outputs, rates = zip(*sorted(segments), strict=True)
    if len(prompts) > 1 or len(set(outputs)) < len(outputs) or outputs[0] < 0:
        msg = (
            "classes must have one common prompt length and different output lengths, got "
            f"prompts {sorted(map(int, prompts))} and decode steps {list(outputs)}."
        )
        raise InvalidArgument(msg)
    return int(prompts.pop()), list(outputs), list(rates)


def _checked(thresholds: Sequence[int], segments: int) -> list[int]:
    if np.shape(thresholds) != (segments,):
        msg = (
            f"thresholds must have one entry for each of {segments} classes, got "
            f"thresholds={thresholds!r}."
        )
        raise InvalidArgument(msg)
    for k, threshold in enumerate(thresholds):
        check(threshold, f"thresholds[{k}]", Threshold)
    return [int(n) for n in thresholds]
