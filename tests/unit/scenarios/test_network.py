"""Files of networks: packaged ones have the published numbers, mistakes name key and remedy."""

import json
from fractions import Fraction

import networkx as nx
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    BatchArrivals,
    Engine,
    GammaArrivals,
    GeometricLength,
    PoissonArrivals,
    PoissonLength,
)
from queueing_llm.networks._load import network_load
from queueing_llm.policies import ORCA, SARATHI
from queueing_llm.scenarios import load_network, load_scenario, network_names
from queueing_llm.steptime import AffineStepTime

GOOD = """
description = "small"

[engines.gpu]
token_budget = 512
step_time = {law = "staircase", overhead = 0.01128, per_block = 0.03547, block = 128}
policy = "orca"

[[agents]]
name = "planner"
engine = "gpu"
arrivals = {process = "gamma", rate = 2.5, scv = 2}
prompt_tokens = {law = "geometric", mean = 112}
output_tokens = 7
delay = "1/3"

[[agents]]
name = "search"
delay = 0.1

[[moves]]
from = "planner"
to = "search"
probability = 0.7
carries_context = true

[[moves]]
from = "search"
to = "planner"
carries_context = true
prefix_cache_hit = 0.9
"""


@pytest.fixture
def written(tmp_path):
    def write(text, ending=".toml"):
        file = tmp_path / f"mine{ending}"
        file.write_text(text)
        return file

    return write


def work(network, at):
    moments = network.visits[at].lengths.moments
    return moments.prompt + moments.output


@pytest.mark.parametrize("name", network_names())
def test_every_packaged_network_says_what_it_is_and_where_it_is_from(name):
    scenario = load_network(name)
    assert scenario.name == name
    assert scenario.description
    assert scenario.source
    assert all(engine.policy is SARATHI for engine in scenario.network.engines)


def test_the_packaged_networks():
    assert network_names() == (
        "fork-join",
        "rybko-stolyar",
        "rybko-stolyar-stable",
        "tool-loop",
        "two-tenants",
    )


def test_rybko_stolyar_is_the_experiment_of_section_5_4():
    # arXiv:2504.07347v3, section 5.4: budgets 768, steps of one slot, short hops of 32 + 32
    # tokens and long ones of 512 + 32; load 0.9 of both engines, 153/95 of both long hops.
    network = load_network("rybko-stolyar").network
    assert [visit.engines for visit in network.visits] == [(0,), (1,), (1,), (0,)]
    assert [work(network, at) for at in range(4)] == [64, 544, 64, 544]
    rate = network.visits[0].arrivals.rate
    assert {visit.arrivals for visit in network.visits} == {PoissonArrivals(rate), None}
    assert rate * (64 + 544) / 768 == Fraction(9, 10)
    assert 2 * rate * 544 / 768 == Fraction(153, 95)
    for engine in network.engines:
        assert engine.engine == Engine(AffineStepTime(1, 0), token_budget=768)
    assert network.visits[0].lengths.output == PoissonLength(32)


def test_exit_priority_and_its_reverse_differ_in_nothing_else():
    exits, stable = (
        load_network(name).network for name in ("rybko-stolyar", "rybko-stolyar-stable")
    )
    assert [visit.priority for visit in exits.visits] == [1, 0, 1, 0]
    assert [visit.priority for visit in stable.visits] == [0, 1, 0, 1]
    ranks = {visit.name: visit.priority for visit in stable.visits}
    assert exits.with_priorities(ranks) == stable


def test_fork_join_has_the_limits_of_its_engines():
    # Token rate of full batches over the work of a visit, step times of arXiv:2504.07347.
    network = load_network("fork-join").network
    engine = load_scenario("codellama34b-a100").engine
    assert {e.engine for e in network.engines} == {engine}
    seconds = engine.step_time(512, 0, 0)
    limits = [float(512 / seconds / work(network, at)) for at in range(4)]
    assert limits == pytest.approx(
        [6.68581875163228, 3.34290937581614, 3.7143437509068225, 4.457212501088187], rel=1e-12
    )
    assert network.blocks == ((0, 3),)


