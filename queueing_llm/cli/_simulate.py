"""``queueing-llm simulate``: means and latencies of one policy over a horizon."""

import sys
from typing import Annotated, Any

import typer

from queueing_llm._validate import Seconds, check
from queueing_llm.cli import _options as option
from queueing_llm.cli._output import answers, print_json
from queueing_llm.cli._records import estimate_record, system_record
from queueing_llm.cli._run_table import print_run
from queueing_llm.model import AbstractArrivals, ClosedArrivals
from queueing_llm.policies import policy_named
from queueing_llm.scenarios import Scenario
from queueing_llm.simulate import Estimate, Run
from queueing_llm.simulate import simulate as simulated

UNITS = {
    "mean_requests": "requests",
    "mean_backlog_tokens": "tokens",
    "throughput": "requests/s",
    "token_throughput": "tokens/s",
    "utilisation": "1",
    "growth": "tokens/s",
}
LATENCIES = ("ttft", "tpot", "end_to_end", "queue_time")
SUMMARIES = {"mean": None, "p50": 50.0, "p90": 90.0, "p99": 99.0}


def simulate(
    scenario: option.ScenarioName = None,
    *,
    policy: Annotated[str, typer.Option(metavar="NAME", help="Policy to simulate.")],
    horizon: Annotated[
        float,
        typer.Option(parser=option.real, metavar="SECONDS", help="Length of each replication."),
    ],
    arrival_rate: option.ArrivalRate = None,
    scale: option.Scale = None,
    prompt_tokens: option.PromptTokens = None,
    output_tokens: option.OutputTokens = None,
    token_budget: option.TokenBudget = None,
    max_batch_size: option.MaxBatchSize = None,
    kv_capacity: option.KVCapacity = None,
    kv_block_size: option.KVBlockSize = None,
    trace: option.TraceName = None,
    trace_format: option.TraceFormat = None,
    skip_bad_rows: option.SkipBadRows = False,
    model: option.Model = None,
    gpu: option.Gpu = None,
    backend: option.Backend = None,
    tp: option.TensorParallel = None,
    memory_fraction: option.MemoryFraction = None,
    host: option.Host = None,
    users: option.Users = None,
    think_time: option.ThinkTime = None,
    replications: Annotated[
        int, typer.Option(parser=option.whole, metavar="R", help="Independent replications.")
    ] = 1,
    warmup: Annotated[
        float,
        typer.Option(
            parser=option.real, metavar="SECONDS", help="What the means leave out at the start."
        ),
    ] = 0.0,
    seed: option.Seed = 0,
    tick: Annotated[
        float,
        typer.Option(parser=option.real, metavar="SECONDS", help="Resolution of the clock."),
    ] = 1e-9,
    per_request: Annotated[
        bool,
        typer.Option(
            "--per-request", help="Keep every request, for latencies; always with users."
        ),
    ] = False,
    progress: Annotated[
        bool | None,
        typer.Option(help="Show a progress bar on standard error. Default: on a terminal."),
    ] = None,
    as_json: option.AsJson = False,
) -> int:
    """Simulate one policy token by token; report means with their standard errors."""
    rule = policy_named(policy)
    check(tick, "tick", Seconds)
    system = option.system(
        scenario,
        arrival_rate=arrival_rate,
        scale=scale,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        token_budget=token_budget,
        max_batch_size=max_batch_size,
        kv_capacity=kv_capacity,
        kv_block_size=kv_block_size,
        trace=trace,
        trace_format=trace_format,
        skip_bad_rows=skip_bad_rows,
        users=users,
        think_time=think_time,
        model=model,
        gpu=gpu,
        backend=backend,
        tp=tp,
        memory_fraction=memory_fraction,
        host=host,
    )
    # Latencies are what a closed workload is watched for.
    per_request = per_request or system.workload.users is not None
    run = simulated(
        system.engine,
        system.workload,
        policy=rule,
        horizon=horizon,
        replications=replications,
        seed=seed,
        warmup=warmup,
        keep_requests=per_request,
        tick=tick,
        progress=sys.stderr.isatty() if progress is None else progress,
    )
    record = run_record(run, system, policy=rule.name, seed=seed, per_request=per_request)
    if as_json:
        print_json(record)
    else:
        print_run(answers(), system, record)
    return 0


def run_record(
    run: Run, system: Scenario, *, policy: str, seed: int, per_request: bool
) -> dict[str, Any]:
    """Return a run under the keys of the schema."""
    means: dict[str, Estimate] = {name: getattr(run, name) for name in UNITS}
    record: dict[str, Any] = {
        "scenario": system.name,
        "trace": system.trace or None,
        "policy": policy,
        **_arrivals_record(system.workload.arrivals),
        **system_record(system),
        "horizon": run.horizon,
        "warmup": run.warmup,
        "replications": len(run.outcomes),
        "seed": seed,
        "tick": run.tick,
        "steps": run.steps,
        "arrived": run.arrived,
        "preemptions": run.preemptions,
        "means": {name: estimate_record(means[name], unit) for name, unit in UNITS.items()},
    }
    if per_request:
        record["transient"] = run.grows
        record["latencies"] = {kind: _latency_records(run, kind) for kind in LATENCIES}
    return record


def _arrivals_record(arrivals: AbstractArrivals) -> dict[str, Any]:
    if isinstance(arrivals, ClosedArrivals):
        about = {"users": arrivals.users, "think_time": arrivals.think_time}
        return {"arrival_rate": None, **about}
    return {"arrival_rate": arrivals.rate}


def _latency_records(run: Run, kind: Any) -> dict[str, dict[str, Any]]:
    return {
        name: estimate_record(run.latency(kind, percentile=percentile, transient=True), "s")
        for name, percentile in SUMMARIES.items()
    }
