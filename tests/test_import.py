"""``import queueing_llm`` stays light: what is heavy waits until it is needed."""

import subprocess
import sys

import pytest

HEAVY = {
    "cvxpy",
    "hypothesis",
    "matplotlib",
    "networkx",
    "numba",
    "polars",
    "pydantic",
    "rich",
    "scipy",
    "sympy",
    "typer",
}


def loaded_after(statement: str) -> set[str]:
    """Return the heavy libraries that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return HEAVY & set(done.stdout.split())


def test_import_loads_nothing_heavy():
    assert loaded_after("import queueing_llm") == set()


def test_a_verdict_by_theorem_loads_nothing_heavy():
    statement = """
import queueing_llm as ql
step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
engine = ql.Engine(step_time=step, token_budget=512)
workload = ql.Workload.poisson(10.4, prompt_tokens=129, output_tokens=112)
assert ql.check_stability(engine, workload, policy=ql.SARATHI).status is ql.Status.STABLE
"""
    assert loaded_after(statement) == set()


@pytest.mark.parametrize("library", ["polars", "scipy.special"])
def test_the_check_sees_what_is_loaded(library):
    assert loaded_after(f"import {library}") == {library.partition(".")[0]}
