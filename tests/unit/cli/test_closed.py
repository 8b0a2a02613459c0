"""Closed workloads on the command line and in files."""

import json

import pytest

from queueing_llm.cli import main
from queueing_llm.scenarios import load_scenario
from queueing_llm.simulate import simulate

ENGINE = (
    "[engine]\ntoken_budget = 64\n"
    '[engine.step_time]\nlaw = "affine"\nbase = 0.01\nper_token = 0.001\n'
)
RUN = ["--policy", "sarathi", "--horizon", "60", "--json"]


@pytest.fixture
def ask(capsys):
    def run(*argv, expect=0):
        assert main([*argv]) == expect
        out, err = capsys.readouterr()
        return json.loads(out) if expect == 0 else err

    return run


@pytest.fixture
def scenario(tmp_path):
    def written(workload):
        file = tmp_path / "closed.toml"
        file.write_text(f"{ENGINE}[workload]\n{workload}\n")
        return str(file)

    return written


def test_users_of_a_file_are_simulated(ask, scenario):
    file = scenario("users = 4\nthink_time = 0.5\nprompt_tokens = 32\noutput_tokens = 8")
    answer = ask("simulate", file, *RUN)
    assert (answer["arrival_rate"], answer["users"], answer["think_time"]) == (None, 4, 0.5)
    assert answer["means"]["mean_requests"]["value"] <= 4
    assert {"ttft", "tpot"} <= set(answer["latencies"])
    given = load_scenario(file)
    assert given.workload.users == 4
    from queueing_llm.policies import SARATHI

    run = simulate(given.engine, given.workload, policy=SARATHI, horizon=60, seed=0)
    assert answer["means"]["throughput"]["value"] == run.throughput.value


def test_littles_law_holds_of_what_is_printed(ask, scenario):
    """N = X (R + Z), by means over one run."""
    file = scenario("users = 6\nthink_time = 1\nprompt_tokens = 32\noutput_tokens = 8")
    answer = ask("simulate", file, "--policy", "orca", "--horizon", "2000", "--json")
    rate = answer["means"]["throughput"]["value"]
    time = answer["latencies"]["end_to_end"]["mean"]["value"]
    assert rate * (time + 1) == pytest.approx(6, rel=0.01)


def test_users_replace_the_arrivals_of_a_scenario_or_trace(ask):
    options = ["--users", "3", "--think-time", "1/2"]
    answer = ask("simulate", "theorem-2", *options, *RUN)
    assert (answer["users"], answer["think_time"]) == (3, 0.5)
    # This preset has no arrival times, and users need none.
    traced = ["--trace", "arxiv-summarization", *options]
    answer = ask("simulate", "theorem-2", *traced, *RUN)
    assert answer["users"] == 3
    assert answer["means"]["mean_requests"]["value"] <= 3


def test_the_table_says_who_asks(capsys):
    assert main(["simulate", "theorem-2", "--users", "3", *RUN[:-1]]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Closed: 3 users; 100 prompt + 100 output tokens" in text
    assert "time to first token, mean" in text


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        ("think_time = 1", ["workload.think_time", "'users'"]),
        ("users = 0", ["at least 1", "users=0"]),
        ("users = 2\narrival_rate = 3", ["'users'", "'arrival_rate'"]),
        ('users = 2\ntrace = "azure-conv-2023"', ["'trace'", "'users'", "--users"]),
    ],
)
def test_what_does_not_fit_together_is_refused(ask, scenario, workload, words):
    lengths = "" if "trace" in workload else "\nprompt_tokens = 3\noutput_tokens = 3"
    complaint = ask("simulate", scenario(workload + lengths), *RUN, expect=2)
    assert all(word in complaint for word in words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--users", "2", "--arrival-rate", "3"], ["--arrival-rate", "--users"]),
        (["--users", "2", "--scale", "3"], ["--scale", "--users"]),
        (["--users", "0"], ["at least 1", "users=0"]),
        (["--think-time", "1"], ["think_time", "users"]),
    ],
)
def test_options_that_do_not_fit_together_are_refused(ask, options, words):
    complaint = ask("simulate", "theorem-2", *options, *RUN, expect=2)
    assert all(word in complaint for word in words)
