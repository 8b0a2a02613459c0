r"""Proofs that a batch rule keeps a contract in every state, whatever its size.

The rule is read as a scan (``_symbolic_rule``): its fields say which phases come first,
whether they mix, whether prompts are cut and what the batch-size limit counts. An invariant
of the scan is proved for one arbitrary request, so it holds after any number of them. Each
lemma is linear arithmetic over natural numbers, split into cases by the comparisons that the
rule itself makes, and each case is closed by multipliers that integers check.

What is proved is a statement about the scan. That the scan is the rule is tested, in every
small state under every limit, and not proved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from typing import Any, Literal, final

import numpy as np

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies import BatchRule, EngineState
from queueing_llm.verify.plays._exhaustive import reachable_states
from queueing_llm.verify.symbolic._contracts import LIMITS_KEPT, PROMISES, Limit, Promise
from queueing_llm.verify.symbolic._lemmas import assumptions, lemmas
from queueing_llm.verify.symbolic._paths import by_multipliers, by_z3, cases_of
from queueing_llm.verify.symbolic._scan import scanned

LIMITS: tuple[Limit, ...] = ("max_batch_size", "kv_capacity")
ROUTES = {"integers": by_multipliers, "z3": by_z3}
SMALL_ENGINES = {
    "max_batch_size": (None, 1, 2),
    "kv_capacity": (None, 3, 4),
    "token_budget": (1, 2, 3),
}


@final
@dataclass(frozen=True, slots=True)
class Proof:
    """That a rule keeps a contract in every state.

    Parameters
    ----------
    contract, policy : str
        Names.
    statement : str
        What holds.
    limits : tuple of str
        Limits that the engine may have beside its token budget, each or not.
    lemmas : tuple of str
        What was proved about all natural numbers.
    assumptions : tuple of str
        What is assumed of a state.
    cases : int
        Cases that the lemmas were split into, and contradictions that closed others.
    route : {"integers", "z3"}
        What closed them: multipliers checked by integers, or a solver that is trusted.
    """

    contract: str
    policy: str
    statement: str
    limits: tuple[Limit, ...]
    lemmas: tuple[str, ...]
    assumptions: tuple[str, ...]
    cases: int
    route: str


def prove(
    rule: BatchRule,
    contract: str,
    *,
    limits: Sequence[Limit] = LIMITS,
    route: Literal["integers", "z3"] = "integers",
) -> Proof | None:
    """Prove that a rule keeps a contract in every state, with any number of requests.

    Parameters
    ----------
    rule : BatchRule
        The rule.
    contract : str
        Name of a contract of one batch, such as ``"work_conserving"``.
    limits : sequence of {"max_batch_size", "kv_capacity"}
        Limits that the engine may have. Those that the contract is not about are left out.
        A KV cache is one of single tokens: nothing is proved of larger blocks.
    route : {"integers", "z3"}
        What closes the cases: multipliers that integers check, or the solver z3, which has
        to be trusted.

    Returns
    -------
    Proof or None
        None if the invariant that is tried does not carry: the contract may be broken, see
        :func:`counterexample`, or need another argument.

    Raises
    ------
    InvalidArgument
        If a word is not known or ``rule`` is not a :class:`BatchRule`.
    MissingDependency
        If z3 is asked for and not installed.

    Notes
    -----
    Exact, about the scan; the argument from lemmas to contract is induction over requests.
    Source of work conservation: (8)-(9) of arXiv:2504.07347v3. The argument is ours.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> proof = prove(ql.SARATHI, "work_conserving")
    >>> proof.statement
    'a batch holds min(token_budget, demand) tokens'
    >>> prove(ql.VANILLA_VLLM, "work_conserving") is None
    True
    """
    promise = _promise(rule, contract)
    _check_words(limits, route)
    about = tuple(limit for limit in promise.limits if limit in limits)
    steps = [
        *_carried(rule, LIMITS_KEPT, limits=about, route=route),
        *_carried(rule, promise, limits=about, route=route),
    ]
    cases = [step.cases for step in steps if step.cases is not None]
    if len(cases) < len(steps):
        return None
    return Proof(
        contract=contract,
        policy=rule.name,
        statement=promise.statement,
        limits=about,
        lemmas=tuple(dict.fromkeys(step.name for step in steps)),
        assumptions=assumptions(rule, promise),
        cases=sum(cases),
        route=route,
    )


def counterexample(
    rule: BatchRule, contract: str, *, limits: Sequence[Limit] = LIMITS
) -> EngineState | None:
    """Return a smallest state, among small ones, in which a rule breaks a contract.

    Parameters
    ----------
    rule, contract, limits
        As for :func:`prove`.

    Returns
    -------
    EngineState or None
        A state that the rule itself comes to from an empty engine; None if there is none of
        at most 2 requests with prompts and outputs of at most 2 tokens, whatever the limits.

    Raises
    ------
    InvalidArgument
        If a word is not known or ``rule`` is not a :class:`BatchRule`.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> state = counterexample(ql.VANILLA_VLLM, "work_conserving")
    >>> state.prompt_left, state.token_budget, ql.VANILLA_VLLM(state).tokens
    (array([0, 1]), 2, array([0, 1]))
    """
    promise = _promise(rule, contract)
    _check_words(limits)
    about = [limit for limit in promise.limits if limit in limits]
    used = {
        name: (None,) if name in LIMITS and name not in about else sizes
        for name, sizes in SMALL_ENGINES.items()
    }
    engines = (dict(zip(used, sizes, strict=True)) for sizes in product(*used.values()))
    found = (_first_breach(rule, promise, engine=engine) for engine in engines)
    return min((state for state in found if state is not None), key=_size, default=None)


def _promise(rule: object, contract: str) -> Promise:
    if not isinstance(rule, BatchRule):
        msg = f"rule must be a BatchRule such as SARATHI, got rule={rule!r}."
        raise InvalidArgument(msg)
    if contract not in PROMISES:
        hint = nearest(contract, PROMISES)
        msg = f"nothing can be proved about contract {contract!r}: {hint}."
        raise InvalidArgument(msg)
    return PROMISES[contract]


def _check_words(limits: Sequence[str], route: str = "integers") -> None:
    for word, known in ((route, tuple(ROUTES)), *((limit, LIMITS) for limit in limits)):
        if word not in known:
            msg = f"limits and route must be known words, got {word!r}: {nearest(word, known)}."
            raise InvalidArgument(msg)


@final
@dataclass(frozen=True, slots=True)
class _Step:
    """A lemma that was tried, and its cases; None if it fails."""

    name: str
    cases: int | None


@cache
def _carried(
    rule: BatchRule, promise: Promise, *, limits: tuple[Limit, ...], route: str
) -> tuple[_Step, ...]:
    """Return the lemmas of a promise under every choice of limits, up to one that fails."""
    steps = []
    subsets = (chosen for n in range(len(limits) + 1) for chosen in combinations(limits, n))
    for present in subsets:
        for name, lemma in lemmas(rule, promise, limits=present):
            cases = cases_of(lemma, contradiction=ROUTES[route])
            steps.append(_Step(f"{promise.statement}; {name}", cases))
            if cases is None:
                return tuple(steps)
    return tuple(steps)


def _first_breach(
    rule: BatchRule, promise: Promise, *, engine: dict[str, Any]
) -> EngineState | None:
    for state in reachable_states(rule, requests=2, tokens=2, **engine):
        account, batch = scanned(rule, state)
        agrees = np.array_equal(rule(state).tokens, batch.tokens)
        counts = account.tokens > 0 or not promise.presumes_progress
        if agrees and counts and not promise.goal(account):
            return state
    return None


def _size(state: EngineState) -> tuple[int, int]:
    tokens = state.prompt_left + state.decode_left + state.stored
    return len(state.request), int(tokens.sum())
