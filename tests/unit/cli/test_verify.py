"""``queueing-llm verify``: table, JSON, policies from files, and exit status."""

import json
from pathlib import Path

import pytest

from queueing_llm.cli import main
from queueing_llm.policies import VANILLA_VLLM
from queueing_llm.verify import check_policy
from queueing_llm.verify.findings._reproduction import save_counterexamples

POLICY = '''
import numpy as np
from queueing_llm.policies import SARATHI, Batch

def careful(state):
    """Serve the oldest request only."""
    tokens = np.zeros(len(state.request), dtype=np.int64)
    tokens[0] = min(max(1, state.prompt_left[0]), state.token_budget)
    return Batch(tokens)

fine = SARATHI
number = 3
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_policies.py"
    path.write_text(POLICY)
    return str(path)


def test_a_policy_that_keeps_a_contract(capsys):
    assert main(["verify", "Sarathi", "--contract", "token-budget"]) == 0
    out = capsys.readouterr().out
    assert "token_budget" in out
    assert "HOLDS" in out


def test_a_policy_of_a_file_that_breaks_one(file, capsys):
    asked = ["verify", f"{file}:careful", "--contract", "work_conserving", "--json"]
    assert main(asked) == 1
    captured = capsys.readouterr()
    answer = json.loads(captured.out, parse_constant=pytest.fail)
    (finding,) = answer["findings"]
    assert (answer["policy"], answer["violated"]) == ("careful", ["work_conserving"])
    assert answer["violated_and_needed"] == ["work_conserving"]
    assert (finding["outcome"], finding["support"]) == ("VIOLATED", "counterexample")
    assert len(finding["counterexample"]["arrivals"]) == 2
    assert "ql.EngineState(" in finding["counterexample"]["snippet"]
    assert captured.err == "error: careful violates work_conserving.\n"


def test_all_contracts_with_the_status_that_optimality_asks_for(capsys):
    assert main(["verify", "vanilla_vllm:chunked"]) == 1
    captured = capsys.readouterr()
    assert "needed for throughput-optimality" in captured.out
    assert "request 0" in captured.out
    assert captured.err.startswith(
        "error: vanilla_vllm:chunked violates work_conserving, which"
    )


def test_limits_of_an_engine(capsys):
    limits = ["--token-budget", "4", "--max-batch-size", "2"]
    asked = ["verify", "vllm_v1", *limits, "--contract", "preempts_nobody", "--json"]
    assert main(asked) == 0
    assert json.loads(capsys.readouterr().out)["findings"][0]["outcome"] == "HOLDS"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sarathy"], "did you mean 'sarathi'"),
        (["nowhere.py:f"], "there is no file 'nowhere.py'"),
        (["nowhere.py"], "accepted: FILE:FUNCTION"),
        (["sarathi", "--contract", "progres"], "did you mean 'progress'"),
        (["sarathi", "--effort", "hard"], "no effort"),
        (["sarathi", "--kv-capacity", "9"], "need --token-budget"),
    ],
)
def test_bad_input_is_one_sentence(arguments, sentence, capsys):
    assert main(["verify", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_file_without_that_policy(file, tmp_path, capsys):
    for name in ("missing", "number"):
        assert main(["verify", f"{file}:{name}"]) == 2
        assert f"has no policy '{name}'" in capsys.readouterr().err
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    assert main(["verify", f"{broken}:f"]) == 2
    assert "cannot be run: ZeroDivisionError" in capsys.readouterr().err


def test_a_file_that_leaves_the_program_is_bad_input(tmp_path, capsys):
    path = tmp_path / "leaves.py"
    path.write_text("import sys\nsys.exit(0)\n")
    assert main(["verify", f"{path}:f"]) == 2
    error = capsys.readouterr().err
    assert "cannot be run: SystemExit: 0" in error
    assert error.count("\n") == 1


def test_what_a_file_and_a_policy_print_is_not_in_the_answer(tmp_path, capsys):
    path = tmp_path / "talks.py"
    path.write_text(
        "from queueing_llm.policies import SARATHI\n"
        "print('import')\n"
        "def talk(state):\n    print('asked')\n    return SARATHI(state)\n"
    )
    assert main(["verify", f"{path}:talk", "--contract", "progress", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["violated"] == []
    assert captured.err.startswith("import\nasked\n")


def test_a_contract_that_is_asked_for_must_be_seen_to_hold(capsys):
    limits = ["--token-budget", "4", "--max-batch-size", "2"]
    assert main(["verify", "sarathi", *limits, "--contract", "work_conserving"]) == 1
    error = capsys.readouterr().err
    assert error == "error: whether sarathi keeps work_conserving is undecided.\n"


BROKEN = ("work_conserving", "oldest_first")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Counterexamples of a policy that idles, as files."""
    report = check_policy(VANILLA_VLLM, contracts=BROKEN)
    folder = tmp_path_factory.mktemp("saved")
    return [str(file) for file in save_counterexamples(report, folder)]


def test_counterexamples_are_saved_under_the_names_of_what_they_say(saved, tmp_path, capsys):
    folder = tmp_path / "new" / "saved"
    asked = [word for name in BROKEN for word in ("--contract", name)]
    assert main(["verify", "vanilla_vllm", *asked, "--save", str(folder), "--json"]) == 1
    named = json.loads(capsys.readouterr().out)["saved"]
    assert sorted(named) == sorted(str(file) for file in folder.iterdir())
    assert [Path(file).name for file in named] == [Path(file).name for file in saved]


def test_saved_counterexamples_are_broken_still_by_who_broke_them(saved, capsys):
    files = [word for file in saved for word in ("--replay", file)]
    assert main(["verify", "vanilla_vllm", *files]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("VIOLATED") == len(saved) == 2
    assert "batch of 1 where token budget and demand allow 2" in captured.out
    assert "request 1    .   p1" in captured.out
    assert captured.err == (
        f"error: vanilla_vllm still breaks the contract of {saved[0]}, {saved[1]}.\n"
    )


def test_saved_counterexamples_are_kept_by_another_policy(saved, capsys):
    files = [word for file in saved for word in ("--replay", file)]
    assert main(["verify", "sarathi", *files, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert answer["policy"] == "sarathi"
    assert [found["file"] for found in answer["replayed"]] == saved
    assert [found["outcome"] for found in answer["replayed"]] == ["HOLDS", "HOLDS"]
    assert main(["verify", "sarathi", *files]) == 0
    assert capsys.readouterr().out.count("HOLDS") == 2


def test_what_a_replay_leaves_open_is_no_success(saved, tmp_path, capsys):
    path = tmp_path / "fails.py"
    path.write_text("def fails(state):\n    print('asked')\n    raise ValueError\n")
    assert main(["verify", f"{path}:fails", "--replay", saved[0], "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["replayed"][0]["outcome"] == "UNDECIDED"
    assert captured.err.endswith(
        f"whether {path}:fails still breaks {saved[0]} is undecided.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--replay", "nowhere.json"], "counterexample 'nowhere.json' cannot be read"),
        (["--replay", "x.json", "--seed", "3"], "takes no other option, got --seed"),
        (["--replay", "x.json", "--effort", "quick"], "got --effort"),
        (
            ["--replay", "x.json", "--save", "y", "--token-budget", "3"],
            "got --save, --token-budget",
        ),
        (["--report", "/nowhere/at/all.html"], "its folder does not exist"),
        (["--kv-block-size", "4"], "got --kv-block-size without it"),
    ],
)
def test_bad_input_about_files_is_one_sentence(arguments, sentence, capsys):
    assert main(["verify", "sarathi", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_folder_or_page_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    asked = ["verify", "vanilla_vllm", "--contract", "progress"]
    for option, path in (("--save", tmp_path / "file"), ("--report", tmp_path)):
        assert main([*asked, option, str(path)]) == 2
        error = capsys.readouterr().err
        assert f"{str(path)!r}"[1:-1] in error
        assert "cannot be written" in error
        assert error.count("\n") == 1


def test_where_counterexamples_are_saved_is_said(tmp_path, capsys):
    asked = ["verify", "vanilla_vllm", "--contract", "oldest_first"]
    assert main([*asked, "--save", str(tmp_path)]) == 1
    (file,) = tmp_path.iterdir()
    assert f"\nsaved {file}\n" in capsys.readouterr().out


def test_a_page_beside_the_answer(tmp_path, capsys):
    page = tmp_path / "page.html"
    asked = ["verify", "vanilla_vllm", "--contract", "oldest_first", "--seed", "3"]
    assert main([*asked, "--report", str(page), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["violated"] == ["oldest_first"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert (
        "<pre>queueing-llm verify vanilla_vllm --contract oldest_first --seed 3</pre>" in text
    )


def test_the_record_of_a_counterexample_has_the_engine_and_the_requests(capsys):
    limits = ["--token-budget", "4", "--kv-capacity", "8", "--kv-block-size", "2"]
    assert main(["verify", "vllm_v1", *limits, "--contract", "preempts_nobody", "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    found = finding["counterexample"]
    shown = {name: found[name] for name in ("token_budget", "max_batch_size", "kv_capacity")}
    assert shown == {"token_budget": 4, "max_batch_size": None, "kv_capacity": 8}
    assert (found["kv_block_size"], found["first_token_from_prefill"]) == (2, False)
    columns = {"step", "prompt_tokens", "output_tokens", "class_index"}
    assert all(arrival.keys() == columns for arrival in found["arrivals"])


def test_a_system_of_the_field_is_verified_by_its_name(capsys):
    status = main(["verify", "vLLM==0.33.0", "--contract", "conservation", "--json"])
    record = json.loads(capsys.readouterr().out)
    assert status == 0
    assert record["policy"] == "vllm==0.33.0"
    (finding,) = record["findings"]
    assert (finding["outcome"], finding["support"]) == ("HOLDS", "tested")
    assert finding["tested"] > 100


def test_a_name_without_a_version_is_that_of_a_policy(capsys):
    assert main(["verify", "faster-transformer", "--contract", "only_reads"]) == 0
    assert "faster_transformer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("policy", "python", "sentence"),
    [
        ("sarathi", ".", "--python is for systems such as vllm==0.33.0"),
        ("vllm==0.33.0", "nowhere", "adapters build nowhere"),
        ("tgi==3", ".", "there is no driver for 'tgi==3'"),
    ],
)
def test_only_systems_that_are_installed_run_elsewhere(policy, python, sentence, capsys):
    assert main(["verify", policy, "--python", python]) == 2
    assert sentence in capsys.readouterr().err


def test_a_scheduler_of_a_file_is_verified_as_one(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from queueing_llm.policies.field import SYSTEMS\nmine = SYSTEMS['tgi==3']\n"
    )
    assert main(["verify", f"{path}:mine", "--contract", "conservation"]) == 0
    assert "tested" in capsys.readouterr().out
