"""A pytest fixture that holds a policy to its contracts, one test for each contract.

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
"""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal, final

import pytest

if TYPE_CHECKING:
    from queueing_llm.model import Engine
    from queueing_llm.policies import Policy
    from queueing_llm.verify._report import Finding, PolicyReport

MARKER = "policy_contracts"
NEVER_MET = "none of "
"""How the basis of a finding begins if no trial had to do with the contract."""


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
        if finding.outcome is Outcome.UNDECIDED and finding.basis.startswith(NEVER_MET):
            pytest.skip(about)
        pytest.fail("\n\n".join([about, *_evidence(finding)]), pytrace=False)


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


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    text = f"{MARKER}(*names): the contracts that policy_contract checks, by name"
    config.addinivalue_line("markers", text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each contract of a test that asks for the fixture."""
    if policy_contract.__name__ not in metafunc.fixturenames:
        return
    from queueing_llm.verify import CONTRACTS, contract_named

    marker = metafunc.definition.get_closest_marker(MARKER)
    chosen = [name for name, known in CONTRACTS.items() if known.is_needed]
    if marker is not None:
        # An empty list of parameters would skip the test, as if there were nothing to say.
        if not marker.args:
            pytest.fail(f"{metafunc.definition.nodeid}: {MARKER} names no contract.")
        chosen = [contract_named(name).name for name in marker.args]
    reports = Reports(chosen)
    cases = [(name, reports) for name in chosen]
    metafunc.parametrize(policy_contract.__name__, cases, indirect=True, ids=chosen)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail a test that passes without ever asking its contract."""
    result = yield
    contract = pyfuncitem.funcargs.get(policy_contract.__name__)
    if isinstance(contract, PolicyContract) and not contract.was_asked:
        pytest.fail("the test never called policy_contract(policy).", pytrace=False)
    return result
