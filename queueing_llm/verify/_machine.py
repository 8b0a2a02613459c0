"""A policy to be driven rule by rule: requests arrive, steps are taken, time passes.

:func:`policy_machine` makes a stateful test of Hypothesis, for policies that remember and for
rules of your own.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.policies import Policy, check_policy
from queueing_llm.verify._open_play import OpenPlay
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.contracts._listed import CONTRACTS
from queueing_llm.verify.contracts._named import contract_named

if TYPE_CHECKING:
    from hypothesis.stateful import RuleBasedStateMachine

MOST_PRESENT = 6
SMALL = 9


def policy_machine(
    policy: Policy | None = None,
    *,
    make_policy: Callable[[], Policy] | None = None,
    engine: Engine | None = None,
    contracts: Sequence[Contract | str] | None = None,
) -> "type[RuleBasedStateMachine]":
    r"""Return a state machine of Hypothesis that drives a policy and holds it to its contracts.

    Its rules are ``arrive(prompt_tokens, output_tokens, class_index)``; ``step()``, one batch;
    ``idle()``, a step that passes without one; and ``finish()``, steps until all is done. It is
    a class to be subclassed with rules of your own: ``self.play`` is the :class:`OpenPlay`.

    Parameters
    ----------
    policy : Policy, optional
        A function of the state.
    make_policy : callable, optional
        Instead of ``policy``: makes a fresh one for every run, for policies that remember.
    engine : Engine, optional
        Whose limits to use; by default small ones are drawn. A request that would not fit in
        its KV cache alone is turned away.
    contracts : sequence of Contract or str, optional
        What is asserted after every step, or at ``finish()`` if it is about how a play ends.
        By default what throughput-optimality needs of one batch and of a run.

    Returns
    -------
    type of hypothesis.stateful.RuleBasedStateMachine
        Its ``TestCase`` is what pytest and unittest collect.

    Raises
    ------
    InvalidArgument
        If not exactly one policy is given, if a class is given for an instance of it, if a
        contract is about a policy as a whole, or if it asks a policy that remembers something
        besides, which it would remember.

    Examples
    --------
    A scheduler that remembers whom it served last, and never serves anybody twice in a row:

    >>> import queueing_llm as ql
    >>> from hypothesis import settings
    >>> from hypothesis.stateful import run_state_machine_as_test
    >>> class Polite:
    ...     last = -1
    ...     def __call__(self, state):
    ...         tokens = ql.SARATHI(state).tokens * (state.request != self.last)
    ...         self.last = int(state.request[0]) if tokens[0] else -1
    ...         return ql.Batch(tokens)
    >>> machine = policy_machine(make_policy=Polite)
    >>> search = settings(derandomize=True, database=None, deadline=None)
    >>> try:
    ...     run_state_machine_as_test(machine, settings=search)
    ... except AssertionError as broken:
    ...     print(broken, *broken.__notes__, sep="\n")
    Polite breaks progress: an empty batch with requests present: 1
    A batch is not empty while a request is present. ((8)-(9) of arXiv:2504.07347v3)
    <BLANKLINE>
    step         0   1
    request 0    p1  .
    batch/budget 1/1 0/1
    ...
    state = PolicyMachine()
    state.start(engine=Engine(...token_budget=1,...))
    state.arrive(class_index=0, output_tokens=1, prompt_tokens=1)
    state.finish()
    ...
    """
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

    from queueing_llm.verify.strategies import engines

    fresh = _fresh(policy, make_policy)
    chosen = _chosen(contracts, remembers=make_policy is not None)
    drawn = engines() if engine is None else st.just(engine)
    prompts = st.integers(1, SMALL)
    if engine is not None and engine.token_budget >= SMALL:
        prompts |= st.integers(1, 2 * engine.token_budget)

    class PolicyMachine(RuleBasedStateMachine):
        play: OpenPlay

        @initialize(engine=drawn)
        def start(self, engine: Engine) -> None:
            remembers = make_policy is not None
            self.play = OpenPlay(fresh(), engine, contracts=chosen, remembers=remembers)

        @rule(
            prompt_tokens=prompts,
            output_tokens=st.integers(1, 6),
            class_index=st.integers(0, 1),
        )
        def arrive(self, prompt_tokens: int, output_tokens: int, class_index: int) -> None:
            if self.play.present < MOST_PRESENT:
                self.play.arrive(prompt_tokens, output_tokens, class_index=class_index)

        @precondition(lambda machine: machine.play.is_asking)
        @rule()
        def step(self) -> None:
            self.play.step()

        @precondition(lambda machine: not machine.play.is_asking)
        @rule()
        def idle(self) -> None:
            self.play.idle()

        @precondition(lambda machine: machine.play.is_asking)
        @rule()
        def finish(self) -> None:
            self.play.finish()

    return PolicyMachine


def _fresh(
    policy: Policy | None, make_policy: Callable[[], Policy] | None
) -> Callable[[], Policy]:
    if (policy is None) is (make_policy is None):
        msg = f"either policy or make_policy is needed, got {policy!r} and {make_policy!r}."
        raise InvalidArgument(msg)
    if isinstance(policy, type):
        msg = f"policy must be a policy and no class of them, got {policy!r}; use make_policy."
        raise InvalidArgument(msg)
    check_policy(policy if make_policy is None else make_policy)
    given: Any = policy
    return make_policy or (lambda: given)


def _chosen(
    contracts: Sequence[Contract | str] | None, *, remembers: bool
) -> tuple[Contract, ...]:
    if contracts is None:
        needed = (known for known in CONTRACTS.values() if known.is_needed)
        return tuple(known for known in needed if known.about in ("batch", "run"))
    if isinstance(contracts, str) or not contracts:
        msg = f"contracts must be a list of contracts or their names, got {contracts!r}."
        raise InvalidArgument(msg)
    named = [
        found if isinstance(found, Contract) else contract_named(found) for found in contracts
    ]
    for known in named:
        if known.about == "whole":
            msg = f"contracts must be about decisions or a run, got {known.name!r}."
            raise InvalidArgument(msg)
        if remembers and known.about == "policy":
            msg = (
                f"contracts must ask a policy that remembers nothing else, got {known.name!r}."
            )
            raise InvalidArgument(msg)
    return tuple(named)
