"""Write the certificate that no policy keeps up."""

from dataclasses import replace

from queueing_llm.certificates._checker import FORMAT, LARGEST_BUDGET, VERSION, check
from queueing_llm.certificates._store import Certificate
from queueing_llm.certificates._system import overload_system, pair
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.bounds._planning import resource_prices


def certify_overload(engine: Engine, workload: Workload) -> Certificate | None:
    """Return a proof that no policy sustains the workload, if there is one.

    The prices are those that determine the capacity: of a prefill and a decode token, of a KV
    slot held and of a KV token read. Without limits but the token budget they are the time
    that a token takes in the best batch, which is Theorem 2(a) of arXiv:2504.07347v3 as a
    linear-programming dual.

    Parameters
    ----------
    engine, workload
        The system.

    Returns
    -------
    Certificate or None
        Checked already; None if the workload is not above this bound, with single KV slots
        whatever the blocks are, the data are not exact (integers and Fractions; floats only
        propose), or the batches are too many to check.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=1, per_block=3, block=4)
    >>> engine = ql.Engine(step_time=step, token_budget=8)
    >>> load = ql.Workload.poisson(1, prompt_tokens=5, output_tokens=4)
    >>> ql.certify_overload(engine, load).check().comparisons
    19
    """
    if engine.token_budget > LARGEST_BUDGET:
        return None
    system = overload_system(engine, workload)
    # The checker counts single slots, in which blocks hold more than it knows of.
    slots = replace(engine, kv_block_size=1)
    prices = None if system is None else resource_prices(slots, workload)
    if system is None or prices is None or workload.arrival_rate * prices.seconds <= 1:
        return None
    names = ("prefill", "decode", "memory", "kv_read")
    document = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "overload",
        **system,
        "prices": {name: pair(getattr(prices, name)) for name in names},
        "excess": pair(workload.arrival_rate * prices.seconds - 1),
    }
    check(document)
    return Certificate(document)
