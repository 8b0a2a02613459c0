"""What pytest says about policies that are held to their contracts, in a run of its own."""

import subprocess
import sys

import pytest

import queueing_llm as ql
from queueing_llm.verify import CONTRACTS, check_policy, pytest_plugin
from queueing_llm.verify.findings._reproduction import save_counterexamples

pytest_plugins = ["pytester"]

POLICIES = """
import pytest
import queueing_llm as ql

def idles_with_three(state):
    batch = ql.SARATHI(state)
    return ql.Batch(batch.tokens * 0) if len(state.request) == 3 else batch

class OnceTooMany:
    asked = 0
    def __call__(self, state):
        self.asked += 1
        tokens = ql.SARATHI(state).tokens
        return ql.Batch(tokens + state.token_budget if self.asked == 40 else tokens)
"""
NEEDED = """
def test_good(policy_contract):
    policy_contract(ql.SARATHI)

def test_bad(policy_contract):
    policy_contract(idles_with_three)
"""
NAMED = """
contracts = pytest.mark.policy_contracts

@contracts("Oldest-First")
@pytest.mark.parametrize("policy", [ql.SARATHI, ql.VANILLA_VLLM], ids=["good", "bad"])
def test_named(policy_contract, policy):
    policy_contract(policy)

@contracts("kv_capacity", "token_budget")
def test_engine(policy_contract):
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=4)
    policy_contract(ql.SARATHI, engine=engine)

@contracts("token_budget")
def test_once(policy_contract):
    policy_contract(OnceTooMany())

@contracts("progress")
def test_two(policy_contract):
    policy_contract(ql.SARATHI)
    policy_contract(idles_with_three)

@contracts("progress")
def test_asks_nothing(policy_contract):
    pass

@contracts("progress")
def test_says_why_it_asks_nothing(policy_contract):
    pytest.skip("not here")

def test_of_something_else():
    pass
"""


@pytest.fixture
def run_of(pytester, monkeypatch):
    """Run a test file with the plugin, loaded by name and by nothing else."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(text):
        pytester.makepyfile(test_lab=POLICIES + text)
        plugin = ("-p", pytest_plugin.__name__)
        return pytester.runpytest_subprocess("-rA", "--strict-markers", *plugin)

    return run


def ended(result, word):
    """Return the tests that ended that way, with what is said beside them."""
    lines = [line for line in result.outlines if line.startswith(f"{word} ")]
    named = [line.removeprefix(f"{word} test_lab.py::").partition(" - ") for line in lines]
    return {name: said for name, _, said in named}


def test_each_needed_contract_is_a_test_and_just_the_broken_ones_fail(run_of):
    result = run_of(NEEDED)
    broken = {"progress", "work_conserving", "finishes"}
    assert set(ended(result, "FAILED")) == {f"test_bad[{name}]" for name in broken}
    needed = sum(known.is_needed for known in CONTRACTS.values())
    result.assert_outcomes(passed=2 * needed - len(broken), failed=len(broken))
    assert "test_good[work_conserving]" in ended(result, "PASSED")
    result.stdout.fnmatch_lines(
        [
            "idles_with_three, progress: violated, an empty batch with requests present: 3",
            "A batch is not empty while a request is present.*",
            "step * 0*",
            "request 2 *.",
            "batch/budget 0/*",
        ]
    )
    # A traceback would show the plugin, where nothing is wrong.
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")
    _check_that_the_snippet_leads_to_the_breach(result.outlines)


def _check_that_the_snippet_leads_to_the_breach(lines):
    last = "answer = policy(state)  # an empty batch with requests present: 3"
    end = lines.index(last) + 1
    begin = max(i for i, line in enumerate(lines[:end]) if line == "import numpy as np")
    world = {}
    program = [POLICIES, "policy = idles_with_three", *lines[begin:end]]
    exec("\n".join(program), world)
    assert len(world["state"].request) == 3
    assert not world["answer"].tokens.any()
    assert not world["decision"].batch.tokens.any()


def test_contracts_named_by_a_marker_and_what_is_no_pass(run_of):
    result = run_of(NAMED)
    result.assert_outcomes(passed=3, failed=4, skipped=2)
    failed, passed = ended(result, "FAILED"), ended(result, "PASSED")
    (bad,) = (name for name in failed if name.startswith("test_named"))
    assert set(bad.partition("[")[2].strip("]").split("-")) == {"oldest_first", "bad"}
    assert set(failed) - {bad} == {
        "test_once[token_budget]",
        "test_two[progress]",
        "test_asks_nothing[progress]",
    }
    assert {"test_engine[token_budget]", "test_of_something_else"} < set(passed)
    result.stdout.fnmatch_lines_random(
        [
            "OnceTooMany, token_budget: undecided, broken once and kept when*",
            "the test never called policy_contract(policy).",
            "SKIPPED *kv_capacity: undecided, none of 120 trials *",
            "SKIPPED *not here",
        ]
    )


@pytest.mark.parametrize(
    ("mark", "said"),
    [("'progres'", "*there is no contract 'progres'*progress*"), ("", "*names no contract*")],
)
def test_a_marker_that_names_nothing_known_is_an_error(run_of, mark, said):
    result = run_of(f"@pytest.mark.policy_contracts({mark}){NEEDED}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])


def test_the_module_itself_imports_pytest_only():
    program = (
        "import sys, runpy, pytest\n"
        "before = set(sys.modules)\n"
        "runpy.run_path(sys.argv[1])\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))\n"
    )
    command = [sys.executable, "-c", program, pytest_plugin.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


STAYS = """
def test_stays(saved_counterexample):
    saved_counterexample(ql.SARATHI)

