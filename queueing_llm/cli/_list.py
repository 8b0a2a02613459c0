"""``queueing-llm list``: the names that other commands accept."""

from rich.table import Table
from rich.text import Text

from queueing_llm.cli import _options as option
from queueing_llm.cli._output import answers, print_json
from queueing_llm.policies import POLICIES, BatchRule
from queueing_llm.policies.field import SYSTEMS
from queueing_llm.scenarios import (
    load_network,
    load_scenario,
    network_names,
    scenario_names,
)
from queueing_llm.traces import FORMATS, TraceFormat, preset, preset_names

READINGS = {
    "chunked": "prompts may be split over batches",
    "whole": "prompts are never split",
    "members": "max_batch_size counts the requests in one batch",
    "residents": "max_batch_size counts all requests that have started",
}
"""What may follow a policy's name, as in ``orca:whole,residents``."""

NOTES = {
    "readings": " (after a policy's name: orca:whole,residents)",
    "systems": " (for verify)",
}


def list_names(*, as_json: option.AsJson = False) -> int:
    """List scenarios, networks, policies, systems to verify, presets and trace formats."""
    names = {
        "scenarios": {name: load_scenario(name).description for name in scenario_names()},
        "networks": {name: load_network(name).description for name in network_names()},
        "policies": {name: _rule_text(rule) for name, rule in POLICIES.items()},
        "readings": READINGS,
        "systems": {name: system.known_by for name, system in SYSTEMS.items()},
        "presets": {name: _preset_text(name) for name in preset_names()},
        "trace formats": {name: _format_text(known) for name, known in FORMATS.items()},
    }
    if as_json:
        print_json({heading.replace(" ", "_"): entries for heading, entries in names.items()})
        return 0
    console = answers()
    width = max(len(name) for entries in names.values() for name in entries)
    for i, (heading, entries) in enumerate(names.items()):
        note = NOTES.get(heading, "")
        console.print(f"[bold]{heading}[/bold]{note}")
        console.print(_grid(entries, width=width))
        if i < len(names) - 1:
            console.print()
    return 0


def _grid(entries: dict[str, str], *, width: int) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=2)
    grid.add_column(width=width, no_wrap=True)
    grid.add_column()
    for name, text in entries.items():
        grid.add_row("", Text(name), Text(text))
    return grid


def _rule_text(rule: BatchRule) -> str:
    return (
        f"{rule.first} first, {'mixed' if rule.mixed else 'exclusive'} batches, "
        f"{'chunked' if rule.chunked else 'whole'} prompts, limit on {rule.limit_counts}"
    )


def _preset_text(name: str) -> str:
    known = preset(name)
    moments = known.lengths.moments
    lengths = f"mean {float(moments.prompt):,.0f} + {float(moments.output):,.0f} tokens"
    rate = known.arrivals and f"{float(known.arrivals.rate):.3g} requests/s"
    return f"{known.rows:,} requests, {lengths}, {rate or 'no arrival times'}"


def _format_text(known: TraceFormat) -> str:
    return f"{known.encoding}: {known.time}, {known.prompt}, {known.output}"
