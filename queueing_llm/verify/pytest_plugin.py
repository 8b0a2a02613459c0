"""Pytest fixtures that hold a policy to its contracts, and to what once broke them.

The plugin is asked for, not registered: loading it takes the time of importing the package,
and pytest loads a registered plugin in every run of an environment.

Examples
--------
In a repository with a policy of its own, this is the whole test, beside the line
``pytest_plugins = ["queueing_llm.verify.pytest_plugin"]`` in its ``conftest.py``:

.. code-block:: python

    from my_lab import my_policy


    def test_contract(policy_contract):
        policy_contract(my_policy)

What ``queueing-llm verify my_lab.py:my_policy --save counterexamples`` has found and put in
the folder ``counterexamples`` beside the test file stays repaired with three lines more, one
test for each file:

.. code-block:: python

    def test_stays_repaired(saved_counterexample):
        saved_counterexample(my_policy)
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import pytest

if TYPE_CHECKING:
    from queueing_llm.model import Engine
    from queueing_llm.policies import Policy
    from queueing_llm.verify.contracts._contract import Contract
    from queueing_llm.verify.findings._report import Finding, PolicyReport

MARKER = "policy_contracts"
FOLDERS = "counterexamples"
"""The marker that names folders of saved counterexamples, and the one that needs no marker."""


@final
class Reports:
    """What was found out for one test function: one search answers for all its contracts.

    Parameters
    ----------
    names : sequence of str
        Names of the contracts.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._known: dict[tuple[object, ...], tuple[object, PolicyReport]] = {}

    def about(
        self, policy: "Policy", *, engine: "Engine | None", **search: Any
    ) -> "PolicyReport":
        """Return the report on a policy, from the same search if it was asked before."""
        from queueing_llm.verify import check_policy

        key = (id(policy), id(engine), *sorted(search.items()))
        if key not in self._known:
            report = check_policy(policy, engine=engine, contracts=self.names, **search)
            # Kept beside the report, so that nothing else can take their identities.
            self._known[key] = ((policy, engine), report)
        return self._known[key][1]


@final
class PolicyContract:
    """One contract, to be called with the policy that has to keep it.

    Parameters
    ----------
    name : str
        Name of the contract.
    reports : Reports
        What is shared with the other contracts of the same test function.
    """

    def __init__(self, name: str, reports: Reports) -> None:
        self.name = name
        self.was_asked = False
        self._reports = reports

    def __call__(
        self,
        policy: "Policy",
        *,
        engine: "Engine | None" = None,
        effort: Literal["quick", "thorough", "exhaustive"] = "quick",
        seed: int = 0,
    ) -> None:
        """Fail the test if the policy breaks the contract; skip it if nothing was tested.

        Parameters
        ----------
        policy, engine, effort, seed
            As for :func:`~queueing_llm.verify.check_policy`.
        """
        from queueing_llm.verify import Outcome

        self.was_asked = True
        report = self._reports.about(policy, engine=engine, effort=effort, seed=seed)
        finding = report[self.name]
        if finding.outcome is Outcome.HOLDS:
            return
        about = f"{report.policy}, {self.name}: {finding.outcome.value}, {finding.basis}"
        if finding.outcome is Outcome.UNDECIDED and finding.tested == 0:
            pytest.skip(about)
        pytest.fail("\n\n".join([about, *_evidence(finding)]), pytrace=False)


@final
class SavedCounterexample:
    """One file that was saved, to be called with the policy that must not break it any more.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_asked = False

    def __call__(self, policy: "Policy", *, contracts: "Sequence[Contract]" = ()) -> None:
        """Fail the test unless the policy is seen to keep the contract of the file.

        Parameters
        ----------
        policy, contracts
            As for :func:`~queueing_llm.verify.replay`.
        """
        from queueing_llm.verify import Outcome
        from queueing_llm.verify._check_policy import name_of
        from queueing_llm.verify.findings._reproduction import replay

        self.was_asked = True
        finding = replay(self.path, policy, contracts=contracts)
        if finding.outcome is not Outcome.HOLDS:
            about = f"{name_of(policy)}, {finding.contract.name}: {finding.outcome.value}"
            said = [f"{about}, {finding.basis}", *_evidence(finding)]
            pytest.fail("\n\n".join(said), pytrace=False)


def _evidence(finding: "Finding") -> list[str]:
    """Return what to read and to run, as far as there is any."""
    contract, found = finding.contract, finding.counterexample
    promise = f"{contract.definition} ({contract.source})"
    return [promise] if found is None else [promise, found.timeline(), found.snippet()]


@pytest.fixture
def policy_contract(request: pytest.FixtureRequest) -> PolicyContract:
    """One contract after another, each a callable that takes the policy to be tested.

    By default those that throughput-optimality needs; others are named by
    ``@pytest.mark.policy_contracts("oldest_first", ...)``.
    """
    return PolicyContract(*request.param)


@pytest.fixture
def saved_counterexample(request: pytest.FixtureRequest) -> SavedCounterexample:
    """One saved counterexample after another, each a callable that takes the policy.

    By default those in the folder ``counterexamples`` beside the test file; others are named by
    ``@pytest.mark.counterexamples("folder", ...)``, from there.
    """
    return SavedCounterexample(request.param)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for text in (
        f"{MARKER}(*names): the contracts that policy_contract checks, by name",
        f"{FOLDERS}(*folders): where saved_counterexample finds its files",
    ):
        config.addinivalue_line("markers", text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each contract, or file, of a test that asks for a fixture."""
    if policy_contract.__name__ in metafunc.fixturenames:
        names = _contracts_of(metafunc)
        reports = Reports(names)
        cases: list[Any] = [(name, reports) for name in names]
        metafunc.parametrize(policy_contract.__name__, cases, indirect=True, ids=names)
    if saved_counterexample.__name__ in metafunc.fixturenames:
        files = _files_of(metafunc)
        stems = [file.stem for file in files]
        metafunc.parametrize(saved_counterexample.__name__, files, indirect=True, ids=stems)


def _contracts_of(metafunc: pytest.Metafunc) -> list[str]:
    from queueing_llm.verify import CONTRACTS, contract_named

    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None:
        return [name for name, known in CONTRACTS.items() if known.is_needed]
    # An empty list of parameters would skip the test, as if there were nothing to say.
    if not marker.args:
        pytest.fail(f"{metafunc.definition.nodeid}: {MARKER} names no contract.")
    return [contract_named(name).name for name in marker.args]


def _files_of(metafunc: pytest.Metafunc) -> list[Path]:
    marker = metafunc.definition.get_closest_marker(FOLDERS)
    named = (FOLDERS,) if marker is None else marker.args
    files: list[Path] = []
    for name in named:
        found = sorted((metafunc.definition.path.parent / name).glob("*.json"))
        if not found:
            where = f"no saved counterexample in the folder {name!r}"
            pytest.fail(f"{metafunc.definition.nodeid}: there is {where}.")
        files += found
    if not files:
        pytest.fail(f"{metafunc.definition.nodeid}: {FOLDERS} names no folder.")
    return files


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail a test that passes without ever asking what it was given to ask."""
    result = yield
    for fixture in (policy_contract, saved_counterexample):
        given = pyfuncitem.funcargs.get(fixture.__name__)
        asked = not isinstance(given, PolicyContract | SavedCounterexample) or given.was_asked
        if not asked:
            pytest.fail(f"the test never called {fixture.__name__}(policy).", pytrace=False)
    return result
