"""What the figures share: the law that the paper prints, and what is chosen here beside it.

Published: the step time of CodeLlama-34B on one A100 80GB with TP 1, in exact numbers, and the
mean lengths of Fig. 1. Not known from the paper, chosen here: a budget of 512 tokens, requests
that are all of the mean length, Poisson arrivals, and whole prompts under FasterTransformer
and vanilla vLLM.
"""

import math
from fractions import Fraction
from typing import Any

import queueing_llm as ql
from queueing_llm.plots import COLOURS

STEP_TIME = ql.StaircaseStepTime(
    overhead=Fraction(1128, 100_000), per_block=Fraction(3547, 100_000), block=128
)
"""11.28 ms + 35.47 ms for each started block of 128 tokens."""
TOKEN_BUDGET = 512
"""Tokens in one batch at most; chosen here."""
ENGINE = ql.Engine(step_time=STEP_TIME, token_budget=TOKEN_BUDGET)

POLICIES = {
    "FasterTransformer": ql.FASTER_TRANSFORMER,
    "vanilla vLLM": ql.VANILLA_VLLM,
    "Orca": ql.ORCA,
    "Sarathi-Serve": ql.SARATHI,
}
"""The rows of Table 1, in its order."""
COLOUR = dict(zip(POLICIES, (COLOURS[0], COLOURS[4], COLOURS[2], COLOURS[3]), strict=True))


def fluid_growth(verdict: ql.Verdict) -> Any:
    """Return the growth of the backlog in the fluid limit [tokens/s]; NaN if not known."""
    return math.nan if verdict.growth is None else verdict.growth


def own_rate(workload: ql.Workload, policy: ql.BatchRule) -> Any:
    """Return the critical rate of a policy [requests/s]; NaN if it is not known."""
    value = ql.critical_rate(ENGINE, workload, policy=policy).value
    return math.nan if value is None else value
