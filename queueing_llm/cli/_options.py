"""Arguments and options that several commands take."""

from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, TypeAlias

import typer

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import POLICIES, BatchRule, policy_named
from queueing_llm.scenarios import (
    MeasuredSystem,
    Recording,
    Scenario,
    change_engine,
    change_workload,
    exact_number,
    load_scenario,
    read_recording,
)

OVERRIDES = "Instead of the scenario's"
MEASURED = "A model on a GPU, with measured step times and the limits of its backend"


def number(text: str) -> Fraction:
    """Return the exact value of a decimal number or fraction typed on the command line."""
    try:
        return exact_number(text)
    except ValueError:
        msg = f"{text!r} is not a number; accepted: a decimal number or a fraction such as 7/2."
        raise typer.BadParameter(msg) from None


def real(text: str | float) -> float:
    """Return a number typed on the command line."""
    return float(number(str(text)))


def whole(text: str | int) -> int:
    """Return an integer typed on the command line."""
    try:
        return int(text)
    except ValueError:
        msg = f"{text!r} is not an integer."
        raise typer.BadParameter(msg) from None


def natural(text: str | int) -> int:
    """Return a seed typed on the command line."""
    value = whole(text)
    if value < 0:
        msg = f"{value} is negative; accepted: an integer of at least 0."
        raise typer.BadParameter(msg)
    return value


def override(parser: Any, metavar: str, text: str) -> Any:
    """Return an option that replaces a value of the scenario."""
    return typer.Option(parser=parser, metavar=metavar, help=text, rich_help_panel=OVERRIDES)


def of_gpu(parser: Any, metavar: str, text: str) -> Any:
    """Return an option that names a system whose step times were measured."""
    return typer.Option(parser=parser, metavar=metavar, help=text, rich_help_panel=MEASURED)


ScenarioName: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="SCENARIO",
        help="A TOML file or a packaged scenario, see [bold]queueing-llm list[/bold]; "
        "--model and --gpu do without.",
        show_default=False,
    ),
]
ArrivalRate: TypeAlias = Annotated[
    Fraction | None,
    override(number, "RATE", "Requests per second; a trace is stretched in time."),
]
Scale: TypeAlias = Annotated[
    Fraction | None, override(number, "FACTOR", "Factor on the arrival rate.")
]
PromptTokens: TypeAlias = Annotated[
    int | None, override(whole, "TOKENS", "Length of every prompt.")
]
OutputTokens: TypeAlias = Annotated[
    int | None, override(whole, "TOKENS", "Length of every output.")
]
TokenBudget: TypeAlias = Annotated[
    int | None, override(whole, "TOKENS", "Most tokens in a batch.")
]
MaxBatchSize: TypeAlias = Annotated[
    int | None, override(whole, "REQUESTS", "Most requests in a batch.")
]
KVCapacity: TypeAlias = Annotated[int | None, override(whole, "TOKENS", "Tokens of KV cache.")]
KVBlockSize: TypeAlias = Annotated[
    int | None, override(whole, "TOKENS", "Tokens in a block of the KV cache.")
]
TraceName: TypeAlias = Annotated[
    str | None,
    override(str, "FILE|PRESET", "Recorded requests: their lengths and arrival times."),
]
TraceFormat: TypeAlias = Annotated[
    str | None,
    override(str, "FORMAT", "Format of the trace file, if it is not told from its start."),
]
SkipBadRows: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--skip-bad-rows",
        help="Leave out malformed rows of the trace instead of refusing it.",
        rich_help_panel=OVERRIDES,
    ),
]
Users: TypeAlias = Annotated[
    int | None,
    override(
        whole, "N", "A closed workload: users who wait for an answer before they ask again."
    ),
]
ThinkTime: TypeAlias = Annotated[
    Fraction | None, override(number, "SECONDS", "From an answer to the next request.")
]
Model: TypeAlias = Annotated[
    str | None, of_gpu(str, "NAME|FOLDER", "A model, or a folder with its config.json.")
]
Gpu: TypeAlias = Annotated[str | None, of_gpu(str, "NAME", "A GPU, such as h100_sxm.")]
Backend: TypeAlias = Annotated[
    str | None, of_gpu(str, "NAME", "vllm, sglang or trtllm. Default: vllm.")
]
TensorParallel: TypeAlias = Annotated[
    int | None, of_gpu(whole, "GPUS", "GPUs that share each layer. Default: 1.")
]
MemoryFraction: TypeAlias = Annotated[
    Fraction | None,
    of_gpu(number, "SHARE", "Of the GPU's memory for the engine. Default: the backend's."),
]
Host: TypeAlias = Annotated[
    str | None,
    of_gpu(
        str,
        "fitted|none",
        "What a step takes beside its operators: costs fitted to benchmarks of the backend, "
        "which about halve the error of predicted rates, or none. Default: fitted.",
    ),
]
Seed: TypeAlias = Annotated[
    int, typer.Option(parser=natural, metavar="N", help="Seed of everything that is simulated.")
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of a table.")
]


