"""KV memory in blocks, in scenario files and on the command line."""

import json

import pytest

from queueing_llm.cli import main
from queueing_llm.scenarios import change_engine, load_scenario

SCENARIO = """
[engine]
step_time = {law = "affine", base = 1, per_token = 0}
token_budget = 64
kv_capacity = 64
kv_block_size = 16

[workload]
arrival_rate = 30
prompt_tokens = 1
output_tokens = 1
"""


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "short.toml"
    path.write_text(SCENARIO)
    return str(path)


def test_a_scenario_may_name_the_size_of_its_blocks(scenario):
    engine = load_scenario(scenario).engine
    assert (engine.kv_capacity, engine.kv_block_size) == (64, 16)
    assert change_engine(engine, kv_block_size=None) == engine
    assert load_scenario("theorem-2").engine.kv_block_size == 1


def completed(capsys, *argv):
    command = ["simulate", *argv, "--policy", "sarathi", "--horizon", "400", "--json"]
    assert main(command) == 0
    return json.loads(capsys.readouterr().out)["means"]["throughput"]["value"]


def test_the_option_replaces_the_size(scenario, capsys):
    """Two requests a second in four blocks of 16; four in eight blocks of 8."""
    assert completed(capsys, scenario) == pytest.approx(2, rel=0.02)
    assert completed(capsys, scenario, "--kv-block-size", "8") == pytest.approx(4, rel=0.02)


def test_an_engine_is_described_with_its_blocks(scenario, capsys):
    assert main(["check", scenario, "--policy", "sarathi"]) == 0
    assert "KV cache 64 tokens in blocks of 16" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "command",
    [["check"], ["region"], ["simulate", "--policy", "orca", "--horizon", "9"]],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize(
    ("size", "said"), [("7", "got kv_capacity=64"), ("0", "kv_block_size=0")]
)
def test_blocks_that_do_not_fill_the_cache_are_refused(scenario, capsys, command, size, said):
    assert main([*command, scenario, "--kv-block-size", size]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "kv_block_size" in line
    assert said in line
