"""Nested WAIT: the memory that it needs for outputs of unknown length.

The theorem on Nested WAIT of arXiv:2504.11320: thresholds n_k with p_k < n_k / n_(k-1) < 1,
memory M^pi for full stages, and a buffer for the queues between segments, which exceed n_k + x
with a chance that falls like exp(-theta_k x). theta_k is the root of
exp(-theta n_k) (1 - p_k + p_k exp(theta))^n_(k-1) = 1, at least
8 (n_k - n_(k-1) p_k) / n_(k-1). The instance is ours: prompts of 8 tokens, 70 % of the requests
with 4 and 30 % with 10 output tokens, 100 requests/s, thresholds 5 and 2, d0 = 20 ms and
d1 = 40 us a token.

Second routes: the queue between the segments as a Markov chain, whose tail is solved for; and
the policy itself, simulated token by token with the cache that the theorem asks for.
"""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, final

import numpy as np

import queueing_llm as ql
from paper_repro.ao2025.engines import engine_with, kinds
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value
from queueing_llm.stability import boundary_exponent, hoeffding_exponent, nested_wait_plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROMPT, SHORT, LONG = 8, 4, 10
FIRST, SECOND = 5, 2
PASSING = Fraction(3, 10)
BASE, SLOPE = Fraction(1, 50), Fraction(1, 25_000)
LOAD = kinds({(PROMPT, SHORT): 70, (PROMPT, LONG): 30})
HORIZON, CHANCE = 100, Fraction(1, 100)
EXAMPLES = ((40, 100, PASSING), (20, 50, Fraction(7, 20)), (110, 200, Fraction(1, 2)))
"""Thresholds n_k, n_(k-1) and chances p_k of the roots."""
SEGMENTS = ql.NestedWait((FIRST, SECOND), (SHORT, LONG), prompt_tokens=PROMPT)
STATES = 120
FAR = 16
"""A queue so long that its tail is geometric, and its chance no rounding error."""
FILLING = 20
"""Batches after which all stages have been reached."""


