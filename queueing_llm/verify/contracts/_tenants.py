"""Fairness between tenants: the class of a request says whose it is."""

from collections import Counter
from collections.abc import Callable
from itertools import permutations
from typing import Annotated

import numpy as np

from queueing_llm._validate import Domain, check
from queueing_llm.policies import EngineState
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.plays._decision import Decision, Play

TokensOrZero = Annotated[int, Domain("N", "tokens", at_least=0, integer=True)]


def fair_between_tenants(most_tokens: int) -> Contract:
    r"""Return the contract that no tenant gets much more than one that waits.

    A tenant *waits* in a step if a request of it is present and gets nothing. For every
    stretch of steps in all of which tenant :math:`f` waits, and every other tenant :math:`g`,
    the tokens that they get obey :math:`W_g - W_f \le N`.

    Parameters
    ----------
    most_tokens : int
        :math:`N` [tokens].

    Returns
    -------
    Contract
        About two tenants in the trials that are drawn; it counts as tested where both have
        requests present.

    Raises
    ------
    InvalidArgument
        If ``most_tokens`` is not an integer of at least 0.

    Notes
    -----
    In the spirit of arXiv:2401.00588, which bounds how much more service one of two
    backlogged clients gets than the other. As read here, step by step, and ours: whoever has
    all its requests served lacks nothing; the other tenant need not wait itself, so if both
    wait the bound holds in both directions; tokens of prompts and outputs weigh the same; and
    tokens that are computed again after a preemption count as service.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> from queueing_llm.verify.contracts._tenants import fair_between_tenants
    >>> report = check_policy(ql.ORCA, contracts=[fair_between_tenants(2)])
    >>> report.findings[0].basis
    'from step 0 on tenant 0 gets 3 tokens more than tenant 1, who waits'
    """
    check(most_tokens, "most_tokens", TokensOrZero)
    return Contract(
        f"fair_between_tenants({most_tokens})",
        f"While a tenant waits, no other gets more than {most_tokens} tokens more than it.",
        "arXiv:2401.00588, as read here",
        "a tenant that floods the engine costs another one a bounded number of tokens",
        "run",
        _at_most_ahead(most_tokens),
        has_tenants,
    )


def has_tenants(state: EngineState) -> bool:
    """Whether requests of more than one tenant are present."""
    return bool(np.any(state.class_index != state.class_index[:1]))


def _at_most_ahead(most: int) -> Callable[[Play], tuple[int, str] | None]:
    def few_ahead(played: Play) -> tuple[int, str] | None:
        tenants = sorted({arrival.class_index for arrival in played.trial.arrivals})
        # By how much g is ahead of f, at most over all stretches that end now, and since when.
        ahead: dict[tuple[int, int], tuple[int, int]] = {}
        for i, decision in enumerate(played.decisions):
            if decision.batch is None:
                return None
            got, waiting = _by_tenant(decision)
            ahead = {
                (f, g): _grown(ahead.get((f, g)), got[g] - got[f], decision.step)
                for f, g in permutations(tenants, 2)
                if f in waiting
            }
            for (f, g), (tokens, since) in ahead.items():
                if tokens > most:
                    more = f"tenant {g} gets {tokens} tokens more than tenant {f}, who waits"
                    return i, f"from step {since} on {more}"
        return None

    return few_ahead


def _grown(before: tuple[int, int] | None, more: int, step: int) -> tuple[int, int]:
    """Return the largest sum over stretches that end now, by Kadane's recursion."""
    if before is None or before[0] <= 0:
        return more, step
    return before[0] + more, before[1]


def _by_tenant(decision: Decision) -> tuple[Counter[int], set[int]]:
    """Return the tokens that each tenant gets, and which tenants wait."""
    assert decision.batch is not None, "only readable answers are looked at"
    got: Counter[int] = Counter()
    waiting: set[int] = set()
    owners, tokens = decision.state.class_index.tolist(), decision.batch.tokens.tolist()
    for tenant, granted in zip(owners, tokens, strict=True):
        got[tenant] += granted
        if granted == 0:
            waiting.add(tenant)
    return got, waiting
