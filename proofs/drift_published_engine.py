"""Sarathi, Orca and vLLM v1 are stable on the published engine at 10.4 requests per second.

**Setting.** CodeLlama-34B on one A100: t(n) = 11.28 ms + 35.47 ms * ceil(n / 128), budget 512
and no other limit; requests of 129 prompt and 112 output tokens, Poisson, 10.4 per second.
**Claim.** The backlog at the ends of batches is positive recurrent under every rule that mixes
phases and splits prompts: above 123151 tokens it falls by 4003743/31250 tokens a batch on
average.
**Checked here.** The stored certificate, in integers, by the trusted checker: what arrives
during a full batch is less than the budget by that much, and every step time is positive; that
it is about this engine, workload and each of the three rules.
**Not checked here.** That such rules give every batch min(budget, demand) tokens, which is
``rules_fill_min_budget_demand``; Foster's criterion.
**Argument.** Above 511 * 241 tokens at least 512 requests are present, each with a token to
serve, so every batch is full. That a full batch is the best one is not needed.
**Source.** arXiv:2504.07347v3, Theorem 2(b), with explicit constants derived here; rate and
lengths of its Figure 1.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import queueing_llm as ql
from proofs._claim import NotProved, require
from queueing_llm.certificates import (
    Certificate,
    Rejected,
    certify_stability,
    check,
    check_certificate,
    read_certificate,
)

KIND = "theorem"

CERTIFICATE = Path(__file__).parent / "data" / "drift_published_engine.json"
ENGINE = ql.Engine(
    step_time=ql.StaircaseStepTime(
        overhead=Fraction(1128, 100_000), per_block=Fraction(3547, 100_000), block=128
    ),
    token_budget=512,
)
RATE = Fraction(104, 10)
DECREASE = Fraction(4_003_743, 31_250)
RULES = (ql.SARATHI, ql.ORCA, ql.VLLM_V1)


def workload(rate: Fraction) -> ql.Workload:
    """Return the published workload at a rate [requests/s]."""
    return ql.Workload.poisson(rate, prompt_tokens=129, output_tokens=112)


def found() -> Certificate | None:
    """Return the certificate that the library finds; what is stored is a copy of it."""
    return certify_stability(ENGINE, workload(RATE), policy=ql.SARATHI)


def prove(rate: Fraction = RATE, rules: tuple[ql.BatchRule, ...] = RULES) -> int:
    """Check the stored certificate against the system at ``rate`` under each rule."""
    certificate = read_certificate(CERTIFICATE)
    decrease = Fraction(*certificate.document["decrease"])
    require(decrease == DECREASE, f"the decrease is {decrease}")
    return sum(_compare(certificate, rate, rule) for rule in rules)


def claim(decrease: Fraction) -> int:
    """Check the stored certificate with another claim."""
    stored = read_certificate(CERTIFICATE).document
    try:
        return check({**stored, "decrease": [*decrease.as_integer_ratio()]}).comparisons
    except Rejected as reason:
        raise NotProved(str(reason)) from reason


def _compare(certificate: Certificate, rate: Fraction, rule: ql.BatchRule) -> int:
    try:
        checked = check_certificate(certificate, ENGINE, workload=workload(rate), policy=rule)
    except Rejected as reason:
        raise NotProved(str(reason)) from reason
    return checked.comparisons


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(rate=Fraction(14)),
    lambda: prove(rate=RATE + Fraction(1, 10**9)),
    lambda: prove(rules=(ql.FASTER_TRANSFORMER,)),
    lambda: prove(rules=(ql.VANILLA_VLLM,)),
    lambda: prove(rules=(ql.ORCA.variant(chunked=False),)),
    lambda: claim(DECREASE * (1 + Fraction(1, 10**9))),
)
