"""The front door: which contracts a policy keeps, on what evidence."""

from collections.abc import Sequence
from typing import Annotated, Literal

from queueing_llm._validate import Domain, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import Engine
from queueing_llm.policies import Policy
from queueing_llm.policies import check_policy as check_callable
from queueing_llm.policies.field import FieldSystem
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.contracts._listed import CONTRACTS
from queueing_llm.verify.contracts._named import contract_named
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.findings._report import (
    AGAIN,
    Finding,
    Outcome,
    PolicyReport,
    Support,
)
from queueing_llm.verify.plays._field_play import limits_of
from queueing_llm.verify.plays._trial import Arrival, Trial
from queueing_llm.verify.search._search import Survey, smallest_breach, survey
from queueing_llm.verify.search._small_trials import all_played
from queueing_llm.verify.search._upgrade import balanced, blindfolded, exhausted, proved

EFFORTS = ("quick", "thorough", "exhaustive")
"""How hard to look, least first."""

PLAYS = {"quick": 120, "thorough": 3000, "exhaustive": 120}
Seed = Annotated[int, Domain("seed", "1", at_least=0, integer=True)]


def check_policy(
    policy: Policy | FieldSystem,
    *,
    engine: Engine | None = None,
    contracts: Sequence[Contract | str] | None = None,
    effort: Literal["quick", "thorough", "exhaustive"] = "quick",
    seed: int = 0,
) -> PolicyReport:
    """Find out which contracts a policy keeps, and what breaks the others.

    Parameters
    ----------
    policy : Policy or FieldSystem
        A :class:`BatchRule`, any function of an :class:`EngineState`, or a scheduler of the
        field, such as one of :data:`~queueing_llm.policies.field.SYSTEMS`.
    engine : Engine, optional
        Whose limits to test it with. By default small budgets, batch-size limits and KV
        caches are drawn, or none; small limits bind sooner.
    contracts : sequence of Contract or str, optional
        What to check; by default all of :data:`CONTRACTS`.
    effort : {"quick", "thorough", "exhaustive"}
        120 trials; 3,000; or 120 and then every state that the policy comes to with few and
        short requests, on small engines or the one given, and proofs for any number of
        requests where the policy is a :class:`BatchRule`; that takes minutes. A scheduler of
        the field has more state than is seen: it plays every small trial instead.
    seed : int
        Source of the trials.

    Returns
    -------
    PolicyReport
        VIOLATED with a counterexample; HOLDS if none was found, which is a test and no proof
        unless it says so; UNDECIDED if no trial came to a state that the contract is about.

    Raises
    ------
    InvalidArgument
        If the policy cannot be called or a word is not known, or if a scheduler of the field
        cannot be built for that engine.

    Notes
    -----
    The states are those that the policy itself comes to from an empty engine, under up to
    six requests. A contract is never reported as violated because of states that cannot
    happen. A play is cut short after 500 decisions; whether all would be finished is not
    tested by it then. There is no time limit: a policy that never answers is waited for.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> report = check_policy(ql.FASTER_TRANSFORMER, contracts=["work_conserving"])
    >>> report["work_conserving"].basis
    'batch of 1 where token budget and demand allow 2'
    """
    if not isinstance(policy, FieldSystem):
        check_callable(policy)
    check(seed, "seed", Seed)
    given: object = engine
    if given is not None and not isinstance(given, Engine):
        msg = f"engine must be an Engine or None, got engine={engine!r}."
        raise InvalidArgument(msg)
    if effort not in EFFORTS:
        hint = nearest(str(effort), EFFORTS)
        msg = f"effort must be one of three words, got effort={effort!r}: {hint}."
        raise InvalidArgument(msg)
    if isinstance(policy, FieldSystem) and engine is not None:
        # What refuses to be built at all would leave everything undecided, without a reason.
        policy.build(limits_of(Trial(engine, (Arrival(0, 1, 1),))))
    chosen = _chosen(contracts)
    sampled = [contract for contract in chosen if contract.about != "whole"]
    seen = survey(policy, sampled, engine=engine, plays=PLAYS[effort], seed=seed)
    findings: list[Finding] = []
    for contract in chosen:
        if contract.about == "whole":
            findings.append(contract.check(policy))
            continue
        broken = None
        if contract.name in seen.broken:
            broken = smallest_breach(policy, contract, seen=seen, engine=engine)
        findings.append(_finding(contract, seen, broken))
    if isinstance(policy, FieldSystem):
        if effort == "exhaustive":
            findings = all_played(policy, findings, engine=engine)
        findings = [blindfolded(finding) for finding in findings]
        return PolicyReport(policy.name, tuple(findings), turned_away=seen.refused)
    findings = [balanced(finding) for finding in findings]
    if effort == "exhaustive":
        findings = exhausted(policy, findings, engine=engine)
        findings = [proved(policy, finding, engine=engine) for finding in findings]
    return PolicyReport(name_of(policy), tuple(findings))


def _chosen(contracts: Sequence[Contract | str] | None) -> tuple[Contract, ...]:
    if contracts is None:
        return tuple(CONTRACTS.values())
    if not isinstance(contracts, Sequence) or isinstance(contracts, str) or not contracts:
        msg = f"contracts must be a list of contracts or their names, got {contracts!r}."
        raise InvalidArgument(msg)
    named = [
        found if isinstance(found, Contract) else contract_named(found) for found in contracts
    ]
    different: dict[str, Contract] = {}
    for contract in named:
        if different.setdefault(contract.name, contract) is not contract:
            msg = f"contracts must have different names, got two called {contract.name!r}."
            raise InvalidArgument(msg)
    return tuple(different.values())


def _finding(contract: Contract, seen: Survey, broken: Counterexample | None) -> Finding:
    count = seen.tested[contract.name]
    if broken is not None:
        outcome, support, basis = Outcome.VIOLATED, Support.COUNTEREXAMPLE, broken.sentence
    elif contract.name in seen.broken:
        outcome, support = Outcome.UNDECIDED, Support.NONE
        basis = AGAIN
    elif count == 0:
        outcome, support = Outcome.UNDECIDED, Support.NONE
        basis = f"none of {seen.plays} trials had an answer that it is about"
    else:
        outcome, support = Outcome.HOLDS, Support.TESTED
        basis = f"{count:,} different decisions in {seen.trials}"
    return Finding(contract, outcome, support, basis, broken, tested=count)


def name_of(policy: Policy) -> str:
    """Return what to call a policy."""
    given = getattr(policy, "name", None) or getattr(policy, "__name__", None)
    return str(given or type(policy).__name__)
