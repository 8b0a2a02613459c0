"""Large states of a given workload, and what is known about all of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from queueing_llm.certificates import certify_stability
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, PoissonArrivals, Workload
from queueing_llm.policies import Policy
from queueing_llm.policies.field import FieldSystem
from queueing_llm.stability.drift._foster import numeric_rate
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.findings._report import Finding, Outcome, Support
from queueing_llm.verify.plays._ask import broken_rule
from queueing_llm.verify.plays._decision import Play
from queueing_llm.verify.plays._play import begun
from queueing_llm.verify.plays._trial import Trial
from queueing_llm.verify.search._search import smallest_breach, survey

DRAWN_LENGTHS = 64
MOST_DECISIONS = 400


def lengths_of(engine: Engine, workload: Workload) -> tuple[tuple[int, int], ...]:
    """Return prompt and output tokens that requests of a workload have, shortest first.

    Parameters
    ----------
    engine, workload
        The system. Of a law with many values only some are returned.

    Raises
    ------
    InvalidArgument
        If Foster's criterion for the ends of batches does not fit the workload.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> lengths_of(engine, ql.Workload.poisson(1, prompt_tokens=2, output_tokens=3))
    ((2, 3),)
    """
    if not isinstance(workload.arrivals, PoissonArrivals) or not workload.has_iid_lengths:
        kind = type(workload.arrivals).__name__
        msg = f"workload must be Poisson arrivals with i.i.d. lengths, got {kind}."
        raise InvalidArgument(msg)
    numeric_rate(workload)
    shortest = workload.moments.shortest_output
    if workload.longest_request is None or engine.decode_steps(shortest) < 0:
        msg = (
            "workload must have lengths with a bound, and requests of at least 0 decode steps, "
            f"got longest_request={workload.longest_request!r}, shortest output {shortest}."
        )
        raise InvalidArgument(msg)
    drawn = next(workload.chunks(np.random.default_rng(0), DRAWN_LENGTHS))
    pairs = set(zip(drawn.prompt_tokens.tolist(), drawn.output_tokens.tolist(), strict=True))
    played = sorted(
        (pair for pair in pairs if min(pair) > 0), key=lambda pair: (sum(pair), pair)
    )
    if not played:
        msg = "workload must have requests with at least one token of prompt and of output."
        raise InvalidArgument(msg)
    return tuple(played)


def searched(
    policy: Policy | FieldSystem,
    contract: Contract,
    *,
    engine: Engine,
    lengths: Sequence[tuple[int, int]],
    demand: int,
    breach: Callable[[Play], tuple[int, str] | None],
    plays: int,
    seed: int,
) -> Finding:
    """Return what crowds of requests show about a contract.

    Parameters
    ----------
    policy, contract
        Who may break what.
    engine, lengths
        What the trials are made of.
    demand : int
        Least demand of the states that the contract is about [tokens].
    breach : callable
        Finds a breach in a play; it says nothing about illegal answers.
    plays, seed
        How many trials, and where they come from.
    """
    from queueing_llm.verify.strategies import crowds

    states = replace(
        contract, about="run", check=breach, applies=lambda state: state.demand >= demand
    )
    legal = replace(contract, name="legal", about="run", check=_first_illegal)
    drawn = crowds(engine=engine, lengths=lengths, demand=demand)
    seen = survey(
        policy,
        [states, legal],
        engine=engine,
        plays=plays,
        seed=seed,
        drawn=drawn,
        player=_begun,
    )
    known = set(lengths)

    def is_of_workload(trial: Trial) -> bool:
        return all((a.prompt_tokens, a.output_tokens) in known for a in trial.arrivals)

    broken = smallest_breach(
        policy, states, seen=seen, engine=engine, allows=is_of_workload, player=_begun
    )
    if broken is not None:
        support = Support.COUNTEREXAMPLE
        return Finding(contract, Outcome.VIOLATED, support, broken.sentence, broken)
    count = seen.tested[contract.name]
    if legal.name in seen.broken or contract.name in seen.broken or not count:
        why = "an answer was illegal, or another one when asked again"
        basis = why if count else f"none of {seen.plays} trials had a demand of {demand} tokens"
        return Finding(contract, Outcome.UNDECIDED, Support.NONE, basis)
    basis = f"{count:,} different decisions in {seen.plays} trials"
    return Finding(contract, Outcome.HOLDS, Support.TESTED, basis)


def certified(
    found: Finding, policy: Policy | FieldSystem, engine: Engine, workload: Workload
) -> Finding:
    """Return a finding as proved, if the drift of full batches is certified."""
    if isinstance(policy, FieldSystem):
        return found
    certificate = certify_stability(engine, workload, policy=policy)
    if certificate is None:
        return found
    basis = (
        "batches of a mixed, chunked rule are full there, and the drift of full batches is "
        f"certified. Also {found.basis}"
    )
    return replace(found, outcome=Outcome.HOLDS, support=Support.PROVED, basis=basis)


def _begun(policy: Policy | FieldSystem, trial: Trial) -> Play:
    """Play a trial for a while: a crowd may be busy for many thousands of steps."""
    return begun(policy, trial, most_decisions=MOST_DECISIONS)


def _first_illegal(played: Play) -> tuple[int, str] | None:
    for i, decision in enumerate(played.decisions):
        if decision.batch is None or broken_rule(decision.state, decision.batch):
            return i, "an illegal answer"
    return None
