"""What is no network is refused, with the agent or the edge and the remedy in the message."""

import re
from fractions import Fraction

import networkx as nx
import pytest
import sympy

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    DeterministicLength,
    EmpiricalLength,
    Engine,
    IndependentLengths,
    PoissonArrivals,
)
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.steptime import AffineStepTime

GPU = Engine(AffineStepTime(base=1, per_token=0), token_budget=768)
TOKENS = {"prompt_tokens": 32, "output_tokens": 16}


def graph_of(nodes, edges=(), *, kind=nx.DiGraph, **attributes):
    graph = kind(engines={"gpu": GPU}, **attributes)
    graph.add_node(
        "main", **{"engine": "gpu", "arrival_rate": 1, **TOKENS, **nodes.get("main", {})}
    )
    graph.add_nodes_from((node, keys) for node, keys in nodes.items() if node != "main")
    graph.add_edges_from(edges)
    return graph


def refused(graph, *words, **keywords):
    """Assert that a graph is refused in a sentence that has all these words."""
    with pytest.raises(InvalidArgument) as caught:
        AgentNetwork(graph, **keywords)
    for word in words:
        assert word in str(caught.value)


def test_the_control_is_accepted():
    network = AgentNetwork(graph_of({"tool": {"delay": 1}}, [("main", "tool")]))
    assert [visit.name for visit in network.visits] == ["main", "tool"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"engin": "gpu"}, ["agent 'main'", "'engin'", "did you mean 'engine'"]),
        ({"engine": "gpo"}, ["agent 'main'", "'gpo'", "did you mean 'gpu'"]),
        ({"engine": ["gpu", "gpu"]}, ["'main'", "different engines"]),
        ({"engine": 3}, ["'main'", "engine must be", "3"]),
        ({"prompt_tokens": 0}, ["'main'", "prompt_tokens", "at least 1", "0"]),
        ({"prompt_tokens": EmpiricalLength([0, 5])}, ["'main'", "prompt", "at least 1 token"]),
        ({"prompt_tokens": None}, ["'main'", "'prompt_tokens' and 'output_tokens'"]),
        ({"prompt_tokens": None, "output_tokens": None}, ["'main'", "needs lengths"]),
        (
            {"lengths": IndependentLengths(DeterministicLength(1), DeterministicLength(1))},
            ["'main'", "both 'lengths' and 'prompt_tokens'"],
        ),
        ({"priority": 1.5}, ["'main'", "priority must be an integer", "1.5"]),
        ({"priority": True}, ["'main'", "priority must be an integer", "True"]),
        ({"turns": 0}, ["'main'", "turns", "at least 1"]),
        ({"turns": EmpiricalLength([0, 2])}, ["'main'", "turns must be at least 1"]),
        ({"delay": -1}, ["'main'", "delay", "at least 0", "-1"]),
        ({"random_delay": 1}, ["'main'", "has_random_delay must be True or False"]),
        ({"dispatch": "shortes"}, ["'main'", "did you mean 'shortest'"]),
        ({"join": "al"}, ["'main'", "did you mean 'all'"]),
        ({"turn_prefix_cache_hit": 0.5}, ["'main'", "turn_carries_context"]),
        ({"turn_prefix_cache_hit": 2, "turn_carries_context": True}, ["'main'", "at most 1"]),
        ({"arrival_rate": 0}, ["'main'", "arrival_rate", "above 0"]),
        ({"arrivals": PoissonArrivals(1)}, ["'main'", "both 'arrival_rate' and 'arrivals'"]),
        ({"arrival_rate": None, "arrivals": 3}, ["'main'", "arrivals", "PoissonArrivals"]),
        ({"arrival_rate": None}, ["no session ever arrives", "arrival_rate"]),
        ({"arrival_rate": {"chat": 1}}, ["'main'", "request class 'chat'", "'session'"]),
        ({"lengths": 3, "prompt_tokens": None, "output_tokens": None}, ["'main'", "lengths"]),
    ],
)
def test_a_wrong_node_is_named(keys, words):
    refused(graph_of({"main": keys}), *words)


