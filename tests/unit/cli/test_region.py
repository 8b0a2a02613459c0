"""``queueing-llm region``: exact vertices and prices, the load, the plot."""

import json
from fractions import Fraction

import pytest

from queueing_llm.cli import main
from queueing_llm.scenarios import load_scenario, scenario_names
from queueing_llm.stability import check_prices, stability_region

LIMITED = ["codellama34b-a100", "--token-budget", "1024", "--max-batch-size", "100"]


@pytest.fixture
def ask(capsys):
    def run(*argv, expect=0):
        assert main(["region", *argv, "--json"]) == expect
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    return run


def pairs(records):
    return [(Fraction(record["prefill"]), Fraction(record["decode"])) for record in records]


def per_millisecond(prefill, decode, seconds):
    """Return a rate in tokens/s from what a batch serves in some milliseconds."""
    return tuple(1000 * Fraction(tokens) / Fraction(seconds) for tokens in (prefill, decode))


def test_the_vertices_of_the_fitted_engine(ask):
    answer = ask(*LIMITED)
    assert (answer["scenario"], answer["unit"]) == ("codellama34b-a100", "tokens/s")
    assert answer["price_unit"] == "s/token"
    assert answer["is_exact"] is True
    assert pairs(answer["vertices"]) == [
        (0, 0),
        per_millisecond(1024, 0, "295.04"),
        per_millisecond(925, 99, "295.04"),
        per_millisecond(29, 99, "46.75"),
        per_millisecond(0, 100, "46.75"),
    ]
    batches = [(v["batch"]["prefill"], v["batch"]["decode"]) for v in answer["vertices"]]
    assert batches == [(0, 0), (1024, 0), (925, 99), (29, 99), (0, 100)]


def test_the_prices_hold_on_their_edges_and_are_a_certificate(ask):
    answer = ask(*LIMITED)
    vertices = pairs(answer["vertices"])
    prices = pairs(facet["prices"] for facet in answer["facets"])
    assert [facet["between"] for facet in answer["facets"]] == [[1, 2], [2, 3], [3, 4]]
    engine = load_scenario("vertex-c").engine
    for price, facet in zip(prices, answer["facets"], strict=True):
        for i in facet["between"]:
            assert price[0] * vertices[i][0] + price[1] * vertices[i][1] == 1
        check_prices(engine, price)


def test_the_load_of_the_workload(ask):
    """Vector region.lp.b1024.k100.p129.d112: 12.572 requests/s at most."""
    load = ask(*LIMITED)["workload"]
    assert load["largest_rate"] == pytest.approx(12.571568130800975, rel=1e-12)
    assert Fraction(load["largest_rate_exact"]) == Fraction(422400000, 33599627)
    assert (load["prefill"], load["decode"]) == (1341.6, 1164.8)
    assert load["load"] == pytest.approx(10.4 / 12.571568130800975, rel=1e-12)
    assert load["margin"] == pytest.approx(1 - load["load"], rel=1e-12)
    assert load["binding_facet"] == 1


def test_vertex_c_lies_on_the_boundary(ask):
    answer = ask("vertex-c")
    assert answer["workload"]["margin"] == 0
    assert (Fraction(116000, 187), Fraction(36000, 17)) in pairs(answer["vertices"])


def test_the_longest_prompt_takes_places(ask):
    assert len(ask(*LIMITED, "--longest-prompt", "290")["vertices"]) == 7
    assert len(ask(*LIMITED)["vertices"]) == 5


GIVEN = [name for name in scenario_names() if load_scenario(name).measured is None]


@pytest.mark.parametrize("name", GIVEN)
def test_every_packaged_scenario_is_answered(ask, name):
    answer = ask(name)
    region = stability_region(load_scenario(name).engine)
    assert pairs(answer["vertices"]) == [tuple(v) for v in region.vertices]
    assert answer["relaxations"] == list(region.relaxations)
    assert answer["workload"]["largest_rate"] > 0


def test_the_region_is_exact_even_where_the_mean_lengths_are_not(ask, tmp_path):
    scenario = tmp_path / "random.toml"
    scenario.write_text(
        "[engine]\ntoken_budget = 4\nmax_batch_size = 2\n"
        '[engine.step_time]\nlaw = "affine"\nbase = 1\nper_token = 0.5\n'
        "[workload]\narrival_rate = 0.1\noutput_tokens = 3\n"
        'prompt_tokens = { law = "lognormal", median = 300, sigma = 0.8, max_tokens = 900 }\n'
    )
    answer = ask(str(scenario))
    assert answer["is_exact"] is True
    assert answer["workload"]["largest_rate_exact"] is None


def test_the_table(capsys):
    assert main(["region", *LIMITED]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "vertex prefill decode batch",
        "0 0 0 idle",
        "1 3,470.7 0 1,024 prefill",
        "3 620.32 2,117.6 29 prefill + 99 decode",
        "facet prefill price decode price between",
        "1 0.27711 0.39105 vertices 2 and 3",
        "load 1,341.6 prefill + 1,164.8 decode tokens/s",
        "82.7% of what any policy sustains in this mix",
        "margin 17.3%, against facet 1",
        "largest 12.572 requests/s; beyond, no policy is stable",
    ):
        assert line in lines


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_command_writes_the_figure(capsys, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"region.{suffix}"
    assert main(["region", *LIMITED, "--plot", str(file)]) == 0
    assert file.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml"}[suffix])
    assert capsys.readouterr().err == ""


def test_the_figure_shows_the_boundary_the_load_and_the_batches():
    pytest.importorskip("matplotlib")
    from queueing_llm.plots._region import _drawn

    system = load_scenario("vertex-c")
    region = stability_region(system.engine)
    (axes,) = _drawn(region, system.workload, title="a title").axes
    edge, ray, place = axes.lines
    assert [tuple(p) for p in edge.get_xydata()] == [
        tuple(map(float, vertex)) for vertex in region.vertices[1:]
    ]
    assert tuple(ray.get_xydata()[-1]) == pytest.approx((116000 / 187, 36000 / 17))
    assert tuple(place.get_xydata()[0]) == pytest.approx((116000 / 187, 36000 / 17))
    assert [text.get_text() for text in axes.texts] == ["(128, 0)", "(29, 99)", "(0, 100)"]
    labels = (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel())
    assert labels == ("a title", "prefill rate [tokens/s]", "decode rate [tokens/s]")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere"], "neither a file nor a packaged scenario"),
        ([*LIMITED, "--longest-prompt", "0"], "longest_prompt must be an integer at least 1"),
        ([*LIMITED, "--longest-prompt", "x"], "'x' is not an integer"),
        ([*LIMITED, "--plot", "region.gif"], "plot format of 'region.gif' is not known"),
        (["theorem-2", "--token-budget", "0"], "token_budget must be an integer at least 1"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(capsys, argv, message):
    assert main(["region", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
