"""``queueing-llm check``: verdicts, overrides, JSON and exit status."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queueing_llm.certificates import Rejected, check
from queueing_llm.cli import main
from queueing_llm.policies import POLICIES
from queueing_llm.scenarios import load_scenario, scenario_names
from queueing_llm.simulate import bracket_critical_rate

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared"
AZURE = SHARED / "data" / "azure_llm_2023" / "AzureLLMInferenceTrace_conv.csv"
CODELLAMA = ["check", "codellama34b-a100"]
# Theorem 2: r* / w = (512 / (0.01128 + 4 * 0.03547)) / 241 requests/s.
CAPACITY = Fraction(512, 241) / Fraction(15316, 100000)


@pytest.fixture
def ask(capsys):
    def run(*argv, expect=0):
        assert main([*argv, "--json"]) == expect
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    return run


def test_the_headline_numbers(ask):
    answer = ask(*CODELLAMA)
    assert (answer["scenario"], answer["unit"]) == ("codellama34b-a100", "requests/s")
    results = {r["policy"]: r for r in answer["results"]}
    assert list(results) == list(POLICIES)
    for result in results.values():
        assert result["capacity"] == pytest.approx(float(CAPACITY), rel=1e-9)
        assert Fraction(result["capacity_exact"]) == CAPACITY
        assert result["load"] == pytest.approx(10.4 / float(CAPACITY), rel=1e-12)
    for name in ("orca", "sarathi", "vllm_v1"):
        result = results[name]
        assert Fraction(result["critical_rate_exact"]) == CAPACITY
        assert (result["verdict"], result["evidence"]) == ("STABLE", "proved")
        assert check(result["certificate"]).kind == "drift"
        assert result["growth"] == 0
        assert all(h["holds"] for h in result["hypotheses"])
    frozen = results["faster_transformer"]
    assert frozen["critical_rate"] == pytest.approx(0.5566730251096647, rel=1e-12)
    assert (frozen["verdict"], frozen["evidence"]) == ("UNSTABLE", "numerical")
    assert frozen["margin"] == pytest.approx(1 - 10.4 / 0.5566730251096647, rel=1e-12)
    computed = results["vanilla_vllm"]
    assert computed["critical_rate"] == pytest.approx(10.497291878029193, rel=1e-8)
    assert computed["critical_rate_low"] < computed["critical_rate_high"]
    assert computed["critical_rate_evidence"] == "numerical"
    assert computed["critical_rate_exact"] is None


def test_the_bracket_finds_the_computed_rate_of_vanilla_vllm():
    scenario = load_scenario("codellama34b-a100")
    ceiling = float(CAPACITY)
    found = bracket_critical_rate(
        scenario.engine, scenario.workload, policy=POLICIES["vanilla_vllm"], at_most=ceiling
    )
    assert 10.4 < found.low < 10.497291878029193 < found.high < 10.7


def test_one_policy_gives_one_object(ask):
    answer = ask(*CODELLAMA, "--policy", "Sarathi")
    assert answer["policy"] == "sarathi"
    assert answer["scenario"] == "codellama34b-a100"
    wanted = {"verdict", "evidence", "arrival_rate", "critical_rate", "capacity", "load"}
    assert wanted | {"policy", "certificate", "margin", "growth", "reason"} <= set(answer)
    assert check(answer["certificate"]).kind == "drift"


def test_several_policies_give_a_list_in_the_order_asked_for(ask):
    names = ["--policy", "sarathi", "--policy", "orca", "--policy", "SARATHI"]
    answer = ask(*CODELLAMA, *names)
    assert [r["policy"] for r in answer["results"]] == ["sarathi", "orca"]


GIVEN = [name for name in scenario_names() if load_scenario(name).measured is None]


@pytest.mark.parametrize("name", GIVEN)
def test_every_packaged_scenario_is_answered(ask, name):
    answer = ask("check", name, "--policy", "sarathi")
    assert answer["verdict"] in ("STABLE", "UNSTABLE", "UNDECIDED")
    assert answer["capacity"] > 0


@pytest.mark.parametrize(
    ("policy", "budget", "verdict"),
    [
        ("sarathi", 128, "STABLE"),
        ("sarathi", 1024, "UNSTABLE"),
        ("orca:residents", 128, "UNSTABLE"),
        ("faster_transformer:chunked", 128, "UNSTABLE"),
    ],
)
def test_the_published_verdicts_at_vertex_c(ask, policy, budget, verdict):
    """Figure 14 of arXiv:2504.07347v3, on the boundary of the stability region."""
    at_budget = ("--token-budget", str(budget))
    answer = ask("check", "vertex-c", "--policy", policy, *at_budget)
    assert (answer["verdict"], answer["evidence"]) == (verdict, "numerical")


def test_a_certificate_is_printed_as_its_checker_reads_it(ask):
    answer = ask(*CODELLAMA, "--policy", "orca", "--arrival-rate", "14")
    assert (answer["verdict"], answer["evidence"]) == ("UNSTABLE", "proved")
    assert "14" in check(answer["certificate"]).statement
    tampered = answer["certificate"] | {"arrival_rate": [13, 1]}
    with pytest.raises(Rejected):
        check(tampered)


def test_exactly_at_the_critical_rate_nothing_is_decided(ask):
    exact = f"{CAPACITY.numerator}/{CAPACITY.denominator}"
    answer = ask(*CODELLAMA, "--policy", "orca", "--arrival-rate", exact)
    assert (answer["verdict"], answer["evidence"]) == ("UNDECIDED", "none")
    assert "exactly critical" in answer["reason"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.integers(1, 4000).map(lambda i: i / 100),
    prompt=st.integers(1, 500),
    output=st.integers(1, 500),
    blocks=st.integers(1, 8),
)
def test_options_are_read_exactly_and_decide(ask, rate, prompt, output, blocks):
    options = {
        "--arrival-rate": rate,
        "--prompt-tokens": prompt,
        "--output-tokens": output,
        "--token-budget": 128 * blocks,
    }
    argv = [str(word) for pair in options.items() for word in pair]
    answer = ask(*CODELLAMA, "--policy", "sarathi", *argv)
    step = Fraction("0.01128") + blocks * Fraction("0.03547")
    capacity = Fraction(128 * blocks) / step / (prompt + output)
    assert Fraction(answer["capacity_exact"]) == capacity
    stable = Fraction(str(rate)) < capacity
    assert answer["verdict"] == ("STABLE" if stable else "UNSTABLE")


def test_servers_add_up(ask):
    one = ask(*CODELLAMA, "--policy", "orca")
    two = ask(*CODELLAMA, "--policy", "orca", "--servers", "2")
    assert Fraction(two["critical_rate_exact"]) == 2 * Fraction(one["critical_rate_exact"])
    assert two["load"] == pytest.approx(one["load"] / 2, rel=1e-12)


def test_a_preset_brings_its_lengths_and_its_rate(ask):
    answer = ask(*CODELLAMA, "--policy", "orca", "--trace", "azure-conv-2023")
    doubled = ask(*CODELLAMA, "--policy", "orca", "--trace", "azure-conv-2023", "--scale", "2")
    assert answer["arrival_rate"] == pytest.approx(5.53, abs=0.01)
    assert doubled["arrival_rate"] == pytest.approx(2 * answer["arrival_rate"], rel=1e-12)
    assert doubled["critical_rate"] == pytest.approx(answer["critical_rate"], rel=1e-12)


@pytest.mark.skipif(not AZURE.exists(), reason="the Azure traces are not beside this checkout")
def test_the_azure_trace_is_replayed(ask):
    answer = ask(*CODELLAMA, "--policy", "orca", "--trace", str(AZURE))
    assert answer["arrival_rate"] == pytest.approx(5.5301, abs=1e-4)
    # The work of a request is the mean over the file, 1154.697 + 211.129 tokens.
    assert answer["capacity"] == pytest.approx(512 / 0.15316 / 1365.826, rel=1e-5)
    assert answer["verdict"] == "UNSTABLE"
    slower = ask(*CODELLAMA, "--policy", "orca", "--trace", str(AZURE), "--arrival-rate", "2")
    assert (slower["arrival_rate"], slower["verdict"]) == (pytest.approx(2), "STABLE")
    assert slower["capacity"] == answer["capacity"]


@pytest.mark.parametrize(
    ("required", "policy", "status"),
    [
        ("stable", "orca", 0),
        ("STABLE", "faster_transformer", 1),
        ("unstable", "faster_transformer", 0),
        ("undecided", "orca", 1),
    ],
)
def test_a_requirement_sets_the_exit_status(capsys, required, policy, status):
    assert main([*CODELLAMA, "--policy", policy, "--require", required]) == status
    captured = capsys.readouterr()
    assert policy in captured.out
    if status:
        assert len(captured.err.splitlines()) == 1
        assert f"{policy} is" in captured.err
    else:
        assert captured.err == ""


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_shows_everything_in_the_width_of_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(CODELLAMA) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= width
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line}
    for name in POLICIES:
        assert rows[name][3:5] == ["13.871", "75.0%"]
    row = " ".join(rows["sarathi"])
    assert row == "sarathi STABLE 13.871 13.871 75.0% 25.0% proved [3]"
    assert rows["faster_transformer"][1:3] == ["UNSTABLE", "0.55667"]
    for words in ("0.01128 s", "10.4 requests/s", "241 tokens a request, p + d:", "[3] The"):
        assert words in text
    assert "\x1b" not in text


def test_colour_is_for_terminals(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert main([*CODELLAMA, "--policy", "orca"]) == 0
    assert "\x1b[32mSTABLE" in capsys.readouterr().out


def test_the_accounting_of_real_engines_is_said(capsys, tmp_path):
    file = tmp_path / "real.toml"
    file.write_text(
        "[engine]\ntoken_budget = 512\nfirst_token_from_prefill = true\n"
        "step_time = {law = 'affine', base = 0.01, per_token = 1e-4}\n"
        "[workload]\narrival_rate = 1\nprompt_tokens = 129\noutput_tokens = 112\n"
    )
    assert main(["check", str(file), "--policy", "orca"]) == 0
    assert "240 tokens a request, p + d - 1" in capsys.readouterr().out


def test_the_proof_is_written_and_passes_the_independent_check(tmp_path, capsys):
    path = tmp_path / "proof.json"
    overloaded = [*CODELLAMA, "--policy", "sarathi", "--arrival-rate", "14"]
    assert main([*overloaded, "--certificate", str(path)]) == 0
    assert check(json.loads(path.read_text())).kind == "overload"
    assert main([*CODELLAMA, "--certificate", str(path)]) == 0
    assert check(json.loads(path.read_text())).kind == "drift"
    assert main([*CODELLAMA, "--policy", "vanilla_vllm", "--certificate", str(path)]) == 1
    assert "no verdict is proved" in capsys.readouterr().err
    assert main([*overloaded, "--certificate", str(tmp_path / "no" / "x.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err


# Whole prompts that exceed the budget: nothing has to be simulated for a critical rate of 0.
BLOCKED = [*CODELLAMA, "--policy", "vanilla_vllm", "--token-budget", "128"]


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        ([], "tokens"),
        (["--max-batch-size", "4"], "requests"),
        (["--kv-capacity", "400"], "kv"),
    ],
)
def test_what_limits_the_capacity_is_said(ask, limits, word):
    answer = ask(*BLOCKED, *limits)
    assert answer["limited_by"] == word
    assert sum(answer["limits"].values()) == pytest.approx(1)
    assert set(answer["limits"]) == {"tokens", "requests", "kv_memory", "kv_reads"}
    seconds = answer["request_seconds"]
    assert set(seconds) == {"prefill", "decode", "places", "kv_memory", "kv_reads"}
    assert 1 / sum(seconds.values()) == pytest.approx(answer["capacity"])
    assert answer["measured"] is None
    assert answer["engine"]["token_budget"] == 128


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ([], None),
        (["--kv-capacity", "400"], "limited by KV cache: a request takes at least"),
        (["--max-batch-size", "4"], "limited by requests in a batch: a request takes at least"),
    ],
)
def test_the_table_says_what_limits(capsys, limits, line):
    assert main([*BLOCKED, *limits]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert line in text if line else "limited by" not in text


def test_a_closed_workload_is_refused(capsys):
    assert main([*CODELLAMA, "--users", "8"]) == 2
    complaint = capsys.readouterr().err
    assert "8 users" in complaint
    assert "queueing-llm simulate" in complaint
