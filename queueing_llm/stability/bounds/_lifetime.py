"""The KV slots that a request holds, summed over the batches that it lives."""

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.model import Engine, Workload


def kv_lifetime(engine: Engine, workload: Workload) -> Real:
    r"""Return the least KV slots that a request holds, summed over its batches.

    .. math:: E[g] = E\Bigl[ p + \sum_{j=1}^{D} (p + j) \Bigr]
       = E[p] + E[p D] + E[D (D + 1)] / 2

    The batch that completes the prompt holds all of it, and the decode step :math:`j` holds
    the prompt and :math:`j` decoded tokens. Chunks and preemptions only add to it.

    In blocks of :math:`B > 1` tokens the slots that a last block leaves idle are held, too. Of
    :math:`n = 1 + D` consecutive sizes each has a block at least, and :math:`r = n \bmod B` of
    them make what is idle fall short of its mean by at most :math:`r (B - r) / 2`:

    .. math:: E[g_B] \ge \max\Bigl( E[g] + \frac{B - 1}{2} E[n]
       - \frac12 \Bigl\lfloor \frac{B^2}{4} \Bigr\rfloor, \; E[g], \; B E[n] \Bigr).

    Parameters
    ----------
    engine, workload
        The system; :math:`D` is the number of decode steps by the engine's convention.

    Returns
    -------
    number
        :math:`E[g]` [token batches/request]; the lower bound on :math:`E[g_B]` for blocks.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
    >>> kv_lifetime(engine, ql.Workload.poisson(1, prompt_tokens=100, output_tokens=400))
    Fraction(120300, 1)
    """
    moments = workload.moments
    reads, steps = moments.kv_reads(engine.decode_steps(0)), engine.decode_steps(moments.output)
    tokens, block = moments.prompt + reads + steps, engine.kv_block_size
    if block == 1:
        return tokens
    idle = ratio((1 + steps) * (block - 1) - block**2 // 4, 2)
    return max(tokens + max(idle, 0), block * (1 + steps))
