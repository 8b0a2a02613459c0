"""The KV slots that a request holds, summed over the batches that it lives."""

from queueing_llm._validate import Real
from queueing_llm.model import Engine, Workload


def kv_lifetime(engine: Engine, workload: Workload) -> Real:
    r"""Return the least KV slots that a request holds, summed over its batches.

    .. math:: E[g] = E\Bigl[ p + \sum_{j=1}^{D} (p + j) \Bigr]
       = E[p] + E[p D] + E[D (D + 1)] / 2

    The batch that completes the prompt holds all of it, and the decode step :math:`j` holds
    the prompt and :math:`j` decoded tokens. Chunks and preemptions only add to it.

    Parameters
    ----------
    engine, workload
        The system; :math:`D` is the number of decode steps by the engine's convention.

    Returns
    -------
    number
        :math:`E[g]` [token batches/request].

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
    >>> kv_lifetime(engine, ql.Workload.poisson(1, prompt_tokens=100, output_tokens=400))
    Fraction(120300, 1)
    """
    moments = workload.moments
    reads = moments.kv_reads(engine.decode_steps(0))
    return moments.prompt + reads + engine.decode_steps(moments.output)
