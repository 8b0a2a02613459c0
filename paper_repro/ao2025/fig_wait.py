"""WAIT against first come, first served with eviction, as the cache holds more cohorts.

The engine is the fitted one of lmsys-chat-1m with all requests alike (59 prompt and 147 output
tokens, its means). With a cache of n A tokens, A being what a request holds over its batches,
C = M* at the bound on every policy, and WAIT with threshold n should attain it; the paper
(arXiv:2504.11320, section 6.1) finds that vLLM loses stability first, then Sarathi, then WAIT.
Chosen here: equal lengths, Poisson arrivals at 1.5 times the bound, rules of the package. The
calibration of the experiments of the paper is not known, so its rates cannot be tried, only
the order; whole prompts always fit in a batch, so nothing is chunked.

What an evicted request keeps decides how much greedy admission loses. Rules of the package keep
what is generated, as vLLM does, and recompute it in one prefill; in the model of the paper an
evicted request begins anew, which a loop of its own tries, with both, for C = 137,000.
"""

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from paper_repro.ao2025.engines import (
    BASE_LIFETIME,
    KV_CAPACITY,
    OUTPUT,
    PROMPT,
    SLOPE_SHARE,
    alike,
    fitted_engine,
    lifetime,
)
from paper_repro.ao2025.restarts import greedy as greedy_admission
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed, Value
from queueing_llm.stability import check_thresholds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COHORTS = (1, 2, 3, 4, 6, 8, 12)
RULES = (ql.VANILLA_VLLM, ql.ORCA, ql.SARATHI)
HELD = lifetime(PROMPT, OUTPUT)
LOOPED = 12_000
"""Batches of the loop, of which the second half counts; at most 7 complete with each."""
NEAR = 70
"""A rate inside the region, at 94 % of its edge [requests/s]."""


