"""The backlog plot: what is drawn is what was simulated."""

import numpy as np
import pytest

import queueing_llm as ql
from queueing_llm.cli import main
from queueing_llm.plots import _backlog as plots
from queueing_llm.scenarios import load_scenario

pytest.importorskip("matplotlib")

SYSTEM = load_scenario("codellama34b-a100")
POLICIES = (ql.FASTER_TRANSFORMER, ql.SARATHI, ql.VLLM_V1)


@pytest.fixture(scope="module")
def figure():
    runs = [
        ql.simulate(SYSTEM.engine, SYSTEM.workload, policy=policy, horizon=300, samples=100)
        for policy in POLICIES
    ]
    verdicts = [
        ql.check_stability(SYSTEM.engine, SYSTEM.workload, policy=policy) for policy in POLICIES
    ]
    return runs, verdicts, plots._drawn(runs, verdicts, title="a title")


def test_backlogs_are_drawn_in_thousands_of_tokens(figure):
    runs, _, drawn = figure
    curves = drawn.axes[0].lines
    assert np.array_equal(curves[0].get_ydata(), runs[0].backlog_tokens[0] / 1000)
    assert np.array_equal(curves[0].get_xdata(), runs[0].times)


def test_the_fluid_limit_is_dashed_through_the_origin_in_the_same_colour(figure):
    _, verdicts, drawn = figure
    backlog, fluid = drawn.axes[0].lines[:2]
    assert fluid.get_linestyle() == "--"
    assert fluid.get_color() == backlog.get_color()
    assert (fluid.get_xdata()[0], fluid.get_ydata()[0]) == (0, 0)
    rise = fluid.get_ydata()[-1] / fluid.get_xdata()[-1]
    assert rise == pytest.approx(float(verdicts[0].growth) / 1000, rel=1e-12)
    assert sum(line.get_linestyle() == "--" for line in drawn.axes[0].lines) == 2


def test_policies_with_equal_backlogs_share_one_entry_of_the_legend(figure):
    _, _, drawn = figure
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "faster_transformer: UNSTABLE",
        "sarathi = vllm_v1: STABLE",
        "fluid limit",
    ]


def test_the_figure_says_what_it_shows(figure):
    (axes,) = figure[2].axes
    assert axes.get_title(loc="left") == "a title, 10.4 requests/s"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time [s]", "backlog [thousand tokens]")


def test_tick_labels_are_not_rounded():
    runs = [ql.simulate(SYSTEM.engine, SYSTEM.workload, policy=ql.ORCA, horizon=9)]
    verdicts = [ql.check_stability(SYSTEM.engine, SYSTEM.workload, policy=ql.ORCA)]
    (axes,) = plots._drawn(runs, verdicts, title="").axes
    axes.set_yticks([2.5, 7.5, 1500])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2.5", "7.5", "1,500"]


def test_a_recording_is_watched_once_and_other_workloads_for_2000_requests():
    poisson = ql.Workload.poisson(2, prompt_tokens=1, output_tokens=1)
    assert plots.watching_time(poisson) == 1000
    assert plots.watching_time(poisson.scale_to(100)) == 300
    replay = ql.Workload.of(ql.ReplayArrivals([1, 3, 8]), ql.EmpiricalLengths([1], [1]))
    assert plots.watching_time(replay) == 7


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_command_writes_the_figure(capsys, tmp_path, suffix):
    file = tmp_path / f"backlog.{suffix}"
    argv = ["check", "codellama34b-a100", "--policy", "orca", "--plot", str(file)]
    assert main(argv) == 0
    start = {"png": b"\x89PNG", "svg": b"<?xml"}[suffix]
    assert file.read_bytes().startswith(start)
    assert capsys.readouterr().err == ""
