"""Controls of the figures of arXiv:2504.07347v3: what would come out if a claim were wrong."""

from fractions import Fraction

import pytest

import queueing_llm as ql
from paper_repro.dai2025 import _published, fig_14, fig_14_poisson, fig_boundary, fig_jsq
from paper_repro.dai2025.table_batch_times import FULL_BATCHES, JUST_OVER, _first_best
from queueing_llm.scenarios import load_scenario

SCENARIO = load_scenario("theorem-2")
BOUNDARY = ql.capacity(SCENARIO.engine, SCENARIO.workload).requests_per_second


def served(dispatch, shares=None):
    """Return what two engines serve at load 1.2, in engines."""
    network = fig_jsq.farm([SCENARIO.engine] * 2, Fraction(6, 5), dispatch=dispatch)
    run = ql.simulate_network(
        network, horizon=200, warmup=100, replications=4, seed=6, shares=shares
    )
    return fig_jsq.engines_served(run, Fraction(BOUNDARY))


def test_two_engines_behind_the_shortest_queue_serve_what_two_do():
    assert served("shortest").value == pytest.approx(2, abs=0.01)


def test_a_router_that_knows_one_engine_only_does_not_pass_for_two():
    one_only = served("planned", {"request": (Fraction(1), Fraction(0))})
    assert one_only.value == pytest.approx(1, abs=0.01)
    assert one_only.standard_error < 0.01


def test_a_policy_that_grows_below_load_1_is_not_called_optimal():
    workload = fig_boundary._workload((129, 112), 90)
    for name, policy in _published.POLICIES.items():
        run = ql.simulate(
            _published.ENGINE, workload, policy=policy, horizon=600, replications=8, seed=9
        )
        assert run.grows == (name in ("FasterTransformer", "vanilla vLLM"))


def test_the_best_batch_is_found_by_trying_all():
    assert tuple(map(_first_best, FULL_BATCHES)) == FULL_BATCHES
    assert _first_best(JUST_OVER) == 128


def test_growth_is_drawn_up_to_where_no_policy_keeps_up():
    assert fig_14_poisson.QUICK_LOADS[-1] == fig_14_poisson.LOADS[-1] > 1


@pytest.mark.parametrize("curves", [fig_14.DRAWN, fig_14_poisson.CURVES])
def test_policies_have_the_colours_of_the_other_figures(curves):
    for label, (*_, colour) in curves.items():
        name = label.partition(",")[0].replace("Sarathi", "Sarathi-Serve")
        if "b = 128" in label:
            assert colour == _published.COLOUR[name]
    assert len({colour for *_, colour in curves.values()}) == len(curves)
