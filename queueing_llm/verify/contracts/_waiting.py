"""How long an engine may idle with work present, and how long a request may get nothing.

Steps are counted. An engine that idles is asked again when a request arrives, as in the
simulator, so an empty batch lasts until then; with nothing to come it lasts for ever.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Annotated

from queueing_llm._validate import Domain, check
from queueing_llm.policies import EngineState
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.plays._decision import Ending, Play

StepsOrZero = Annotated[int, Domain("N", "steps", at_least=0, integer=True)]


def progress_within(steps: int) -> Contract:
    """Return the contract that an engine with work idles only for a few steps on end.

    Parameters
    ----------
    steps : int
        :math:`N`, the idle steps in a row that are allowed [steps]; 0 is ``progress``.

    Returns
    -------
    Contract
        Kept by policies that wait on purpose, as long as somebody arrives in time. With
        nothing to come an engine idles for ever, which no :math:`N` allows.

    Raises
    ------
    InvalidArgument
        If ``steps`` is not an integer of at least 0.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> from queueing_llm.verify.contracts._waiting import progress_within
    >>> report = check_policy(ql.Wait([2]), contracts=[progress_within(1)])
    >>> report.findings[0].basis
    'idles for ever from step 0 on, with requests present: 1'
    """
    check(steps, "steps", StepsOrZero)
    return Contract(
        f"progress_within({steps})",
        f"An engine with a request present has a batch after at most {steps} idle steps.",
        "ours",
        f"the engine never idles with work present for more than {steps} steps on end",
        "run",
        _idles_at_most(steps),
    )


def starvation_bound(steps: int) -> Contract:
    """Return the contract that every request gets a token every few steps.

    Parameters
    ----------
    steps : int
        :math:`N`, the steps in a row in which a request that is present may get nothing:
        before its first token, between two tokens, or preempted [steps].

    Returns
    -------
    Contract
        It counts as tested where somebody else has more than :math:`N` tokens left, so that
        a request might wait for that long.

    Raises
    ------
    InvalidArgument
        If ``steps`` is not an integer of at least 0.

    Notes
    -----
    Under a heavy load no policy keeps a fixed bound for all requests: the first token comes
    late. Without a fixed bound there is ``oldest_first``, by which a request waits for no
    more steps than older ones have tokens left.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> from queueing_llm.verify.contracts._waiting import starvation_bound
    >>> report = check_policy(ql.SARATHI, contracts=[starvation_bound(2)])
    >>> report.findings[0].basis
    'request 1 gets nothing for 3 steps'
    """
    check(steps, "steps", StepsOrZero)
    return Contract(
        f"starvation_bound({steps})",
        f"No request that is present gets nothing for more than {steps} steps on end.",
        "ours",
        f"tokens of a request are at most {steps + 1} steps apart",
        "run",
        _waits_at_most(steps),
        _others_have_more_than(steps),
    )


def _lasting(played: Play) -> Iterator[float]:
    """Yield how many steps each decision lasts; the last one may be the last for ever."""
    for now, then in itertools.pairwise(played.decisions):
        is_idle = now.batch is not None and not now.batch.tokens.any()
        yield then.step - now.step if is_idle else 1
    if played.decisions:
        yield math.inf if played.ending is Ending.STALLED else 1


def _idles_at_most(most: int) -> Callable[[Play], tuple[int, str] | None]:
    def idles_rarely(played: Play) -> tuple[int, str] | None:
        idle = 0.0
        for i, lasts in enumerate(_lasting(played)):
            batch, present = played.decisions[i].batch, len(played.decisions[i].state.request)
            idle = idle + lasts if batch is not None and not batch.tokens.any() else 0.0
            if idle == math.inf:
                step = played.decisions[i].step
                return (
                    i,
                    f"idles for ever from step {step} on, with requests present: {present}",
                )
            if idle > most:
                return i, f"idles for {idle:.0f} steps with requests present: {present}"
        return None

    return idles_rarely


def _waits_at_most(most: int) -> Callable[[Play], tuple[int, str] | None]:
    def waits_shortly(played: Play) -> tuple[int, str] | None:
        waited: dict[int, float] = {}
        for i, lasts in enumerate(_lasting(played)):
            state, batch = played.decisions[i].state, played.decisions[i].batch
            if batch is None:
                return None
            got = dict(zip(state.request.tolist(), batch.tokens.tolist(), strict=True))
            waited = {n: 0.0 if got[n] else waited.get(n, 0.0) + lasts for n in got}
            number = max(waited, key=waited.__getitem__)
            if waited[number] == math.inf:
                return (
                    i,
                    f"request {number} gets nothing from step {played.decisions[i].step} on",
                )
            if waited[number] > most:
                return i, f"request {number} gets nothing for {waited[number]:.0f} steps"
        return None

    return waits_shortly


def _others_have_more_than(steps: int) -> Callable[[EngineState], bool]:
    def may_starve(state: EngineState) -> bool:
        left = state.prompt_left + state.decode_left
        return len(left) > 1 and int(left.sum() - left.min()) > steps

    return may_starve