def test_a_tool_has_no_lengths():
    nodes = {"tool": {"delay": 1, **TOKENS}}
    refused(graph_of(nodes, [("main", "tool")]), "agent 'tool'", "no engine")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"probabilty": 0.5}, ["'main' to 'tool'", "did you mean 'probability'"]),
        ({"probability": -0.1}, ["'main' to 'tool'", "at least 0", "-0.1"]),
        ({"probability": 1.5}, ["'main' to 'tool'", "at most 1", "1.5"]),
        ({"carries_context": 1}, ["'main' to 'tool'", "True or False"]),
        ({"prefix_cache_hit": 0.5}, ["'main' to 'tool'", "carries_context"]),
        ({"prefix_cache_hit": 7, "carries_context": True}, ["'main' to 'tool'", "at most 1"]),
        ({"request_class": "chat"}, ["'main' to 'tool'", "request class 'chat'"]),
        ({"probability": sympy.Symbol("p", positive=True)}, ["number", "p"]),
    ],
)
def test_a_wrong_edge_is_named(keys, words):
    refused(graph_of({"tool": {"delay": 1}}, [("main", "tool", keys)]), *words)


TOOLS = {"a": {"delay": 1}, "b": {"delay": 1}}


def test_probabilities_above_1_name_the_agent():
    edges = [("main", "a", {"probability": 0.7}), ("main", "b", {"probability": 0.4})]
    refused(graph_of(TOOLS, edges), "from 'main'", "at most 1", "'a': 0.7", "'b': 0.4")


@pytest.mark.parametrize("first", [{}, {"probability": 0.5}])
def test_several_ways_out_must_say_how_often(first):
    edges = [("main", "a", first), ("main", "b")]
    refused(graph_of(TOOLS, edges), "'main' has 2 ways out", "has no probability", "fork=True")


def test_an_agent_that_is_never_reached():
    refused(graph_of(TOOLS, [("main", "a")]), "ever reaches agent 'b'")
    edges = [("main", "a", {"probability": 0}), ("a", "b"), ("main", "b", {"probability": 1})]
    refused(graph_of(TOOLS, edges), "ever reaches agent 'a'")


def test_a_trap_is_named():
    edges = [("main", "a", {"probability": 0.5}), ("a", "b"), ("b", "a")]
    refused(graph_of(TOOLS, edges), "never leaves", "'a', 'b'")


def test_a_trap_of_rounded_floats_is_named():
    edges = [
        ("main", "a"),
        ("a", "a", {"probability": 5 / 6}),
        ("a", "b", {"probability": 1 / 6}),
    ]
    edges.append(("b", "a"))
    refused(graph_of(TOOLS, edges), "never leaves", "'main', 'a', 'b'")


def test_a_tool_that_gets_no_context_carries_none():
    edges = [("main", "a"), ("a", "b", {"carries_context": True})]
    refused(graph_of(TOOLS, edges), "from 'a' to 'b'", "carries_context=True on an edge to it")
    edges[0] += ({"carries_context": True},)
    AgentNetwork(graph_of(TOOLS, edges))


def test_engines_are_all_used_and_policies_are_theirs():
    refused(graph_of({}), "no agent uses engine 'spare'", engines={"spare": GPU})
    refused(graph_of({}), "did you mean 'gpu'", policies={"gpuu": "orca"})
    refused(graph_of({}), "did you mean 'sarathi'", policies={"gpu": "sarathy"})
    refused(graph_of({}), "engine 'gpu'", "Engine", engines={"gpu": 3})
    refused(graph_of({}, polices={}), "the graph", "did you mean 'policies'")
    own = graph_of({"gpu": {"engine": GPU, **TOKENS}}, [("main", "gpu")])
    refused(own, "'gpu'", "rename")


@pytest.mark.parametrize("graph", [nx.Graph(), nx.MultiGraph(), {"a": "b"}, None])
def test_only_directed_graphs_are_read(graph):
    refused(graph, "networkx.DiGraph")


def test_names_are_unique():
    graph = graph_of({1: {"delay": 1}, "1": {"delay": 1}}, [("main", 1), (1, "1")])
    refused(graph, "two visits are called '1'")


