"""No policy whatsoever serves the published workload at 14 requests per second.

**Setting.** CodeLlama-34B on one A100: t(n) = 11.28 ms + 35.47 ms * ceil(n / 128), budget 512;
requests of 129 prompt and 112 output tokens on average, 14 per second.
**Claim.** Under every policy, the backlog grows by at least 59523/6400000 seconds of work
per second in the long run.
**Checked here.** The stored dual prices, batch by batch, in integers, by the trusted checker;
that they are about this engine, workload and rate; that the capacity is 12800000/922789.
**Not checked here.** The law of large numbers that turns rates into growth.
**Argument.** Theorem 2(a): work worth more than one second arrives per second, and no batch is
worth more than it takes.
**Source.** arXiv:2504.07347v3, Theorem 2(a) and section 2.3; rate and lengths of its Figure 1.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import queueing_llm as ql
from proofs._claim import NotProved, require
from queueing_llm.certificates import (
    Certificate,
    Rejected,
    certify_overload,
    check_certificate,
    read_certificate,
)

KIND = "theorem"

CERTIFICATE = Path(__file__).parent / "data" / "overload_published_engine.json"
ENGINE = ql.Engine(
    step_time=ql.StaircaseStepTime(
        overhead=Fraction(1128, 100_000), per_block=Fraction(3547, 100_000), block=128
    ),
    token_budget=512,
)


def workload(rate: Fraction) -> ql.Workload:
    """Return the published workload at a rate [requests/s]."""
    return ql.Workload.poisson(rate, prompt_tokens=129, output_tokens=112)


def found() -> Certificate | None:
    """Return the certificate that the library finds; what is stored is a copy of it."""
    return certify_overload(ENGINE, workload(Fraction(14)))


def prove(rate: Fraction = Fraction(14)) -> int:
    """Check the stored certificate against the system at ``rate``."""
    capacity = ql.capacity(ENGINE, workload(rate)).requests_per_second
    require(capacity == Fraction(12_800_000, 922_789), f"the capacity is {capacity}")
    certificate = read_certificate(CERTIFICATE)
    excess = Fraction(*certificate.document["excess"])
    require(excess == Fraction(59_523, 6_400_000), f"the excess is {excess}")
    try:
        return check_certificate(certificate, ENGINE, workload=workload(rate)).comparisons
    except Rejected as reason:
        raise NotProved(str(reason)) from reason


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(Fraction(13)),
    lambda: prove(Fraction(14) + Fraction(1, 10**9)),
)
