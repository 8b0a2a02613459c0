"""``queueing-llm network``: verdict, JSON, table, simulation, files, exit status."""

import json
from dataclasses import replace
from fractions import Fraction as F

import pytest

from queueing_llm.certificates import check
from queueing_llm.cli import _network as command
from queueing_llm.cli import main
from queueing_llm.cli._network_records import RATES, SCALINGS
from queueing_llm.decide import NetworkVerdict
from queueing_llm.evidence import Evidence, Hypothesis, Status
from queueing_llm.networks import EngineLoad
from queueing_llm.scenarios import load_network, network_names

# t(512) = 0.01128 + 4 * 0.03547 s; the first worker has 1000 tokens of work a visit.
FORK_JOIN = F(512, 1000) / F(15316, 100000)


@pytest.fixture
def ask(capsys):
    def run(*argv, expect=0):
        assert main(["network", *argv, "--json"]) == expect
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    return run


@pytest.fixture
def shown(capsys, monkeypatch):
    """Return a function that runs the command and gives its lines, blanks collapsed."""

    def run(*argv, expect=0):
        monkeypatch.setenv("COLUMNS", "200")
        assert main(["network", *argv]) == expect
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.fixture
def answered(monkeypatch):
    """Return a function that makes the command answer with a given verdict."""

    def answer(verdict):
        monkeypatch.setattr(command, "check_network", lambda network: verdict)

    return answer


OPEN = NetworkVerdict(
    status=Status.UNDECIDED,
    evidence=Evidence.NONE,
    reason="nothing was found",
    arrival_rate=3,
    engines=(
        EngineLoad("planner", F(3), F(1200), F(300), None, F(9, 20)),
        EngineLoad("worker_1", F(3), F(2400), F(600), F(9, 10), F(4, 5)),
        EngineLoad("worker_2", F(3), F(1800), F(900), F(4, 5), F(4, 5)),
        EngineLoad("aggregator", F(3), F(1800), F(450), F(2, 3), F(2, 3)),
    ),
    bottleneck="worker_1",
    nominal_scaling=F(10, 9),
    stable_scaling=F(1, 2),
    unstable_scaling=1.25,
    basis="stable: a certificate",
    hypotheses=(
        Hypothesis("batches are full", holds=False, how="8 of 9"),
        Hypothesis("jobs come back", holds=True, how="2 do"),
    ),
    virtual_stations=("a + b: load 1.5", "c + d: load 0.9"),
    growth_factor=F(17, 4),
    advice=("serve a before b", "use fewer engines"),
)


def test_fork_join_is_stable_up_to_its_bottleneck(ask):
    """Vector agents.fork_join: 3.34290937581614 sessions/s, worker_1."""
    answer = ask("fork-join")
    assert (answer["network"], answer["unit"]) == ("fork-join", "sessions/s")
    assert answer["verdict"] == "STABLE"
    assert answer["bottleneck"] == "worker_1"
    assert F(answer["arrival_rate_exact"]) == 3
    assert F(answer["nominal_scaling_exact"]) == FORK_JOIN / 3
    assert 3 * answer["nominal_scaling"] == pytest.approx(3.34290937581614, rel=1e-12)
    loads = {engine["name"]: F(engine["load_exact"]) for engine in answer["engines"]}
    assert loads["worker_1"] == 3 / FORK_JOIN
    assert loads["planner"] == loads["worker_1"] / 2
    assert answer["simulation"] is None


def test_scale_multiplies_the_arrival_rates(ask):
    over = ask("fork-join", "--scale", "6/5")
    assert over["verdict"] == "UNSTABLE"
    assert F(over["arrival_rate_exact"]) == F(18, 5)
    assert ask("fork-join", "--scale", "11/10")["verdict"] == "STABLE"


def test_the_published_pair_of_agents_is_unstable_and_reversed_priorities_stable(ask):
    """Section 5.4 of arXiv:2504.07347v3, at load .9 of each engine."""
    answer = ask("rybko-stolyar")
    assert (answer["verdict"], answer["evidence"]) == ("UNSTABLE", "proved")
    assert [engine["load_exact"] for engine in answer["engines"]] == ["9/10", "9/10"]
    # A half cycle multiplies a backlog by 153/37.
    assert F(answer["growth_factor_exact"]) in (F(153, 37), F(153, 37) ** 2)
    stable = ask("rybko-stolyar-stable")
    assert (stable["verdict"], stable["evidence"]) == ("STABLE", "proved")
    for proof in (answer["certificate"], stable["certificate"]):
        check(proof)


@pytest.mark.parametrize("name", network_names())
def test_every_packaged_network_is_answered(shown, name):
    lines = shown(name)
    assert lines[0] == name
    assert any(line.split(" ")[0] in ("STABLE", "UNSTABLE", "UNDECIDED") for line in lines)
    assert sum(line.endswith("<- bottleneck") for line in lines) == 1


