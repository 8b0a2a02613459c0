"""The picture of a network: where agents stand, what is written, what is coloured how."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.networks import network_load
from queueing_llm.plots._network import network_figure, plot_network
from queueing_llm.plots._network_layout import LANE, layered_places
from queueing_llm.plots._network_parts import agents_of, edges_of, share_text

pytest.importorskip("matplotlib")

ENGINE = ql.Engine(step_time=ql.AffineStepTime(base=1, per_token=0), token_budget=100)
LENGTHS = ql.IndependentLengths(ql.DeterministicLength(8), ql.DeterministicLength(2))
POISSON = ql.PoissonArrivals


def visit(name, *engines, **kind):
    named = {"agent": name, "request_class": "session"} | kind
    return Visit(name, engines=engines, lengths=LENGTHS if engines else None, **named)


FORK = AgentNetwork.of(
    [NetworkEngine(name, ENGINE) for name in ("plan", "small", "big")],
    [
        visit("plan", 0, arrivals=POISSON(3), forks=True),
        visit("left", 1),
        visit("right", 2, turns=ql.DeterministicLength(4)),
        visit("merge", 0, join="all"),
    ],
    [Move(0, 1), Move(0, 2), Move(1, 3), Move(2, 3)],
)
TOOLS = AgentNetwork.of(
    [NetworkEngine("gpu", ENGINE)],
    [
        visit("agent", 0, arrivals=POISSON(2)),
        visit("search", delay=2),
        visit("wait"),
        visit("critic", 0, arrivals=POISSON(1)),
    ],
    [Move(0, 1, 0.5), Move(0, 2, 0.2), Move(1, 0), Move(2, 0), Move(0, 3, 0.125)],
)
PAIR = AgentNetwork.of(
    [NetworkEngine("one", ENGINE), NetworkEngine("two", ENGINE)],
    [
        visit("A:1", 0, agent="left", request_class="A", arrivals=POISSON(1)),
        visit("A:2", 1, agent="right", request_class="A"),
        visit("B:1", 1, agent="right", request_class="B", arrivals=POISSON(1)),
        visit("B:2", 0, 1, agent="left", request_class="B"),
        visit("B:3", 0, agent="left", request_class="B"),
    ],
    [Move(0, 1), Move(2, 3, 0.5), Move(3, 4)],
)


def drawn(network, **settings):
    return network_figure(network, network_load(network), **settings)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def boxes(figure):
    """Return the boxes of agents by their names, the first text inside each."""
    from matplotlib.patches import FancyBboxPatch

    graph = figure.axes[0]
    found = {}
    for patch in graph.patches:
        if isinstance(patch, FancyBboxPatch):
            left, low = patch.get_x(), patch.get_y()
            inside = [
                text.get_text()
                for text in graph.texts
                if left < text.get_position()[0] < left + patch.get_width()
                and low < text.get_position()[1] < low + patch.get_height()
            ]
            found[inside[0]] = patch, inside[1]
    return found


def arrows(figure):
    from matplotlib.patches import FancyArrowPatch

    return [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]


def test_each_agent_has_a_box_with_its_engine_and_load():
    found = boxes(drawn(FORK))
    # Engine plan: 30 + 30 tokens/s of 100; engine big: four visits of 10 tokens, 3 a second.
    assert {name: line for name, (_, line) in found.items()} == {
        "plan": "60.0%",
        "left": "small, 30.0%",
        "right": "big, 120.0%, x4",
        "merge": "plan, 60.0%",
    }


def test_tools_are_dashed_and_say_how_long_they_take():
    found = boxes(drawn(TOOLS))
    assert found["search"][1] == "delay 2 s"
    assert found["wait"][1] == "no engine"
    assert found["search"][0].get_linestyle() == "--"
    assert found["agent"][0].get_linestyle() == "-"


def test_the_bottleneck_is_framed_and_colours_rise_with_the_load():
    found = boxes(drawn(FORK))
    widths = {name: box.get_linewidth() for name, (box, _) in found.items()}
    assert max(widths, key=widths.__getitem__) == "right"
    assert sorted(widths.values())[-2] < 1
    brightness = [sum(found[name][0].get_facecolor()[:3]) for name in ("left", "plan", "right")]
    assert brightness == sorted(brightness, reverse=True)


def test_engines_are_listed_with_the_busiest_on_top():
    figure = drawn(FORK)
    listed = [text.get_text() for text in figure.axes[1].texts]
    assert listed == ["big  120.0%", "plan  60.0%", "small  30.0%"]
    assert [bar.get_width() for bar in figure.axes[1].patches] == pytest.approx([1.2, 0.6, 0.3])
    assert figure.axes[2].get_xlabel() == "load of the engine [%]"


def test_a_load_ends_at_its_place_on_the_colour_bar():
    figure = drawn(FORK.scaled(0.5))
    figure.draw_without_rendering()
    bars, key = figure.axes[1:3]
    for load in (0, 0.25, 1):
        in_bars = bars.transData.transform((load, 0))[0]
        assert in_bars == pytest.approx(key.transData.transform((100 * load, 0))[0], abs=0.5)


def test_forks_joins_arrivals_and_shares_are_written():
    assert {"fork", "join all", "3/s"} <= set(texts(drawn(FORK)))
    assert {"50%", "20%", "12%", "2/s", "1/s"} <= set(texts(drawn(TOOLS)))


def test_one_arrow_for_each_pair_of_agents_and_each_arrival():
    assert len(arrows(drawn(FORK))) == 4 + 1
    assert len(arrows(drawn(TOOLS))) == 5 + 2
    # left to right, right to left, and left to itself.
    assert len(arrows(drawn(PAIR))) == 3 + 2


def test_kinds_of_visit_of_one_agent_are_drawn_together():
    loads = {"one": 0.1, "two": 0.4}
    parts = agents_of(PAIR, loads)
    assert list(parts) == ["left", "right"]
    assert parts["left"].engines == ("one", "two")
    assert parts["left"].load == 0.4
    assert edges_of(PAIR) == {
        ("left", "right"): "",
        ("right", "left"): "50%",
        ("left", "left"): "",
    }


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100%"), (0.125, "12%"), (0.05, "5%"), (0.0123, "1.2%"), (0, "0%")]
)
def test_shares(share, text):
    assert share_text(share) == text


def test_title_and_verdict_stand_above():
    from types import SimpleNamespace as Some

    verdict = Some(
        status=Some(name="UNSTABLE"), evidence=Some(value="proved"), reason="too much " * 40
    )
    figure = drawn(FORK, title="a fork", verdict=verdict)
    title, first, second = [text.get_text() for text in figure.texts]
    assert title == "a fork"
    assert first.startswith("UNSTABLE (proved): too much")
    assert second.endswith("…")


@pytest.mark.parametrize("network", [FORK, TOOLS, PAIR], ids=["fork", "tools", "pair"])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_figure_is_written(tmp_path, network, suffix):
    file = tmp_path / f"network.{suffix}"
    plot_network(network, network_load(network), path=file, title="a title")
    assert file.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml"}[suffix])


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ql.InvalidArgument, match="plot format"):
        plot_network(FORK, network_load(FORK), path=tmp_path / "network.gif", title="")


def overlapping(figure):
    """Return the pairs of boxes that touch."""
    ends = {name: box.get_bbox() for name, (box, _) in boxes(figure).items()}
    names = list(ends)
    return [
        (a, b) for i, a in enumerate(names) for b in names[i + 1 :] if ends[a].overlaps(ends[b])
    ]


def test_forty_agents_on_thirty_engines_do_not_overlap():
    engines = [NetworkEngine(f"gpu-{i}", ENGINE) for i in range(30)]
    visits = [
        visit(f"agent-{i}", i % 30, **({"arrivals": POISSON(1)} if i < 3 else {}))
        for i in range(40)
    ]
    moves = [Move(i, i + step, 0.3) for step in (3, 7, 11) for i in range(40 - step)]
    figure = drawn(AgentNetwork.of(engines, visits, moves))
    assert len(boxes(figure)) == 40
    assert overlapping(figure) == []
    assert len(figure.axes[1].texts) == 30


def test_a_chain_is_a_straight_line_and_a_skipping_edge_goes_around():
    places, bends = layered_places("abc", [("a", "b"), ("b", "c"), ("a", "c")])
    assert [places[node][0] for node in "abc"] == [0, 1, 2]
    ((column, row),) = bends["a", "c"]
    assert column == 1
    assert abs(row - places["b"][1]) == 1


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 12))
    node = st.integers(0, count - 1)
    edges = draw(st.lists(st.tuples(node, node).filter(lambda e: e[0] != e[1]), unique=True))
    return list(range(count)), edges


@given(graphs())
@settings(max_examples=100)
def test_no_two_nodes_share_a_place_and_edges_pass_every_column(graph):
    nodes, edges = graph
    places, bends = layered_places(nodes, edges)
    assert (places, bends) == layered_places(nodes, edges)
    assert list(places) == nodes
    rows = [y for place in (places.values(), *bends.values()) for _, y in place]
    assert max(rows) == pytest.approx(-min(rows))
    for column in {x for x, _ in places.values()}:
        boxes_there = sorted(y for x, y in places.values() if x == column)
        bends_there = [y for path in bends.values() for x, y in path if x == column]
        assert all(b - a > 1 - 1e-9 for a, b in pairwise(boxes_there))
        assert all(abs(y - box) > 1 - 1e-9 for y in bends_there for box in boxes_there)
        assert all(b - a > LANE - 1e-9 for a, b in pairwise(sorted(bends_there)))
    for (one, other), path in bends.items():
        columns = [places[one][0], *(x for x, _ in path), places[other][0]]
        assert {abs(b - a) for a, b in pairwise(columns)} == {1}


@given(graphs())
def test_in_a_graph_without_cycles_every_edge_goes_right(graph):
    nodes, edges = graph
    forward = list({(min(e), max(e)) for e in edges})
    places, _ = layered_places(nodes, forward)
    assert all(places[one][0] < places[other][0] for one, other in forward)
