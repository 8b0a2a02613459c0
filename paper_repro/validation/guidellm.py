"""Sweeps of a real vLLM: fitted at low rates, predicted up to saturation.

The server ran Llama-3.1-8B; its GPU, version and limits were not recorded. 6.7 ms for a step
of a model of 16 GB is the memory bandwidth of an H100, so the defaults of vLLM for such a GPU
are assumed: :func:`assumed_engine`. Everything else comes from :mod:`sweeps`.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from paper_repro.validation.serving import Served, serve, serve_by_scheduler
from paper_repro.validation.sweeps import (
    USERS,
    FittedServer,
    SweepRun,
    by_workload,
    drawn_requests,
    draws_repeated,
    fitted_server,
    low_rate_runs,
    read_sweeps,
)
from paper_repro.validation.verdicts import measured_status
from queueing_llm.errors import InvalidArgument, MissingDependency
from queueing_llm.evidence import Status
from queueing_llm.model import Engine
from queueing_llm.steptime import AbstractStepTime, MeasuredStepTime, TableStepTime

FILE = Path("guidellm_vllm_llama31_8b") / "sweeps.csv"
KV_TOKENS = 436_000
"""What vLLM finds for an 8B model in bf16 beside 0.9 of an 80 GB GPU, to a few per cent."""
TOKEN_BUDGET, MOST_SEQUENCES, BLOCK = 8192, 1024, 16
"""Defaults of the server of vLLM v1 on a GPU of 70 GiB or more (not an A100)."""
LENGTHS_DRAWN = 20_000
BELOW = 0.95
"""Share of the measured saturation throughput up to which a rate counts as below it."""

FEW_SEQUENCES = "at most 256 sequences"
ONE_LAW, WITH_CACHE, OWN_LAW = "one law", "prefix cache", "own law"
NO_FIT, WITH_HOST = "H100 operators", "H100 and host"


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """What the benchmark would report of a run; times in seconds."""

    completed: int
    rate: float
    latency: float
    ttft: float
    tpot: float
    preemptions: int

    @property
    def concurrency(self) -> float:
        """Rate times latency of the completed requests."""
        return self.rate * self.latency


@final
@dataclass(frozen=True, slots=True)
class Swept:
    """Runs beside their predictions.

    Parameters
    ----------
    server : FittedServer
        The one law for all workloads.
    saturated : tuple of (SweepRun, mapping of str to Prediction)
        The ``throughput`` runs, predicted in several ways.
    constant : tuple of (SweepRun, Prediction, bool)
        The ``constant`` runs, by the one law; whether it was fitted to them.
    sensitivity : mapping of str to tuple of Prediction
        Of the ``throughput`` runs, by the one law and the rule, an assumption changed.
    draws : tuple of int
        Synchronous runs whose mean output is that of the drawn lengths, and all.
    """

    server: FittedServer
    saturated: tuple[tuple[SweepRun, Mapping[str, Prediction]], ...]
    constant: tuple[tuple[SweepRun, Prediction, bool], ...]
    sensitivity: Mapping[str, tuple[Prediction, ...]]
    draws: tuple[int, int]


def assumed_engine(
    step_time: AbstractStepTime,
    *,
    kv_capacity: int = KV_TOKENS,
    token_budget: int = TOKEN_BUDGET,
) -> Engine:
    """Return the engine of the sweeps with a law."""
    return Engine(
        step_time=step_time,
        token_budget=token_budget,
        max_batch_size=MOST_SEQUENCES,
        kv_capacity=kv_capacity // BLOCK * BLOCK,
        kv_block_size=BLOCK,
        first_token_from_prefill=True,
    )


def predict(
    engine: Engine, run: SweepRun, *, request_time: float, by_scheduler: bool = False
) -> Prediction:
    """Predict what the benchmark would report of a run.

    Only what was asked for is used: lengths, kind, rate and window.

    Parameters
    ----------
    engine : Engine
        Law and limits.
    run : SweepRun
        What was asked for.
    request_time : float
        Seconds of a request outside the engine.
    by_scheduler : bool
        Whether to run the scheduler of vLLM with its prefix cache, not the rule.
    """
    users = {"synchronous": 1, "throughput": USERS}.get(run.kind)
    rate = run.target if users is None else None
    count = LENGTHS_DRAWN if rate is None else int(rate * run.duration) + 1
    requests = drawn_requests(run.prompt_tokens, run.output_tokens, count=count, rate=rate)
    execution = serve_by_scheduler if by_scheduler else serve
    served = execution(
        engine, requests, until=run.duration, users=users, think_time=request_time
    )
    return reported(served, request_time=request_time)


def reported(served: Served, *, request_time: float) -> Prediction:
    """Count as the benchmark does: finished requests only, from the first to the last."""
    done = served.done
    if not done.any():
        return Prediction(0, 0.0, *(float("nan"),) * 3, served.preemptions)
    later = served.output_tokens[done] - 1
    waited = (served.finish - served.first)[done]
    return Prediction(
        completed=int(done.sum()),
        rate=float(done.sum() / served.finish[done].max()),
        latency=float(served.latency.mean()) + request_time,
        ttft=float(served.ttft.mean()) + request_time,
        tpot=float(waited.sum() / later.sum()),
        preemptions=served.preemptions,
    )


def compute(data: Path, *, quick: bool = False) -> Swept:
    """Fit, then predict every run.

    Parameters
    ----------
    data : Path
        Folder that holds :data:`FILE`.
    quick : bool
        Leave out the scheduler with a prefix cache.
    """
    runs = read_sweeps(data / FILE)
    fitted = low_rate_runs(runs)
    server = fitted_server(fitted)
    ordered = [run for group in by_workload(runs).values() for run in group]
    saturated = [run for run in ordered if run.kind == "throughput"]
    laws = {run: _laws(runs, server, run) for run in saturated}
    predictions = tuple(
        (run, _saturations(run, laws[run], server, quick=quick)) for run in saturated
    )
    engine = assumed_engine(server.step_time)
    constant = tuple(
        (run, predict(engine, run, request_time=server.request_time), run in fitted)
        for run in ordered
        if run.kind == "constant"
    )
    changed = _sensitivity(saturated, server)
    return Swept(server, predictions, constant, changed, draws_repeated(runs))


def _laws(
    runs: Sequence[SweepRun], server: FittedServer, run: SweepRun
) -> dict[str, AbstractStepTime]:
    """Return the laws to predict one workload by; without those that cannot be had."""
    laws: dict[str, AbstractStepTime] = {ONE_LAW: server.step_time}
    own = low_rate_runs(by_workload(runs)[run.workload])
    # One workload may keep decodes and KV tokens in proportion: then it has no law of its own.
    with suppress(InvalidArgument):
        laws[OWN_LAW] = fitted_server(own, request_time=server.request_time).step_time
    with suppress(MissingDependency):
        operators = h100_law(run.prompt_tokens)
        laws[NO_FIT] = _tabled(operators)
        laws[WITH_HOST] = _tabled(operators.with_fitted_host())
    return laws


def h100_law(prompt_tokens: int) -> MeasuredStepTime:
    """Return the operator times of vLLM on an H100, fitted to nothing here.

    Uniform prompts from half to three halves of their mean have 13/12 of it as mean over
    prefill tokens.
    """
    return MeasuredStepTime(
        "meta-llama/Llama-3.1-8B", "h100_sxm", prompt_tokens=round(prompt_tokens * 13 / 12)
    )


def _tabled(law: MeasuredStepTime) -> TableStepTime:
    return law.table(TOKEN_BUDGET, most_decode_tokens=MOST_SEQUENCES, kv_capacity=KV_TOKENS)


def _saturations(
    run: SweepRun, laws: Mapping[str, AbstractStepTime], server: FittedServer, *, quick: bool
) -> dict[str, Prediction]:
    found = {
        name: predict(assumed_engine(law), run, request_time=server.request_time)
        for name, law in laws.items()
    }
    engine = assumed_engine(server.step_time)
    if found[ONE_LAW].preemptions == 0:
        # The rule and the scheduler then form the same batches.
        found[WITH_CACHE] = found[ONE_LAW]
    elif not quick:
        found[WITH_CACHE] = predict(
            engine, run, request_time=server.request_time, by_scheduler=True
        )
    return found


def _sensitivity(
    runs: Sequence[SweepRun], server: FittedServer
) -> dict[str, tuple[Prediction, ...]]:
    """Predict saturation with one assumption changed at a time."""
    law = server.step_time
    engine = assumed_engine(law)
    changed = {
        "as assumed": engine,
        "KV capacity - 10 %": assumed_engine(law, kv_capacity=KV_TOKENS * 9 // 10),
        "KV capacity + 10 %": assumed_engine(law, kv_capacity=KV_TOKENS * 11 // 10),
        "token budget 2048": assumed_engine(law, token_budget=2048),
        FEW_SEQUENCES: replace(engine, max_batch_size=256),
    }
    return {
        name: tuple(predict(variant, run, request_time=server.request_time) for run in runs)
        for name, variant in changed.items()
    }


def is_below_saturation(run: SweepRun, saturated: Iterable[SweepRun]) -> bool:
    """Whether a constant rate is well below that of the ``throughput`` run of its workload.

    Without such a run, whether the server kept up.
    """
    rates = [r.rate for r in saturated if r.workload == run.workload]
    if not rates:
        return measured_status(run) is Status.STABLE
    return run.target < BELOW * max(rates)
