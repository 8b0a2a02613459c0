"""A graph is read into the normal form, exactly and without a trace left on it."""

import copy
import itertools
from fractions import Fraction

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    DeterministicArrivals,
    DeterministicLength,
    EmpiricalLengths,
    Engine,
    GeometricLength,
    IndependentLengths,
    PoissonArrivals,
)
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.policies import ORCA, SARATHI
from queueing_llm.steptime import AffineStepTime

GPU = Engine(AffineStepTime(base=1, per_token=0), token_budget=768)
SMALL = Engine(AffineStepTime(base=2, per_token=0), token_budget=64)
TOKENS = {"prompt_tokens": 32, "output_tokens": 16}
LENGTHS = IndependentLengths(DeterministicLength(32), DeterministicLength(16))


def pair():
    graph = nx.DiGraph(engines={"gpu": GPU})
    graph.add_node("writer", engine="gpu", arrival_rate=2, **TOKENS)
    graph.add_node("critic", engine="gpu", prompt_tokens=5, output_tokens=7)
    graph.add_edge("writer", "critic", carries_context=True, prefix_cache_hit=Fraction(1, 2))
    graph.add_edge("critic", "writer", probability=0.25)
    return graph


def test_a_small_graph_in_normal_form():
    network = AgentNetwork(pair())
    assert network.engines == (NetworkEngine("gpu", GPU, SARATHI),)
    assert network.visits == (
        Visit("writer", "writer", "session", (0,), LENGTHS, PoissonArrivals(2)),
        Visit(
            "critic",
            "critic",
            "session",
            (0,),
            IndependentLengths(DeterministicLength(5), DeterministicLength(7)),
        ),
    )
    assert network.moves == (
        Move(0, 1, carries_context=True, prefix_cache_hit=Fraction(1, 2)),
        Move(1, 0, probability=0.25),
    )
    assert network == AgentNetwork.of(network.engines, network.visits, network.moves)
    assert hash(network) == hash(copy.deepcopy(network))


def test_every_attribute_of_a_node_arrives():
    lengths = EmpiricalLengths([10, 20], [1, 2])
    graph = nx.DiGraph(engines={"a": GPU, "b": SMALL}, policies={"b": "orca"})
    graph.add_node(
        "agent",
        engine=["b", "a"],
        lengths=lengths,
        arrivals=DeterministicArrivals(3),
        priority=-2,
        delay=Fraction(1, 2),
        random_delay=True,
        turns=GeometricLength(4),
        turn_carries_context=True,
        turn_prefix_cache_hit=0.5,
        dispatch="shortest",
        fork=True,
        label="for drawing",
        _note="mine",
    )
    graph.add_node("left", delay=1)
    graph.add_node("right", delay=2)
    graph.add_node("end", join="all")
    graph.add_edges_from([("agent", "left"), ("agent", "right")])
    graph.add_edges_from([("left", "end"), ("right", "end")], weight=7)
    network = AgentNetwork(graph)
    assert [engine.policy for engine in network.engines] == [SARATHI, ORCA]
    assert network.visits[0] == Visit(
        name="agent",
        agent="agent",
        request_class="session",
        engines=(1, 0),
        lengths=lengths,
        arrivals=DeterministicArrivals(3),
        priority=-2,
        delay=Fraction(1, 2),
        has_random_delay=True,
        turns=GeometricLength(4),
        turn_carries_context=True,
        turn_prefix_cache_hit=0.5,
        dispatch="shortest",
        forks=True,
    )
    assert network.visits[3].join == "all"
    assert {move.probability for move in network.moves} == {1}
    assert network.blocks == ((0, 3),)


def test_an_engine_object_is_an_engine_of_its_own():
    graph = nx.DiGraph()
    graph.add_node(7, engine=GPU, arrival_rate=1, **TOKENS)
    network = AgentNetwork(graph, policies={"7": ORCA})
    assert network.engines == (NetworkEngine("7", GPU, ORCA),)
    assert (network.visits[0].name, network.visits[0].agent) == ("7", 7)


def test_keywords_go_before_the_graph():
    network = AgentNetwork(pair(), engines={"gpu": SMALL}, policies={"gpu": "orca"})
    assert network.engines == (NetworkEngine("gpu", SMALL, ORCA),)


