r"""A policy's own critical rate, from simulated drift.

The boundary of stability is where the drift of a *large* backlog changes sign. So every
evaluation first overloads the engine until a large backlog stands, then continues at the
rate in question, lets the mode in which the backlog sits settle, and measures the growth
over the second half. Arrivals carry most of the noise and their mean is known, so the growth
is corrected by its regression on the work that arrived (a control variate).

Bisection brackets the zero; a straight line through the drifts of every replication, at
rates spread around it, gives one estimate of the zero per replication and so a Student
confidence interval.

The zero is read in several ways that must agree. The backlog is grown by a burst far above
capacity, and gradually above the critical rate: a saturated engine may remember its start,
as it does with constant lengths and a batch-size limit. And the drift is counted in tokens
and in requests: they differ while the composition of the backlog changes, for instance
while prompts that a burst left turn into decodes. If the readings disagree, the interval
covers all of them.
"""

import math
from dataclasses import replace
from typing import Annotated

import numpy as np

from queueing_llm._validate import Confidence, Domain, Rate, check
from queueing_llm.evidence import CriticalRate, Evidence
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy, check_policy
from queueing_llm.simulate._clock import MOST_TICKS, NANOSECOND
from queueing_llm.simulate._drift import BURST, DriftExperiment
from queueing_llm.simulate._estimate import Estimate
from queueing_llm.simulate._simulate import generator

GRADUAL = 1.25
SPREAD = np.array([-1.0, -2 / 3, -1 / 3, 1 / 3, 2 / 3, 1.0])
MOST_HALVINGS = 24
Replications = Annotated[int | None, Domain("R", "1", at_least=2, integer=True, optional=True)]


def bracket_critical_rate(
    engine: Engine,
    workload: Workload,
    *,
    policy: Policy,
    at_most: float,
    replications: int | None = None,
    requests: int | None = None,
    confidence: float = 0.99,
    seed: int | np.random.Generator = 0,
) -> CriticalRate:
    """Estimate the critical rate of any policy by simulation.

    Parameters
    ----------
    engine, workload, policy
        The workload gives everything but the rate.
    at_most : float
        A rate that no policy can exceed [requests/s].
    replications : int, optional
        Independent estimates of the rate that the interval rests on, at least 2; the
        default is 8 on the kernel and 4 on the transparent driver.
    requests : int, optional
        Arrivals in each drift measurement; the default is at least 40,000 on the kernel and
        1,000 on the transparent driver, and more for large token budgets, so that the
        backlog is large beside what one batch can hold.
    confidence : float
        Of the interval.
    seed : int or numpy.random.Generator
        Source of the randomness; a generator is consumed.

    Returns
    -------
    CriticalRate
        With evidence ``SIMULATED``; or ``NONE`` and no value if the drift never changes
        sign.

    Notes
    -----
    Assumes that the sign of the drift of a large backlog grown in overload decides
    stability, and that the drift is nearly linear close to the boundary. Neither is proved
    here.
    """
    check_policy(policy)
    check(at_most, "at_most", Rate)
    check(replications, "replications", Replications)
    check(confidence, "confidence", Confidence)
    fast = isinstance(policy, BatchRule)
    experiment = DriftExperiment(
        engine=engine,
        workload=workload,
        policy=policy,
        at_most=float(at_most),
        replications=replications or (8 if fast else 4),
        requests=_whole_cycles(workload, requests or _enough(engine, fast=fast)),
        rng=generator(seed),
    )
    return _search(experiment, confidence)


