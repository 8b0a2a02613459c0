"""Scenario files: packaged ones load, mistakes in others name file, key and remedy."""

from fractions import Fraction

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import DeterministicArrivals, ReplayArrivals
from queueing_llm.scenarios import load_scenario, scenario_names

GOOD = """
description = "small"

[engine]
token_budget = 512
step_time = {law = "staircase", overhead = 0.01128, per_block = 0.03547, block = 128}

[workload]
arrival_rate = 10.4
prompt_tokens = 129
output_tokens = 112
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "mine.toml"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize("name", scenario_names())
def test_every_packaged_scenario_says_what_it_is_and_where_it_is_from(name):
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    assert scenario.source
    assert scenario.workload.is_endless


def test_codellama_has_the_published_numbers_exactly():
    scenario = load_scenario("codellama34b-a100")
    step = scenario.engine.step_time
    assert (step.overhead, step.per_block, step.block) == (
        Fraction(1128, 10**5),
        Fraction(3547, 10**5),
        128,
    )
    assert scenario.engine.token_budget == 512
    assert scenario.workload.arrival_rate == Fraction(104, 10)
    assert (scenario.workload.mean_prompt_tokens, scenario.workload.mean_output_tokens) == (
        129,
        112,
    )


def test_vertex_c_is_the_experiment_of_section_6_2():
    scenario = load_scenario("vertex-c")
    assert isinstance(scenario.workload.arrivals, DeterministicArrivals)
    assert 1 / scenario.workload.arrival_rate == Fraction(4675, 10**4)
    assert (scenario.workload.longest_prompt, scenario.workload.longest_request) == (290, 1280)
    assert (scenario.engine.token_budget, scenario.engine.max_batch_size) == (128, 100)


def test_a_file_is_named_after_itself_unless_it_says_otherwise(written):
    assert load_scenario(written(GOOD)).name == "mine"
    assert load_scenario(written("name = 'other'\n" + GOOD)).name == "other"


def test_a_trace_is_found_beside_its_scenario(written, tmp_path, monkeypatch):
    trace = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    trace += "2023-11-16 18:15:46,10,5\n2023-11-16 18:15:48,20,5\n"
    (tmp_path / "beside.csv").write_text(trace)
    engine = GOOD[: GOOD.index("[workload]")]
    file = written(f"{engine}[workload]\ntrace = 'beside.csv'\n")
    monkeypatch.chdir("/")
    workload = load_scenario(file).workload
    assert isinstance(workload.arrivals, ReplayArrivals)
    assert workload.arrival_rate == 0.5


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("token_budget =", "token_budgt =", r"\[engine\] has no key.*you mean 'token_budget'"),
        ("[workload]", "[workloda]", "no key 'workloda': did you mean 'workload'"),
        ("token_budget = 512", "", r"\[engine\] needs the key 'token_budget'"),
        ("token_budget = 512", "token_budget = 0", "at least 1 .*token_budget=0"),
        ("token_budget = 512", "token_budget = 51.5", "token_budget must be an integer"),
        ("staircase", "stairs", "engine.step_time.law is 'stairs'.*did you mean 'staircase'"),
        ("per_block", "per_blok", "no key 'per_blok': did you mean 'per_block'"),
        ("per_block = 0.03547", "per_block = nan", "per_block=nan"),
        ("step_time = {", "step_time = 3 # {", "engine.step_time must be a table, got .*3"),
        ("[workload]", "[workload", "not valid TOML.*line"),
        ('description = "small"', "description = 3", "a text in quotes, got description=3"),
        ("[workload]", "[workload]\nskip_bad_rows = 1", "must be true or false"),
        ("[workload]", "[workload]\nclasses = 1", "must be an array of tables"),
        (
            "[workload]",
            "[workload]\nclasses = [{nme = 'a'}]",
            r"classes\[0\]\] has no key 'nme'.*'name'",
        ),
    ],
)
def test_a_mistake_names_the_file_the_key_and_the_remedy(written, old, new, words):
    assert old in GOOD
    file = written(GOOD.replace(old, new))
    with pytest.raises(InvalidArgument, match=words) as caught:
        load_scenario(file)
    assert str(caught.value).startswith(str(file))


def test_an_unknown_name_suggests_the_nearest_scenario():
    with pytest.raises(InvalidArgument, match="did you mean 'codellama34b-a100'"):
        load_scenario("codelama34b-a100")


def test_a_folder_or_another_kind_of_file_is_no_scenario(tmp_path):
    with pytest.raises(InvalidArgument, match="no readable file"):
        load_scenario(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidArgument, match="not UTF-8 text"):
        load_scenario(tmp_path / "binary.toml")
