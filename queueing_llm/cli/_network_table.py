"""The verdict on a network of engines as text and tables."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from queueing_llm._validate import Real
from queueing_llm.cli._text import brief, error_text, percent
from queueing_llm.cli._verdict_table import COLOURS
from queueing_llm.decide import NetworkVerdict
from queueing_llm.model.agents import AgentNetwork
from queueing_llm.networks import EngineLoad
from queueing_llm.scenarios import NetworkScenario

UNITS = "rates in requests/s and tokens/s; load = share of the time at full batches"


def print_network(
    console: Console,
    system: NetworkScenario,
    network: AgentNetwork,
    verdict: NetworkVerdict,
    simulation: Mapping[str, Any] | None,
) -> None:
    """Print the network, the verdict with its reasons, and the engines."""
    console.print(Text(system.name, style="bold"))
    about = (
        ("about", system.description),
        ("source", system.source),
        ("network", _size(network)),
        ("sessions", f"{brief(verdict.arrival_rate)} sessions/s"),
        ("units", UNITS),
    )
    console.print(_grid(about))
    console.print()
    console.print(_verdict_line(verdict))
    console.print()
    console.print(_engines(network, verdict))
    console.print()
    console.print(_grid(_findings(verdict)))
    if simulation is not None:
        console.print()
        console.print(_grid(_simulated(simulation)))


def print_networks(console: Console, about: Mapping[str, str]) -> None:
    """Print the names of networks and what they are."""
    console.print("[bold]networks[/bold]")
    grid = Table.grid(padding=(0, 2))
    for name, description in about.items():
        grid.add_row("", Text(name, no_wrap=True), Text(description))
    console.print(grid)


def _size(network: AgentNetwork) -> str:
    agents = len({visit.agent for visit in network.visits})
    counts = (
        (agents, "agent", "agents"),
        (len(network.visits), "kind of visit", "kinds of visit"),
        (len(network.engines), "engine", "engines"),
    )
    return ", ".join(f"{count:,} {one if count == 1 else more}" for count, one, more in counts)


def _verdict_line(verdict: NetworkVerdict) -> Text:
    line = Text(verdict.status.name, style=f"bold {COLOURS[verdict.status]}")
    line.append(f" ({verdict.evidence.value}): {verdict.reason}.", style="default not bold")
    return line


def _engines(network: AgentNetwork, verdict: NetworkVerdict) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("engine", overflow="fold")
    table.add_column("policy", overflow="fold")
    for heading in ("visits", "prefill", "decode", "load"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    policies = {engine.name: engine.policy for engine in network.engines}
    for engine in verdict.engines:
        policy = policies[engine.name]
        table.add_row(
            Text(engine.name),
            Text(str(getattr(policy, "name", None) or getattr(policy, "__name__", policy))),
            brief(engine.visit_rate),
            brief(engine.prefill_rate),
            brief(engine.decode_rate),
            _load(engine),
            "<- bottleneck" if engine.name == verdict.bottleneck else "",
        )
    return table


def _load(engine: EngineLoad) -> str:
    if engine.load is None:
        return f"at least {percent(engine.least_load)}"
    return percent(engine.load)


def _findings(verdict: NetworkVerdict) -> list[tuple[str, str]]:
    """Return the scalings, what drives the verdict, its hypotheses and the advice."""
    growth = verdict.growth_factor
    stable, unstable = verdict.stable_scaling, verdict.unstable_scaling
    is_sharp = stable == unstable
    # Under priorities alone, fewer arrivals may be worse.
    also_below = stable in (verdict.any_policy_scaling, verdict.any_order_scaling)
    reach = "below" if is_sharp else "up to" if also_below else "at"
    if reach == "at" and stable and unstable and brief(stable) == brief(unstable):
        reach = "just below"
    beyond = "above" if is_sharp or unstable == verdict.nominal_scaling else "at"
    return [
        ("capacity", _bound(verdict, verdict.nominal_scaling, "at most")),
        ("stable", _bound(verdict, stable, reach)),
        ("unstable", _bound(verdict, unstable, beyond)),
        *_whatever_the_policy(verdict),
        ("basis", verdict.basis),
        ("cycle", f"a backlog grows {brief(growth)}-fold in a turn" if growth else ""),
        *_labelled("shared", [f"never side by side: {v}" for v in verdict.virtual_stations]),
        *_labelled("checked", [f"{h.name}: {h.how}" for h in verdict.hypotheses if h.holds]),
        *_labelled("not so", [f"{h.name}: {h.how}" for h in verdict.hypotheses if not h.holds]),
        *_labelled("advice", verdict.advice),
    ]


def _whatever_the_policy(verdict: NetworkVerdict) -> list[tuple[str, str]]:
    """Return up to where the network is stable without a look at its policies."""
    every = "stable under every work-conserving policy"
    in_order, any_order = verdict.any_policy_scaling, verdict.any_order_scaling
    if in_order == any_order:
        word = "below" if any_order == verdict.unstable_scaling else "up to"
        return [("any policy", _bound(verdict, any_order, f"{every}, {word}"))]
    ordered = f"{every} that finishes requests in order of their start, up to"
    return [
        ("in order", _bound(verdict, in_order, ordered)),
        ("any order", _bound(verdict, any_order, f"{every}, up to")),
    ]


def _simulated(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    means = record["means"]
    trend = "clearly grows" if record["grows"] else "does not clearly grow"
    busy = [f"{name} {percent(e['value'])}" for name, e in record["utilisation"].items()]
    settings = (
        f"{record['horizon']:,.10g} s, the first {record['warmup']:,.10g} s left out of means; "
        f"replications {record['replications']}, seed {record['seed']}; "
        f"{record['steps']:,} engine steps, {record['arrived']:,} sessions"
    )
    return [
        ("simulated", settings),
        ("finished", _estimate(means["throughput"])),
        ("backlog", f"{trend}: {_estimate(means['growth'])}, second half against first"),
        ("busy", ", ".join(busy)),
    ]


def _estimate(estimate: Mapping[str, Any]) -> str:
    error = error_text(estimate["standard_error"])
    return f"{brief(estimate['value'])} +- {error} {estimate['unit']}"


def _bound(verdict: NetworkVerdict, scaling: Real | None, words: str) -> str:
    """Say what holds for a multiple of the arrival rates, and which load that makes."""
    if scaling is None:
        return ""
    text = f"{words} {brief(scaling)} x the arrival rates, "
    text += f"{brief(scaling * verdict.arrival_rate)} sessions/s"
    loads = [e.load for e in verdict.engines if e.load is not None]
    return f"{text}, load {brief(scaling * max(loads))}" if loads else text


def _labelled(label: str, texts: Any) -> list[tuple[str, str]]:
    return [(label if i == 0 else "", text) for i, text in enumerate(texts)]


def _grid(rows: Any) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for label, text in rows:
        if text:
            grid.add_row(label, Text(text))
    return grid
