"""Places for the nodes of a graph: columns in the order of the flow, few crossings."""

from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

Node: TypeAlias = Hashable
Place: TypeAlias = tuple[float, float]
Edge: TypeAlias = tuple[Node, Node]

SWEEPS = 12
LANE = 0.5
"""Least distance of two arrows that pass between boxes, in rows."""


def layered_places(
    nodes: Sequence[Node], edges: Sequence[Edge]
) -> tuple[dict[Node, Place], dict[Edge, tuple[Place, ...]]]:
    """Return a place for each node, and the places that each long edge passes.

    Parameters
    ----------
    nodes : sequence of nodes
        First the ones that the flow starts from.
    edges : sequence of pairs of nodes
        Each pair once, loops left out.

    Returns
    -------
    places : dict of node to (column, row)
        A node stands right of its predecessors, except along edges that close a cycle. Nodes
        of a column are one row or more apart; rows are centred on 0.
    bends : dict of edge to tuple of (column, row)
        Free places in the columns that an edge skips, from its source on.

    Notes
    -----
    The layered drawing of Sugiyama, Tagawa and Toda (1981): longest paths give the columns,
    barycentres of neighbours the order in them. Rows are then as close as that order allows
    to the mean row of the neighbours, by least squares. Equal input gives equal places.

    Examples
    --------
    >>> layered_places("abc", [("a", "b"), ("b", "c"), ("c", "a")])[0]
    {'a': (0.0, 0.0), 'b': (1.0, -0.5), 'c': (2.0, 0.0)}
    """
    number = {node: i for i, node in enumerate(nodes)}
    pairs = [(number[one], number[other]) for one, other in edges]
    column = _columns(len(nodes), pairs)
    paths = []
    for one, other in pairs:
        step = 1 if column[one] < column[other] else -1
        skipped = range(column[one] + step, column[other], step)
        paths.append([one, *range(len(column), len(column) + len(skipped)), other])
        column += skipped
    row = _rows(column, paths, nodes=len(nodes))
    places = [(float(x), y) for x, y in zip(column, row, strict=True)]
    bends = {
        edge: tuple(places[b] for b in path[1:-1])
        for edge, path in zip(edges, paths, strict=True)
        if len(path) > 2
    }
    return {node: places[i] for node, i in number.items()}, bends


def _columns(nodes: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Return the longest path to each node, without the edges that close a cycle.

    These are found on a walk from the first nodes on.
    """
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(edges)
    while not nx.is_directed_acyclic_graph(graph):
        graph.remove_edge(*nx.find_cycle(graph)[-1])
    column = {n: i for i, group in enumerate(nx.topological_generations(graph)) for n in group}
    return [column[node] for node in range(nodes)]


def _rows(column: Sequence[int], paths: Iterable[Sequence[int]], *, nodes: int) -> list[float]:
    """Return rows of nodes and bends: first their order in each column, then their places."""
    near: list[list[int]] = [[] for _ in column]
    for path in paths:
        for one, other in pairwise(path):
            near[one].append(other)
            near[other].append(one)
    groups: list[list[int]] = [[] for _ in range(1 + max(column))]
    for i, x in enumerate(column):
        groups[x].append(i)
    row = [0.0] * len(column)
    for group in groups:
        _spread(group, row, wanted=[0.0] * len(group), nodes=nodes)
    for sweep in range(2 * SWEEPS):
        side = 1 if sweep % 2 else -1
        for x in range(len(groups))[::-side]:
            settling = sweep >= SWEEPS
            group = groups[x]
            looked_at = [
                [row[m] for m in near[i] if settling or side * (column[m] - x) > 0] or [row[i]]
                for i in group
            ]
            wanted = dict(zip(group, (sum(r) / len(r) for r in looked_at), strict=True))
            if not settling:
                group.sort(key=wanted.__getitem__)
            _spread(group, row, wanted=[wanted[i] for i in group], nodes=nodes)
    centre = (max(row) + min(row)) / 2
    return [y - centre for y in row]


def _spread(group: list[int], row: list[float], *, wanted: list[float], nodes: int) -> None:
    """Set the rows of a column closest to the wanted ones, boxes and arrows not touching.

    Least squares under an order: adjacent blocks that collide are pooled at their mean.
    """
    offsets = [0.0]
    for one, other in pairwise(group):
        offsets.append(offsets[-1] + (1.0 if one < nodes or other < nodes else LANE))
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        block = want - offset, 1
        while blocks and blocks[-1][0] > block[0]:
            (mean, size), (other_mean, other_size) = blocks.pop(), block
            total = size + other_size
            block = (mean * size + other_mean * other_size) / total, total
        blocks.append(block)
    levels = [mean for mean, size in blocks for _ in range(size)]
    for i, level, offset in zip(group, levels, offsets, strict=True):
        row[i] = level + offset
