"""``queueing-llm simulate``: what it reports is what the library measures."""

import json

import pytest

import queueing_llm as ql
from queueing_llm.cli import main
from queueing_llm.scenarios import load_scenario

RUN = ["simulate", "codellama34b-a100", "--policy", "sarathi", "--horizon", "200"]


@pytest.fixture
def ask(capsys):
    def run(*argv):
        assert main([*argv, "--json"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return json.loads(captured.out, parse_constant=pytest.fail)

    return run


def test_the_numbers_are_those_of_the_library(ask):
    answer = ask(*RUN, "--replications", "2", "--seed", "3", "--warmup", "50", "--per-request")
    system = load_scenario("codellama34b-a100")
    run = ql.simulate(
        system.engine,
        system.workload,
        policy=ql.SARATHI,
        horizon=200,
        replications=2,
        seed=3,
        warmup=50,
        keep_requests=True,
    )
    for name in ("mean_requests", "mean_backlog_tokens", "throughput", "utilisation", "growth"):
        estimate, expected = answer["means"][name], getattr(run, name)
        assert estimate["value"] == expected.value
        assert estimate["standard_error"] == expected.standard_error
        assert (estimate["method"], estimate["observations"]) == ("replications", 2)
    assert (answer["arrived"], answer["steps"]) == (run.arrived, run.steps)
    assert answer["transient"] is False
    for kind in ("ttft", "tpot", "end_to_end", "queue_time"):
        for name, percentile in (("mean", None), ("p50", 50), ("p90", 90), ("p99", 99)):
            expected = run.latency(kind, percentile=percentile)
            assert answer["latencies"][kind][name]["value"] == expected.value
            assert answer["latencies"][kind][name]["unit"] == "s"


def test_the_same_seed_gives_the_same_answer(ask):
    assert ask(*RUN, "--seed", "5") == ask(*RUN, "--seed", "5")
    assert ask(*RUN, "--seed", "5")["means"] != ask(*RUN, "--seed", "6")["means"]


def test_options_replace_values_of_the_scenario(ask):
    answer = ask(*RUN, "--arrival-rate", "5/2", "--tick", "1e-8")
    assert (answer["arrival_rate"], answer["tick"]) == (2.5, 1e-8)
    # 500 Poisson arrivals: within five standard deviations.
    assert abs(answer["arrived"] - 500) < 5 * 500**0.5
    assert "latencies" not in answer


def test_latencies_of_a_growing_backlog_are_labelled(ask, capsys):
    overloaded = [*RUN, "--arrival-rate", "20", "--per-request"]
    assert ask(*overloaded)["transient"] is True
    assert main(overloaded) == 0
    assert "within this horizon" in " ".join(capsys.readouterr().out.split())
    assert main([*RUN, "--per-request"]) == 0
    assert "horizon" not in capsys.readouterr().out.partition("latency")[0].partition("mean")[2]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main([*RUN, "--per-request"]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= width
    for words in ("time to first token, p99", "20 batch means", "preemptions", "tokens/s"):
        assert words in text


def test_a_progress_bar_goes_to_standard_error_only_when_asked_for(capsys):
    assert main(RUN) == 0
    assert capsys.readouterr().err == ""
    assert main([*RUN, "--progress", "--json"]) == 0
    json.loads(capsys.readouterr().out)
