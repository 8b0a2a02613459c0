"""Classes with a route: one kind of visit per hop, and rounds by their hazard."""

from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    EmpiricalLength,
    Engine,
    GeometricLength,
    LognormalLength,
    UniformLength,
)
from queueing_llm.model.agents import AgentNetwork, Move
from queueing_llm.model.agents._rounds import one_more
from queueing_llm.steptime import AffineStepTime

GPU = Engine(AffineStepTime(base=1, per_token=0), token_budget=768)


def routed(route, *, edges=(), **keys):
    graph = nx.DiGraph(
        engines={"gpu": GPU}, classes={"job": {"arrival_rate": 1, "route": list(route), **keys}}
    )
    graph.add_nodes_from(sorted(set(route)), engine="gpu", prompt_tokens=9, output_tokens=1)
    graph.add_edges_from(edges)
    return graph


def test_an_agent_visited_twice_is_two_kinds_of_visit():
    network = AgentNetwork(routed("aba"))
    assert [(v.name, v.agent) for v in network.visits] == [
        ("job:1@a", "a"),
        ("job:2@b", "b"),
        ("job:3@a", "a"),
    ]
    assert network.moves == (Move(0, 1), Move(1, 2))
    assert network.entries == (0,)


def test_rounds_go_on_by_the_chance_of_one_more():
    network = AgentNetwork(routed("ab", turns=UniformLength(1, 3)))
    assert [(m.source, m.target, m.probability) for m in network.moves] == [
        (0, 1, 1),
        (1, 2, Fraction(2, 3)),
        (2, 3, 1),
        (3, 4, Fraction(1, 2)),
        (4, 5, 1),
    ]
    assert network.exit_probability(5) == 1


def test_moves_on_a_route_take_the_attributes_of_the_edge():
    edges = [("a", "b", {"carries_context": True, "prefix_cache_hit": 0.5, "probability": 0.1})]
    network = AgentNetwork(routed("ab", edges=edges))
    assert network.moves == (Move(0, 1, carries_context=True, prefix_cache_hit=0.5),)


@pytest.mark.parametrize(
    "change", [{"edges": [("b", "a")]}, {"edges": [("a", "b")], "turns": 2}]
)
def test_a_route_follows_the_edges_if_there_are_any(change):
    with pytest.raises(
        InvalidArgument, match=r"'job' goes from '.' to '.', but the graph has no"
    ):
        AgentNetwork(routed("ab", **change))


@pytest.mark.parametrize("turns", [GeometricLength(2), UniformLength(1, 5000)])
def test_rounds_without_a_small_bound_are_refused(turns):
    with pytest.raises(InvalidArgument, match=r"turns of request class 'job' must be at most"):
        AgentNetwork(routed("ab", turns=turns))


@pytest.mark.parametrize("key", ["fork", "join"])
def test_a_route_neither_forks_nor_joins(key):
    graph = routed("ab")
    graph.nodes["b"][key] = {"fork": True, "join": "all"}[key]
    with pytest.raises(InvalidArgument, match=f"'b' on it must not have '{key}'"):
        AgentNetwork(graph)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_chances_of_one_more_give_back_the_law(values):
    chances = one_more(EmpiricalLength(values))
    reached = Fraction(1)
    for n, more in enumerate(chances, start=1):
        assert reached * (1 - more) == Fraction(values.count(n), len(values))
        reached *= more
    assert reached == 0
    assert len(chances) == max(values)


def test_a_law_that_is_not_rational_gives_floats():
    law = LognormalLength(median=3, sigma=0.5, max_tokens=12)
    reached = np.cumprod((1.0, *one_more(law)))
    assert reached.sum() == pytest.approx(float(law.mean), rel=1e-12)
