"""Batch times and token rates of the published law, from its three constants alone.

Source: Assumption 1 and the fit of Figs. 5-6. A batch of n tokens takes c + a ceil(n / 128).
What follows for the best batch and for the capacity (Theorem 2) is computed, not read off; the
token budget of 512 is chosen here, and the second workload, 100 + 100 tokens, is that of a
reproduction.
"""

from dataclasses import replace
from fractions import Fraction

import queueing_llm as ql
from paper_repro.dai2025._published import ENGINE, STEP_TIME
from queueing_llm.reproduce import Computed

FULL_BATCHES = (128, 256, 384, 512, 768, 1024)
JUST_OVER = 130
"""A budget two tokens above a block."""
LENGTHS = ((129, 112), (100, 100))
INTERIOR = ql.HingeStepTime(floor=Fraction(1, 100), per_token=Fraction(3, 10_000), knee=64)
"""A law of the form of versions 1 and 2 whose slope is too steep for full batches."""


def compute(*, quick: bool = False) -> Computed:
    """Return times, rates and capacities; ``quick`` changes nothing, they cost nothing."""
    del quick
    times = [STEP_TIME(tokens) for tokens in FULL_BATCHES]
    best = [_best(STEP_TIME, tokens) for tokens in FULL_BATCHES]
    over = _best(STEP_TIME, JUST_OVER)
    full = JUST_OVER / STEP_TIME(JUST_OVER)
    return Computed(
        values={
            "milliseconds_printed": tuple(1000 * time for time in times[:4]),
            "milliseconds_beyond": tuple(1000 * time for time in times[4:]),
            "milliseconds_just_over": tuple(1000 * STEP_TIME(n) for n in (129, 257)),
            "tokens_per_second": tuple(rate.tokens_per_second for rate in best),
            "best_batches": tuple(map(_first_best, FULL_BATCHES)),
            "limit": STEP_TIME.block / STEP_TIME.per_block,
            "full_rate_130": full,
            "best_rate_130": over.tokens_per_second,
            "best_batch_130": over.batch_tokens,
            "lost_share_130": 1 - full / over.tokens_per_second,
            "best_batch_of_a_steep_hinge": _best(INTERIOR, 512).batch_tokens,
            **{f"capacity_{p}_{d}": _capacity(p, d) for p, d in LENGTHS},
            "capacity_if_prefill_yields_a_token": _capacity(
                *LENGTHS[0], engine_accounting=True
            ),
        },
        tables={
            "batch_times": {
                "batch_tokens": FULL_BATCHES,
                "batch_time_ms": [float(1000 * time) for time in times],
                "rate_tokens_per_s": [float(rate.tokens_per_second) for rate in best],
            }
        },
    )


def _best(law: ql.AbstractStepTime, token_budget: int) -> ql.BestRate:
    """Return the best batch of an engine of that law and budget."""
    return ql.best_rate(ql.Engine(step_time=law, token_budget=token_budget))


def _first_best(token_budget: int) -> int:
    """Return the smallest of the best batches, by trying every size in exact numbers."""
    return max(range(1, token_budget + 1), key=lambda tokens: tokens / STEP_TIME(tokens))


def _capacity(prompt: int, output: int, *, engine_accounting: bool = False) -> Fraction:
    """Return what no policy exceeds [requests/s]."""
    engine = replace(ENGINE, first_token_from_prefill=engine_accounting)
    workload = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    return Fraction(ql.capacity(engine, workload).requests_per_second)
