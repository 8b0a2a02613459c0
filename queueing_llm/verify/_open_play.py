"""A play whose arrivals are not known before: requests arrive and steps are taken as one likes.

Whatever it comes to, :func:`play` comes to with the same requests.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import final

from queueing_llm.model import Engine
from queueing_llm.policies import Policy
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.plays._ask import ask, broken_rule
from queueing_llm.verify.plays._books import Books
from queueing_llm.verify.plays._decision import Decision, Ending, Play
from queueing_llm.verify.plays._play import SPARE_STEPS
from queueing_llm.verify.plays._trial import Arrival, Trial


@final
class OpenPlay:
    """A play that goes on: arrivals and steps in any order, with contracts asserted.

    Parameters
    ----------
    policy : Policy
        Who plays.
    engine : Engine
        Its limits; it starts empty.
    contracts : sequence of Contract
        What every decision must keep.
    remembers : bool
        Whether the policy keeps more than the state shows.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    >>> played = OpenPlay(ql.SARATHI, engine, contracts=())
    >>> played.arrive(3, 1)
    True
    >>> played.step()
    >>> played.arrive(1, 1)
    True
    >>> played.finish()
    >>> [decision.batch.tokens.tolist() for decision in played.so_far().decisions]
    [[2], [1, 1], [1, 1]]
    """

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        *,
        contracts: Sequence[Contract],
        remembers: bool = False,
    ) -> None:
        self.policy = policy
        self._engine, self._contracts, self._remembers = engine, contracts, remembers
        self._books = Books(engine)
        self._arrivals: list[Arrival] = []
        self._decisions: list[Decision] = []
        self._now = 0
        self._waits = False
        self._is_over = False

    @property
    def present(self) -> int:
        """Requests in the system."""
        return len(self._books.columns["request"])

    @property
    def is_asking(self) -> bool:
        """Whether the next step asks the policy: somebody is there, and may get something."""
        return not (self._books.is_empty or self._waits or self._is_over)

    def so_far(self, ending: Ending = Ending.FINISHED) -> Play:
        """Return what was decided until now as a play, over for the reason given."""
        trial = Trial(self._engine, tuple(self._arrivals))
        return Play(trial, tuple(self._decisions), ending, self._remembers)

    def arrive(self, prompt_tokens: int, output_tokens: int, *, class_index: int = 0) -> bool:
        """Let a request arrive, and return whether it was let in."""
        work = self._engine.work_tokens(prompt_tokens, output_tokens)
        if self._is_over or work > (self._engine.kv_capacity or work):
            return False
        arrival = Arrival(self._now, prompt_tokens, output_tokens, class_index)
        self._arrivals.append(arrival)
        self._books.join(arrival)
        self._waits = False
        return True

    def idle(self) -> None:
        """Let a step pass without a batch."""
        self._now += 1

    def step(self) -> None:
        """Ask the policy, hold its answer to the contracts, and serve the batch.

        Raises
        ------
        AssertionError
            If a contract is broken, with the way there.
        """
        decision = ask(self.policy, self._books.state(), step=self._now)
        self._decisions.append(decision)
        self._judge(Ending.FINISHED, at_the_end=False)
        batch = decision.batch
        if batch is None or broken_rule(decision.state, batch):
            self._is_over = True  # nobody knows what an engine does with such an answer
            return
        self._books.serve(batch)
        # The same question would have the same answer until somebody else arrives.
        self._waits = not batch.tokens.any()
        self._now += 1

    def finish(self) -> None:
        """Take steps until all is done or nothing more comes of them, and judge the end.

        Raises
        ------
        AssertionError
            If a contract is broken, with the way there.
        """
        work = self.so_far().trial.work_tokens
        last = self._arrivals[-1].step if self._arrivals else 0
        most = last + 2 * work + SPARE_STEPS
        while self.is_asking and self._now < most:
            self.step()
        if self._is_over:
            return
        is_stuck = Ending.STALLED if self._waits else Ending.CUT_SHORT
        ending = Ending.FINISHED if self._books.is_empty else is_stuck
        self._judge(ending, at_the_end=True)

    def _judge(self, ending: Ending, *, at_the_end: bool) -> None:
        played = self.so_far(ending)
        known = frozenset(range(len(self._decisions) - 1))
        for contract in self._contracts:
            if contract.needs_end is not at_the_end:
                continue
            breach = contract.first_breach(self.policy, played, skip=known)
            if breach is not None:
                self._is_over = True
                shown = replace(played, decisions=played.decisions[: breach[0] + 1])
                found = Counterexample(shown, breach[1])
                raise AssertionError(_said(self.policy, contract, found))


def _said(policy: Policy, contract: Contract, found: Counterexample) -> str:
    """Return what is wrong, and the way there."""
    name = getattr(policy, "name", None) or getattr(policy, "__name__", type(policy).__name__)
    promise = f"{contract.definition} ({contract.source})"
    said = f"{name} breaks {contract.name}: {found.sentence}"
    return f"{said}\n{promise}\n\n{found.timeline()}"
