"""Figures, drawn with Matplotlib (``pip install 'queueing-llm[plots]'``)."""

from queueing_llm.plots._backlog import plot_backlog, watching_time
from queueing_llm.plots._frame import check_plot_path
from queueing_llm.plots._network import network_figure, plot_network
from queueing_llm.plots._region import plot_region
from queueing_llm.plots._residuals import plot_residuals

__all__ = [
    "check_plot_path",
    "network_figure",
    "plot_backlog",
    "plot_network",
    "plot_region",
    "plot_residuals",
    "watching_time",
]
