"""Verdicts side by side, with what they are about above and why below."""

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from queueing_llm.cli._text import (
    brief,
    engine_text,
    percent,
    rate_text,
    rate_with_interval,
    work_text,
    workload_text,
)
from queueing_llm.evidence import Capacity, Status, Verdict
from queueing_llm.model import ClosedArrivals, PoissonArrivals, Workload
from queueing_llm.scenarios import Scenario

COLOURS = {Status.STABLE: "green", Status.UNSTABLE: "red", Status.UNDECIDED: "yellow"}
GAPS = (3, 2, 1)
LIMITS = {"tokens": "tokens", "requests": "requests in a batch", "kv": "KV cache"}
UNITS = (
    "rates in requests/s; load = arrival rate / capacity; "
    "margin = 1 - arrival rate / critical rate"
)


def print_verdicts(
    console: Console, scenario: Scenario, verdicts: Sequence[Verdict], *, servers: int
) -> None:
    """Print the system, the table of verdicts, and numbered notes on them."""
    several = [("servers", f"{servers} engines, join-shortest-queue")] if servers > 1 else []
    limit = [("limited by", limit_text(verdicts[0].capacity))] if verdicts else []
    print_system(console, scenario, [*several, *limit, ("units", UNITS)])
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
        *_measured_rows(scenario),
        ("workload", _workload_text(scenario.workload)),
        ("work", work_text(scenario.engine, scenario.workload)),
    )
    for label, text in (*about, *rows):
        if text:
            grid.add_row(label, Text(text))
    console.print(grid)


def limit_text(capacity: Capacity) -> str:
    """Return what limits a capacity, or nothing where only tokens take time."""
    cost = capacity.cost
    if cost is None or cost.seconds == cost.prefill_seconds + cost.decode_seconds:
        return ""
    parts = {
        "prefill": cost.prefill_seconds,
        "decode": cost.decode_seconds,
        "places in a batch": cost.place_seconds,
        "KV memory": cost.kv_memory_seconds,
        "KV reads": cost.kv_read_seconds,
    }
    listing = ", ".join(f"{name} {1e3 * part:.3g}" for name, part in parts.items() if part)
    return (
        f"{LIMITS[cost.limited_by]}: a request takes at least {1e3 * cost.seconds:.4g} ms of "
        f"an engine, of which {listing}"
    )


def _measured_rows(scenario: Scenario) -> tuple[tuple[str, str], ...]:
    """Return what was measured, where its limits are from, and how far to trust it."""
    served = scenario.measured
    if served is None:
        return ()
    step = served.step_time(scenario.workload)
    median, worst = served.table_errors(scenario.workload)
    what = (
        f"operators of {step.backend} {step.version} on {step.system}, TP {step.tp}; "
        f"table off by {median:.2%} (median), {worst:.1%} (worst)"
    )
    first, *others = step.notes
    host = ""
    if step.host is not None:
        host, *others = others
    return (
        ("measured", what),
        ("host", host),
        ("limits", f"those not given: {served.defaults(scenario.workload).source}"),
        ("notes", f"{first} {len(others)} more with --json."),
    )


def _workload_text(workload: Workload) -> str:
    """Return what arrives; of a closed workload, who asks."""
    arrivals = workload.arrivals
    if not isinstance(arrivals, ClosedArrivals):
        return workload_text(workload)
    lengths = workload_text(Workload(PoissonArrivals(1), workload.classes)).partition("; ")[2]
    think = f", think time {brief(arrivals.think_time)} s" if arrivals.think_time else ""
    return f"Closed: {arrivals.users:,} users{think}; {lengths}"


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