def test_parallel_edges_of_one_class():
    edges = [("main", "a", {"probability": 0.2})] * 2
    refused(
        graph_of({"a": {"delay": 1}}, edges, kind=nx.MultiDiGraph),
        "two moves lead from 'main' to 'a'",
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ["class 'chat'", "ever arrives"]),
        ({"arrival_rate": 1}, ["request class 'chat'", "'enters'"]),
        ({"enters": "main"}, ["request class 'chat'", "'arrival_rate'"]),
        ({"arrival_rate": 1, "enters": "mian"}, ["'mian'", "'chat'", "did you mean 'main'"]),
        ({"arrival_rate": 1, "enter": "main"}, ["'chat'", "did you mean 'enters'"]),
        ({"arrival_rate": 1, "enters": "main", "turns": 3}, ["'chat'", "turns", "route"]),
        ({"route": ["main"]}, ["'chat'", "'arrival_rate'"]),
        ({"arrival_rate": 1, "route": ["mian"]}, ["route of", "'chat'", "did you mean 'main'"]),
        ({"arrival_rate": 1, "route": "main"}, ["route of", "'chat'", "list of agents"]),
        ({"arrival_rate": 1, "route": ["main"], "enters": "main"}, ["'chat'", "'enters'"]),
        ({"arrival_rate": -1, "enters": "main"}, ["'chat'", "arrival_rate", "above 0"]),
        (3, ["'chat'", "mapping"]),
    ],
)
def test_a_wrong_class_is_named(keys, words):
    refused(graph_of({"main": {"arrival_rate": None}}, classes={"chat": keys}), *words)


def test_arrivals_are_said_once_and_for_one_class():
    chat = {"arrival_rate": 1, "enters": "main"}
    refused(graph_of({}, classes={"chat": chat}), "'chat'", "'main'", "again")
    refused(
        graph_of({}, classes={"chat": {}, "batch": {}}),
        "'main'",
        "which request class",
        "'chat'",
    )
    refused(graph_of({}, classes={}), "classes must map")


ENGINE = NetworkEngine("gpu", GPU)
LENGTHS = IndependentLengths(DeterministicLength(1), DeterministicLength(1))
TOOL = Visit("w", "w", "s", delay=1)
VISIT = Visit("v", "v", "s", (0,), LENGTHS, PoissonArrivals(1))


@pytest.mark.parametrize(
    ("engines", "visits", "moves", "pattern"),
    [
        ([ENGINE, ENGINE], [VISIT], [], "two engines are called 'gpu'"),
        ([ENGINE], [VISIT, VISIT], [], "two visits are called 'v'"),
        ([], [VISIT], [], "'v' must name different engines"),
        ([ENGINE], [VISIT], [Move(0, 1)], "positions 0 to 0"),
        ([ENGINE], [VISIT], [Move(-1, 0)], "positions 0 to 0"),
        ([], [], [], "no session ever arrives"),
        ([ENGINE], [VISIT, TOOL], [Move(0, 1, probability=0)], "no session ever reaches 'w'"),
        ([GPU], [VISIT], [], "NetworkEngine"),
        ([ENGINE], [3], [], "Visit"),
        ([ENGINE], [VISIT], [(0, 1)], "Move"),
    ],
)
def test_parts_that_do_not_fit_are_refused(engines, visits, moves, pattern):
    with pytest.raises(InvalidArgument, match=re.escape(pattern)):
        AgentNetwork.of(engines, visits, moves)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"name": ""}, "name of a visit"),
        ({"request_class": None}, "request_class of visit 'v'"),
        ({"lengths": None}, "visit 'v': it needs lengths"),
        ({"engines": ()}, "visit 'v': it has no engine"),
        ({"turns": 3}, "visit 'v': turns must be of type Length"),
        ({"priority": Fraction(1, 2)}, "visit 'v': priority must be an integer"),
    ],
)
def test_a_visit_checks_itself(change, pattern):
    keys = {
        "name": "v",
        "agent": "v",
        "request_class": "s",
        "engines": (0,),
        "lengths": LENGTHS,
    }
    with pytest.raises(InvalidArgument, match=re.escape(pattern)):
        Visit(**(keys | change))