def test_the_tool_loop_prefills_a_twentieth_of_its_context_again():
    network = load_network("tool-loop").network
    turns = Fraction(2 + 10, 2)
    # The context before turn j holds j requests of 750 tokens: 0 + 1 + ... + (N - 1) in all.
    before = sum(Fraction(n * (n - 1), 2) for n in range(2, 11)) / 9
    tokens = turns * 750 + before * 750 / 20
    assert load_of(network) == Fraction(1, 2) * tokens / full_rate()
    assert 0.7 < load_of(network) < 0.8


def test_the_two_tenants_share_one_engine():
    network = load_network("two-tenants").network
    # An interactive session asks 4/3 times; before its n-th return it holds n requests, a
    # tenth of which is prefilled again. A best-effort one asks the analyst, then once more.
    returns = sum(Fraction(n, 4**n) for n in range(1, 200))
    interactive = 241 * Fraction(4, 3) + 241 * returns / 10
    best_effort = 1800 + 712
    load = (5 * interactive + Fraction(1, 2) * best_effort) / full_rate()
    assert abs(load_of(network) - load) < 1e-12
    assert 0.8 < load < 0.9


def full_rate():
    """Return the tokens per second of full batches of the published engine."""
    return 512 / load_scenario("codellama34b-a100").engine.step_time(512, 0, 0)


def load_of(network):
    (engine,) = network_load(network).engines
    return engine.load


def test_a_file_in_full(written):
    scenario = load_network(written(GOOD))
    network = scenario.network
    assert (scenario.name, scenario.description, scenario.source) == ("mine", "small", "")
    assert network.engines[0].engine == load_scenario("codellama34b-a100").engine
    assert network.engines[0].policy == ORCA
    planner, search = network.visits
    assert planner.arrivals == GammaArrivals(Fraction(5, 2), scv=2)
    assert planner.lengths.prompt == GeometricLength(112)
    assert (planner.delay, search.delay) == (Fraction(1, 3), Fraction(1, 10))
    assert [m.probability for m in network.moves] == [Fraction(7, 10), 1]
    assert network.moves[1].prefix_cache_hit == Fraction(9, 10)


def test_engines_of_the_call_go_before_those_of_the_file(written):
    own = Engine(AffineStepTime(1, 0), token_budget=3)
    assert load_network(written(GOOD), engines={"gpu": own}).network.engines[0].engine is own


def test_batches_of_sessions(written):
    process = 'process = "batch", size = 4, batches = {process = "poisson", rate = 3}'
    text = GOOD.replace('process = "gamma", rate = 2.5, scv = 2', process)
    network = load_network(written(text)).network
    assert isinstance(network.visits[0].arrivals, BatchArrivals)
    assert network.arrival_rate == 12


# The same network as GOOD, as a graph whose attributes are tables.
def tables(as_text=lambda table: table, number=float):
    step = {"law": "staircase", "overhead": 0.01128, "per_block": 0.03547, "block": 128}
    graph = nx.DiGraph(
        engines=as_text({"gpu": {"token_budget": 512, "step_time": step, "policy": "orca"}}),
        description="small",
    )
    graph.add_node(
        "planner",
        engine="gpu",
        arrivals=as_text({"process": "gamma", "rate": 2.5, "scv": 2}),
        prompt_tokens=as_text({"law": "geometric", "mean": 112}),
        output_tokens=7,
        delay="1/3",
    )
    graph.add_node("search", delay=0.1)
    graph.add_edge("planner", "search", probability=0.7, carries_context=True)
    graph.add_edge("search", "planner", carries_context=True, prefix_cache_hit=0.9)
    return graph


@pytest.mark.parametrize("edges", ["edges", "links"])
def test_node_link_data_is_the_same_network(written, edges):
    file = written(json.dumps(nx.node_link_data(tables(), edges=edges)), ".json")
    assert load_network(file).network == load_network(written(GOOD)).network


def test_graphml_is_the_same_network(written):
    text = "\n".join(nx.generate_graphml(tables(as_text=json.dumps)))
    scenario = load_network(written(text, ".graphml"))
    assert scenario.network == load_network(written(GOOD)).network
    assert scenario.description == "small"


