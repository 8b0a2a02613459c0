"""A contract by its name, and the contracts that take a parameter."""

from typing import Annotated

from queueing_llm._validate import Domain, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies import Policy
from queueing_llm.policies import check_policy as check_callable
from queueing_llm.verify.contracts._batch import window_of
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.contracts._listed import CONTRACTS, PAPER, has_prompts
from queueing_llm.verify.contracts._policy import agreement_with

Window = Annotated[int, Domain("K", "requests", at_least=1, integer=True)]


def contract_named(name: str) -> Contract:
    """Return the contract of that name, in any case, with hyphens or blanks if preferred.

    Parameters
    ----------
    name : str
        Such as ``"work_conserving"`` or ``"work-conserving"``.

    Raises
    ------
    InvalidArgument
        If there is no such contract; the nearest name is suggested.

    Examples
    --------
    >>> from queueing_llm.verify import contract_named
    >>> contract_named("Token-Budget").source
    '(6d) of arXiv:2504.07347v3'
    """
    given: object = name
    if not isinstance(given, str):
        msg = f"a contract must be a Contract or the name of one, got {name!r}."
        raise InvalidArgument(msg)
    word = given.strip().lower().replace("-", "_").replace(" ", "_")
    if word not in CONTRACTS:
        msg = f"there is no contract {name!r}: {nearest(word, CONTRACTS)}."
        raise InvalidArgument(msg)
    return CONTRACTS[word]


def fcfs_window(most_partial: int) -> Contract:
    """Return the contract that few prompts are partly processed at any time.

    Parameters
    ----------
    most_partial : int
        :math:`K`, the prompts that may be partly processed after a batch [requests].

    Returns
    -------
    Contract
        K-FCFS for the prefill phase, as read here.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy, fcfs_window
    >>> check_policy(ql.SARATHI, contracts=[fcfs_window(1)]).findings[0].outcome.name
    'HOLDS'
    """
    check(most_partial, "most_partial", Window)
    return Contract(
        f"fcfs_window({most_partial})",
        f"After a batch at most {most_partial} prompts are partly processed.",
        f"K-FCFS of {PAPER} for prompts, as read here",
        "a large backlog of bounded prompts is many requests",
        "batch",
        window_of(most_partial),
        has_prompts,
    )


def same_as(other: Policy) -> Contract:
    """Return the contract that a policy forms the same batches as another one.

    Parameters
    ----------
    other : Policy
        What it is compared with, in every state that the policy comes to.

    Returns
    -------
    Contract
        A differential test; since it starts empty, policies that keep it run alike.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy, same_as
    >>> check_policy(ql.VLLM_V1, contracts=[same_as(ql.SARATHI)]).findings[0].outcome.name
    'HOLDS'
    """
    check_callable(other)
    name = getattr(other, "name", None) or getattr(other, "__name__", type(other).__name__)
    return Contract(
        f"same_as({name})",
        f"Every batch is that of {name}.",
        "ours",
        f"whatever holds for {name}",
        "policy",
        agreement_with(other),
    )
