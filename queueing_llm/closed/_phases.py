r"""Whether users who do not think come out of step with each other.

A user is back where its round began after :math:`C = 1 + D` steps of its own. Renewal theory:
phases spread the faster, the further :math:`\phi(\theta) = E[e^{i \theta C}]` stays from 1
for all frequencies up from half a wave per round. It comes near 1 where lengths are multiples
of each other, or nearly all alike, and stays near 0 for geometric ones.
"""

import numpy as np

from queueing_llm.closed._demand import Demand


def phase_spread(demand: Demand) -> float:
    r"""Return :math:`\min_\theta |1 - \phi(\theta)|`: about 1 if phases spread at once.

    Parameters
    ----------
    demand : Demand
        What requests ask of the engine.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
    >>> def spread(output):
    ...     load = ql.Workload.closed(3, prompt_tokens=4, output_tokens=output)
    ...     return round(phase_spread(Demand.of(engine, load)), 2)
    >>> spread(ql.GeometricLength(50)), spread(ql.EmpiricalLength([50, 100]))
    (0.98, 0.08)
    """
    beyond = demand.steps_beyond
    chances = np.append(1 - beyond[0], -np.diff(beyond))
    size = 1 << (4 * len(chances)).bit_length()
    waves = np.fft.rfft(chances, size)
    angles = 2 * np.pi * np.arange(len(waves)) / size
    waves = waves * np.exp(-1j * angles)
    return float(np.abs(1 - waves)[angles >= np.pi / (1 + demand.steps)].min())
