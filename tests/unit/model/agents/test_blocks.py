"""Forks and joins: accepted ones wait for what surely comes, others are refused."""

import copy
from dataclasses import replace
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model.agents import AgentNetwork


def graph_of(text, **attributes):
    """Return the graph of arrows such as ``"f>a f>b a>j b>j"``; sessions enter at the first.

    Agents called ``f...`` fork, those called ``j...`` join; ``a>b:1/2`` has a probability.
    """
    graph = nx.DiGraph()
    for arrow in text.split():
        ends, _, probability = arrow.partition(":")
        for node in ends.split(">"):
            graph.add_node(node, delay=1, fork=node.startswith("f"))
            if node.startswith("j"):
                graph.nodes[node]["join"] = attributes.get("join", "all")
        graph.add_edge(*ends.split(">"))
        if probability:
            graph.edges[tuple(ends.split(">"))]["probability"] = Fraction(probability)
    graph.nodes[text[: text.index(">")]]["arrival_rate"] = 1
    return graph


def blocks_of(network):
    names = [visit.name for visit in network.visits]
    return {names[fork]: names[join] for fork, join in network.blocks}


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("f>a f>b a>j b>j", {"f": "j"}),
        ("f>a f>b a>c b>c", {}),
        ("f>a f>j a>j j>f:1/2", {"f": "j"}),
        ("f1>f2 f1>c f2>a f2>b a>j2 b>j2 j2>j1 c>j1", {"f1": "j1", "f2": "j2"}),
        ("f1>f2 f1>c f2>a f2>b a>j2 b>j2 j2>d", {"f2": "j2"}),
        ("f>a f>b a>b b>j a>j:1/2 a>b:1/2", {"f": "j"}),
        ("f>a f>b a>f:2/5 b>f:2/5", {}),
        ("f>f2 f>b f2>c f2>d c>j d>j j>f:4/5", {"f2": "j"}),
        ("f>a f>b a>a:9/10 a>j:1/10 b>j", {"f": "j"}),
        ("f>a f>b a>fj b>fj fj>c fj>d", {"f": "fj"}),
    ],
)
def test_accepted(text, blocks):
    graph = graph_of(text)
    if "fj" in graph:
        graph.nodes["fj"]["join"] = "all"
    network = AgentNetwork(graph)
    assert blocks_of(network) == blocks
    for seed in range(20):
        assert_sessions_end(network, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a>j", ["'j' joins", "without a fork"]),
        ("f>a a>b", ["'f' forks", "2 ways out"]),
        ("f>a f>b a>j", ["branch of fork 'f' may leave", "at 'b'", "'j' waits"]),
        ("f>a f>b a>j:1/2 b>j", ["branch of fork 'f' may leave", "at 'a'"]),
        ("f>a f>b a>j1 b>j2", ["branches of fork 'f'", "'j1' and 'j2'"]),
        ("x>f:1/2 x>a:1/2 f>a f>b a>j b>j", ["'a'", "reached inside", "outside"]),
        ("f>a f>b a>j b>f:1/2 b>j:1/2", ["fork 'f' is reached again", "multiply"]),
        ("f>a f>b a>f:1/2 b>f:1/2", ["fork 'f' multiplies sessions"]),
        ("f>a f>b a>f:9/10 b>f:2/10", ["fork 'f' multiplies sessions"]),
        ("f>f2 f>b f2>c f2>d c>j d>j j>f:4/5 b>f:1/5", ["fork 'f' multiplies sessions"]),
        ("f1>f2 f1>c f2>a f2>b a>j b>j c>j", ["'j'", "reached inside", "'f2'", "'f1'"]),
        ("x>f1:1/2 x>f2:1/2 f1>a f1>b f2>c f2>d a>j b>j c>j d>j", ["'j'", "'f1'", "'f2'"]),
        ("f>a:1/2 f>b", ["'f' forks", "'a'", "probability 1", "Fraction(1, 2)"]),
        ("f>a f>b a>j b>j j>j2", ["'j2' joins", "without a fork"]),
        ("f1>f2 f1>a f2>b f2>c a>j", ["fork 'f1' may leave", "'b'"]),
    ],
)
def test_refused(text, words):
    with pytest.raises(InvalidArgument) as caught:
        AgentNetwork(graph_of(text))
    for word in words:
        assert word in str(caught.value)


def test_a_context_cannot_be_carried_into_a_join_of_any_branch():
    network = AgentNetwork(graph_of("f>a f>b a>j b>j", join="any"))
    assert blocks_of(network) == {"f": "j"}
    moves = [replace(m, carries_context=m.target == 3) for m in network.moves]
    with pytest.raises(InvalidArgument, match=r"from 'a' to 'j' must not carry"):
        AgentNetwork.of(network.engines, network.visits, moves)


def test_a_fork_whose_branches_come_back_on_average_once_is_the_limit():
    for probability, is_accepted in ((Fraction(499, 1000), True), (Fraction(1, 2), False)):
        graph = graph_of(f"f>a f>b a>f:{probability} b>f:{probability}")
        if is_accepted:
            AgentNetwork(graph)
        else:
            with pytest.raises(InvalidArgument, match="multiplies"):
                AgentNetwork(graph)


