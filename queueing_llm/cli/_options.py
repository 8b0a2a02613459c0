"""Arguments and options that several commands take."""

from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, TypeAlias

import typer

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import POLICIES, BatchRule, policy_named
from queueing_llm.scenarios import (
    Scenario,
    change_engine,
    change_workload,
    exact_number,
    load_scenario,
    read_recording,
)

OVERRIDES = "Instead of the scenario's"


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


ScenarioName: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="SCENARIO",
        help="A TOML file or a packaged scenario, see [bold]queueing-llm list[/bold].",
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
    name: str,
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
) -> Scenario:
    """Return the scenario with the values replaced that were given as options."""
    given = load_scenario(name)
    engine = change_engine(
        given.engine,
        token_budget=token_budget,
        max_batch_size=max_batch_size,
        kv_capacity=kv_capacity,
        kv_block_size=kv_block_size,
    )
    workload, recording = given.workload, given.trace
    if trace is not None:
        read = read_recording(
            trace,
            trace_format=trace_format,
            skip_bad_rows=skip_bad_rows,
            arrival_rate=arrival_rate,
        )
        workload, recording = read.workload, read.description
    elif trace_format is not None or skip_bad_rows:
        option = "--skip-bad-rows" if skip_bad_rows else "--trace-format"
        msg = f"{option} needs --trace, the file it is about."
        raise InvalidArgument(msg)
    workload = change_workload(
        workload,
        arrival_rate=arrival_rate,
        scale=1 if scale is None else scale,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
    )
    return replace(given, engine=engine, workload=workload, trace=recording)