def test_json_has_every_number_as_a_float_and_as_a_fraction(ask, answered):
    answered(OPEN)
    answer = ask("fork-join")
    assert (answer["verdict"], answer["evidence"]) == ("UNDECIDED", "none")
    assert (answer["stable_scaling"], answer["stable_scaling_exact"]) == (0.5, "1/2")
    assert (answer["unstable_scaling"], answer["unstable_scaling_exact"]) == (1.25, None)
    assert (answer["growth_factor"], answer["growth_factor_exact"]) == (4.25, "17/4")
    assert answer["hypotheses"] == [
        {"name": "batches are full", "holds": False, "how": "8 of 9"},
        {"name": "jobs come back", "holds": True, "how": "2 do"},
    ]
    assert answer["virtual_stations"] == list(OPEN.virtual_stations)
    assert answer["advice"] == list(OPEN.advice)
    assert answer["basis"] == OPEN.basis
    assert answer["certificate"] is None
    for record, engine in zip(answer["engines"], OPEN.engines, strict=True):
        for rate in RATES:
            exact = getattr(engine, rate)
            assert record[rate] == (None if exact is None else float(exact))
            assert record[f"{rate}_exact"] == (None if exact is None else str(exact))


def test_the_keys_of_the_json_are_documented(ask):
    from queueing_llm.cli import _network_records

    answer = ask("tool-loop")
    exact = {f"{key}_exact" for key in (*SCALINGS, "arrival_rate")}
    for key in set(answer) - exact:
        assert f"``{key}``" in _network_records.__doc__ or key == "growth_factor"


def test_the_table_of_an_open_case(shown, answered):
    answered(OPEN)
    lines = shown("fork-join")
    for line in (
        "network 4 agents, 4 kinds of visit, 4 engines",
        "sessions 3 sessions/s",
        "UNDECIDED (none): nothing was found.",
        "engine policy visits prefill decode load",
        "planner sarathi 3 1,200 300 at least 45.0%",
        "worker_1 sarathi 3 2,400 600 90.0% <- bottleneck",
        "capacity at most 1.1111 x the arrival rates, 3.3333 sessions/s, load 1",
        "stable at 0.5 x the arrival rates, 1.5 sessions/s, load 0.45",
        "unstable at 1.25 x the arrival rates, 3.75 sessions/s, load 1.125",
        "basis stable: a certificate",
        "cycle a backlog grows 4.25-fold in a turn",
        "shared never side by side: a + b: load 1.5",
        "never side by side: c + d: load 0.9",
        "checked jobs come back: 2 do",
        "not so batches are full: 8 of 9",
        "advice serve a before b",
        "use fewer engines",
    ):
        assert line in lines


def test_what_is_not_known_is_left_out(shown, answered):
    answered(
        replace(
            OPEN,
            stable_scaling=None,
            unstable_scaling=None,
            growth_factor=None,
            virtual_stations=(),
            advice=(),
        )
    )
    labels = {line.split(" ")[0] for line in shown("fork-join")}
    assert not labels & {"stable", "unstable", "cycle", "shared", "advice", "simulated"}
    assert "capacity" in labels


def test_one_scaling_on_both_sides_is_a_boundary(shown, answered):
    answered(replace(OPEN, stable_scaling=F(1, 2), unstable_scaling=F(1, 2)))
    lines = shown("fork-join")
    assert "stable below 0.5 x the arrival rates, 1.5 sessions/s, load 0.45" in lines
    assert "unstable above 0.5 x the arrival rates, 1.5 sessions/s, load 0.45" in lines


def test_one_line_where_the_order_of_service_makes_no_difference(shown, answered):
    scaled = "0.5 x the arrival rates, 1.5 sessions/s, load 0.45"
    every = "stable under every work-conserving policy"
    answered(replace(OPEN, any_policy_scaling=F(1, 2), any_order_scaling=F(1, 2)))
    lines = shown("fork-join")
    assert f"any policy {every}, up to {scaled}" in lines
    assert f"stable up to {scaled}" in lines
    assert not [line for line in lines if line.startswith(("in order", "any order"))]
    answered(replace(OPEN, any_policy_scaling=F(2, 3), any_order_scaling=F(1, 2)))
    lines = shown("fork-join")
    ordered = "finishes requests in order of their start, up to 0.66667 x"
    assert [line for line in lines if line.startswith(f"in order {every} that {ordered}")]
    assert f"any order {every}, up to {scaled}" in lines
    edge = dict.fromkeys(("any_policy_scaling", "any_order_scaling", "unstable_scaling"), 1)
    answered(replace(OPEN, **edge))
    assert [
        line for line in shown("fork-join") if line.startswith(f"any policy {every}, below")
    ]


def test_scalings_that_print_alike_do_not_contradict_each_other(shown):
    lines = shown("rybko-stolyar-stable")
    scaled = "1.1111 x the arrival rates, 2.5263 sessions/s, load 1"
    assert f"stable just below {scaled}" in lines
    assert f"unstable above {scaled}" in lines


