"""Whether a KV cache is ever, or but hardly ever, too small for all users at once."""

import math

import numpy as np

from queueing_llm.closed._crowd import crowd_of
from queueing_llm.closed._demand import survival
from queueing_llm.model import Engine, Workload

DEVIATIONS = 6.0


def memory_never_binds(engine: Engine, workload: Workload) -> bool:
    """Whether the KV cache holds the largest requests of all users at once.

    Parameters
    ----------
    engine, workload
        The system, closed.
    """
    longest = workload.longest_request
    if engine.kv_capacity is None:
        return True
    if longest is None:
        return False
    blocks = -(-longest // engine.kv_block_size)
    return crowd_of(workload).users * blocks * engine.kv_block_size <= engine.kv_capacity


def memory_hardly_binds(engine: Engine, workload: Workload) -> bool:
    r"""Whether it holds what all users decode with a margin of six standard deviations.

    .. math:: E[s^k] = \frac{1}{E[D]} \sum_{j \ge 0} P(D > j) E[(p + j)^k], \qquad
       N (E[s] + B) + p_6 + 6 \sqrt{N} \, \sigma(s) \le M,

    where a decode has stored :math:`s` tokens in blocks of :math:`B`, all users decode, and a
    prompt of six deviations, :math:`p_6`, still finds room. Good for an approximation, which a
    preemption in a million steps does not change, and for no bound.

    Parameters
    ----------
    engine, workload
        The system, closed.
    """
    if memory_never_binds(engine, workload):
        return True
    moments, users = workload.moments, crowd_of(workload).users
    prompt, squared = float(moments.prompt), float(moments.prompt_squared)
    beyond = survival(workload, "output", shift=-engine.decode_steps(0))
    age = np.arange(len(beyond))
    steps = max(float(beyond.sum()), 1.0)
    mean = max(prompt, float(beyond @ (prompt + age)) / steps)
    second = max(squared, float(beyond @ (squared + 2 * age * prompt + age**2)) / steps)
    largest = prompt + DEVIATIONS * math.sqrt(max(0.0, squared - prompt**2))
    spread = DEVIATIONS * math.sqrt(users * max(0.0, second - mean**2))
    assert engine.kv_capacity is not None
    return users * (mean + engine.kv_block_size) + largest + spread <= engine.kv_capacity
