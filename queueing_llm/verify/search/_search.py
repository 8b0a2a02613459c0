"""The search for what breaks a contract: random trials, then the smallest one that breaks it.

Hypothesis draws the trials. All contracts look at the same plays, and those that are broken
shrink the trials that were seen to break them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias, final

from queueing_llm.model import Engine
from queueing_llm.policies import Policy
from queueing_llm.policies.field import FieldSystem
from queueing_llm.verify.contracts._contract import BatchCheck, Contract
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.plays._books import LIMITS, state_key, victims
from queueing_llm.verify.plays._decision import Ending, Play
from queueing_llm.verify.plays._play import MANY_DECISIONS, begun
from queueing_llm.verify.plays._trial import Trial
from queueing_llm.verify.search._shrink import FEW, shrunk

if TYPE_CHECKING:
    from hypothesis import settings
    from hypothesis.strategies import SearchStrategy

Player: TypeAlias = Callable[[Policy | FieldSystem, Trial], Play]
TENANTS = 2
LARGE_BUDGET, LARGE_BLOCK = 24, 4
ENOUGH_STARTS = 3
"""A policy with a memory need not break a contract again, so there are a few."""


def one_of_many(policy: Policy | FieldSystem, trial: Trial) -> Play:
    """Play a trial that is one of many."""
    return begun(policy, trial, most_decisions=MANY_DECISIONS)


@final
@dataclass(slots=True, eq=False)
class Survey:
    """What random plays showed, contract by contract.

    Parameters
    ----------
    contracts : sequence of Contract
        What the plays are checked against.
    plays : int
        How many there were.
    refused : int
        In how many of them a scheduler turned a request away, which ends a play.
    known : set
        States with their answers, each of which is checked once.
    tested : dict of str to int
        How many different decisions could have broken a contract.
    starts : dict of (str, bool) to list of Trial
        The first few trials that broke a contract; with True those in which that did not
        come of what the contract presumes.
    replays : dict
        Plays on the way to smaller trials, which contracts share.
    """

    contracts: Sequence[Contract]
    plays: int = 0
    refused: int = 0
    known: set[Any] = field(default_factory=set)
    tested: dict[str, int] = field(default_factory=dict)
    starts: dict[tuple[str, bool], list[Trial]] = field(default_factory=dict)
    replays: dict[Any, Play] = field(default_factory=dict)

    @property
    def trials(self) -> str:
        """How many trials there were, and how many a scheduler did not take as they were."""
        turned_away = f", {self.refused:,} of which it turned away" if self.refused else ""
        return f"{self.plays:,} trials{turned_away}"

    @property
    def broken(self) -> set[str]:
        """Names of the contracts that a play broke."""
        return {name for name, _ in self.starts}

    def add(self, policy: Policy | FieldSystem, played: Play) -> None:
        """Check one more play; a state and its answer are checked once."""
        self.plays += 1
        self.refused += played.ending is Ending.REFUSED
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
            self._note_breaches(policy, played, contract, skip=frozenset(skip))

    def replayed(self, policy: Policy | FieldSystem, trial: Trial, player: Player) -> Play:
        """Play a trial, if it is a small one only once for all contracts."""
        key = (trial.arrivals, *(getattr(trial.engine, name) for name in LIMITS))
        if key in self.replays:
            return self.replays[key]
        played = player(policy, trial)
        if len(trial.arrivals) <= FEW:
            self.replays[key] = played
        return played

    def _note_breaches(
        self,
        policy: Policy | FieldSystem,
        played: Play,
        contract: Contract,
        *,
        skip: frozenset[int],
    ) -> None:
        """Keep the first few trials that break a contract, and break it beyond others."""
        for beyond in dict.fromkeys((None, contract.presumes)):
            key = (contract.name, beyond is not None)
            if len(self.starts.get(key, ())) >= ENOUGH_STARTS:
                continue
            if contract.first_breach(policy, played, skip=skip, beyond=beyond):
                self.starts.setdefault(key, []).append(played.trial)


def survey(
    policy: Policy | FieldSystem,
    contracts: Sequence[Contract],
    *,
    engine: Engine | None,
    plays: int,
    seed: int,
    drawn: "SearchStrategy[Trial] | None" = None,
    player: Player = one_of_many,
) -> Survey:
    """Play random trials, the usual ones or those drawn, and check every contract on each."""
    from queueing_llm.verify.strategies import trials

    seen = Survey(contracts)
    if not contracts:
        return seen

    def add(trial: Trial) -> None:
        seen.add(policy, player(policy, trial))

    usual, classes = trials(engine=engine, classes=TENANTS), TENANTS
    if isinstance(policy, FieldSystem):
        # A class is a priority here, and blocks are what is counted. With whole prompts a
        # budget for the longest request is needed.
        classes = TENANTS if policy.reads_priority else 1
        usual = trials(
            engine=engine,
            classes=classes,
            most_budget=LARGE_BUDGET,
            most_block_size=LARGE_BLOCK,
        )
    _draw(usual if drawn is None else drawn, add, plays=plays, seed=seed)
    if seen.refused and drawn is None:
        # What was turned away has tested little: as many again that should be let in.
        fitting = trials(
            engine=engine, classes=classes, most_block_size=LARGE_BLOCK, whole=True
        )
        _draw(fitting, add, plays=seen.refused, seed=seed)
    return seen


def _draw(
    drawn: "SearchStrategy[Trial]", add: Callable[[Trial], None], *, plays: int, seed: int
) -> None:
    """Let so many trials be looked at."""
    from hypothesis import find
    from hypothesis.errors import NoSuchExample

    def looked_at(trial: Trial) -> bool:
        add(trial)
        return False

    try:
        find(drawn, looked_at, settings=_effort(plays), random=Random(seed))
    except NoSuchExample:
        return
    msg = "a search without a goal found one"
    raise AssertionError(msg)


def smallest_breach(
    policy: Policy | FieldSystem,
    contract: Contract,
    *,
    seen: Survey,
    engine: Engine | None,
    allows: Callable[[Trial], bool] | None = None,
    player: Player = one_of_many,
) -> Counterexample | None:
    """Return a smallest play that breaks a contract, found from those that a survey saw.

    Parameters
    ----------
    policy, contract
        Who breaks what.
    seen : Survey
        What random plays showed.
    engine : Engine or None
        The engine that the plays were on, if it was given.
    allows : callable, optional
        Which trials may be played.
    player : callable
        What plays them.

    Returns
    -------
    Counterexample or None
        If there is one, a play that does not break what the contract presumes. None if
        nothing breaks it again: the policy is no function of its state then.
    """
    for beyond in dict.fromkeys((contract.presumes, None)):
        starts = seen.starts.get((contract.name, beyond is not None), [])

        def broken(trial: Trial, beyond: BatchCheck | None = beyond) -> Counterexample | None:
            if not trial.arrivals or (allows is not None and not allows(trial)):
                return None
            played = seen.replayed(policy, trial, player)
            found = contract.first_breach(policy, played, beyond=beyond)
            if found is None:
                return None
            decisions = played.decisions[: found[0] + 1]
            return Counterexample(replace(played, decisions=decisions), found[1])

        found = [
            _shrunk_from(start, broken, keeps_engine=engine is not None) for start in starts
        ]
        if any(found):
            return min(filter(None, found), key=_size)
    return None


def _shrunk_from(
    start: Trial, broken: Callable[[Trial], Counterexample | None], *, keeps_engine: bool
) -> Counterexample | None:
    """Return the last breach on the way down from a trial; None if it is kept there."""
    found: list[Counterexample] = []

    def is_broken(trial: Trial) -> bool:
        breach = broken(trial)
        found.extend([] if breach is None else [breach])
        return breach is not None

    if not is_broken(start):
        return None
    shrunk(start, is_broken, keeps_engine=keeps_engine)
    return found[-1]


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