@pytest.mark.parametrize(
    ("required", "expect"), [("stable", 1), ("UNSTABLE", 1), ("undecided", 0)]
)
def test_require_sets_the_exit_status(capsys, answered, required, expect):
    answered(OPEN)
    assert main(["network", "fork-join", "--require", required]) == expect
    out, err = capsys.readouterr()
    assert "UNDECIDED" in out
    wanted = f"error: required {required.upper()}, but the network is UNDECIDED.\n"
    assert err == (wanted if expect else "")


def test_simulation_finishes_the_sessions_that_come(ask):
    options = ("--simulate", "2000", "--warmup", "500", "--replications", "2", "--seed", "5")
    answer = ask("tool-loop", *options)["simulation"]
    assert (answer["horizon"], answer["warmup"]) == (2000, 500)
    assert (answer["replications"], answer["seed"]) == (2, 5)
    finished = answer["means"]["throughput"]
    assert finished["unit"] == "sessions/s"
    assert finished["value"] == pytest.approx(0.5, abs=4 * finished["standard_error"])
    assert answer["grows"] is False
    assert set(answer["utilisation"]) == {"gpu"}
    assert ask("tool-loop", *options)["simulation"] == answer


def test_the_simulation_is_printed(shown):
    lines = shown("rybko-stolyar", "--simulate", "3000", "--replications", "2")
    (settings,) = [line for line in lines if line.startswith("simulated")]
    assert settings.startswith("simulated 3,000 s, the first 0 s left out of means; replic")
    assert any(line.startswith("backlog clearly grows: ") for line in lines)
    assert any(line.startswith("busy left ") for line in lines)


def test_shares_of_static_planning_are_simulated():
    """A visit that two engines can serve goes where the plan sends it."""
    from queueing_llm.model.agents import AgentNetwork
    from queueing_llm.networks import network_load

    loop = load_network("tool-loop").network
    (gpu,), (visit,) = loop.engines, loop.visits
    fast = replace(gpu, name="fast", engine=replace(gpu.engine, token_budget=1024))
    twin = AgentNetwork.of((gpu, fast), (replace(visit, engines=(0, 1)),), loop.moves)
    ((name, shares),) = network_load(twin).shares.items()
    assert name == visit.name
    assert sum(shares) == 1
    assert shares[1] > shares[0] > 0
    assert network_load(loop).shares == {}


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_command_writes_the_figure(capsys, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"network.{suffix}"
    assert main(["network", "fork-join", "--plot", str(file)]) == 0
    assert file.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml"}[suffix])
    assert capsys.readouterr().err == ""


def test_the_command_writes_the_certificate(capsys, tmp_path, answered):
    file = tmp_path / "proof.json"
    assert main(["network", "rybko-stolyar-stable", "--certificate", str(file)]) == 0
    check(json.loads(file.read_text(encoding="utf-8")))
    answered(OPEN)
    assert main(["network", "fork-join", "--certificate", str(tmp_path / "none.json")]) == 1
    assert "the verdict is not proved, so no certificate" in capsys.readouterr().err
    assert not (tmp_path / "none.json").exists()


def test_the_packaged_networks_are_listed(capsys, ask):
    names = ask("--list")["networks"]
    assert tuple(names) == network_names()
    assert main(["network", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in names)


def test_an_engine_is_taken_from_a_scenario(ask):
    """The engine of vertex C fills batches of 128 tokens in 46.75 ms."""
    answer = ask("fork-join", "--engine", "planner=vertex-c")
    loads = {engine["name"]: engine for engine in answer["engines"]}
    same = {engine["name"]: engine for engine in ask("fork-join")["engines"]}
    # 500 tokens a visit, 3 a second.
    assert F(loads["planner"]["load_exact"]) == 1500 * F(4675, 100000) / 128
    assert loads["worker_1"] == same["worker_1"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "GRAPH is missing"),
        (["nowhere"], "neither a file nor a packaged network"),
        (["rybko-stolar"], "did you mean 'rybko-stolyar'"),
        (["fork-join", "--scale", "0"], "factor must be"),
        (["fork-join", "--scale", "x"], "'x' is not a number"),
        (["fork-join", "--require", "good"], "'good' is no status"),
        (["fork-join", "--simulate", "-5"], "horizon must be"),
        (["fork-join", "--replications", "2"], "--replications needs --simulate"),
        (["fork-join", "--warmup", "2"], "--warmup needs --simulate"),
        (["fork-join", "--seed", "2"], "--seed needs --simulate"),
        (["fork-join", "--engine", "planner"], "--engine must be NAME=SCENARIO"),
        (
            ["fork-join", "--engine", "planner=nothing"],
            "neither a file nor a packaged scenario",
        ),
        (["fork-join", "--engine", "plan=theorem-2"], "no agent uses engine 'plan'"),
        (["fork-join", "--plot", "a.gif"], "plot format of 'a.gif' is not known"),
        (["fork-join", "--certificate", "no/where.json"], "its folder does not exist"),
        (["fork-join", "--certificate", "."], "it is a folder"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(capsys, argv, message):
    assert main(["network", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
