"""KV memory: the threshold of constant batch times, and the fluid equilibrium of WAIT."""

from typing import Any

from queueing_llm.stability import (
    class_costs,
    equilibrium_memory,
    equilibrium_seconds,
    kv_lifetime,
    threshold_rate,
)
from queueing_llm.symbolic._formula import Formula
from queueing_llm.symbolic._symbols import occurring, symbol
from queueing_llm.symbolic._system import system

SLOTS = "residents hold one slot for each token processed, also while they wait"
WORDS = (
    "arrival_rate",
    "kv_capacity",
    "batch_seconds",
    "base",
    "per_token",
    "per_kv_token",
    "mean_prompt",
    "mean_output",
    "mean_product",
    "mean_output_squared",
)


def kv_threshold(*, first_token_from_prefill: bool = False) -> Formula:
    r"""Return the arrival rate above which KV memory alone makes every policy unstable.

    .. math:: \mu = \frac{M}{\bar b \, E[g]}

    Parameters
    ----------
    first_token_from_prefill : bool
        Whether the prefill yields the first output token.

    Returns
    -------
    Formula
        In requests/s, for prompts that take one batch; chunks only lower it.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> ql.symbolic.kv_threshold().expression
    M/(\bar{b}*(m_d/2 + m_dd/2 + m_p + m_pd))
    """
    engine, workload = system(
        "affine", token_budget=symbol("token_budget"), emits=first_token_from_prefill
    )
    capacity, seconds = symbol("kv_capacity"), symbol("batch_seconds")
    lifetime = kv_lifetime(engine, workload)
    return _formula(
        threshold_rate(capacity, seconds, lifetime),
        name="KV-memory threshold",
        letter=r"\mu",
        unit="requests/s",
        assumptions=("every batch takes the same time",),
        source="arXiv:2605.04595",
    )


def wait_equilibrium(*, first_token_from_prefill: bool = False) -> tuple[Formula, Formula]:
    r"""Return the memory and the iteration time of WAIT's fluid equilibrium.

    .. math:: M^\star = \Delta T^\star \lambda E[g], \qquad
       \Delta T^\star = \frac{d_0}{1 - \lambda E[v]}

    In arXiv:2504.11320 ``per_token`` and ``per_kv_token`` are both :math:`d_1`.

    Parameters
    ----------
    first_token_from_prefill : bool
        Whether the prefill yields the first output token.

    Returns
    -------
    tuple of Formula
        :math:`M^\star` [tokens], which must fit in the KV cache, and
        :math:`\Delta T^\star` [s].

    Examples
    --------
    >>> from fractions import Fraction
    >>> import queueing_llm as ql
    >>> memory, seconds = ql.symbolic.wait_equilibrium()
    >>> one = dict(mean_prompt=1, mean_output=1, mean_product=1, mean_output_squared=1)
    >>> memory.value(arrival_rate=1, base=7, per_token=Fraction(1, 8), per_kv_token=0, **one)
    Fraction(28, 1)
    """
    engine, workload = system(
        "affine with KV reads",
        token_budget=symbol("token_budget"),
        emits=first_token_from_prefill,
    )
    law: Any = engine.step_time
    (rate,), (held,), (seconds,) = class_costs(engine, workload, law)
    load = rate * seconds
    iteration = equilibrium_seconds(law.base, load)
    memory = equilibrium_memory(law.base, load, rate * held)
    common: dict[str, Any] = {
        "assumptions": ("every batch serves every resident",),
        "source": "arXiv:2504.11320",
        "conditions": (load < 1,),
    }
    return (
        _formula(memory, name="memory", letter=r"M^{\star}", unit="tokens", **common),
        _formula(iteration, name="time", letter=r"\Delta T^{\star}", unit="s", **common),
    )


def _formula(
    expression: Any,
    *,
    name: str,
    letter: str,
    unit: str,
    source: str,
    assumptions: tuple[str, ...] = (),
    conditions: tuple[Any, ...] = (),
) -> Formula:
    return Formula(
        name=name,
        letter=letter,
        unit=unit,
        expression=expression,
        symbols=occurring(WORDS, expression, *conditions),
        conditions=conditions,
        assumptions=(SLOTS, *assumptions),
        source=source,
    )