def _search(experiment: DriftExperiment, confidence: float) -> CriticalRate:
    fewer = _whole_cycles(experiment.workload, experiment.requests // 4)
    quick = replace(experiment, replications=2, requests=fewer)
    stable, unstable = 0.0, experiment.at_most
    probe = quick.saturated_rate()
    # Below, a run would outlast the clock.
    least = min(8 * quick.requests / (MOST_TICKS * NANOSECOND), experiment.at_most / 2)
    for _ in range(MOST_HALVINGS):
        if unstable <= 1.04 * stable or unstable < max(1e-6 * experiment.at_most, least):
            break
        middle = probe if stable < probe < unstable else (stable + unstable) / 2
        probe = 0.0
        if quick.drift(middle, filling_rate=BURST * quick.at_most)[0].mean() > 0:
            unstable = middle
        else:
            stable = middle
    if stable == 0.0:
        basis = f"the simulated backlog grows at every rate tried, down to {unstable:.3g}/s"
        return CriticalRate(None, 0.0, unstable, Evidence.NONE, basis)
    return _refine(experiment, (stable + unstable) / 2, confidence)


def _refine(experiment: DriftExperiment, centre: float, confidence: float) -> CriticalRate:
    """Read the zero near ``centre`` in several ways."""
    at_most = experiment.at_most
    for _ in range(3):
        after_burst = _zeros(experiment, centre, BURST * at_most)
        first = Estimate.of(after_burst[0], "replications")
        moved = abs(first.value / centre - 1)
        centre = first.value
        if not moved > experiment.spread / 3:
            break
    if first.observations < max(2, experiment.replications / 2):
        basis = "the simulated drift does not cross zero near its sign change"
        return CriticalRate(None, 0.0, at_most, Evidence.NONE, basis)
    readings = {
        "tokens after a burst": after_burst[0],
        "requests after a burst": after_burst[1],
    }
    if experiment.is_fast:
        grown = _zeros(experiment, centre, GRADUAL * centre)
        readings |= {"tokens grown gradually": grown[0], "requests grown gradually": grown[1]}
    estimates = {name: Estimate.of(zeros, "replications") for name, zeros in readings.items()}
    return _agree(experiment, estimates, confidence)


def _agree(
    experiment: DriftExperiment, readings: dict[str, Estimate], confidence: float
) -> CriticalRate:
    """Combine the readings; the first is the best, and the others may widen its interval."""
    first = next(iter(readings.values()))
    edge = _edge_effect(experiment) * first.value
    basis = (
        f"zero of the simulated drift of a large backlog: {confidence:.0%} Student interval "
        f"over {experiment.replications} replications, {len(SPREAD)} rates within "
        f"{experiment.spread:.0%}, {experiment.requests:,} arrivals each"
    )
    low, high = first.interval(confidence)
    for name, other in readings.items():
        if other.observations < experiment.replications:
            basis = f"the drift of a large backlog has no common zero: {name} give none"
            return CriticalRate(None, 0.0, experiment.at_most, Evidence.NONE, basis)
        if abs(other.value - first.value) > edge + 4 * math.hypot(
            other.standard_error, first.standard_error
        ):
            basis += f"; {name} give {other.value:.4g}/s, and the interval covers that too"
            bounds = other.interval(confidence)
            low, high = min(low, bounds[0]), max(high, bounds[1])
    return CriticalRate(
        value=min(first.value, experiment.at_most),
        low=max(low - edge, 0.0),
        high=min(high + edge, experiment.at_most),
        evidence=Evidence.SIMULATED,
        basis=basis,
    )


def _enough(engine: Engine, *, fast: bool) -> int:
    """Return how many arrivals make the backlog large beside what one batch can hold."""
    members = min(engine.token_budget, engine.max_batch_size or engine.token_budget)
    return max(40_000, 40 * members) if fast else max(1_000, 8 * members)


def _whole_cycles(workload: Workload, requests: int) -> int:
    """Return at least ``requests``, so that half of them are whole cycles of a replay."""
    cycle = 2 * workload.cycle
    return -(-requests // cycle) * cycle


def _zeros(experiment: DriftExperiment, centre: float, filling_rate: float) -> np.ndarray:
    """Return one zero of each drift per replication, float64 array, shape (2, R)."""
    rates = centre * (1 + experiment.spread * SPREAD)
    drifts = np.stack([experiment.drift(rate, filling_rate=filling_rate) for rate in rates])
    slopes, offsets = np.polyfit(rates - centre, drifts.reshape(len(rates), -1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        zeros = centre - offsets / slopes
    near = abs(zeros / centre - 1) < max(0.2, 4 * experiment.spread)
    return np.where((slopes > 0) & near, zeros, np.nan).reshape(drifts.shape[1:])


def _edge_effect(experiment: DriftExperiment) -> float:
    """Return how much of the measured work two full batches are: the ends of the window."""
    engine, work = experiment.engine, experiment.work_tokens
    # As many requests as fit in a batch bring no more than their work to it, in the mean.
    full = min(engine.token_budget, (engine.max_batch_size or engine.token_budget) * work)
    return 2 * full / (work * experiment.requests / 2)
