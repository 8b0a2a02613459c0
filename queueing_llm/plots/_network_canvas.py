"""A figure in inches: the graph on the left, the loads of the engines on the right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from queueing_llm.plots._frame import figure_class
from queueing_llm.plots._network_boxes import HEIGHT, LOOP, STUB, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from queueing_llm.plots._network_layout import Place

COLUMN, ROW = WIDTH + 0.8, HEIGHT + 0.5
"""From a box to the next one [inches]."""
NAMES, BARS, LINE = 1.5, 1.5, 0.24
"""Width of the names of the engines and of their bars, and height of a bar [inches]."""
SCALE = 0.75
"""Height of the colour bar with its label [inches]."""
TITLE = 0.75
"""Height of the title and the verdict [inches]."""
TIP = 0.05
"""Length of the tip of the colour bar, as a share of its rest."""
EDGE = 0.2
"""Least distance from the edges of the figure [inches]."""
NO_ENGINE, OVERLOADED = "0.94", "#3b0044"


@final
@dataclass(frozen=True, slots=True)
class Canvas:
    """Sizes of the parts of a figure.

    Parameters
    ----------
    columns, rows : int, float
        How far the places reach: columns from 0, rows on both sides of 0.
    lines : int
        Engines that are listed.
    """

    columns: float
    rows: float
    lines: int

    @classmethod
    def around(cls, places: "Sequence[Place]", *, lines: int) -> "Canvas":
        """Return the canvas that holds these places, and so many lines of engines."""
        return cls(max(x for x, _ in places), max(abs(y) for _, y in places), lines)

    @property
    def graph_size(self) -> "Place":
        """Width and height of the graph [inches]."""
        return (
            self.columns * COLUMN + WIDTH + STUB + 2 * EDGE,
            2 * (self.rows * ROW + LOOP + EDGE) + HEIGHT,
        )

    @property
    def size(self) -> "Place":
        """Width and height of the figure [inches]."""
        width, height = self.graph_size
        panel = self.lines * LINE + SCALE + EDGE
        return width + NAMES + BARS + EDGE, max(height, panel) + TITLE

    def inches(self, place: "Place") -> "Place":
        """Return where a column and row are on the axes of the graph [inches]."""
        return STUB + EDGE + WIDTH / 2 + place[0] * COLUMN, -place[1] * ROW

    def figure(self) -> "tuple[Figure, Axes, Axes, Axes]":
        """Return the figure with the axes of the graph, of the loads and of their colours."""
        width, height = self.size
        figure = figure_class()(figsize=(width, height))
        across, up = self.graph_size[0], height - TITLE
        graph = figure.add_axes((0, 0, across / width, up / height))
        graph.set_xlim(0, across)
        graph.set_ylim(-up / 2, up / 2)
        graph.set_axis_off()
        left, bars = (across + NAMES) / width, BARS / width
        tall = self.lines * LINE / height
        loads = figure.add_axes((left, up / height - tall, bars, tall))
        # As long as a bar of load 1, and the tip for what is above it.
        key = figure.add_axes(
            (left, up / height - tall - 0.35 / height, bars * (1 + TIP), 0.12 / height)
        )
        return figure, graph, loads, key


@final
@dataclass(frozen=True, slots=True)
class LoadColours:
    """Colours of loads: from pale at 0 to red at 100 %, and one more above.

    Parameters
    ----------
    scale : matplotlib ScalarMappable
        From a load [%] to a colour.
    """

    scale: Any

    @classmethod
    def up_to_full(cls) -> "LoadColours":
        """Return the colours for loads from 0 to 100 %."""
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        colours = colormaps["YlOrRd"].with_extremes(over=OVERLOADED)
        return cls(ScalarMappable(Normalize(0, 100), colours))

    def of(self, load: float | None) -> tuple[Any, str]:
        """Return the colour for a load, None for no engine, and that of letters on it."""
        if load is None:
            return NO_ENGINE, "black"
        fill = self.scale.to_rgba(100 * load)
        red, green, blue, _ = fill
        # Perceived brightness, ITU-R BT.601.
        return fill, "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
