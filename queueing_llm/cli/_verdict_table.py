"""Verdicts side by side, with what they are about above and why below."""

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from queueing_llm.cli._text import (
    engine_text,
    percent,
    rate_text,
    rate_with_interval,
    work_text,
    workload_text,
)
from queueing_llm.evidence import Status, Verdict
from queueing_llm.scenarios import Scenario

COLOURS = {Status.STABLE: "green", Status.UNSTABLE: "red", Status.UNDECIDED: "yellow"}
GAPS = (3, 2, 1)
UNITS = (
    "rates in requests/s; load = arrival rate / capacity; "
    "margin = 1 - arrival rate / critical rate"
)


def print_verdicts(
    console: Console, scenario: Scenario, verdicts: Sequence[Verdict], *, servers: int
) -> None:
    """Print the system, the table of verdicts, and numbered notes on them."""
    several = [("servers", f"{servers} engines, join-shortest-queue")] if servers > 1 else []
    print_system(console, scenario, [*several, ("units", UNITS)])
    notes = list(dict.fromkeys(_note(v) for v in verdicts))
    console.print()
    console.print(_fitting(console, verdicts, notes))
    console.print()
    listing = Table.grid(padding=(0, 1))
    for i, note in enumerate(notes, start=1):
        listing.add_row(Text(f"[{i}]"), Text(note))
    console.print(listing)


def print_system(console: Console, scenario: Scenario, rows: Sequence[tuple[str, str]]) -> None:
    """Print what a scenario describes, and further rows of label and text."""
    console.print(Text(scenario.name, style="bold"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    about = (
        ("about", scenario.description),
        ("source", scenario.source),
        ("engine", engine_text(scenario.engine)),
        ("trace", scenario.trace),
        ("workload", workload_text(scenario.workload)),
        ("work", work_text(scenario.engine, scenario.workload)),
    )
    for label, text in (*about, *rows):
        if text:
            grid.add_row(label, Text(text))
    console.print(grid)


def _fitting(console: Console, verdicts: Sequence[Verdict], notes: list[str]) -> Table:
    """Return the table with the widest gaps that fit the console."""
    unbounded = console.options.update(width=10 * console.width)
    tables = [_table(verdicts, notes, gap=gap) for gap in GAPS]
    return next(
        (t for t in tables if Measurement.get(console, unbounded, t).maximum <= console.width),
        tables[-1],
    )


def _table(verdicts: Sequence[Verdict], notes: list[str], *, gap: int) -> Table:
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("policy", "verdict"):
        table.add_column(heading, overflow="fold")
    for heading in ("critical", "capacity", "load", "margin"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("evidence")
    for verdict in verdicts:
        table.add_row(
            verdict.policy.replace(":", ":\n"),
            Text(verdict.status.name, style=COLOURS[verdict.status]),
            rate_with_interval(verdict.critical_rate),
            rate_text(verdict.capacity.requests_per_second),
            percent(verdict.load),
            percent(verdict.margin),
            Text(f"{verdict.evidence.value} [{notes.index(_note(verdict)) + 1}]"),
        )
    return table


def _note(verdict: Verdict) -> str:
    reason, basis = verdict.reason, verdict.critical_rate.basis
    sentence = reason if basis == reason else f"{reason}; critical rate: {basis}"
    return sentence[0].upper() + sentence[1:] + "."
