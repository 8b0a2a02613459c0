"""``queueing-llm network``: whether a network of agents keeps its engines stable."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from queueing_llm.cli import _options as option
from queueing_llm.cli._check import NOT_AS_REQUIRED, required_status
from queueing_llm.cli._network_records import network_record, simulation_record
from queueing_llm.cli._network_table import print_network, print_networks
from queueing_llm.cli._output import answers, complain, print_json, progress
from queueing_llm.decide import NetworkVerdict, check_network
from queueing_llm.errors import InvalidArgument
from queueing_llm.evidence import Status
from queueing_llm.model import Engine
from queueing_llm.model.agents import AgentNetwork
from queueing_llm.scenarios import NetworkScenario, load_network, load_scenario, network_names
from queueing_llm.simulate.networks import NetworkRun


def network(
    graph: Annotated[
        str | None,
        typer.Argument(
            metavar="GRAPH",
            help="A TOML, node-link JSON or GraphML file, or a packaged network, see --list.",
            show_default=False,
        ),
    ] = None,
    *,
    scale: option.Scale = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SCENARIO",
            help="Engine of that name in the graph, from a scenario; repeatable.",
            rich_help_panel=option.OVERRIDES,
        ),
    ] = None,
    require: Annotated[
        Status | None,
        typer.Option(
            parser=required_status,
            metavar="STATUS",
            help="Exit with status 1 unless the network is stable, unstable or undecided.",
        ),
    ] = None,
    simulate: Annotated[
        float | None,
        typer.Option(
            parser=option.real, metavar="SECONDS", help="Also simulate it, for so long."
        ),
    ] = None,
    replications: Annotated[
        int, typer.Option(parser=option.whole, metavar="R", help="Independent simulations.")
    ] = 1,
    warmup: Annotated[
        float,
        typer.Option(
            parser=option.real, metavar="SECONDS", help="What its means leave out at the start."
        ),
    ] = 0.0,
    seed: option.Seed = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the agents, coloured by load.")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the proof, where the evidence is 'proved'."),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="List the packaged networks and stop.")
    ] = False,
    as_json: option.AsJson = False,
) -> int:
    """Decide whether a network of agents keeps its engines stable, and how it is known."""
    if listing:
        return _list(as_json=as_json)
    if graph is None:
        msg = "GRAPH is missing: a file or one of the networks that --list names."
        raise InvalidArgument(msg)
    _refuse_files(plot, certificate)
    system = load_network(graph, engines=_engines(engine or ()))
    agents = system.network if scale is None else system.network.scaled(scale)
    with _busy("deciding"):
        verdict = check_network(agents)
    run = None
    if simulate is None:
        _refuse_without_simulation(replications=replications, warmup=warmup, seed=seed)
    else:
        run = _simulated(
            agents, horizon=simulate, warmup=warmup, replications=replications, seed=seed
        )
    if plot is not None:
        _draw(plot, system, agents, verdict)
    record = network_record(verdict, name=system.name)
    record["simulation"] = run and simulation_record(run, seed=seed)
    if as_json:
        print_json(record)
    else:
        print_network(answers(), system, agents, verdict, record["simulation"])
    written = 0 if certificate is None else _write(certificate, verdict)
    return max(written, _against(require, verdict))


def _refuse_without_simulation(**settings: float) -> None:
    defaults = {"replications": 1, "warmup": 0.0, "seed": 0}
    for name, value in settings.items():
        if value != defaults[name]:
            msg = f"--{name} needs --simulate SECONDS, got --{name} {value:g}."
            raise InvalidArgument(msg)


def _list(*, as_json: bool) -> int:
    about = {name: load_network(name).description for name in network_names()}
    if as_json:
        print_json({"networks": about})
    else:
        print_networks(answers(), about)
    return 0


def _engines(texts: Sequence[str]) -> dict[str, Engine]:
    """Return the engines that ``--engine NAME=SCENARIO`` gives."""
    engines = {}
    for text in texts:
        name, equals, scenario = text.partition("=")
        if not (name and equals and scenario):
            msg = f"--engine must be NAME=SCENARIO, got {text!r}."
            raise InvalidArgument(msg)
        engines[name] = load_scenario(scenario).engine
    return engines


def _refuse_files(plot: Path | None, certificate: Path | None) -> None:
    """Raise if a file could not be written, before the work is done."""
    if plot is not None:
        from queueing_llm.plots import check_plot_path

        check_plot_path(plot)
    if certificate is not None and not certificate.parent.is_dir():
        msg = f"certificate {str(certificate)!r} cannot be written: its folder does not exist."
        raise InvalidArgument(msg)
    if certificate is not None and certificate.is_dir():
        msg = f"certificate {str(certificate)!r} cannot be written: it is a folder."
        raise InvalidArgument(msg)


def _simulated(
    agents: AgentNetwork, *, horizon: float, warmup: float, replications: int, seed: int
) -> NetworkRun:
    from queueing_llm.networks import network_load
    from queueing_llm.simulate.networks import simulate_network

    return simulate_network(
        agents,
        horizon=horizon,
        warmup=warmup,
        replications=replications,
        seed=seed,
        shares=network_load(agents).shares,
        progress=sys.stderr.isatty(),
    )


def _draw(
    path: Path, system: NetworkScenario, agents: AgentNetwork, verdict: NetworkVerdict
) -> None:
    from queueing_llm.networks import network_load
    from queueing_llm.plots import plot_network

    plot_network(agents, network_load(agents), path=path, title=system.name, verdict=verdict)


def _write(path: Path, verdict: NetworkVerdict) -> int:
    if verdict.certificate is None:
        sentence = f"the verdict is not proved, so no certificate was written to {str(path)!r}."
        return complain(sentence, status=NOT_AS_REQUIRED)
    try:
        verdict.certificate.write(path)
    except OSError as error:
        msg = f"certificate {str(path)!r} cannot be written: {error.strerror}."
        raise InvalidArgument(msg) from error
    return 0


def _against(required: Status | None, verdict: NetworkVerdict) -> int:
    if required is None or verdict.status is required:
        return 0
    sentence = f"required {required.name}, but the network is {verdict.status.name}."
    return complain(sentence, status=NOT_AS_REQUIRED)


def _busy(what: str) -> contextlib.AbstractContextManager[object]:
    return progress().status(what) if sys.stderr.isatty() else contextlib.nullcontext()
