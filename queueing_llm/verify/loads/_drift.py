"""Foster's one-step condition: more tokens leave in a batch than arrive during it."""

from collections.abc import Callable
from typing import Annotated

from queueing_llm._validate import Domain, Real, check
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import Batch, EngineState, Policy
from queueing_llm.policies.field import FieldSystem
from queueing_llm.stability.drift._foster import numeric_rate
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.findings._report import Finding, Outcome
from queueing_llm.verify.loads._drift_search import certified, lengths_of, searched
from queueing_llm.verify.plays._ask import broken_rule
from queueing_llm.verify.plays._books import victims
from queueing_llm.verify.plays._decision import Play

Demand = Annotated[int, Domain("D", "tokens", at_least=0, integer=True)]
Plays = Annotated[int, Domain("n", "1", at_least=1, integer=True)]
Seed = Annotated[int, Domain("seed", "1", at_least=0, integer=True)]


def drift(
    engine: Engine,
    workload: Workload,
    *,
    beyond: int | None = None,
    plays: int = 30,
    seed: int = 0,
) -> Contract:
    r"""Return the contract that the backlog falls on average in every large state.

    With :math:`x` prefill and :math:`y` decode tokens in a batch, :math:`K` KV tokens read and
    :math:`z` tokens lost to preemptions, which are work again: wherever the demand exceeds
    :math:`D`,

    .. math:: \lambda \bar w\, t(x, y, K) + z < x + y.

    Parameters
    ----------
    engine : Engine
        Its limits, its accounting of the first token, and the step time :math:`t`.
    workload : Workload
        Poisson arrivals of rate :math:`\lambda`; i.i.d. bounded lengths of mean work
        :math:`\bar w`.
    beyond : int, optional
        :math:`D`; by default ``token_budget - 1``, beyond which the batches of a
        work-conserving policy are full [tokens].
    plays : int
        How many trials to look at.
    seed : int
        Source of the trials.

    Returns
    -------
    Contract
        About the policy as a whole, with trials of its own on this engine: crowds of requests
        that have lengths of the workload.

    Raises
    ------
    InvalidArgument
        If arrivals are not Poisson, lengths are replayed or have no bound, a request has
        fewer than 0 decode steps, the rate is symbolic, or a number is out of range.

    Notes
    -----
    Finitely many states have a demand of at most :math:`D`: each request adds at least 1 to
    it and has at most :math:`w_{max}` tokens left, so the backlog is at most
    :math:`D w_{max}`. The demand is bounded and not the backlog, because it decides whether a
    batch can be full, and few requests reach it. Beyond, batches take finitely many values,
    so a drift below 0 stays away from 0, as Foster's criterion needs; within, a batch and an
    idle period bring bounded mean work. Exact where rate, lengths and step times are. The
    certificate of full batches proves it for mixed, chunked rules on engines without further
    limits.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify.loads._drift import drift
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(3, 1), token_budget=4)
    >>> load = ql.Workload.poisson(Fraction(1, 8), prompt_tokens=2, output_tokens=2)
    >>> contract = drift(engine, load)
    >>> contract.check(ql.SARATHI).support.name
    'PROVED'
    >>> contract.check(ql.FASTER_TRANSFORMER).basis
    'with a demand of 4, a batch of 2 takes 5 s, in which 2.5 tokens come on average'
    """
    lengths = lengths_of(engine, workload)
    beyond = engine.token_budget - 1 if beyond is None else beyond
    for number, name, domain in (
        (beyond, "beyond", Demand),
        (plays, "plays", Plays),
        (seed, "seed", Seed),
    ):
        check(number, name, domain)
    rate = f"{float(workload.arrival_rate):.6g}"

    def judged(policy: Policy | FieldSystem) -> Finding:
        check_run = _falls(workload, beyond)
        found = searched(
            policy,
            whole,
            engine=engine,
            lengths=lengths,
            demand=beyond + 1,
            breach=check_run,
            plays=plays,
            seed=seed,
        )
        if found.outcome is Outcome.VIOLATED or beyond < engine.token_budget - 1:
            return found
        return certified(found, policy, engine, workload)

    whole = Contract(
        f"drift({rate}/s, beyond {beyond})",
        f"Where the demand exceeds {beyond} tokens, a batch takes more tokens than come on "
        f"average while it lasts, at {rate} requests/s.",
        "F. G. Foster (1953); the bound on the demand is ours",
        "if it holds in all such states, a policy that is a function of its state is positive "
        "recurrent at this load; if it is broken, nothing follows: no proof of instability",
        "whole",
        judged,
    )
    return whole


def expected_change(
    engine: Engine, workload: Workload, *, state: EngineState, batch: Batch
) -> tuple[Real, Real]:
    r"""Return the seconds that a batch takes, and the mean change of the backlog meanwhile.

    Parameters
    ----------
    engine, workload
        Step time, accounting and arrivals.
    state, batch
        A legal batch that is not empty.

    Returns
    -------
    tuple of number
        :math:`t` [s] and :math:`\lambda \bar w\, t + z - x - y` [tokens].

    Examples
    --------
    >>> import numpy as np
    >>> import queueing_llm as ql
    >>> from queueing_llm.policies import EngineState
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> load = ql.Workload.poisson(1, prompt_tokens=2, output_tokens=1)
    >>> state = EngineState(*np.array([[0], [0], [2], [1], [0]]), token_budget=4)
    >>> expected_change(engine, load, state=state, batch=ql.SARATHI(state))
    (3, Fraction(7, 1))
    """
    decodes = (state.prompt_left == 0) & (batch.tokens > 0)
    x, y = batch.prefill_tokens(state), batch.decode_tokens(state)
    seconds = engine.step_time(x, y, int(state.stored[decodes].sum()))
    moments = workload.moments
    work = engine.work_tokens(moments.prompt, moments.output)
    again = int(state.stored[victims(state, batch)].sum())
    return seconds, numeric_rate(workload) * work * seconds + again - x - y


def _falls(workload: Workload, beyond: int) -> Callable[[Play], tuple[int, str] | None]:
    def falls_where_large(played: Play) -> tuple[int, str] | None:
        for i, decision in enumerate(played.decisions):
            state, batch = decision.state, decision.batch
            if batch is None or broken_rule(state, batch):
                return None
            if state.demand <= beyond:
                continue
            total = int(batch.tokens.sum())
            if total == 0:
                return i, f"with a demand of {state.demand}, the batch is empty"
            seconds, change = expected_change(
                played.trial.engine, workload, state=state, batch=batch
            )
            if change >= 0:
                return i, (
                    f"with a demand of {state.demand}, a batch of {total} takes "
                    f"{float(seconds):.4g} s, in which {float(change + total):.4g} tokens come "
                    "on average"
                )
        return None

    return falls_where_large
