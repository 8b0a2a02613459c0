"""What a policy can promise: a named rule with its source and what follows from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from queueing_llm.policies import Batch, EngineState, Policy
from queueing_llm.policies.field import FieldSystem
from queueing_llm.verify.plays._decision import Decision, Play

Sentence: TypeAlias = str | None
"""What is wrong, with numbers; None if nothing is."""

BatchCheck: TypeAlias = Callable[[EngineState, Batch], Sentence]
PolicyCheck: TypeAlias = Callable[[Policy, EngineState, Batch], Sentence]
RunCheck: TypeAlias = Callable[[Play], tuple[int, str] | None]
ReplayCheck: TypeAlias = Callable[[FieldSystem, Play], tuple[int, str] | None]


def everywhere(_: EngineState) -> bool:
    """Say that a contract is about every state."""
    return True


@final
@dataclass(frozen=True, slots=True)
class Contract:
    """One promise of a policy, and the function that finds out whether it is broken.

    Parameters
    ----------
    name : str
        Short name, in words.
    definition : str
        What is promised, in a sentence.
    source : str
        Where it is defined.
    implies : str
        What follows from it.
    about : {"batch", "policy", "run", "whole"}
        What the check looks at, and so what it is called with: ``(state, batch)``;
        ``(policy, state, batch)``, to ask the policy something else beside; or a
        :class:`Play`. It returns what is wrong or None; for a play, the position of the
        decision and what is wrong. A check of a policy as a whole is called with the policy
        alone, does all that is needed, and returns a :class:`Finding`.
    check : callable
        The check.
    applies : callable
        In which states the contract says anything; for a play, in which of them it counts
        as tested. A contract that never applied is not counted as kept.
    is_needed : bool
        Whether Theorem 2(b) of arXiv:2504.07347v3, by which a policy reaches the capacity,
        needs it.
    presumes : callable or None
        A more basic check of a batch. A counterexample that does not break that too shows
        more, and is preferred.
    needs_end : bool
        Whether only a play in which every request is finished counts as a test.
    replayed : callable or None
        For a contract about a policy: the check of a scheduler of the field, which cannot be
        asked about a state but can play once more. It is called with the system and a play.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import Contract, check_policy
    >>> def even(state, batch):
    ...     total = int(batch.tokens.sum())
    ...     return f"{total} tokens" if total % 2 else None
    >>> contract = Contract("even", "batches hold an even number", "ours", "", "batch", even)
    >>> check_policy(ql.ORCA, contracts=[contract]).findings[0].counterexample.sentence
    '1 tokens'
    """

    name: str
    definition: str
    source: str
    implies: str
    about: Literal["batch", "policy", "run", "whole"]
    check: Callable[..., Any]
    applies: Callable[[EngineState], bool] = everywhere
    is_needed: bool = False
    presumes: BatchCheck | None = None
    needs_end: bool = False
    replayed: ReplayCheck | None = None

    def is_tested_by(self, decision: Decision) -> bool:
        """Return whether a decision could have broken it.

        A question without a readable answer tests only what is about whole plays.

        Parameters
        ----------
        decision : Decision
            A question to a policy and its answer.
        """
        is_readable = self.about == "run" or decision.batch is not None
        return is_readable and self.applies(decision.state)

    def first_breach(
        self,
        policy: Policy | FieldSystem,
        played: Play,
        *,
        skip: frozenset[int] = frozenset(),
        beyond: BatchCheck | None = None,
    ) -> tuple[int, str] | None:
        """Return the position of the first decision that breaks it, and what is wrong.

        Parameters
        ----------
        policy : Policy or FieldSystem
            Who played.
        played : Play
            What it was asked and what it answered.
        skip : frozenset of int
            Positions of decisions that need no check, because the same was checked before.
        beyond : callable, optional
            A check of a batch; decisions that break it do not count.
        """
        if self.about == "run":
            found: tuple[int, str] | None = self.check(played)
            return found
        if isinstance(policy, FieldSystem) and self.replayed is not None:
            return self.replayed(policy, played)
        for i, decision in enumerate(played.decisions):
            state, batch = decision.state, decision.batch
            if i in skip or batch is None or not self.applies(state):
                continue
            about = (state, batch) if self.about == "batch" else (policy, state, batch)
            sentence: Sentence = self.check(*about)
            if sentence is not None and not (beyond and beyond(state, batch)):
                return i, sentence
        return None