def compute(*, quick: bool = False) -> Computed:
    """Return roots, the plan, and the queue between the segments by chain and simulation."""
    plan = nested_wait_plan(
        engine_with(BASE, SLOPE, kv_capacity=None),
        LOAD,
        thresholds=[FIRST, SECOND],
        horizon=HORIZON,
        overflow_probability=CHANCE,
    )
    needed = math.ceil(plan.required_tokens)
    runs = [_watched(needed, float(HORIZON), seed) for seed in range(6 if quick else 18)]
    crowded = _watched(int(plan.memory_tokens) * 3 // 4, 20.0, 0)
    # A limit would hide what the policy asks for.
    unlimited = [_watched(None, 20.0, seed) for seed in range(6)]
    means = np.array([np.mean(run.left) for run in runs])
    chain = _queue_left()
    tail = np.cumsum(chain[::-1])[::-1]
    values: dict[str, Value] = {
        "roots": tuple(boundary_exponent(*example) for example in EXAMPLES),
        "least_roots": tuple(Fraction(hoeffding_exponent(*example)) for example in EXAMPLES),
        "roots_exceed_bound": _roots_exceed_bound(),
        "memory": Fraction(plan.memory_tokens),
        "required": float(plan.required_tokens),
        "is_feasible": bool(plan.slack_seconds > 0),
        "peak_is_within": max(run.peak for run in unlimited) <= needed,
        "peak_exceeds_full_stages": max(run.peak for run in unlimited) > plan.memory_tokens,
        "evictions": sum(run.evictions for run in runs),
        "evictions_if_crowded": crowded.evictions > 0,
        "tail_ratio": float(tail[FAR + 1] / tail[FAR]),
        "exponent": plan.exponents[0],
        "tail_is_bounded": _is_bounded(tail, plan.exponents[0]),
        "mean_left": ql.Estimate.of(means, "replications"),
        "mean_left_of_chain": float(np.arange(STATES) @ chain),
    }
    return Computed(values, {"queue": _tails(runs, tail, plan.exponents[0])})


def plot(computed: Computed) -> "Figure":
    """Draw the tail of the queue between the segments."""
    table = computed.tables["queue"]
    figure, axes = framed(
        "Long queues between the segments are as rare as the root θ says", height=4.0
    )
    axes.plot(
        table["requests"],
        table["bound"],
        color="0.3",
        linestyle="--",
        label="bound: n₂ and more, with the root θ = 0.871",
    )
    axes.plot(
        table["requests"], table["chain_share_at_least"], color=COLOURS[2], label="Markov chain"
    )
    seen = [
        (x, y)
        for x, y in zip(table["requests"], table["simulated_share_at_least"], strict=True)
        if y > 0
    ]
    axes.plot(*zip(*seen, strict=True), "o", color=COLOURS[0], label="Nested WAIT, simulated")
    axes.set_yscale("log")
    axes.set_xlabel("requests left waiting between the segments")
    axes.set_ylabel("share of batches with so many or more")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


@final
@dataclass(frozen=True, slots=True)
class _Watched:
    """What Nested WAIT did: most slots held, evictions, requests left between segments."""

    peak: int
    evictions: int
    left: list[int]


def _watched(kv_capacity: int | None, seconds: float, seed: int) -> _Watched:
    peak = evictions = 0
    left = []
    engine = engine_with(BASE, SLOPE, kv_capacity=kv_capacity)
    for step in ql.watch(engine, LOAD, policy=SEGMENTS, horizon=seconds, seed=seed):
        stored, tokens = step.state.stored, step.batch.tokens
        peak = max(peak, int((stored + tokens)[~step.preempted].sum()))
        evictions += int(step.preempted.sum())
        left.append(int(np.count_nonzero((stored == PROMPT + SHORT) & (tokens == 0))))
    return _Watched(peak, evictions, left[FILLING:])


def _queue_left() -> np.ndarray:
    """Return how many the second segment leaves waiting, by a Markov chain, shape (STATES,).

    Each batch brings a binomial number of the first segment's requests, and takes the
    threshold if so many wait.
    """
    p = float(PASSING)
    brought = [math.comb(FIRST, k) * p**k * (1 - p) ** (FIRST - k) for k in range(FIRST + 1)]
    matrix = np.zeros((STATES, STATES))
    for left, (k, chance) in itertools.product(range(STATES), enumerate(brought)):
        waiting = left + k
        after = waiting - SECOND if waiting >= SECOND else waiting
        matrix[left, min(after, STATES - 1)] += chance
    system = np.vstack([matrix.T - np.eye(STATES), np.ones(STATES)])
    wanted = np.zeros(STATES + 1)
    wanted[-1] = 1
    return np.asarray(np.linalg.lstsq(system, wanted, rcond=None)[0])


def _tails(runs: list[_Watched], tail: np.ndarray, exponent: float) -> dict[str, list[float]]:
    """Return how often so many or more are left: simulated, by the chain, and the bound."""
    shown, seen = range(12), np.concatenate([run.left for run in runs])
    return {
        "requests": list(shown),
        "simulated_share_at_least": [float(np.mean(seen >= x)) for x in shown],
        "chain_share_at_least": [float(tail[x]) for x in shown],
        "bound": [min(1.0, math.exp(-exponent * (x - SECOND))) for x in shown],
    }


def _is_bounded(tail: np.ndarray, exponent: float) -> bool:
    r"""Whether :math:`P(Q \ge n_2 + x) \le e^{-\theta x}` for all x that are not rounding."""
    return all(tail[SECOND + x] <= math.exp(-exponent * x) for x in range(30))


def _roots_exceed_bound() -> bool:
    """Whether the root is at least Hoeffding's bound, for all thresholds up to 24."""
    return all(
        boundary_exponent(n, before, p) >= hoeffding_exponent(n, before, p)
        for before in range(2, 25)
        for n in range(1, before)
        for p in (Fraction(1, 20), Fraction(3, 10), Fraction(1, 2), Fraction(4, 5))
        if p * before < n
    )
