"""Empty figures in the style of the library."""

import pytest

from queueing_llm.plots import framed, two_panels


def test_two_panels_stand_under_one_title_in_one_style():
    pytest.importorskip("matplotlib", reason="the extra 'plots' draws figures")
    figure, left, right = two_panels("A finding", height=3, width_ratios=(3, 1))
    assert figure.axes == [left, right]
    assert figure.get_suptitle() == "A finding"
    assert figure.get_size_inches()[1] == 3
    figure.canvas.draw()
    assert left.get_position().width > 2 * right.get_position().width
    _, alone = framed("A finding", height=3)
    for axes in (left, right, alone):
        assert not axes.spines["top"].get_visible()
        assert axes.get_axisbelow()
