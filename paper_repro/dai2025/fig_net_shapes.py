"""Which workflows of agents are safe with every work-conserving rule, and up to what load.

Section 5 of arXiv:2504.07347v3: work conservation suffices for workflows whose routes are a
directed acyclic graph or a fork-join, and cyclic routes break it. What counts is the graph of
the engines: the agent pair of section 5.4 is two chains of tasks, without any circle of tasks.
Bars show up to which load every work-conserving rule is stable that finishes requests in the
order in which it starts them: by a certificate where work moves forward, and by the exact
threshold of two engines for the others. The status of each is that at load 0.9.

The workflows are made up here, with the step time of the paper's CodeLlama-34B and a budget of
512 tokens; the pair is that of the paper. "There and back" returns to the engine of its first
agent and is safe all the same. A fork-join that returns there is left open, by the library and
here; whether the paper's theorem speaks of it is unknown.
"""

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import networkx as nx

import queueing_llm as ql
from paper_repro.dai2025._networks import answer, known
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed
from queueing_llm.scenarios import load_network, load_scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOKENS = {
    "planner": (400, 100),
    "searcher": (300, 100),
    "coder": (800, 200),
    "tester": (600, 300),
    "reviewer": (600, 150),
}
LOAD = Fraction(9, 10)
JUST_BELOW, JUST_ABOVE = Fraction(393, 100), Fraction(394, 100)


def compute(*, quick: bool = False) -> Computed:
    """Return verdicts, all exact; ``quick`` changes nothing."""
    del quick
    pair = load_network("rybko-stolyar").network
    shapes = {
        "chain": chain("engine 3"),
        "routes of a graph": branching(),
        "fork-join": load_network("fork-join").network,
        "there and back": chain("engine 1"),
        "fork-join and back": fork_join_and_back(),
        "agent pair": pair,
    }
    verdicts = [ql.check_network(at_load(shape)) for shape in shapes.values()]
    safe = list(map(safe_load, verdicts))
    graph = branching()
    sides = [
        ql.check_network(graph.scaled(rate), find_scalings=False)
        for rate in (JUST_BELOW, JUST_ABOVE)
    ]
    tasks = nx.DiGraph([(move.source, move.target) for move in pair.moves])
    return Computed(
        {
            "safe_loads": tuple(load for load in safe if load is not None),
            "statuses": tuple(verdict.status.name for verdict in verdicts),
            "graph_capacity": known(ql.network_load(graph).capacity),
            "graph_below": answer(sides[0]),
            "graph_above": answer(sides[1]),
            "pair_tasks": (nx.is_directed_acyclic_graph(tasks), verdicts[-1].status.name),
        },
        {
            "shapes": {
                "workflow": list(shapes),
                "safe_load": [math.nan if load is None else float(load) for load in safe],
                "status": [verdict.status.name for verdict in verdicts],
                "evidence": [verdict.evidence.value for verdict in verdicts],
            }
        },
    )


def at_load(network: ql.AgentNetwork, load: Fraction = LOAD) -> ql.AgentNetwork:
    """Return the network with arrivals that give its busiest engine a load."""
    return network.scaled(load * known(ql.network_load(network).scaling))


def safe_load(verdict: ql.NetworkVerdict) -> Fraction | None:
    """Return up to which load every rule that finishes in order is proved stable [1]."""
    safe = verdict.any_policy_scaling
    return None if safe is None else safe / verdict.nominal_scaling


def agents(**engines: str) -> nx.DiGraph:
    """Return agents on engines; the planner starts workflows."""
    engine = load_scenario("theorem-2").engine
    graph = nx.DiGraph(engines=dict.fromkeys(engines.values(), engine))
    for name, at in engines.items():
        prompt, output = TOKENS[name]
        graph.add_node(name, engine=at, prompt_tokens=prompt, output_tokens=output)
    graph.nodes["planner"]["arrival_rate"] = 1
    return graph


def chain(last: str) -> ql.AgentNetwork:
    """Return a planner, a coder and a reviewer, who runs on the engine named."""
    graph = agents(planner="engine 1", coder="engine 2", reviewer=last)
    nx.add_path(graph, ["planner", "coder", "reviewer"])
    return ql.AgentNetwork(graph)


def branching() -> ql.AgentNetwork:
    """Return plans that are coded at once or after a search, or that a search answers."""
    graph = agents(
        planner="engine 1", searcher="engine 2", coder="engine 2", reviewer="engine 3"
    )
    for move, share in {
        ("planner", "coder"): Fraction(1, 2),
        ("planner", "searcher"): Fraction(1, 2),
        ("searcher", "coder"): Fraction(3, 10),
        ("searcher", "reviewer"): Fraction(7, 10),
        ("coder", "reviewer"): 1,
    }.items():
        graph.add_edge(*move, probability=share)
    return ql.AgentNetwork(graph)


def fork_join_and_back() -> ql.AgentNetwork:
    """Return a fork-join whose reviewer runs on the planner's engine."""
    graph = agents(planner="engine 1", coder="engine 2", tester="engine 3", reviewer="engine 1")
    graph.nodes["planner"]["fork"] = True
    graph.nodes["reviewer"]["join"] = "all"
    for worker in ("coder", "tester"):
        nx.add_path(graph, ["planner", worker, "reviewer"])
    return ql.AgentNetwork(graph)


def plot(computed: Computed) -> "Figure":
    """Draw a bar for each workflow: the loads that are proved safe."""
    title = "Work conservation is enough where workflows only move forward"
    figure, axes = framed(title, height=3.4)
    table = computed.tables["shapes"]
    for line, safe in enumerate(table["safe_load"]):
        known = not math.isnan(safe)
        axes.barh(line, 1, height=0.62, facecolor="0.95", edgecolor="0.6", hatch="////")
        if known:
            axes.barh(line, safe, height=0.62, color=COLOURS[3])
        text = f"to load {safe:.4g}" if known else "not decided"
        style = {"color": "white"} if known else {"bbox": {"facecolor": "white", "lw": 0}}
        axes.text(0.02, line, text, va="center", fontsize=9, **style)
    axes.set_yticks(range(len(table["workflow"])), table["workflow"])
    axes.set_ylim(len(table["workflow"]) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1)
    axes.set_xlabel(
        "load of the busiest engine [1]; green: every work-conserving rule\n"
        "that finishes requests in order is stable"
    )
    return figure
