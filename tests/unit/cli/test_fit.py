"""``queueing-llm fit``: the table, the JSON, the saved law, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from queueing_llm.cli import main
from queueing_llm.fitting import StepSamples, compare_step_times, read_step_samples
from queueing_llm.scenarios import load_scenario

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
SCENARIO = """
[workload]
arrival_rate = 1
prompt_tokens = 100
output_tokens = 10
"""


@pytest.fixture(scope="module")
def hinge_file(tmp_path_factory):
    """Return a file of steps with a knee at 64 tokens and one per cent of noise."""
    file = tmp_path_factory.mktemp("fit") / "steps.csv"
    tokens = np.arange(1, 513, 7)
    noise = np.random.default_rng(3).normal(0, 0.01, len(tokens))
    times = 1e3 * (0.0455 + 0.0003 * np.maximum(0, tokens - 64)) * (1 + noise)
    rows = [f"{n},{t!r}" for n, t in zip(tokens.tolist(), times.tolist(), strict=True)]
    file.write_text("\n".join(["tokens,milliseconds", *rows]))
    return str(file)


@pytest.fixture
def ask(capsys):
    def run(*argv, expect=0):
        assert main(["fit", *map(str, argv), "--json"]) == expect
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    return run


@pytest.fixture
def complaint(capsys):
    """Return a function that runs the command and gives the one sentence of refusal."""

    def run(*argv):
        assert main(["fit", *map(str, argv)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("error: ")
        return captured.err

    return run


def test_the_json_holds_what_the_comparison_found(ask, hinge_file):
    answer = ask(hinge_file)
    samples = read_step_samples(hinge_file)
    compared = compare_step_times(samples)
    assert answer["preferred"] == compared.preferred == "hinge"
    assert answer["reason"] == compared.reason
    assert (answer["samples"], answer["is_averaged"]) == (len(samples), False)
    assert answer["tokens"] == {"least": 1, "most": 512}
    assert [r["law"] for r in answer["results"]] == [fit.law for fit in compared.fits]
    assert [r["held_out_error"] for r in answer["results"]] == list(compared.errors)
    for result, fit in zip(answer["results"], compared.fits, strict=True):
        assert result["r_squared"] == fit.r_squared
        assert result["mean_relative_error"] == fit.mean_relative_error
        assert result["worst_relative_error"] == fit.worst_relative_error
        for record, known in zip(result["coefficients"], fit.coefficients, strict=True):
            assert record == {key: getattr(known, key) for key in record}
    assert [r["law"] for r in answer["refused"]] == [law for law, _ in compared.refused]
    assert answer["step_time"]["law"] == "hinge"
    assert answer["step_time"]["knee"] == pytest.approx(64, abs=5)


def test_the_keys_of_the_json_are_stable(ask, hinge_file):
    answer = ask(hinge_file, "--law", "affine")
    assert list(answer) == [
        "source",
        "samples",
        "is_averaged",
        "tokens",
        "most_kv_tokens",
        "objective",
        "confidence",
        "preferred",
        "reason",
        "results",
        "table_error",
        "refused",
        "step_time",
    ]
    assert list(answer["results"][0]) == [
        "law",
        "coefficients",
        "r_squared",
        "mean_relative_error",
        "worst_relative_error",
        "interval_method",
        "notes",
        "held_out_error",
        "held_out_quantile",
    ]


def test_a_law_that_is_alone_is_the_one_to_use(ask, hinge_file):
    answer = ask(hinge_file, "--law", "affine", "--objective", "absolute")
    assert (answer["preferred"], answer["objective"]) == ("affine", "absolute")
    assert answer["step_time"]["law"] == "affine"
    assert "most_kv_tokens" in answer


def test_few_batches_are_fitted_and_not_compared(ask, tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("tokens,seconds\n1,.01\n100,.021\n200,.03\n300,.041\n400,.05")
    answer = ask(file)
    assert answer["preferred"] is answer["step_time"] is None
    assert answer["reason"].startswith("the laws are not compared: samples must hold")
    assert "affine" in [r["law"] for r in answer["results"]]
    assert all(r["held_out_error"] is None for r in answer["results"])
    assert ask(file, "--law", "affine")["preferred"] == "affine"


def test_the_table_shows_laws_intervals_errors_and_refusals(hinge_file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")
    assert main(["fit", hinge_file]) == 0
    text = capsys.readouterr().out
    assert "74 batches of 1 to 512 tokens, counted together" in text
    assert "floor 45." in text
    assert "ms" in text
    assert "µs/token" in text
    assert "±" in text
    assert "refused: per_decode_token is not identifiable" in text
    assert "preferred  hinge" in text


@pytest.mark.parametrize("law", ["affine", "hinge", "staircase"])
def test_a_saved_law_is_that_of_a_scenario(ask, tmp_path, hinge_file, law):
    answer = ask(hinge_file, "--law", law, "--save", tmp_path / "law.toml")
    text = (tmp_path / "law.toml").read_text()
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(f"[engine]\ntoken_budget = 512\n{text}\n{SCENARIO}")
    step_time = load_scenario(scenario).engine.step_time
    values = {c["name"]: c["value"] for c in answer["results"][0]["coefficients"]}
    for key, value in values.items():
        assert float(getattr(step_time, key)) == value


def test_a_preferred_table_is_saved_as_a_table(ask, tmp_path):
    tokens = np.arange(1, 257)
    seconds = 0.01 * (1 + (tokens > 100)) * (1 + 0.5 * (tokens > 200))
    samples = StepSamples.of_tokens(tokens, seconds)
    assert compare_step_times(samples).preferred == "table"
    file = tmp_path / "stairs.csv"
    rows = [f"{n},{t!r}" for n, t in zip(tokens.tolist(), seconds.tolist(), strict=True)]
    file.write_text("\n".join(["tokens,seconds", *rows]))
    answer = ask(file, "--save", tmp_path / "table.toml")
    assert answer["preferred"] == "table"
    text = (tmp_path / "table.toml").read_text()
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(f"[engine]\ntoken_budget = 256\n{text}\n{SCENARIO}")
    step_time = load_scenario(scenario).engine.step_time
    assert [float(step_time(n)) for n in (1, 100, 101, 256)] == [0.01, 0.01, 0.02, 0.03]


def test_a_law_that_no_scenario_takes_is_not_saved(complaint, tmp_path):
    rng = np.random.default_rng(4)
    prefill, decode = rng.integers(0, 500, 60), rng.integers(1, 60, 60)
    seconds = 0.01 + 1e-5 * prefill + 1e-3 * decode
    rows = np.stack([prefill, decode, seconds], axis=-1).tolist()
    file = tmp_path / "steps.csv"
    lines = [
        "prefill_tokens,decode_tokens,seconds",
        *(f"{x:g},{y:g},{t!r}" for x, y, t in rows),
    ]
    file.write_text("\n".join(lines))
    text = complaint(file, "--save", tmp_path / "law.toml")
    assert "a scenario has no law 'split'; accepted: one of --law affine" in text
    assert not (tmp_path / "law.toml").exists()


def test_a_huge_log_is_drawn_from_and_that_is_said(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("queueing_llm.cli._fit.MOST_SAMPLES", 100)
    file = tmp_path / "steps.csv"
    rows = "\n".join(f"{n},{0.01 + 1e-4 * n + 1e-5 * (n % 3)!r}" for n in range(1, 1001))
    file.write_text(f"tokens,seconds\n{rows}")
    answer = ask(file, "--law", "affine")
    assert answer["samples"] == 100
    assert answer["source"].endswith("steps.csv, 100 of 1,000 batches drawn at random")
    assert answer["step_time"]["per_token"] == pytest.approx(1e-4, rel=1e-2)


def test_the_plot_is_written(hinge_file, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["fit", hinge_file, "--law", "hinge", "--plot", str(tmp_path / "fit.png")]) == 0
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--law", "hing"], "--law 'hing' cannot be fitted; did you mean 'hinge'?"),
        (["--objective", "rel"], "did you mean 'relative'?"),
        (["--save", "law.tml"], "unknown suffix: did you mean 'toml'?"),
        (["--save", "law.json"], "--json prints the law too"),
        (["--save", "no/such/folder/law.toml"], "cannot be written"),
        (["--plot", "fit.gif"], "plot format of 'fit.gif'"),
        (["--tp", "2"], "format 'table' has no selection '--tp'"),
        (["--tp", "two"], "'two' is not an integer"),
        (["--phase", "decode"], "no sample with --phase='decode'"),
        (["--format", "vidr"], "did you mean 'vidur'?"),
        (["--format", "vidur"], "is not vidur's mlp.csv of a model on a GPU"),
        (["--most-tokens", "0"], "--most-tokens must be an integer at least 1"),
        (["--most-tokens", "8", "--law", "hinge"], "at least 5 different token counts"),
        (["--most-load", "much"], "'much' is not a number"),
    ],
)
def test_bad_input_is_one_sentence(complaint, hinge_file, arguments, message):
    assert message in complaint(hinge_file, *arguments)


def test_bad_files_are_one_sentence(complaint, tmp_path):
    assert "does not exist" in complaint(tmp_path / "nothing.csv")
    one = tmp_path / "one.csv"
    one.write_text("tokens,seconds\n1,.01")
    assert "at least 3 different token counts" in complaint(one)
    bad = tmp_path / "bad.csv"
    bad.write_text("tokens,seconds\n1,.01\n2,x")
    assert "line 3: seconds must be a finite number above 0 [s], got 'x'" in complaint(bad)


@pytest.mark.skipif(not DATA.exists(), reason="no shared folder beside")
def test_a_hinge_fitted_to_vidur_is_the_one_known(ask):
    file = DATA / "vidur_profiling" / "a100" / "Llama-2-7b-hf.mlp.csv"
    answer = ask(file, "--law", "hinge", "--objective", "absolute")
    (result,) = answer["results"]
    values = {c["name"]: c["value"] for c in result["coefficients"]}
    assert 1e3 * values["floor"] == pytest.approx(10.20, abs=0.01)
    assert 1e3 * values["per_token"] == pytest.approx(0.0639, abs=1e-4)
    assert values["knee"] == pytest.approx(116, abs=1)
    assert result["r_squared"] == pytest.approx(0.9989, abs=1e-4)
    assert result["worst_relative_error"] == pytest.approx(0.348, abs=1e-3)