def policies(names: list[str] | None) -> tuple[BatchRule, ...]:
    """Return the policies of these names, all built-in ones if there are none."""
    if not names:
        return tuple(POLICIES.values())
    return tuple({rule.name: rule for rule in map(policy_named, names)}.values())


def system(
    name: str | None,
    *,
    arrival_rate: Fraction | None,
    scale: Fraction | None,
    prompt_tokens: int | None,
    output_tokens: int | None,
    token_budget: int | None,
    max_batch_size: int | None,
    kv_capacity: int | None,
    kv_block_size: int | None,
    trace: str | None,
    trace_format: str | None,
    skip_bad_rows: bool,
    users: int | None = None,
    think_time: Fraction | None = None,
    **gpu: Any,
) -> Scenario:
    """Return the scenario with the values replaced that were given as options.

    ``gpu`` are the options about a measured system: model, gpu, backend, tp, memory_fraction,
    host.
    """
    given = None if name is None else load_scenario(name)
    limits = {
        "token_budget": token_budget,
        "max_batch_size": max_batch_size,
        "kv_capacity": kv_capacity,
        "kv_block_size": kv_block_size,
    }
    served_by = _served_by(given, limits, **gpu)
    _check_closed(users, arrival_rate=arrival_rate, scale=scale)
    # Users have no rate, and what they replace need not have one.
    rate = arrival_rate if users is None else 1
    if trace is None:
        _check_about_trace(trace_format, skip_bad_rows=skip_bad_rows)
        read = _requests(given, rate, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    else:
        read = read_recording(
            trace, trace_format=trace_format, skip_bad_rows=skip_bad_rows, arrival_rate=rate
        )
    workload = change_workload(
        read.workload,
        arrival_rate=arrival_rate,
        scale=1 if scale is None else scale,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        users=users,
        think_time=think_time,
    )
    if isinstance(served_by, MeasuredSystem) and (given is None or any(gpu.values())):
        title = served_by.title if given is None else f"{served_by.title}; {given.name}"
        return Scenario(title, "", "", served_by, workload, trace=read.description)
    assert given is not None, "without a scenario a model on a GPU was named"
    return replace(given, served_by=served_by, workload=workload, trace=read.description)


def _served_by(
    given: Scenario | None,
    limits: dict[str, int | None],
    *,
    model: str | None = None,
    gpu: str | None = None,
    backend: str | None = None,
    tp: int | None = None,
    memory_fraction: Fraction | None = None,
    host: str | None = None,
) -> Engine | MeasuredSystem:
    """Return the engine of a scenario or of a model on a GPU, with the limits given."""
    named = {
        "--model": model,
        "--gpu": gpu,
        "--backend": backend,
        "--tp": tp,
        "--memory-fraction": memory_fraction,
        "--host": host,
    }
    own = None if given is None else given.measured
    if own is None and (model is None or gpu is None):
        if given is not None and not any(value is not None for value in named.values()):
            return change_engine(given.engine, **limits)
        needed = ("--model", "--gpu")
        missing = " and ".join(name for name in needed if named[name] is None)
        typed = [name for name, value in named.items() if value is not None]
        if typed:
            msg = f"{typed[0]} is about a model on a GPU: give {missing}, too."
        else:
            msg = "a system is needed: give a SCENARIO, or a --model and its --gpu."
        raise InvalidArgument(msg)
    if own is None:
        own = MeasuredSystem(str(model), str(gpu))
    return own.changed(
        model=model,
        system=gpu,
        backend=backend,
        tp=tp,
        memory_fraction=memory_fraction,
        host=host,
        **limits,
    )


def _check_closed(
    users: int | None, *, arrival_rate: Fraction | None, scale: Fraction | None
) -> None:
    """Refuse a rate for users, who ask when they have been answered."""
    for name, value in (("--arrival-rate", arrival_rate), ("--scale", scale)):
        if users is not None and value is not None:
            msg = f"{name} and --users exclude each other: users ask once they are answered."
            raise InvalidArgument(msg)


def _check_about_trace(trace_format: str | None, *, skip_bad_rows: bool) -> None:
    if trace_format is not None or skip_bad_rows:
        option = "--skip-bad-rows" if skip_bad_rows else "--trace-format"
        msg = f"{option} needs --trace, the file it is about."
        raise InvalidArgument(msg)


def _requests(
    given: Scenario | None,
    rate: Fraction | int | None,
    *,
    prompt_tokens: int | None,
    output_tokens: int | None,
) -> Recording:
    """Return the workload of a scenario or, without one, that of the options alone."""
    if given is not None:
        return Recording(given.workload, given.trace)
    if rate is None or prompt_tokens is None or output_tokens is None:
        named = {
            "--arrival-rate or --users": rate,
            "--prompt-tokens": prompt_tokens,
            "--output-tokens": output_tokens,
        }
        missing = ", ".join(name for name, value in named.items() if value is None)
        msg = f"a workload is needed: give a SCENARIO, --trace, or also {missing}."
        raise InvalidArgument(msg)
    workload = Workload.poisson(rate, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    return Recording(workload, "")
