"""Capacity and overload growth, by the functions that run on numbers."""

from typing import Any

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.stability import excess_work, seconds_at_full_batches
from queueing_llm.symbolic._formula import Formula
from queueing_llm.symbolic._symbols import occurring, symbol
from queueing_llm.symbolic._system import system, words_of_law

MOMENTS = ("mean_prompt", "mean_output", "mean_product", "mean_output_squared")
SERVED = (
    "stationary ergodic arrivals, independent of the engine",
    "no batch-size or KV limit binds",
    "a full batch serves the most tokens per second",
)


def capacity(law: str = "staircase", *, first_token_from_prefill: bool = False) -> Formula:
    r"""Return the arrival rate that no policy exceeds and work-conserving ones reach.

    .. math:: \lambda^\star = \frac{b}{t(b)\, \bar w}

    Theorem 2 of arXiv:2504.07347v3; with KV reads, ours by the same proof.

    Parameters
    ----------
    law : {"staircase", "hinge", "affine", "affine with KV reads"}
        The step-time law.
    first_token_from_prefill : bool
        Whether the prefill yields the first output token, so that :math:`\bar w` is one less.

    Returns
    -------
    Formula
        In requests/s.

    Raises
    ------
    InvalidArgument
        If no law has that name.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> ql.symbolic.capacity().expression
    b/((m_d + m_p)*(a*b/b_0 + c))
    """
    engine, workload, in_tokens = _filled(law, emits=first_token_from_prefill)
    expression = in_tokens(1 / seconds_at_full_batches(engine, workload))
    slope, per_token = engine.step_time.kv_slope, in_tokens(_seconds_per_token(engine))
    return _formula(
        law,
        expression,
        name="capacity",
        letter=r"\lambda^{\star}",
        unit="requests/s",
        # Otherwise a policy could recompute tokens in less time than it takes to read them.
        beyond=(slope <= per_token,) if slope and first_token_from_prefill else (),
    )


def overload_growth(
    law: str = "staircase", *, first_token_from_prefill: bool = False
) -> Formula:
    r"""Return the growth of the backlog of a work-conserving policy above capacity.

    .. math:: \dot V = \lambda \bar w - b / t(b)

    Parameters
    ----------
    law : {"staircase", "hinge", "affine"}
        The step-time law; with KV reads the growth depends on what is waiting.
    first_token_from_prefill : bool
        Whether the prefill yields the first output token.

    Returns
    -------
    Formula
        In tokens/s; conditioned on an arrival rate of at least the capacity.

    Raises
    ------
    InvalidArgument
        If no law has that name, or it reads the KV cache.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> ql.symbolic.overload_growth("affine").expression
    -b/(b*beta + c) + lambda*(m_d + m_p)
    """
    import sympy

    if law == "affine with KV reads":
        msg = f"law must be one of the token count, got law={law!r}: growth follows the queue."
        raise InvalidArgument(msg)
    engine, workload, in_tokens = _filled(law, emits=first_token_from_prefill)
    critical = 1 / seconds_at_full_batches(engine, workload)
    rate, grown = workload.arrival_rate, in_tokens(excess_work(engine, workload, critical))
    overloaded = rate >= in_tokens(critical)
    return _formula(
        law,
        # What arrives, less what full batches serve.
        grown.diff(rate) * rate + sympy.simplify(grown.subs(rate, 0)),
        name="growth of the backlog in overload",
        letter=r"\dot V",
        unit="tokens/s",
        beyond=(overloaded,),
    )


def _seconds_per_token(engine: Engine) -> Any:
    return engine.step_time(engine.token_budget) / engine.token_budget


def _filled(law: str, *, emits: bool) -> tuple[Engine, Workload, Any]:
    """Return the system of symbols, and what turns its expressions into ones of the budget.

    A budget of whole blocks lets the staircase drop its ceiling.
    """
    import sympy

    budget = symbol("token_budget")
    if law != "staircase":
        engine, workload = system(law, token_budget=budget, emits=emits)
        return engine, workload, lambda expression: expression
    blocks = sympy.Dummy("J", integer=True, positive=True)
    engine, workload = system(law, token_budget=blocks * symbol("block"), emits=emits)
    return (
        engine,
        workload,
        lambda expression: expression.subs(blocks, budget / symbol("block")),
    )


def _formula(
    law: str, expression: Any, *, name: str, letter: str, unit: str, beyond: Any = ()
) -> Formula:
    words = ("arrival_rate", "token_budget", *words_of_law(law), *MOMENTS)
    conditions = (*full_batch_is_best(law), *beyond)
    return Formula(
        name=name,
        letter=letter,
        unit=unit,
        expression=expression,
        symbols=occurring(words, expression, *conditions),
        conditions=conditions,
        assumptions=SERVED,
        source="Theorem 2 of arXiv:2504.07347v3"
        if law == "staircase"
        else "ours, by the proof of Theorem 2 of arXiv:2504.07347v3",
    )


def full_batch_is_best(law: str) -> tuple[Any, ...]:
    """Return the conditions under which n / t(n) is largest at the token budget.

    ``proofs/rate_bound_staircase.py`` and ``proofs/rate_bound_hinge.py`` prove them enough.
    """
    import sympy

    if law == "staircase":
        return (sympy.Eq(sympy.Mod(symbol("token_budget"), symbol("block")), 0),)
    if law == "hinge":
        floor, slope, knee = (symbol(word) for word in words_of_law(law))
        return (sympy.Ge(floor, slope * knee),)
    return ()