def assert_sessions_end(network, rng):
    """Play a session by the words of ``Visit.join``: no join may wait in the end."""
    ways = [[m for m in network.moves if m.source == at] for at in range(len(network.visits))]
    todo = [(int(rng.choice(network.entries)), ())]
    waiting, opened = {}, 0
    for _ in range(20000):
        if not todo:
            break
        at, forks = todo.pop(int(rng.integers(len(todo))))
        visit = network.visits[at]
        if visit.join:
            token, branches = forks[-1]
            came = waiting.setdefault(token, [at, 0])
            assert came[0] == at
            came[1] += 1
            goes_on = came[1] == (branches if visit.join == "all" else 1)
            if came[1] == branches:
                del waiting[token]
            if not goes_on:
                continue
            forks = forks[:-1]
        if visit.forks:
            if any(fork == at for fork, _ in network.blocks):
                opened += 1
                forks = (*forks, (opened, len(ways[at])))
            todo += [(m.target, forks) for m in ways[at]]
            continue
        drawn, total = rng.random(), 0.0
        for move in ways[at]:
            total += float(move.probability)
            if drawn < total:
                todo.append((move.target, forks))
                break
        else:
            assert not forks
    assert not todo
    assert not waiting


# Random nested blocks: a section is a chain of agents, retries and blocks of sections.
@st.composite
def nested(draw):
    graph = nx.DiGraph()
    expected = {}

    def section(depth):
        first = last = None
        for _ in range(draw(st.integers(1, 2))):
            head, tail = block(depth) if depth and draw(st.booleans()) else (agent(),) * 2
            first = first or head
            if last:
                link(last, head)
            last = tail
        return first, last

    def agent(prefix="a", **attributes):
        name = f"{prefix}{len(graph)}"
        graph.add_node(name, delay=1, **attributes)
        return name

    def block(depth):
        fork = agent("f", fork=True)
        join = agent("j", join=draw(st.sampled_from(["all", "any"])))
        expected[fork] = join
        for _ in range(draw(st.integers(2, 3))):
            head, tail = section(depth - 1)
            graph.add_edge(fork, head)
            link(tail, join)
        return fork, join

    def link(tail, head):
        if draw(st.booleans()):
            graph.add_edge(tail, head)
        else:
            graph.add_edge(tail, head, probability=Fraction(2, 3))
            retry = agent("r")
            graph.add_edge(tail, retry, probability=Fraction(1, 3))
            graph.add_edge(retry, head)

    entry = agent("e", arrival_rate=1)
    head, tail = section(2)
    graph.add_edge(entry, head)
    assume(len(graph) <= 40)
    return graph, expected, tail


@given(nested(), st.integers(0, 2**32))
def test_nested_blocks_are_found_and_their_sessions_end(parts, seed):
    graph, expected, _ = parts
    network = AgentNetwork(graph)
    assert blocks_of(network) == expected
    assert_sessions_end(network, np.random.default_rng(seed))


@given(nested(), st.data())
def test_a_changed_way_is_refused_or_its_sessions_still_end(parts, data):
    graph, expected, _ = parts
    assume(expected)
    changed = copy.deepcopy(graph)
    source, _ = data.draw(st.sampled_from(sorted(graph.edges)))
    target = data.draw(st.sampled_from(sorted(graph)))
    assume(not graph.has_edge(source, target) and not graph.nodes[source].get("fork"))
    half = Fraction(1, 2) / graph.out_degree(source)
    for _, _, keys in changed.out_edges(source, data=True):
        keys["probability"] = half
    changed.add_edge(source, target, probability=Fraction(1, 2))
    if not refusal_of(changed):
        assert_sessions_end(
            AgentNetwork(changed), np.random.default_rng(data.draw(st.integers(0, 999)))
        )


@st.composite
def spawning(draw):
    """Return a graph whose forks have no joins, and its mean moves as a matrix."""
    agents = draw(st.integers(2, 5))
    graph = nx.DiGraph()
    mean = np.zeros((agents, agents))
    for at in range(agents):
        targets = draw(st.lists(st.integers(0, agents - 1), unique=True, max_size=3))
        forks = len(targets) > 1 and draw(st.booleans())
        graph.add_node(at, delay=1, fork=forks, arrival_rate=1)
        for target in targets:
            share = 1 if forks else Fraction(draw(st.integers(1, 6)), 20)
            graph.add_edge(at, target, probability=share)
            mean[at, target] = share
    return graph, mean


@given(spawning())
def test_branches_may_come_back_as_long_as_their_mean_number_stays_finite(parts):
    graph, mean = parts
    radius = max(abs(np.linalg.eigvals(mean)))
    assume(abs(radius - 1) > 1e-9)
    refusal = refusal_of(graph)
    assume("never leaves" not in refusal)
    assert ("multiplies" in refusal) == (radius > 1)
    assert refusal == "" or radius > 1


def refusal_of(graph):
    try:
        AgentNetwork(graph)
    except InvalidArgument as error:
        return str(error)
    return ""
