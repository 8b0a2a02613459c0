"""``queueing-llm check``: verdicts of several policies side by side."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from queueing_llm.cli import _options as option
from queueing_llm.cli._output import answers, complain, print_json, progress
from queueing_llm.cli._records import system_record, verdict_record
from queueing_llm.cli._verdict_table import print_verdicts
from queueing_llm.decide import check_stability
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.evidence import Status, Verdict
from queueing_llm.policies import BatchRule
from queueing_llm.scenarios import Scenario

NOT_AS_REQUIRED = 1


def required_status(text: str) -> Status:
    """Return the status of that name, in any case."""
    accepted = [status.value for status in Status]
    if text.lower() not in accepted:
        msg = f"{text!r} is no status: {nearest(text.lower(), accepted)}."
        raise typer.BadParameter(msg)
    return Status(text.lower())


def check(
    scenario: option.ScenarioName = None,
    *,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Policy to judge; repeatable. Default: all."),
    ] = None,
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
    servers: Annotated[
        int,
        typer.Option(
            parser=option.whole, metavar="K", help="Identical engines, join-shortest-queue."
        ),
    ] = 1,
    confidence: Annotated[
        float,
        typer.Option(
            parser=option.real, metavar="P", help="Of intervals, where an answer is simulated."
        ),
    ] = 0.99,
    seed: option.Seed = 0,
    require: Annotated[
        Status | None,
        typer.Option(
            parser=required_status,
            metavar="STATUS",
            help="Exit with status 1 unless every policy is stable, unstable or undecided.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw simulated and fluid backlogs.")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the proof, where the evidence is 'proved'."),
    ] = None,
    as_json: option.AsJson = False,
) -> int:
    """Decide which policies keep up with the load, and say how it is known."""
    judged = option.policies(policy)
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
    _check_open(system)
    if plot is not None:
        _check_plot(plot, servers=servers)
    if certificate is not None and not certificate.parent.is_dir():
        msg = f"certificate {str(certificate)!r} cannot be written: its folder does not exist."
        raise InvalidArgument(msg)
    verdicts = _verdicts(system, judged, servers=servers, confidence=confidence, seed=seed)
    if plot is not None:
        _draw(plot, system, judged, verdicts, seed=seed)
    if as_json:
        _print_json(system, verdicts, servers=servers, single=policy is not None)
    else:
        print_verdicts(answers(), system, verdicts, servers=servers)
    written = 0 if certificate is None else _write(certificate, verdicts)
    return max(written, _against(require, verdicts))


def _verdicts(
    system: Scenario,
    judged: Sequence[BatchRule],
    *,
    servers: int,
    confidence: float,
    seed: int,
) -> list[Verdict]:
    verdicts = []
    for i, rule in enumerate(judged, start=1):
        with _busy(f"deciding {rule.name} ({i} of {len(judged)})"):
            verdicts.append(
                check_stability(
                    system.engine,
                    system.workload,
                    policy=rule,
                    servers=servers,
                    confidence=confidence,
                    seed=seed,
                )
            )
    return verdicts


def _print_json(
    system: Scenario, verdicts: Sequence[Verdict], *, servers: int, single: bool
) -> None:
    about = {
        "scenario": system.name,
        "trace": system.trace or None,
        "unit": "requests/s",
        "servers": servers,
        **system_record(system),
    }
    records = [verdict_record(verdict) for verdict in verdicts]
    if single and len(records) == 1:
        print_json({**about, **records[0]})
    else:
        print_json({**about, "results": records})


def _write(path: Path, verdicts: Sequence[Verdict]) -> int:
    """Write the certificate of the verdicts.

    One document is about all of them: overload holds for every policy, and the drift of full
    batches for every rule that fills them.
    """
    proof = next((v.certificate for v in verdicts if v.certificate is not None), None)
    if proof is None:
        sentence = f"no verdict is proved, so no certificate was written to {str(path)!r}."
        return complain(sentence, status=NOT_AS_REQUIRED)
    try:
        proof.write(path)
    except OSError as error:
        msg = f"certificate {str(path)!r} cannot be written: {error.strerror}."
        raise InvalidArgument(msg) from error
    return 0


def _against(required: Status | None, verdicts: Sequence[Verdict]) -> int:
    others = [v for v in verdicts if required is not None and v.status is not required]
    if required is None or not others:
        return 0
    listing = ", ".join(f"{v.policy} is {v.status.name}" for v in others)
    sentence = f"required {required.name} of every policy, but {listing}."
    return complain(sentence, status=NOT_AS_REQUIRED)


def _check_open(system: Scenario) -> None:
    """Refuse users, whose requests cannot pile up."""
    users = system.workload.users
    if users is not None:
        msg = (
            f"{users} users who wait for their answers never have more than {users} requests "
            "in the system, so whether it keeps up is no question; queueing-llm simulate shows "
            "their throughput and latencies."
        )
        raise InvalidArgument(msg)


def _check_plot(path: Path, *, servers: int) -> None:
    """Refuse a plot that cannot be written, before the work is done."""
    from queueing_llm.plots import check_plot_path

    if servers != 1:
        msg = f"--plot draws one engine, got --servers {servers}; accepted: --servers 1."
        raise InvalidArgument(msg)
    check_plot_path(path)


def _draw(
    path: Path,
    system: Scenario,
    judged: Sequence[BatchRule],
    verdicts: Sequence[Verdict],
    *,
    seed: int,
) -> None:
    from queueing_llm.plots import plot_backlog, watching_time
    from queueing_llm.simulate import simulate

    horizon = watching_time(system.workload)
    runs = []
    for rule in judged:
        with _busy(f"simulating {rule.name} for the plot"):
            runs.append(
                simulate(
                    system.engine,
                    system.workload,
                    policy=rule,
                    horizon=horizon,
                    seed=seed,
                    samples=600,
                )
            )
    title = f"{system.name}, {system.trace}" if system.trace else system.name
    plot_backlog(runs, verdicts, path=path, title=title)


@contextmanager
def _busy(what: str) -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    with progress().status(what):
        yield
