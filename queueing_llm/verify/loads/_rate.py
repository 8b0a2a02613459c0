"""Stable at a share of the capacity: by theorem or proof if there is one, else simulated."""

from typing import Annotated

import numpy as np

from queueing_llm._validate import Domain, Real, check, decimal
from queueing_llm.decide import check_stability
from queueing_llm.decide._critical import check_question, closed_rate
from queueing_llm.evidence import Status
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import SARATHI, BatchRule, Policy
from queueing_llm.policies.field import FieldSystem
from queueing_llm.simulate._bracket import _enough as enough
from queueing_llm.simulate._bracket import _whole_cycles as whole_cycles
from queueing_llm.simulate._drift import DriftExperiment
from queueing_llm.stability import capacity
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.findings._report import Finding, Outcome, Support
from queueing_llm.verify.loads._growth import judged_by_growth

Share = Annotated[Real, Domain("x", "1", above=0, at_most=1)]
Error = Annotated[Real, Domain("alpha", "1", above=0, at_most=0.5)]
Count = Annotated[int | None, Domain("n", "1", at_least=2, integer=True, optional=True)]
Seed = Annotated[int, Domain("seed", "1", at_least=0, integer=True)]
OUTCOMES = {
    Status.STABLE: Outcome.HOLDS,
    Status.UNSTABLE: Outcome.VIOLATED,
    Status.UNDECIDED: Outcome.UNDECIDED,
}


def stable_at(
    engine: Engine,
    workload: Workload,
    *,
    share: Real,
    error: float = 0.01,
    replications: int | None = None,
    requests: int | None = None,
    seed: int = 0,
) -> Contract:
    r"""Return the contract that a policy is stable at a share of the capacity.

    Where the critical rate of the policy is known by proof, theorem or a computation, that
    answers. Otherwise the growth :math:`D_r` of a backlog is measured in independent
    replications at the rate :math:`x \lambda^\star`, and with one-sided Student limits of
    level :math:`\alpha`

    * HOLDS: the upper limit is below 0 for a large backlog, counted in tokens and in
      requests, and the lower limit is not above 0 for an engine that starts empty;
    * VIOLATED: the lower limit is above 0 for a large backlog, counted in both ways;
    * UNDECIDED: anything else.

    Parameters
    ----------
    engine, workload
        The system; the rate of the workload does not matter.
    share : number
        :math:`x`, above 0 and at most 1 [1].
    error : float
        :math:`\alpha`, the most probability of a wrong answer of either kind.
    replications, requests : int, optional
        How many replications, and arrivals measured in each; by default what
        :func:`~queueing_llm.critical_rate` takes.
    seed : int
        Source of the randomness.

    Returns
    -------
    Contract
        About the policy as a whole. What breaks it is no single decision, so there is no
        counterexample; the numbers are in the basis.

    Raises
    ------
    InvalidArgument
        If a number is out of range, the workload ends, or a request never fits.

    Notes
    -----
    Both answers need every one of their limits on the right side, so neither is given wrongly
    with more than probability :math:`\alpha` (an intersection-union test). This assumes that
    the sign of the mean growth of a large backlog, grown by a burst of twice the capacity,
    decides stability; that the window is long enough for it to settle; and that its mean over
    a replication is nearly normal. None of it is proved here.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify.loads._rate import stable_at
    >>> step = ql.StaircaseStepTime(Fraction("0.01128"), Fraction("0.03547"), 128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(1, prompt_tokens=129, output_tokens=112)
    >>> contract = stable_at(engine, load, share=0.9)
    >>> [contract.check(rule).outcome.name for rule in (ql.SARATHI, ql.VANILLA_VLLM)]
    ['HOLDS', 'VIOLATED']
    """
    for number, name, domain in (
        (share, "share", Share),
        (error, "error", Error),
        (replications, "replications", Count),
        (requests, "requests", Count),
        (seed, "seed", Seed),
    ):
        check(number, name, domain)
    check_question(engine, workload, policy=SARATHI, servers=1, confidence=0.5)
    exact = decimal(share, "share")
    at_most = capacity(engine, workload).requests_per_second
    loaded = workload.scale_to(exact * at_most)

    def judged(policy: Policy | FieldSystem) -> Finding:
        if isinstance(policy, FieldSystem):
            basis = "a scheduler of the field is not simulated in time"
            return Finding(contract, Outcome.UNDECIDED, Support.NONE, basis)
        if closed_rate(engine, loaded, policy, servers=1) is not None:
            verdict = check_stability(engine, loaded, policy=policy)
            support = Support(verdict.evidence.value)
            return Finding(contract, OUTCOMES[verdict.status], support, verdict.reason)
        fast = isinstance(policy, BatchRule)
        experiment = DriftExperiment(
            engine=engine,
            workload=loaded,
            policy=policy,
            at_most=float(at_most),
            replications=replications or (8 if fast else 4),
            requests=whole_cycles(loaded, requests or enough(engine, fast=fast)),
            rng=np.random.default_rng(seed),
        )
        outcome, basis = judged_by_growth(experiment, error=error)
        is_open = outcome is Outcome.UNDECIDED
        support = Support.NONE if is_open else Support.SIMULATED
        return Finding(contract, outcome, support, basis)

    contract = Contract(
        f"stable_at({float(share):g})",
        f"Stable at {float(share):.6g} of the capacity, at {float(loaded.arrival_rate):.6g} "
        "requests/s.",
        "ours; capacity by Theorem 2 of arXiv:2504.07347v3 and its extensions",
        f"the policy keeps up with {float(share):.6g} of what any policy could",
        "whole",
        judged,
    )
    return contract
