"""The search for what breaks a contract: random trials, then the smallest one that breaks it.

Hypothesis draws the trials and shrinks the first that breaks a contract. All contracts look
at the same plays first, so that only those that are broken cost a search of their own.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, final

from queueing_llm.model import Engine
from queueing_llm.policies import Policy
from queueing_llm.verify._batch_contracts import victims
from queueing_llm.verify._contract import BatchCheck, Contract
from queueing_llm.verify._counterexample import Counterexample
from queueing_llm.verify._play import Ending, Play, play, state_key
from queueing_llm.verify._trial import Trial

if TYPE_CHECKING:
    from hypothesis import settings


@final
@dataclass(slots=True, eq=False)
class Survey:
    """What random plays showed, contract by contract.

    Parameters
    ----------
    contracts : sequence of Contract
        What the plays are checked against.
    """

    contracts: Sequence[Contract]
    plays: int = 0
    known: set[Any] = field(default_factory=set)
    tested: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def add(self, policy: Policy, played: Play) -> None:
        """Check one more play; a state and its answer are checked once."""
        self.plays += 1
        skip, fresh = set(), []
        for i, decision in enumerate(played.decisions):
            batch = decision.batch
            answer = batch and (
                batch.tokens.tobytes(),
                victims(decision.state, batch).tobytes(),
            )
            key = (state_key(decision.state), answer)
            if key in self.known:
                skip.add(i)
            else:
                fresh.append(decision)
            self.known.add(key)
        for contract in self.contracts:
            counts = played.ending is Ending.FINISHED or not contract.needs_end
            count = sum(counts and contract.is_tested_by(decision) for decision in fresh)
            self.tested[contract.name] = self.tested.get(contract.name, 0) + count
            if contract.name not in self.broken and contract.first_breach(
                policy, played, skip=frozenset(skip)
            ):
                self.broken.add(contract.name)


def survey(
    policy: Policy,
    contracts: Sequence[Contract],
    *,
    engine: Engine | None,
    plays: int,
    seed: int,
) -> Survey:
    """Play random trials and check every contract on each."""
    from hypothesis import find
    from hypothesis.errors import NoSuchExample

    from queueing_llm.verify.strategies import trials

    seen = Survey(contracts)

    def check(trial: Trial) -> bool:
        seen.add(policy, play(policy, trial))
        return False

    try:
        find(trials(engine=engine), check, settings=_effort(plays), random=Random(seed))
    except NoSuchExample:
        return seen
    msg = "a search without a goal found one"
    raise AssertionError(msg)


def smallest(
    policy: Policy, contract: Contract, *, engine: Engine | None, plays: int, seed: int
) -> Counterexample | None:
    """Return the smallest play that was found to break a contract.

    The same seed as in the survey leads to the same trials. Preferred is one that does not
    break what the contract presumes.
    """

    def search(beyond: BatchCheck | None) -> Counterexample | None:
        def breach(trial: Trial) -> Counterexample | None:
            played = play(policy, trial)
            found = contract.first_breach(policy, played, beyond=beyond)
            if found is None:
                return None
            position, sentence = found
            decisions = played.decisions[: position + 1]
            return Counterexample(Play(trial, decisions, played.ending), sentence)

        return _shrunk(breach, engine=engine, plays=plays, seed=seed)

    found = None if contract.presumes is None else search(contract.presumes)
    return found or search(None)


def _shrunk(
    breach: Callable[[Trial], Counterexample | None],
    *,
    engine: Engine | None,
    plays: int,
    seed: int,
) -> Counterexample | None:
    """Return the smallest breach on the way of Hypothesis.

    A policy that is no function of its state may break a contract once and not again, so
    the smallest breach is remembered.
    """
    from hypothesis import find
    from hypothesis.errors import HypothesisException, NoSuchExample

    from queueing_llm.verify.strategies import trials

    best: list[Counterexample] = []

    def is_broken(trial: Trial) -> bool:
        found = breach(trial)
        if found is not None:
            best[:] = [min([*best, found], key=_size)]
        return found is not None

    with suppress(NoSuchExample, HypothesisException):
        find(trials(engine=engine), is_broken, settings=_effort(plays), random=Random(seed))
    return best[0] if best else None


def _size(found: Counterexample) -> tuple[int, ...]:
    trial = found.trial
    engine = trial.engine
    limits = (engine.max_batch_size, engine.kv_capacity)
    return (
        len(trial.arrivals),
        trial.work_tokens,
        sum(limit is not None for limit in limits),
        len(found.played.decisions),
        engine.token_budget,
        *(limit or 0 for limit in limits),
    )


def _effort(plays: int) -> "settings":
    from hypothesis import HealthCheck, Phase, settings

    return settings(
        max_examples=plays,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
