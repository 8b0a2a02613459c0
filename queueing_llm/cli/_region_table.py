"""A stability region as tables: vertices with their batches, facets with their prices."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from queueing_llm.cli._text import brief, percent
from queueing_llm.cli._verdict_table import print_system
from queueing_llm.scenarios import Scenario
from queueing_llm.stability import Region

UNITS = (
    "vertices in tokens/s, prices in ms a token; load = arrival rate / largest rate; "
    "margin = 1 - load"
)


def print_region(
    console: Console, scenario: Scenario, region: Region, load: Mapping[str, Any]
) -> None:
    """Print the system, the vertices, the facets, and where the load lies."""
    outer = "; ".join(region.relaxations)
    print_system(console, scenario, [("bound", outer and f"outer: {outer}"), ("units", UNITS)])
    console.print()
    console.print(_vertices(region))
    console.print()
    console.print(_facets(region))
    console.print()
    console.print(_load(load))


def _vertices(region: Region) -> Table:
    table = _table("vertex", "prefill", "decode", "batch")
    rows = zip(region.vertices, region.batches, strict=True)
    for i, (vertex, batch) in enumerate(rows):
        table.add_row(f"{i}", brief(vertex[0]), brief(vertex[1]), batch_text(batch))
    return table


def _facets(region: Region) -> Table:
    table = _table("facet", "prefill price", "decode price", "between")
    for i, facet in enumerate(region.facets):
        prices = [brief(1000 * price) for price in facet.prices]
        table.add_row(f"{i}", *prices, "vertices {} and {}".format(*facet.between))
    return table


def _load(load: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    rows = (
        ("load", f"{brief(load['prefill'])} prefill + {brief(load['decode'])} decode tokens/s"),
        ("", f"{percent(load['load'])} of what any policy sustains in this mix"),
        ("margin", f"{percent(load['margin'])}, against facet {load['binding_facet']}"),
        ("largest", f"{brief(load['largest_rate'])} requests/s; beyond, no policy is stable"),
    )
    for label, text in rows:
        grid.add_row(label, Text(text))
    return grid


def batch_text(batch: tuple[int, int]) -> str:
    """Return the tokens of a batch in words."""
    prefill, decode = batch
    parts = [f"{n:,} {kind}" for n, kind in ((prefill, "prefill"), (decode, "decode")) if n]
    return " + ".join(parts) or "idle"


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i in (0, 3) else "right")
    return table