def test_an_engine_that_is_only_named_is_that_of_the_scenario(written):
    graph = tables(as_text=json.dumps)
    del graph.graph["engines"]
    graph.nodes["planner"]["engine"] = "codellama34b-a100"
    text = "\n".join(nx.generate_graphml(graph))
    (engine,) = load_network(written(text, ".graphml")).network.engines
    assert (engine.name, engine.policy) == ("codellama34b-a100", SARATHI)
    assert engine.engine == load_scenario("codellama34b-a100").engine


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[[agents]]", "[[agent]]", ["no key 'agent'", "did you mean 'agents'"]),
        ("token_budget", "token_budge", ["engines.gpu", "did you mean 'token_budget'"]),
        ("token_budget = 512", "", ["engines.gpu", "needs the key 'token_budget'"]),
        ("overhead", "overheads", ["engines.gpu.step_time", "did you mean 'overhead'"]),
        ('"staircase"', '"stairs"', ["engines.gpu.step_time.law", "'staircase'"]),
        ('"orca"', '"orka"', ["'orka'", "did you mean 'orca'"]),
        ('"orca"', '"orca"\nscenario = "theorem-2"', ["engines.gpu", "'scenario'"]),
        ('engine = "gpu"', 'engine = "gpus"', ["agent 'planner'", "did you mean 'gpu'"]),
        ('engine = "gpu"', "engine = 3", ["agent 'planner'", "engine must be"]),
        ("output_tokens", "output_token", ["agent 'planner'", "did you mean 'output_tokens'"]),
        (
            'law = "geometric"',
            'law = "geom"',
            ["agents.planner.prompt_tokens.law", "'geometric'"],
        ),
        ("mean = 112", "mean = 0.5", ["agents.planner.prompt_tokens", "mean", "at least 1"]),
        (
            'process = "gamma"',
            'process = "gama"',
            ["agents.planner.arrivals.process", "'gamma'"],
        ),
        ("rate = 2.5, ", "", ["agents.planner.arrivals", "needs the key 'rate'"]),
        ('delay = "1/3"', 'delay = "1/0"', ["agents.planner.delay", "'1/0'"]),
        ('delay = "1/3"', "delay = -1", ["agent 'planner'", "delay", "at least 0"]),
        ('name = "search"', 'name = "planner"', ["two agents are called 'planner'"]),
        ('name = "search"\n', "", ["agents[1] needs the key 'name'"]),
        ('to = "search"', 'to = "serch"', ["'serch'", "did you mean 'search'"]),
        ('to = "search"', "", ["moves[0] needs the key 'to'"]),
        ("probability = 0.7", "probability = 1", ["never leaves", "'planner'"]),
        ("probability = 0.7", "probability = nan", ["'planner' to 'search'", "probability"]),
        ("[[moves]]", "[moves]", ["TOML"]),
        ("description", "classes = 3\ndescription", ["classes must be a table"]),
        ("description", "engines = 3\ndescription", ["TOML"]),
        ("description", "moves = 3\ndescription", ["TOML"]),
    ],
)
def test_a_mistake_is_named_with_the_file(written, old, new, words):
    file = written(GOOD.replace(old, new))
    with pytest.raises(InvalidArgument) as caught:
        load_network(file)
    for word in [str(file), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "ending", "words"),
    [
        ("{", ".json", ["not valid JSON"]),
        ("[]", ".json", ["node-link"]),
        ('{"nodes": [{"id": "a"}], "edges": [{}]}', ".json", ["node-link"]),
        ('{"directed": false, "nodes": [], "edges": []}', ".json", ["networkx.DiGraph"]),
        ("<graphml", ".graphml", ["not valid GraphML"]),
        ("<graphml/>", ".graphml", ["not valid GraphML"]),
        ("", ".yaml", ["unknown ending", "'.toml'"]),
        ("", ".toml", ["no session ever arrives"]),
    ],
)
def test_a_file_of_another_kind_is_refused(written, text, ending, words):
    with pytest.raises(InvalidArgument) as caught:
        load_network(written(text, ending))
    for word in words:
        assert word in str(caught.value)


def test_a_name_that_is_nothing(tmp_path):
    with pytest.raises(InvalidArgument, match="did you mean 'rybko-stolyar'"):
        load_network("rybko-stolar")
    with pytest.raises(InvalidArgument, match="no readable file"):
        load_network(tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        load_network(bad)
