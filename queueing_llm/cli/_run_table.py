"""The means and latencies of a simulated run as tables."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from queueing_llm.cli._text import brief, error_text
from queueing_llm.cli._verdict_table import print_system
from queueing_llm.scenarios import Scenario

NAMES = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "end_to_end": "end to end",
    "queue_time": "queue time",
}


def print_run(console: Console, scenario: Scenario, record: Mapping[str, Any]) -> None:
    """Print the system, the settings, the means, and the latencies if they were kept."""
    print_system(console, scenario, [("policy", record["policy"]), ("run", _settings(record))])
    console.print()
    table = _table("", "value", "std. error", "unit", "from")
    for name, estimate in record["means"].items():
        table.add_row(name.replace("_", " "), *_cells(estimate), _origin(estimate))
    table.add_row("preemptions", f"{record['preemptions']:,}", "", "in all", "")
    console.print(table)
    if "latencies" in record:
        _print_latencies(console, record)


def _print_latencies(console: Console, record: Mapping[str, Any]) -> None:
    console.print()
    if record["transient"]:
        console.print(
            "[yellow]Transient:[/yellow] the backlog grows, so there is no steady state; these "
            "latencies are those of the requests that finished within this horizon."
        )
    table = _table("latency", "value", "std. error", "unit", "from")
    for kind, summaries in record["latencies"].items():
        for name, estimate in summaries.items():
            label = f"{NAMES[kind]}, {name}"
            table.add_row(label, *_cells(estimate), _origin(estimate))
    console.print(table)


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    for heading in headings:
        justify = "right" if heading in ("value", "std. error") else "left"
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    return table


def _cells(estimate: Mapping[str, Any]) -> tuple[str, str, str]:
    error = error_text(estimate["standard_error"])
    return brief(estimate["value"]), error, estimate["unit"]


def _origin(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['observations']} {estimate['method']}"


def _settings(record: Mapping[str, Any]) -> str:
    return (
        f"{record['horizon']:,.10g} s, the first {record['warmup']:,.10g} s left out of means; "
        f"replications {record['replications']}, seed {record['seed']}; "
        f"{record['steps']:,} engine steps, {record['arrived']:,} requests"
    )
