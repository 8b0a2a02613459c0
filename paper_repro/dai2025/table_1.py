"""Table 1, its three columns decided rather than copied.

Priority and mixing are told by one question each: who gets the only token, and whether a
prompt and a decode share a batch that has room for both. Work conservation, (8)-(9), is proved
for any number of requests or refuted by the smallest counterexample. The last two rows are not
in the table: vLLM v1, which the paper's text calls work-conserving with chunked prefill, and
Orca with whole prompts. Whether Orca splits prompts is not known from the paper; without it the
table would be wrong.
"""

from fractions import Fraction

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._published import ENGINE, POLICIES, STEP_TIME
from queueing_llm.reproduce import Computed
from queueing_llm.simulate import Estimate
from queueing_llm.verify import PolicyReport, check_policy, prove

CONTRACT = "work_conserving"
WHOLE_ORCA = ql.ORCA.variant(chunked=False)
ROWS = {**POLICIES, "vLLM v1": ql.VLLM_V1, "Orca, whole prompts": WHOLE_ORCA}
LONG_PROMPTS = {"prompt_tokens": 300, "output_tokens": 2}
"""One such prompt leaves 212 of 512 tokens, which two decodes cannot fill."""
OVERLOAD = 1.05
HORIZON = 4000.0
SEED = 302


def compute(*, quick: bool = False) -> Computed:
    """Return the rows; ``quick`` leaves out the search of all small states, not the proofs."""
    reports = {name: _report(rule, quick=quick) for name, rule in ROWS.items()}
    rows = {
        name: (*_order_and_mixing(rule), *_conservation(rule, reports[name]))
        for name, rule in ROWS.items()
    }
    limit, rng = _whole_orca_limit(), np.random.default_rng(SEED)
    grown = {
        rule: _growth(rule, OVERLOAD * float(limit), rng=rng, quick=quick)
        for rule in (WHOLE_ORCA, ql.ORCA)
    }
    headings = ("priority", "batching", "work_conserving", "known_by", "basis")
    columns = dict(zip(headings, map(list, zip(*rows.values(), strict=True)), strict=True))
    return Computed(
        values={
            **{ROWS[name].name: row[:3] for name, row in rows.items()},
            "known_by": tuple(row[3] for row in rows.values()),
            "whole_orca_limit": limit,
            "whole_orca_formula": 1 / STEP_TIME(302),
            "whole_orca_capacity": ql.capacity(ENGINE, _long(1.0)).requests_per_second,
            "whole_orca_growth": grown[WHOLE_ORCA],
            "chunked_orca_growth": grown[ql.ORCA],
        },
        tables={"schedulers": {"scheduler": list(rows), **columns}},
    )


def _report(rule: ql.BatchRule, *, quick: bool) -> PolicyReport:
    return check_policy(rule, contracts=[CONTRACT], effort="quick" if quick else "exhaustive")


def _conservation(rule: ql.BatchRule, report: PolicyReport) -> tuple[str, str, str]:
    """Return whether a rule is work-conserving, how that is known, and the argument."""
    finding = report[CONTRACT]
    if finding.counterexample is not None:
        return "no", finding.support.value, finding.basis
    proof = prove(rule, CONTRACT)
    if proof is None:
        return "undecided", finding.support.value, finding.basis
    return (
        "yes",
        "proved",
        f"{proof.statement}: {len(proof.lemmas)} lemmas, {proof.cases} cases",
    )


def _order_and_mixing(rule: ql.BatchRule) -> tuple[str, str]:
    """Return which phase gets the only token, and whether both share a batch with room."""
    prompts = {
        budget: rule(_one_of_each(token_budget=budget)).tokens.tolist() for budget in (1, 8)
    }
    priority = {(0, 1): "prefill first", (1, 0): "decode first"}[tuple(prompts[1])]
    return priority, "mixed" if min(prompts[8]) > 0 else "no mixed batches"


def _one_of_each(*, token_budget: int) -> ql.EngineState:
    """Return a state of one decoding request and a prompt of one token behind it."""
    return ql.EngineState(
        request=np.array([0, 1]),
        class_index=np.array([0, 0]),
        prompt_left=np.array([0, 1]),
        decode_left=np.array([2, 2]),
        stored=np.array([1, 0]),
        token_budget=token_budget,
    )


def _whole_orca_limit() -> Fraction:
    """Return what Orca serves of long whole prompts when saturated [requests/s]."""
    cycle = ql.limit_cycle(ENGINE, _long(1.0), policy=WHOLE_ORCA)
    assert cycle is not None, "one prompt and two decodes fill every batch alike"
    return cycle.rate


def _growth(
    rule: ql.BatchRule, rate: float, *, rng: np.random.Generator, quick: bool
) -> Estimate:
    """Return how fast the requests in the system become more [requests/s]."""
    run = ql.simulate(
        ENGINE,
        _long(rate),
        policy=rule,
        horizon=HORIZON,
        replications=24 if quick else 96,
        seed=rng,
    )
    middle = len(run.times) // 2
    present = run.requests_in_system
    slopes = (present[:, -1] - present[:, middle]) / (run.times[-1] - run.times[middle])
    return Estimate.of(slopes, "replications")


def _long(rate: float) -> ql.Workload:
    return ql.Workload.poisson(rate, **LONG_PROMPTS)
