"""Stronger evidence than tests: every small state, and proofs about batch rules."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from queueing_llm.model import Engine
from queueing_llm.policies import BatchRule, EngineState, Policy
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.contracts._listed import CONTRACTS, is_unlimited
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.findings._report import (
    Finding,
    Outcome,
    Support,
    broken_by,
    was_broken,
)
from queueing_llm.verify.plays._ask import ask
from queueing_llm.verify.plays._books import LIMITS
from queueing_llm.verify.plays._decision import Ending, Play
from queueing_llm.verify.plays._exhaustive import reachable_states
from queueing_llm.verify.plays._trial import Trial
from queueing_llm.verify.symbolic._contracts import PROMISES
from queueing_llm.verify.symbolic._prove import prove

REQUESTS, TOKENS = 3, 2
SMALL_ENGINES: tuple[tuple[int, int | None, int | None], ...] = tuple(
    product((1, 2, 3), (None, 1, 2), (None, 4, 6))
)
SCOPE = f"{REQUESTS} requests present, prompts and outputs of at most {TOKENS} tokens"
ABOUT_ONE_ANSWER = ("answers", "only_reads")
ABOUT_HISTORIES = "deterministic"


def balanced(finding: Finding) -> Finding:
    """Return the finding about a policy; the books that it needs are kept by the play."""
    if finding.contract is not CONTRACTS["conservation"]:
        return finding
    basis = "a policy keeps no books of its own: the play keeps them"
    return Finding(finding.contract, Outcome.HOLDS, Support.PROVED, basis)


def blindfolded(finding: Finding) -> Finding:
    """Return the finding about a scheduler; it is told of arrivals and sees no state."""
    if finding.contract is not CONTRACTS["only_reads"]:
        return finding
    basis = "a scheduler is shown no state that it could change"
    return Finding(finding.contract, Outcome.HOLDS, Support.PROVED, basis)


def proved(policy: Policy, finding: Finding, *, engine: Engine | None) -> Finding:
    """Return the finding as proved, if the policy is a rule and there is a proof.

    A proof counts only if it is about all limits that the engines of the question may have.
    """
    name = finding.contract.name
    is_known = name in PROMISES and finding.contract is CONTRACTS[name]
    if finding.outcome is not Outcome.HOLDS or not is_known:
        return finding
    if not isinstance(policy, BatchRule):
        return finding
    proof = prove(policy, name)
    if proof is None or not _limits_of(finding.contract, engine) <= set(proof.limits):
        return finding
    basis = (
        f"{len(proof.lemmas)} lemmas in {proof.cases} cases for any number of requests, about "
        f"the rule as a scan; that the code is this scan is tested. Also {finding.basis}"
    )
    return replace(finding, support=Support.PROVED, basis=basis)


def _limits_of(contract: Contract, engine: Engine | None) -> set[str]:
    """Return the limits besides the token budget that a question is about."""
    if contract.applies is is_unlimited:
        return set()
    limits = ("max_batch_size", "kv_capacity")
    asked = {name for name in limits if engine is None or getattr(engine, name) is not None}
    return asked | (
        {"kv_block_size"} if engine is not None and engine.kv_block_size > 1 else set()
    )


def exhausted(
    policy: Policy, findings: Sequence[Finding], *, engine: Engine | None
) -> list[Finding]:
    """Return the findings after a look at every small state that the policy comes to.

    Only for a policy that answered alike whenever it was asked again: of another one nobody
    can say that all its states were seen.
    """
    outcomes = {finding.contract.name: finding.outcome for finding in findings}
    if outcomes.get(ABOUT_HISTORIES, Outcome.HOLDS) is not Outcome.HOLDS:
        return list(findings)
    open_ones = {
        finding.contract.name: finding.contract
        for finding in findings
        if not was_broken(finding) and _is_about_states(finding.contract)
    }
    counts = dict.fromkeys(open_ones, 0)
    broken: dict[str, Counterexample] = {}
    for small, state in _states(policy, engine):
        played = Play(Trial(small, ()), (ask(policy, state),), Ending.FINISHED)
        for name in [name for name in open_ones if name not in broken]:
            counts[name] += open_ones[name].is_tested_by(played.decisions[0])
            breach = open_ones[name].first_breach(policy, played)
            if breach is not None:
                broken[name] = Counterexample(played, breach[1])
    return [_seen(finding, counts, broken, engine) for finding in findings]


def _is_about_states(contract: Contract) -> bool:
    """Whether one answer shows a breach, whatever was asked before and comes after."""
    if contract.about == "run":
        return any(contract is CONTRACTS[name] for name in ABOUT_ONE_ANSWER)
    return contract.about != "whole" and contract is not CONTRACTS[ABOUT_HISTORIES]


def _states(policy: Policy, engine: Engine | None) -> Iterator[tuple[Engine, EngineState]]:
    """Yield every small reachable state, engine by engine."""
    for one in _small_engines() if engine is None else (engine,):
        small = replace(one, step_time=AffineStepTime(1, 0))
        limits = {name: getattr(small, name) for name in LIMITS}
        for state in reachable_states(
            policy,
            requests=REQUESTS,
            tokens=TOKENS,
            first_token_from_prefill=small.first_token_from_prefill,
            **limits,
        ):
            yield small, state


def _small_engines() -> Iterator[Engine]:
    for budget, places, capacity in SMALL_ENGINES:
        yield Engine(AffineStepTime(1, 0), budget, max_batch_size=places, kv_capacity=capacity)


def _seen(
    finding: Finding,
    counts: dict[str, int],
    broken: dict[str, Counterexample],
    engine: Engine | None,
) -> Finding:
    name = finding.contract.name
    if name in broken:
        found = broken[name]
        return broken_by(found, finding)
    if not counts.get(name):
        return finding
    engines = f"{len(SMALL_ENGINES)} small engines" if engine is None else "this engine"
    basis = f"all {counts[name]:,} states with at most {SCOPE}, on {engines}, if deterministic"
    return replace(
        finding,
        outcome=Outcome.HOLDS,
        support=Support.EXHAUSTIVE,
        basis=basis,
        tested=counts[name],
    )
