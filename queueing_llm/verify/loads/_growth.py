"""Whether a simulated backlog grows, with a stated probability of a wrong answer."""

import math

import numpy as np

from queueing_llm.errors import ConservationViolated
from queueing_llm.simulate._bracket import _edge_effect as edge_effect
from queueing_llm.simulate._drift import BURST, DriftExperiment
from queueing_llm.simulate._estimate import Estimate
from queueing_llm.verify.findings._report import Outcome


def judged_by_growth(experiment: DriftExperiment, *, error: float) -> tuple[Outcome, str]:
    r"""Return whether an engine keeps up with its workload, and what was seen.

    Parameters
    ----------
    experiment : DriftExperiment
        The system at the rate in question; its generator is consumed.
    error : float
        :math:`\alpha`, the most probability of HOLDS if a large backlog does not shrink, and
        of VIOLATED if it does not grow.

    Returns
    -------
    tuple of Outcome and str
        UNDECIDED if the limits do not decide, if an engine that starts empty does not do what
        a large backlog says, or if the policy gives no legal answer.

    Examples
    --------
    >>> import numpy as np
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> load = ql.Workload.poisson(0.1, prompt_tokens=2, output_tokens=2)
    >>> seeded = np.random.default_rng(0)
    >>> experiment = DriftExperiment(engine, load, ql.SARATHI, 0.2, 4, 2000, seeded)
    >>> judged_by_growth(experiment, error=0.01)[0].name
    'HOLDS'
    """
    rate = float(experiment.workload.arrival_rate)
    try:
        large = experiment.drift(rate, filling_rate=BURST * experiment.at_most)
        empty = experiment.drift(rate, filling_rate=rate)
    except ConservationViolated:
        raise
    except Exception as failure:  # whatever a policy raises, and its illegal answers
        return Outcome.UNDECIDED, f"{type(failure).__name__}: {failure}"
    edge = edge_effect(experiment) * rate
    lows, highs = zip(*(_limits(growth, error) for growth in large), strict=True)
    seen = (
        f"a large backlog changes by {min(lows):.4g} to {max(highs):.4g} requests/s, "
        f"one-sided limits of level {error:g}, {experiment.replications} replications of "
        f"{experiment.requests:,} arrivals at {rate:.4g}/s"
    )
    if min(lows) > edge:
        return Outcome.VIOLATED, seen
    from_empty = [_limits(growth, error)[0] for growth in empty]
    if max(from_empty) > edge:
        return Outcome.UNDECIDED, f"{seen}; from empty by at least {max(from_empty):.4g}"
    return Outcome.HOLDS if max(highs) < -edge else Outcome.UNDECIDED, seen


def _limits(growth: np.ndarray, error: float) -> tuple[float, float]:
    """Return the one-sided Student limits of a mean, each of level ``error``."""
    found = Estimate.of(growth, "replications")
    low, high = found.interval(1 - 2 * error)
    return (-math.inf, math.inf) if math.isnan(low) else (low, high)
