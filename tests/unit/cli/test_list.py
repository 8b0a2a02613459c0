"""``queueing-llm list``: every name that it prints is accepted."""

import json

import pytest

from queueing_llm.cli import main
from queueing_llm.policies import POLICIES, policy_named
from queueing_llm.scenarios import load_scenario, scenario_names
from queueing_llm.traces import preset, preset_names


@pytest.fixture
def listed(capsys):
    assert main(["list", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_name_is_listed_and_accepted(listed):
    assert set(listed["scenarios"]) == set(scenario_names())
    assert set(listed["policies"]) == set(POLICIES)
    assert set(listed["presets"]) == set(preset_names())
    assert set(listed["trace_formats"]) == {"azure", "bailian", "burstgpt", "mooncake", "vidur"}
    for name in listed["scenarios"]:
        load_scenario(name)
    for name in listed["presets"]:
        preset(name)
    for reading in listed["readings"]:
        policy_named(f"orca:{reading}")


def test_readings_are_complete(listed):
    with pytest.raises(ValueError, match="no reading 'zzz'") as caught:
        policy_named("orca:zzz")
    for reading in listed["readings"]:
        assert f"'{reading}'" in str(caught.value)
    assert str(caught.value).count("'") == 2 * (2 + len(listed["readings"]))


def test_the_table_shows_all_names(capsys, listed):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for entries in listed.values():
        for name in entries:
            assert name in text