def compute(*, quick: bool = False) -> Computed:
    """Return shares of the bound by rule and cache, and WAIT near the edge of the region."""
    requests = 300_000 if quick else 800_000
    shares = {rule.name: [_share(rule, n, requests) for n in COHORTS] for rule in RULES}
    waits = [_wait_share(n) for n in COHORTS]
    whole = fitted_engine()
    largest = int(KV_CAPACITY // HELD)
    own = largest / Fraction(
        check_thresholds(whole, alike(1, PROMPT, OUTPUT), [largest]).iteration_seconds
    )
    greedy = _overloaded(ql.SARATHI, whole, requests).throughput
    thresholds = ql.smallest_thresholds(whole, alike(NEAR, PROMPT, OUTPUT))
    near = _near_the_edge(40.0 if quick else 200.0)
    restarting = _looped_rate(restart=True)
    values: dict[str, Value] = {
        "slowest_first": tuple(_order(shares, waits, i) for i in range(len(COHORTS))),
        "wait_share": tuple(waits),
        "vllm_loses": all(_is_below(share, 0.92) for share in shares["vanilla_vllm"]),
        "sarathi_loses": all(_is_below(share, 1) for share in shares["sarathi"]),
        "sarathi_loses_little": all(_is_above(share, 0.99) for share in shares["sarathi"]),
        "near_thresholds": thresholds.thresholds if thresholds is not None else (),
        "near_memory": thresholds.memory_tokens if thresholds is not None else 0,
        **near,
        "wait_own_rate": own,
        "greedy_beats_wait": greedy.value - 3 * greedy.standard_error > own,
        "keeping_rate": _looped_rate(restart=False),
        "restarting_rate": restarting,
        "wait_beats_restarting": restarting < own,
    }
    bound = ql.three_resource_bound(whole, alike(1, PROMPT, OUTPUT))
    highest = float(bound.requests_per_second) if bound is not None else 0.0
    columns: dict[str, list[Any]] = {
        f"{name}_share": [share.value for share in column] for name, column in shares.items()
    }
    return Computed(
        values,
        {
            "shares": {
                "cohorts": list(COHORTS),
                "kv_capacity_tokens": [int(n * HELD) for n in COHORTS],
                "wait_share": [float(share) for share in waits],
                **columns,
            },
            "begun_anew": {
                "cohorts": [float(KV_CAPACITY / HELD)],
                "greedy_share": [restarting / highest],
            },
        },
    )


def plot(computed: Computed) -> "Figure":
    """Draw what each rule completes, as a share of what no policy exceeds."""
    table = computed.tables["shares"]
    figure, axes = framed(
        "WAIT attains the bound; Sarathi loses 0.5 %, a third if the evicted begin anew",
        height=4.0,
    )
    for column, label, colour in (
        ("wait_share", "WAIT, threshold C / A", COLOURS[2]),
        ("sarathi_share", "Sarathi", COLOURS[3]),
        ("orca_share", "Orca", COLOURS[4]),
        ("vanilla_vllm_share", "vLLM of 2023 (prompts first, alone)", COLOURS[0]),
    ):
        axes.plot(
            table["cohorts"], table[column], "o-", color=colour, markersize=4, label=label
        )
    anew = computed.tables["begun_anew"]
    label = "Sarathi, the evicted begin anew"
    axes.plot(anew["cohorts"], anew["greedy_share"], "X", color=COLOURS[3], label=label)
    axes.set_xlabel("KV cache: C / A, requests that advance together in WAIT")
    axes.set_ylabel("completed / bound on every policy")
    axes.set_ylim(0.6, 1.02)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _overloaded(rule: ql.BatchRule, engine: ql.Engine, requests: int) -> ql.Run:
    load = alike(1, PROMPT, OUTPUT)
    bound = ql.three_resource_bound(engine, load)
    rate = float(bound.requests_per_second) if bound is not None else 0.0
    return ql.simulate(
        engine,
        load.scale_to(1.5 * rate),
        policy=rule,
        horizon=requests / rate,
        warmup=requests / rate / 10,
        replications=4,
        seed=17,
    )


def _share(rule: ql.BatchRule, cohorts: int, requests: int) -> ql.Estimate:
    """Return what a rule completes in overload over the bound on every policy [1]."""
    engine = fitted_engine(kv_capacity=int(cohorts * HELD))
    run = _overloaded(rule, engine, requests)
    bound = float(run.workload.arrival_rate) / 1.5
    done = run.throughput
    return ql.Estimate(
        done.value / bound, done.standard_error / bound, done.observations, done.method
    )


def _is_below(share: ql.Estimate, limit: float) -> bool:
    return share.value + 3 * share.standard_error < limit


def _is_above(share: ql.Estimate, limit: float) -> bool:
    return share.value - 3 * share.standard_error > limit


def _looped_rate(*, restart: bool) -> float:
    """Return what greedy admission completes with the whole cache, by the loop [requests/s]."""
    more_than_fit = [np.zeros(8, dtype=np.int64)] * LOOPED
    done = greedy_admission(
        [(PROMPT, OUTPUT)], more_than_fit, kv_capacity=KV_CAPACITY, restart=restart
    )
    base = float(BASE_LIFETIME / HELD)
    return done.completed / (base * (done.batches + float(SLOPE_SHARE) * done.tokens))


def _wait_share(cohorts: int) -> Fraction:
    """Return what WAIT completes in a batch once its stages are full, over the bound [1]."""
    engine = fitted_engine(kv_capacity=int(cohorts * HELD))
    count = cohorts * (OUTPUT + 20)
    load = ql.Workload.of_requests(
        [0] * count, prompt_tokens=[PROMPT] * count, output_tokens=[OUTPUT] * count
    )
    watched = ql.watch(engine, load, policy=ql.Wait([cohorts]), horizon=1000)
    (step,) = itertools.islice(watched, OUTPUT + 5, OUTPUT + 6)
    state = step.state
    done = (state.prompt_left == 0) & (state.decode_left == 1) & (step.batch.tokens > 0)
    rate = Fraction(int(done.sum()) * 10**9, step.end - step.start)
    bound = ql.three_resource_bound(engine, alike(1, PROMPT, OUTPUT))
    return rate / Fraction(bound.requests_per_second) if bound is not None else Fraction(0)


def _order(shares: dict[str, list[ql.Estimate]], waits: list[Fraction], i: int) -> str:
    """Return vLLM, Sarathi and WAIT in the order of what they complete."""
    found = {name: shares[name][i].value for name in ("vanilla_vllm", "sarathi")}
    found["wait"] = float(waits[i])
    return " < ".join(sorted(found, key=found.__getitem__))


def _near_the_edge(seconds: float) -> dict[str, Value]:
    """Watch WAIT with the smallest thresholds at a rate near the edge of the region."""
    engine, load = fitted_engine(), alike(NEAR, PROMPT, OUTPUT)
    found = ql.smallest_thresholds(engine, load)
    policy = ql.Wait(list(found.thresholds)) if found is not None else ql.Wait([1])
    peak = evicted = 0
    for step in ql.watch(engine, load, policy=policy, horizon=seconds, seed=19):
        held = (step.state.stored + step.batch.tokens)[~step.preempted]
        peak, evicted = max(peak, int(held.sum())), evicted + int(step.preempted.sum())
    return {"near_peak": peak, "near_evictions": evicted}
