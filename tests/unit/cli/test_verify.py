"""``queueing-llm verify``: table, JSON, policies from files, and exit status."""

import json

import pytest

from queueing_llm.cli import main

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
