"""Bad input: exit status 2 and one sentence with the value and what is accepted."""

import sys

import pytest

from queueing_llm.cli import main

CHECK = ["check", "codellama34b-a100"]
SIMULATE = ["simulate", "codellama34b-a100", "--policy", "orca", "--horizon"]
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.fixture
def complaint(capsys):
    """Run a command that must be refused; return the one line that it says."""

    def run(*argv):
        assert main(list(argv)) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        (line,) = captured.err.splitlines()
        return line

    return run


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["check", "codelama34b-a100"],
            ["'codelama34b-a100'", "did you mean 'codellama34b-a100'"],
        ),
        (["check", "missing.toml"], ["'missing.toml'", "neither a file", "'theorem-2'"]),
        ([*CHECK, "--arrival-rate", "-3.5"], ["above 0", "arrival_rate=-3.5"]),
        ([*CHECK, "--arrival-rate", "0"], ["above 0", "arrival_rate=0"]),
        ([*CHECK, "--arrival-rate", "nan"], ["finite", "arrival_rate=nan"]),
        ([*CHECK, "--arrival-rate", "1e999999999"], ["finite", "arrival_rate=inf"]),
        ([*CHECK, "--arrival-rate", "fast"], ["--arrival-rate", "'fast'", "a decimal number"]),
        ([*CHECK, "--scale", "0"], ["above 0", "scale=0"]),
        ([*CHECK, "--token-budget", "0"], ["at least 1", "token_budget=0"]),
        ([*CHECK, "--token-budget", "1.5"], ["--token-budget", "'1.5' is not an integer"]),
        ([*CHECK, "--max-batch-size", "-1"], ["at least 1", "max_batch_size=-1"]),
        (
            [*CHECK, "--kv-capacity", "100"],
            ["kv_capacity=100", "241 tokens", "raise kv_capacity"],
        ),
        ([*CHECK, "--prompt-tokens", "0"], ["at least 1", "prompt_tokens=0"]),
        ([*CHECK, "--output-tokens", "-2"], ["at least 0", "output_tokens=-2"]),
        ([*CHECK, "--policy", "sarathy"], ["'sarathy'", "did you mean 'sarathi'", "'orca'"]),
        ([*CHECK, "--policy", "orca:hole"], ["'hole'", "did you mean 'whole'"]),
        ([*CHECK, "--require", "stabel"], ["'stabel'", "did you mean 'stable'", "'undecided'"]),
        ([*CHECK, "--servers", "0"], ["at least 1", "servers=0"]),
        ([*CHECK, "--confidence", "1.5"], ["at most 0.9999", "confidence=1.5"]),
        ([*CHECK, "--seed", "-1"], ["--seed", "-1", "at least 0"]),
        ([*CHECK, "--trace", "azure-cnv-2023"], ["did you mean 'azure-conv-2023'"]),
        ([*CHECK, "--trace", "arxiv-summarization"], ["no arrival times", "arrival_rate must"]),
        ([*CHECK, "--skip-bad-rows"], ["--skip-bad-rows needs --trace"]),
        ([*CHECK, "--trace-format", "azure"], ["--trace-format needs --trace"]),
        ([*CHECK, "--polcy", "orca"], ["--polcy", "--policy"]),
        (
            [*CHECK, "--plot", "/no/such/folder/a.png"],
            ["/no/such/folder/a.png", "writable folder"],
        ),
        ([*CHECK, "--plot", "backlog.gif"], ["'backlog.gif'", "'png'"]),
        ([*CHECK, "--plot", "a.png", "--servers", "2"], ["--servers 2", "--servers 1"]),
        (["check"], ["a system is needed", "SCENARIO", "--model", "--gpu"]),
        ([*CHECK, "orca"], ["unexpected", "orca"]),
        (["chek"], ["'chek'", "'check'"]),
        ([*CHECK, "--trace"], ["--trace", "requires an argument"]),
        (["simulate", "theorem-2"], ["--policy"]),
        ([*SIMULATE, "-1"], ["above 0", "horizon=-1"]),
        ([*SIMULATE, "nan"], ["finite", "horizon=nan"]),
        ([*SIMULATE, "long"], ["--horizon", "'long'"]),
        ([*SIMULATE, "10", "--warmup", "20"], ["horizon=10", "warmup=20"]),
        ([*SIMULATE, "10", "--tick", "0"], ["above 0", "tick=0"]),
        ([*SIMULATE, "10", "--replications", "0"], ["at least 1", "replications=0"]),
        ([*SIMULATE, "10", "--kv-capacity", "10"], ["kv_capacity=10", "129 prompt"]),
    ],
)
def test_a_bad_value_is_named_with_what_is_accepted(complaint, argv, words):
    line = complaint(*argv)
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER + "2023-11-16 18:15:46,NaN,44\n", ["line 2", "'NaN'", "--skip-bad-rows"]),
        (HEADER + "2023-11-16 18:15:46,-5,44\n", ["line 2", "'-5'", "--skip-bad-rows"]),
        (HEADER, ["holds no request"]),
        ("", ["is empty"]),
        ("a,b\n1,2\n", ["azure", "vidur"]),
    ],
)
def test_a_bad_trace_is_named_with_what_is_accepted(complaint, tmp_path, text, words):
    file = tmp_path / "requests.csv"
    file.write_text(text)
    line = complaint(*CHECK, "--trace", str(file))
    assert str(file) in line
    for word in words:
        assert word in line


def test_bad_rows_can_be_left_out(capsys, tmp_path):
    file = tmp_path / "requests.csv"
    rows = ["2023-11-16 18:15:46,NaN,44", "2023-11-16 18:15:47,9,9", "2023-11-16 18:15:49,9,9"]
    file.write_text(HEADER + "\n".join(rows))
    argv = ["--trace", str(file), "--skip-bad-rows", "--policy", "orca"]
    assert main([*CHECK, *argv]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "requests.csv, 2 requests; left out: 1 (not a number)" in text
    assert "0.5 requests/s; mean 9 prompt + 9 output tokens (2 rows" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[engine", ["not valid TOML"]),
        ("[engine]\ntoken_budgt = 3\n[workload]", ["'token_budgt'", "mean 'token_budget'"]),
    ],
)
def test_a_bad_scenario_file_is_named(complaint, tmp_path, text, words):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    line = complaint("check", str(file))
    assert str(file) in line
    for word in words:
        assert word in line


def test_a_plot_without_matplotlib_names_what_to_install(complaint, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    line = complaint(*CHECK, "--plot", str(tmp_path / "a.png"))
    assert "pip install 'queueing-llm[plots]'" in line


def test_a_bad_plot_path_is_refused_before_anything_is_decided(complaint, monkeypatch):
    def decided(*_args, **_options):
        pytest.fail("decided first")

    monkeypatch.setattr("queueing_llm.cli._check.check_stability", decided)
    complaint(*CHECK, "--plot", "/no/such/folder/a.png")