def test_comes_back(saved_counterexample):
    saved_counterexample(idles_with_three)

def test_cannot_tell(saved_counterexample):
    saved_counterexample(lambda state: None)

def test_asks_nothing(saved_counterexample):
    pass
"""


@pytest.fixture(scope="module")
def idling(tmp_path_factory):
    """The folder with one counterexample of a policy that idles."""

    def idles_with_three(state):
        batch = ql.SARATHI(state)
        return ql.Batch(batch.tokens * 0) if len(state.request) == 3 else batch

    folder = tmp_path_factory.mktemp("counterexamples")
    (file,) = save_counterexamples(
        check_policy(idles_with_three, contracts=["progress"]), folder
    )
    return file


def test_saved_counterexamples_are_tests(run_of, pytester, idling):
    folder = pytester.mkdir("counterexamples")
    (folder / idling.name).write_text(idling.read_text())
    (folder / "README.md").write_text("no counterexample")
    result = run_of(STAYS)
    result.assert_outcomes(passed=1, failed=3)
    assert list(ended(result, "PASSED")) == [f"test_stays[{idling.stem}]"]
    result.stdout.fnmatch_lines(
        [
            "idles_with_three, progress: violated, an empty batch with requests present: 3",
            "A batch is not empty while a request is present.*",
            "batch/budget 0/*",
            "<lambda>, progress: undecided, not broken, but these requests were not served*",
            "the test never called saved_counterexample(policy).",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_folders_named_by_a_marker(run_of, pytester, idling):
    for name in ("one", "two"):
        (pytester.mkdir(name) / f"{name}.json").write_text(idling.read_text())
    result = run_of(f"pytestmark = pytest.mark.counterexamples('one', 'two')\n{STAYS}")
    assert {"test_stays[one]", "test_stays[two]"} == set(ended(result, "PASSED"))


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("", "*there is no saved counterexample in the folder 'counterexamples'*"),
        ("pytestmark = pytest.mark.counterexamples('here', 'gone')", "*in the folder 'gone'*"),
        ("pytestmark = pytest.mark.counterexamples()", "*counterexamples names no folder*"),
    ],
)
def test_no_files_are_no_silent_success(run_of, pytester, idling, mark, said):
    (pytester.mkdir("here") / "one.json").write_text(idling.read_text())
    result = run_of(f"{mark}\n{STAYS}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])


def test_a_file_that_was_changed_is_no_success(run_of, pytester, idling):
    folder = pytester.mkdir("counterexamples")
    (folder / "one.json").write_text(idling.read_text().replace("progress", "oldest_first"))
    result = run_of(STAYS)
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["*was changed after it was written*"])
