"""Figures, drawn with Matplotlib (``pip install 'queueing-llm[plots]'``)."""

from queueing_llm.plots._backlog import plot_backlog, watching_time
from queueing_llm.plots._frame import (
    COLOURS,
    check_plot_path,
    figure_class,
    framed,
    save,
    two_panels,
)
from queueing_llm.plots._network import network_figure, plot_network
from queueing_llm.plots._region import plot_region
from queueing_llm.plots._residuals import plot_residuals, residuals_figure

__all__ = [
    "COLOURS",
    "check_plot_path",
    "figure_class",
    "framed",
    "network_figure",
    "plot_backlog",
    "plot_network",
    "plot_region",
    "plot_residuals",
    "residuals_figure",
    "save",
    "two_panels",
    "watching_time",
]
