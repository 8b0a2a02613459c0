"""What was found out about a policy: a table for people, a record for programs."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from queueing_llm.model import Engine
from queueing_llm.verify import Counterexample, Finding, Outcome, PolicyReport

COLOURS = {Outcome.HOLDS: "green", Outcome.VIOLATED: "red", Outcome.UNDECIDED: "yellow"}


def print_report(console: Console, report: PolicyReport, *, saved: Sequence[str] = ()) -> None:
    """Print the findings, the counterexamples, what follows, and where it is kept."""
    console.print(Text(report.policy, style="bold"))
    for is_needed, heading in (
        (True, "needed for throughput-optimality"),
        (False, "further properties"),
    ):
        chosen = [f for f in report.findings if f.contract.is_needed is is_needed]
        if chosen:
            console.print(f"\n[dim]{heading}[/dim]")
            console.print(_table(chosen))
    for finding in report.findings:
        if finding.counterexample is not None:
            _print_counterexample(console, finding, finding.counterexample)
    for sentence in report.consequences:
        console.print()
        console.print(Text(sentence))
    for file in saved:
        console.print(Text(f"saved {file}"), soft_wrap=True)


def _table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row(
            finding.contract.name,
            Text(finding.outcome.name, style=COLOURS[finding.outcome]),
            Text(f"{finding.support.value}: {finding.basis}"),
        )
    return table


def print_replays(console: Console, replayed: Mapping[str, Finding]) -> None:
    """Print what came of each file, and what breaks a contract still."""
    table = Table.grid(padding=(0, 2))
    for file, finding in replayed.items():
        outcome = Text(finding.outcome.name, style=COLOURS[finding.outcome])
        table.add_row(
            Text(file, overflow="fold"), finding.contract.name, outcome, Text(finding.basis)
        )
    console.print(table)
    for finding in replayed.values():
        if finding.counterexample is not None:
            _print_counterexample(console, finding, finding.counterexample)


def _print_counterexample(console: Console, finding: Finding, found: Counterexample) -> None:
    console.print()
    console.print(Text(f"{finding.contract.name}: {finding.contract.definition}", style="bold"))
    console.print(Text(f"{found.sentence} (source: {finding.contract.source})"))
    for text, style in ((found.timeline(), ""), (found.snippet(), "dim")):
        console.print()
        # Whole lines, however long: the snippet is there to be copied.
        console.print(Text(textwrap.indent(text, "  "), style=style), soft_wrap=True)


def report_record(report: PolicyReport) -> dict[str, Any]:
    """Return a report as plain data."""
    return {
        "policy": report.policy,
        "findings": [_finding_record(finding) for finding in report.findings],
        "violated": list(report.violated),
        "violated_and_needed": list(report.broken_needs),
        "consequences": list(report.consequences),
    }


def replay_record(policy: str, replayed: Mapping[str, Finding]) -> dict[str, Any]:
    """Return what came of each file as plain data."""
    return {
        "policy": policy,
        "replayed": [
            {"file": file, **_finding_record(finding)} for file, finding in replayed.items()
        ],
    }


def _finding_record(finding: Finding) -> dict[str, Any]:
    contract, found = finding.contract, finding.counterexample
    return {
        "contract": contract.name,
        "outcome": finding.outcome.name,
        "support": finding.support.value,
        "basis": finding.basis,
        "tested": finding.tested,
        "definition": contract.definition,
        "source": contract.source,
        "implies": contract.implies,
        "is_needed": contract.is_needed,
        "counterexample": None if found is None else _counterexample_record(found),
    }


def _counterexample_record(found: Counterexample) -> dict[str, Any]:
    engine = found.trial.engine
    limits = [field.name for field in fields(Engine) if field.name != "step_time"]
    return {
        **{name: getattr(engine, name) for name in limits},
        "arrivals": [asdict(arrival) for arrival in found.trial.arrivals],
        "step": found.decision.step,
        "timeline": found.timeline(),
        "snippet": found.snippet(),
    }
