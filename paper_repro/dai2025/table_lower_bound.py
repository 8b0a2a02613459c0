"""The backlog that no policy can stay below, on every path.

The core of Theorem 2(a), here for finite times (ours): a batch of n tokens takes at least n /
r*, so the backlog of any policy is at least that of a fluid server of rate r* fed by the same
arrivals. Tried on Poisson arrivals of 129 + 112 tokens at three loads, at 4,000 times of each
path. The same comparison with a fluid server of 0.9 r*, which bounds nothing, must fail.
"""

import itertools

import numpy as np

import queueing_llm as ql
from paper_repro.dai2025._published import ENGINE, POLICIES
from queueing_llm.reproduce import Computed

LENGTHS = (129, 112)
PERCENT = (50, 90, 105)
SAMPLES = 4000
SEED = 32
ROUNDING = 1e-6
"""What sums of floats may miss of a backlog [tokens]."""


def compute(*, quick: bool = False) -> Computed:
    """Return the smallest distance from the bound on each path; ``quick`` has shorter paths."""
    horizon, paths = (100.0, 2) if quick else (300.0, 4)
    rng = np.random.default_rng(SEED)
    rows = []
    for percent, path in itertools.product(PERCENT, range(paths)):
        times = _arrivals(percent / 100, horizon=horizon, rng=rng)
        for name, policy in POLICIES.items():
            bound, slower = (
                _smallest_gap(times, policy, horizon=horizon, share=share)
                for share in (1.0, 0.9)
            )
            rows.append((name, percent / 100, path, bound, slower))
    names = ("policy", "load", "path", "least_gap_tokens", "least_gap_to_slower_server_tokens")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return Computed(
        values={
            "paths": len(rows),
            "bound_holds": min(row[3] for row in rows) >= -ROUNDING,
            "slower_server_is_no_bound": min(row[4] for row in rows) < -ROUNDING,
        },
        tables={"paths": columns},
    )


def _arrivals(load: float, *, horizon: float, rng: np.random.Generator) -> np.ndarray:
    """Return Poisson arrival times [s], shape (N,), in whole microseconds."""
    rate = load * float(_tokens_per_second()) / sum(LENGTHS)
    count = rng.poisson(rate * horizon)
    return np.sort(np.round(rng.uniform(0, horizon, count), 6))


def _tokens_per_second() -> float:
    return float(ql.best_rate(ENGINE).tokens_per_second)


def _smallest_gap(
    times: np.ndarray, policy: ql.Policy, *, horizon: float, share: float
) -> float:
    """Return the least backlog above that of a fluid server of a share of the best rate."""
    prompt, output = LENGTHS
    workload = ql.Workload.of_requests(
        times,
        prompt_tokens=np.full(len(times), prompt),
        output_tokens=np.full(len(times), output),
    )
    run = ql.simulate(ENGINE, workload, policy=policy, horizon=horizon, samples=SAMPLES)
    fluid = fluid_backlog(times, run.times, rate=share * _tokens_per_second())
    return float((run.backlog_tokens[0] - fluid).min())


def fluid_backlog(times: np.ndarray, at: np.ndarray, *, rate: float) -> np.ndarray:
    """Return the work of a fluid server at some times: its net input, reflected at 0 [tokens].

    Parameters
    ----------
    times : float array, shape (N,)
        When requests arrive [s], increasing.
    at : float array, shape (S,)
        When to look [s].
    rate : float
        What the server serves while it has work [tokens/s].
    """
    work = sum(LENGTHS)
    before = np.arange(len(times)) * work - rate * times
    lowest = np.minimum.accumulate(np.append(0.0, before))
    arrived = np.searchsorted(times, at, side="right")
    net = arrived * work - rate * at
    return np.asarray(net - np.minimum(net, lowest[arrived]))
