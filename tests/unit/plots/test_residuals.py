"""The residual plot: what is drawn is what was measured and fitted."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import StepSamples, fit_step_time
from queueing_llm.plots import _residuals as plots

pytest.importorskip("matplotlib")

TOKENS = np.arange(1, 401, 3)
NOISE = 1 + np.random.default_rng(5).normal(0, 0.02, len(TOKENS))
CURVE = StepSamples.of_tokens(TOKENS, (0.01 + 2e-4 * np.maximum(0, TOKENS - 50)) * NOISE)
BATCHES = StepSamples(
    TOKENS, TOKENS % 7 + 1, 100.0 * (TOKENS % 5), (0.02 + 1e-5 * TOKENS) * NOISE, "a run"
)


def fits(samples, *laws):
    return [fit_step_time(samples, law=law, kv_reads=False, resamples=20) for law in laws]


def points(line):
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


@pytest.fixture(scope="module")
def curve():
    found = fits(CURVE, "hinge", "affine")
    return found, plots.residuals_figure(found, title="a title")


def test_what_was_measured_is_drawn_in_milliseconds(curve):
    _, figure = curve
    tokens, milliseconds = points(figure.axes[0].lines[0])
    np.testing.assert_array_equal(tokens, CURVE.tokens)
    np.testing.assert_array_equal(milliseconds, 1e3 * CURVE.seconds)


def test_laws_of_the_tokens_are_curves_between_the_samples(curve):
    found, figure = curve
    for fit, line in zip(found, figure.axes[0].lines[1:], strict=True):
        tokens, milliseconds = points(line)
        assert (tokens[0], tokens[-1]) == (1, TOKENS[-1])
        np.testing.assert_allclose(milliseconds, 1e3 * fit.step_time(tokens))


def test_relative_errors_are_drawn_in_per_cent_below(curve):
    found, figure = curve
    _, *lines = figure.axes[1].lines
    for fit, line in zip(found, lines, strict=True):
        np.testing.assert_allclose(points(line)[1], 100 * fit.relative_errors)
    assert figure.axes[0].lines[1].get_color() == lines[0].get_color()
    assert lines[0].get_zorder() > lines[1].get_zorder()


def test_axes_have_units_and_the_legend_the_errors(curve):
    found, figure = curve
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "step time [ms]",
        "relative error [%]",
    ]
    assert figure.axes[1].get_xlabel() == "tokens in the batch"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"measured, {len(CURVE)} batches",
        f"hinge: mean error {found[0].mean_relative_error:.1%}",
        f"affine: mean error {found[1].mean_relative_error:.1%}",
    ]


def test_batches_that_tokens_do_not_tell_apart_are_points():
    found = fits(BATCHES, "affine", "split")
    figure = plots.residuals_figure(found, title="a title")
    _, first = figure.axes[0].lines
    np.testing.assert_allclose(points(first)[1], 1e3 * found[0].fitted_seconds)
    assert first.get_linestyle() == "None"


@pytest.mark.parametrize(("most", "scale"), [(11.0, "linear"), (13.0, "log")])
def test_axes_that_span_much_are_logarithmic(most, scale):
    tokens = np.linspace(10, 10 * most, 12)
    samples = StepSamples.of_tokens(tokens, 1e-3 * tokens)
    figure = plots.residuals_figure(fits(samples, "affine"), title="a title")
    assert {axes.get_xscale() for axes in figure.axes} == {scale}
    assert figure.axes[0].get_yscale() == scale
    assert figure.axes[1].get_yscale() == "linear"


def test_no_fit_is_refused_and_a_folder_too(tmp_path):
    with pytest.raises(InvalidArgument, match="at least one fit"):
        plots.plot_residuals([], path=tmp_path / "fit.png", title="")
    with pytest.raises(InvalidArgument, match="plot format"):
        plots.plot_residuals(fits(CURVE, "affine"), path=tmp_path / "fit.txt", title="")
