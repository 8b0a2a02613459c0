"""Boxes for agents and arrows for moves, on axes whose unit is an inch."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from queueing_llm.plots._frame import COLOURS
from queueing_llm.plots._network_parts import AgentPart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from queueing_llm.plots._network_layout import Place

WIDTH, HEIGHT = 1.5, 0.56
"""Size of a box [inches]."""
STUB = 0.5
"""Length of the arrow by which sessions arrive [inches]."""
BAR = 0.09
"""Between a box and the bar of its fork or join [inches]."""
LOOP = 0.3
"""Height of an arrow from a box to itself [inches]."""
LOW = 0.16
"""How much lower an arrow leaves and ends that goes back [inches]."""
LETTERS = 20
"""Most letters of a name in a box."""
INK, FAINT = "0.15", "0.45"


def draw_box(
    axes: "Axes", part: AgentPart, *, at: "Place", fill: Any, ink: str, stands_out: bool
) -> None:
    """Draw an agent: its name, what serves it, and bars for its fork and join."""
    from matplotlib.patches import FancyBboxPatch

    x, y = at
    box = FancyBboxPatch(
        (x - WIDTH / 2, y - HEIGHT / 2),
        WIDTH,
        HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.09",
        facecolor=fill,
        edgecolor=COLOURS[2] if stands_out else INK,
        linewidth=3.5 if stands_out else 0.9,
        linestyle="-" if part.engines else "--",
        zorder=3,
    )
    axes.add_patch(box)
    style: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4, "color": ink}
    axes.text(x, y + 0.11, cut(part.name), fontsize=9, fontweight="bold", **style)
    axes.text(x, y - 0.13, _served_by(part), fontsize=7.5, **style)
    if part.forks:
        _draw_bar(axes, (x + WIDTH / 2 + BAR, y), "fork")
    if part.join:
        _draw_bar(axes, (x - WIDTH / 2 - BAR, y), f"join {part.join}")


def draw_arrivals(axes: "Axes", rate: float, *, at: "Place", from_left: bool) -> None:
    """Draw the arrow by which sessions arrive, from below where the left side is taken."""
    x, y = at
    if from_left:
        end = x - WIDTH / 2, y
        start = end[0] - STUB, y
        words = start[0], y + 0.06
    else:
        end = x - WIDTH / 3, y - HEIGHT / 2
        start = end[0], end[1] - STUB / 2
        words = start[0] + 0.08, start[1] - 0.02
    _draw_arrow(axes, posA=start, posB=end)
    axes.text(*words, f"{rate:.3g}/s", fontsize=7.5, color=FAINT, va="bottom")


def draw_move(axes: "Axes", places: "Sequence[Place]", *, label: str) -> None:
    """Draw an arrow from box to box, through further places on the way, with its label."""
    (x, y), (goal_x, goal_y) = places[0], places[-1]
    if places[0] == places[-1]:
        middle = _draw_loop(axes, places[0])
    elif x == goal_x:
        edge = math.copysign(HEIGHT / 2, goal_y - y)
        _draw_arrow(axes, posA=(x, y + edge), posB=(x, goal_y - edge))
        middle = x, (y + goal_y) / 2
    else:
        side, low = (WIDTH / 2, 0.0) if x < goal_x else (-WIDTH / 2, LOW)
        # Level beside the boxes of the columns that it passes.
        passed = [(at + by, row) for at, row in places[1:-1] for by in (-side, side)]
        way = [(x + side, y - low), *passed, (goal_x - side, goal_y - low)]
        _draw_arrow(axes, path=_smooth(way))
        # Off the middle where the label of the way forth may be.
        middle = _between(way[0], way[1], 0.3 if low else 0.5)
    if label:
        ground = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
        style: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 2.5}
        axes.text(*middle, label, fontsize=7.5, color=FAINT, bbox=ground, **style)


def cut(name: str, letters: int = LETTERS) -> str:
    """Return as much of a name as fits."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def _served_by(part: AgentPart) -> str:
    """Return the engine and the load of an agent, or the delay of a tool."""
    if part.load is None:
        return f"delay {part.delay:.3g} s" if part.delay else "no engine"
    if part.engines == (part.name,):
        served = ""
    elif len(part.engines) == 1:
        served = f"{cut(part.engines[0], 14)}, "
    else:
        served = f"{len(part.engines)} engines, "
    calls = f", x{part.calls:.3g}" if part.calls > 1 else ""
    return f"{served}{part.load:.1%}{calls}"


def _draw_bar(axes: "Axes", at: "Place", label: str) -> None:
    """Draw the thick bar at which work splits or waits for its other branches."""
    x, y = at
    reach = HEIGHT / 2
    axes.plot([x, x], [y - reach, y + reach], color=INK, linewidth=3, zorder=3.5)
    axes.text(x, y - reach - 0.04, label, fontsize=7, color=FAINT, ha="center", va="top")


def _draw_loop(axes: "Axes", place: "Place") -> "Place":
    """Draw an arrow from a box to itself and return its highest point."""
    from matplotlib.path import Path

    x, y = place[0], place[1] + HEIGHT / 2
    near = WIDTH / 5
    points = [(x + near, y), (x + near, y + LOOP), (x - near, y + LOOP), (x - near, y)]
    _draw_arrow(axes, path=Path(points, [Path.MOVETO] + [Path.CURVE4] * 3))
    return x, y + 0.75 * LOOP


def _draw_arrow(axes: "Axes", **where: Any) -> None:
    from matplotlib.patches import FancyArrowPatch

    arrow = FancyArrowPatch(
        **where,
        arrowstyle="-|>",
        mutation_scale=11,
        color=FAINT,
        linewidth=1.1,
        shrinkA=0,
        shrinkB=0,
        zorder=2,
    )
    axes.add_patch(arrow)


def _smooth(places: "Sequence[Place]") -> Any:
    """Return a path through places that is level in each of them."""
    from matplotlib.path import Path

    points, codes = [places[0]], [Path.MOVETO]
    for (x, y), (to_x, to_y) in pairwise(places):
        half = (x + to_x) / 2
        points += [(half, y), (half, to_y), (to_x, to_y)]
        codes += [Path.CURVE4] * 3
    return Path(points, codes)


def _between(start: "Place", end: "Place", share: float) -> "Place":
    """Return a place on the way that :func:`_smooth` takes from one place to the next."""
    across = 1.5 * share * (1 - share) + share**3
    up = share**2 * (3 - 2 * share)
    return start[0] + across * (end[0] - start[0]), start[1] + up * (end[1] - start[1])