def test_classes_differ_by_attribute_priority_and_edge():
    graph = nx.MultiDiGraph(
        engines={"gpu": GPU},
        classes={
            "chat": {"arrival_rate": 1, "enters": "plan", "priority": -1},
            "batch": {"arrivals": DeterministicArrivals(2), "enters": "plan"},
        },
    )
    graph.add_node(
        "plan", engine="gpu", prompt_tokens={"chat": 10, "batch": 500}, output_tokens=3
    )
    graph.add_node("tool", delay=1, priority={"batch": 5})
    graph.add_edge("plan", "tool", request_class="batch", probability=0.5)
    network = AgentNetwork(graph)
    assert [(v.name, v.priority) for v in network.visits] == [
        ("chat@plan", -1),
        ("batch@plan", 0),
        ("batch@tool", 5),
    ]
    assert [v.lengths.prompt.tokens for v in network.visits[:2]] == [10, 500]
    assert network.moves == (Move(1, 2, probability=0.5),)
    assert network.request_classes == ("chat", "batch")
    assert network.entries == (0, 1)
    assert network.arrival_rate == 3


def test_parallel_edges_of_different_classes():
    graph = nx.MultiDiGraph(
        classes={
            "a": {"arrival_rate": 1, "enters": "x"},
            "b": {"arrival_rate": 1, "enters": "x"},
        }
    )
    graph.add_node("x", delay=1)
    graph.add_node("y", delay=1)
    graph.add_edge("x", "y", request_class="a", probability=0.25)
    graph.add_edge("x", "y", request_class="b")
    assert [m.probability for m in AgentNetwork(graph).moves] == [0.25, 1]


def test_one_named_class_takes_arrivals_of_nodes():
    graph = nx.DiGraph(classes={"chat": {"enters": "x", "arrival_rate": 1}})
    graph.add_node("x", delay=1)
    graph.add_node("y", delay=1, arrival_rate=4)
    graph.add_edge("x", "y")
    network = AgentNetwork(graph)
    assert network.arrival_rate == 5
    assert [v.name for v in network.visits] == ["x", "y"]


def test_scaled_changes_the_arrivals_alone():
    network = AgentNetwork(pair())
    half = network.scaled(Fraction(1, 2))
    assert half.arrival_rate == 1
    assert (half.engines, half.moves) == (network.engines, network.moves)
    assert half.scaled(2) == network
    with pytest.raises(InvalidArgument, match="factor"):
        network.scaled(0)


def test_priorities_by_visit_go_before_those_by_agent():
    graph = nx.DiGraph(
        engines={"gpu": GPU},
        classes={
            "x": {"arrival_rate": 1, "route": ["a", "b"]},
            "y": {"arrival_rate": 1, "route": ["b", "a"]},
        },
    )
    graph.add_nodes_from("ab", engine="gpu", **TOKENS)
    network = AgentNetwork(graph).with_priorities({"a": 3, "y:2@a": 1})
    assert {v.name: v.priority for v in network.visits} == {
        "x:1@a": 3,
        "x:2@b": 0,
        "y:1@b": 0,
        "y:2@a": 1,
    }
    with pytest.raises(InvalidArgument, match=r"'y:2@c'.*did you mean 'y:2@a'"):
        network.with_priorities({"y:2@c": 1})


def test_policies_and_engines_are_replaced_by_name():
    network = AgentNetwork(pair())
    assert network.with_policies("orca").engines[0].policy is ORCA
    assert network.with_policies({"gpu": ORCA}).engines[0].policy is ORCA
    assert network.with_engines({"gpu": SMALL}).engines[0].engine is SMALL
    for change in (network.with_policies, network.with_engines):
        with pytest.raises(InvalidArgument, match="did you mean 'gpu'"):
            change({"cpu": None})


def test_the_picture_shows_agents_engines_and_ways():
    graph = AgentNetwork(pair()).to_graph()
    assert graph.nodes["writer"]["engines"] == ("gpu",)
    assert graph.edges["critic", "writer"]["probability"] == 0.25
    assert graph.nodes["critic"]["request_classes"] == ("session",)


@pytest.mark.parametrize(
    ("probabilities", "rest"),
    [([0.1, 0.2], Fraction(7, 10)), ([5 / 6, 1 / 6], 0), ([Fraction(1, 3)], Fraction(2, 3))],
)
def test_what_probabilities_leave_is_exact(probabilities, rest):
    graph = nx.DiGraph()
    graph.add_node("x", delay=1, arrival_rate=1)
    for at, probability in enumerate(probabilities):
        graph.add_node(at, delay=1)
        graph.add_edge("x", at, probability=probability)
    network = AgentNetwork(graph)
    assert network.exit_probability(0) == rest
    assert isinstance(network.exit_probability(0), Fraction)


