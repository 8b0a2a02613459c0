"""The KV slots that a request holds, summed over the batches that it lives."""

from numbers import Rational

from queueing_llm._ops import ratio
from queueing_llm._validate import Real
from queueing_llm.model import Engine, LengthMoments, Workload


def kv_lifetime(engine: Engine, workload: Workload) -> Real:
    r"""Return the least KV slots that a request holds, summed over its batches.

    .. math:: E[g] = E\Bigl[ p + \sum_{j=1}^{D} (p + j) \Bigr]
       = E[p] + E[p D] + E[D (D + 1)] / 2

    The batch that completes the prompt holds all of it, and the decode step :math:`j` holds
    the prompt and :math:`j` decoded tokens. Chunks and preemptions only add to it.

    In blocks of :math:`B > 1` tokens the slots that a last block leaves idle are held, too:
    :math:`g_B = \sum_{j=0}^{D} B \lceil (p + j) / B \rceil`, which is returned for classes
    whose requests are all alike. For others it is bounded from below. Of
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
        :math:`E[g]` [token batches/request]; for blocks :math:`E[g_B]`, or the lower bound
        on it where the lengths of a class vary.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
    >>> kv_lifetime(engine, ql.Workload.poisson(1, prompt_tokens=100, output_tokens=400))
    Fraction(120300, 1)
    """
    if engine.kv_block_size == 1:
        return _in_slots(engine, workload.moments)
    each = [_in_blocks(engine, kind.lengths.moments) for kind in workload.classes]
    return sum(share * held for share, held in zip(workload.shares, each, strict=True))


def _in_slots(engine: Engine, moments: LengthMoments) -> Real:
    steps = engine.decode_steps(moments.output)
    return moments.prompt + moments.kv_reads(engine.decode_steps(0)) + steps


def _in_blocks(engine: Engine, moments: LengthMoments) -> Real:
    """Return what the requests of a class hold, or a lower bound if they are not alike."""
    # It checks that there are no fewer than 0 decode steps.
    tokens, size = _in_slots(engine, moments), engine.kv_block_size
    steps = engine.decode_steps(moments.output)
    if _are_alike(moments):
        prompt, last = int(moments.prompt), int(moments.prompt + steps)
        return size * (_blocks_up_to(last, size) - _blocks_up_to(prompt - 1, size))
    idle = ratio((1 + steps) * (size - 1) - size**2 // 4, 2)
    return max(tokens + max(idle, 0), size * (1 + steps))


def _are_alike(moments: LengthMoments) -> bool:
    """Whether exact moments leave no room for lengths that vary."""
    means, squares = (
        (moments.prompt, moments.output),
        (moments.prompt_squared, moments.output_squared),
    )
    is_exact = all(isinstance(number, Rational) for number in (*means, *squares))
    return is_exact and squares == (moments.prompt**2, moments.output**2)


def _blocks_up_to(tokens: int, size: int) -> int:
    r"""Return :math:`\sum_{s=1}^{m} \lceil s / B \rceil`."""
    full, rest = divmod(tokens, size)
    return size * full * (full + 1) // 2 + rest * (full + 1)