# Random graphs: agents 0..n-1 with edges anywhere, but always a way out.
@st.composite
def described(draw):
    agents = draw(st.integers(1, 6))
    edges = {}
    for source in range(agents):
        targets = draw(st.lists(st.integers(0, agents - 1), unique=True, max_size=3))
        for target in targets:
            edges[source, target] = Fraction(draw(st.integers(1, 9)), 40)
    for source in range(agents - 1):
        edges.setdefault((source, source + 1), Fraction(1, 40))
    prompts = draw(st.lists(st.integers(1, 99), min_size=agents, max_size=agents))
    kinds = draw(st.lists(st.sampled_from(["a", "b", None]), min_size=agents, max_size=agents))
    return edges, prompts, kinds


def built(edges, prompts, kinds, *, label=lambda at: at, order=None):
    graph = nx.DiGraph(engines=dict.fromkeys(sorted(set(kinds) - {None}), GPU))
    for at in order or range(len(prompts)):
        attributes = {"delay": 1} if kinds[at] is None else {"engine": kinds[at]}
        if kinds[at] is not None:
            attributes |= {"prompt_tokens": prompts[at], "output_tokens": 2}
        graph.add_node(label(at), **attributes, **({"arrival_rate": 1} if at == 0 else {}))
    for (source, target), probability in edges.items():
        graph.add_edge(label(source), label(target), probability=probability)
    return graph


@given(described())
def test_a_random_graph_is_read_as_it_was_described(description):
    edges, prompts, kinds = description
    network = AgentNetwork(built(*description))
    assert {(m.source, m.target): m.probability for m in network.moves} == edges
    names = [engine.name for engine in network.engines]
    for at, visit in enumerate(network.visits):
        assert [names[i] for i in visit.engines] == ([kinds[at]] if kinds[at] else [])
        assert visit.lengths is None or visit.lengths.prompt.tokens == prompts[at]
        out = sum(p for (source, _), p in edges.items() if source == at)
        assert network.exit_probability(at) == 1 - out


@given(described(), st.randoms(use_true_random=False))
def test_names_and_order_of_agents_do_not_matter(description, random):
    edges, prompts, _ = description
    order = random.sample(range(len(prompts)), len(prompts))
    plain = AgentNetwork(built(*description))
    other = AgentNetwork(built(*description, label=lambda at: f"agent {at}", order=order))
    assert other.engines == plain.engines
    back = {visit.agent: at for at, visit in enumerate(other.visits)}
    position = [back[f"agent {at}"] for at in range(len(prompts))]
    for at, visit in enumerate(plain.visits):
        same = other.visits[position[at]]
        assert (same.engines, same.lengths, same.arrivals) == (
            visit.engines,
            visit.lengths,
            visit.arrivals,
        )
    assert {(position[m.source], position[m.target]) for m in plain.moves} == {
        (m.source, m.target) for m in other.moves
    }
    assert len(edges) == len(other.moves)


@given(described(), st.booleans())
def test_the_graph_is_never_changed(description, is_frozen):
    graph = built(*description)
    before = copy.deepcopy(graph)
    if is_frozen:
        nx.freeze(graph)
    AgentNetwork(graph).to_graph().clear()
    assert nx.utils.graphs_equal(graph, before)
    assert graph.graph == before.graph
    nodes, edges = (list(part) for part in (graph.nodes, graph.edges))
    assert (nodes, edges) == (list(before.nodes), list(before.edges))


def test_a_big_network_is_read_at_all():
    layers = [range(20 * at, 20 * at + 20) for at in range(10)]
    graph = nx.DiGraph(engines={"gpu": GPU})
    graph.add_nodes_from(range(200), engine="gpu", **TOKENS)
    for above, below in itertools.pairwise(layers):
        for source, target in itertools.product(above, below):
            graph.add_edge(source, target, probability=Fraction(1, 20))
    for entry in layers[0]:
        graph.nodes[entry]["arrival_rate"] = 1
    assert len(AgentNetwork(graph).moves) == 3600


@pytest.mark.parametrize("visit", [-1, 2, True, "writer"])
def test_the_exit_of_a_visit_that_does_not_exist(visit):
    with pytest.raises(InvalidArgument, match="visit must be a position from 0 to 1"):
        AgentNetwork(pair()).exit_probability(visit)
