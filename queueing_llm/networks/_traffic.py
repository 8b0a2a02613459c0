"""How often each class is visited, and the load of each station: the traffic equations."""

from collections.abc import Sequence
from fractions import Fraction

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import MulticlassNetwork
from queueing_llm.model._multiclass_network import Exact


def visit_rates(network: MulticlassNetwork) -> tuple[Fraction, ...]:
    r"""Return how many jobs of each class arrive per second, from outside and from inside.

    .. math:: \lambda_k = \alpha_k + \sum_l R_{lk} \lambda_l

    Parameters
    ----------
    network : MulticlassNetwork
        Arrivals and routing; the times of service do not matter.

    Returns
    -------
    tuple of Fraction, one per class
        :math:`\lambda_k` [1/s], if no work piles up.

    Raises
    ------
    InvalidArgument
        If jobs of some classes come back, or multiply, without end; the message names them.

    Notes
    -----
    Exact. Classes that lead to each other are solved together, each such group by
    elimination on the diagonal. For a matrix :math:`R \ge 0` all pivots of :math:`I - R` are
    positive if and only if its spectral radius is below 1 (it is then an M-matrix), so the
    elimination proves that every job leaves.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> retry = MulticlassNetwork([0], [F(1, 10)], [3], [[(0, F(1, 4))]])
    >>> visit_rates(retry)
    (Fraction(4, 1),)
    """
    return flow_rates(network.arrival_rates, network.routing, names=network.class_names)


def station_loads(network: MulticlassNetwork) -> tuple[Fraction, ...]:
    r"""Return the share of its time that each station must work, if it keeps up.

    .. math:: \rho_j = \sum_{k : s(k) = j} \lambda_k m_k

    Parameters
    ----------
    network : MulticlassNetwork
        The network.

    Returns
    -------
    tuple of Fraction, one per station
        :math:`\rho_j` [1]. Above 1 at one station, no policy is stable; below 1 at all of
        them is necessary, and not sufficient.

    Raises
    ------
    InvalidArgument
        As :func:`visit_rates`.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.model import MulticlassNetwork
    >>> station_loads(
    ...     MulticlassNetwork.with_routes(
    ...         ["ABBA"], mean_service=[F(1, 10), F(3, 5), F(1, 10), F(3, 5)], arrival_rates=[1]
    ...     )
    ... )
    (Fraction(7, 10), Fraction(7, 10))
    """
    loads = [Fraction(0)] * network.station_count
    visits = zip(network.stations, visit_rates(network), network.mean_service, strict=True)
    for station, rate, seconds in visits:
        loads[station] += rate * seconds
    return tuple(loads)


def flow_rates(
    arrival_rates: Sequence[Exact],
    routing: Sequence[Sequence[tuple[int, Exact]]],
    *,
    names: Sequence[str],
) -> tuple[Fraction, ...]:
    r"""Return :math:`\lambda = \alpha + R^\top \lambda`, as :func:`visit_rates` does."""
    inflow: list[list[tuple[int, Exact]]] = [[] for _ in routing]
    for k, row in enumerate(routing):
        for l, number in row:
            inflow[l].append((k, number))
    return solve_flow(arrival_rates, inflow, names=names)


def solve_flow(
    constants: Sequence[Exact],
    rows: Sequence[Sequence[tuple[int, Exact]]],
    *,
    names: Sequence[str],
    otherwise: str = "routing must let all jobs leave, but they come back for ever to",
) -> tuple[Fraction, ...]:
    r"""Return the solution of :math:`x = c + A x` for a sparse matrix :math:`A \ge 0`.

    Parameters
    ----------
    constants : sequence of int or Fraction
        :math:`c`.
    rows : sequence of sequences of (int, int or Fraction)
        :math:`A`, a row at a time, without zeros; each column once in a row.
    names : sequence of str
        What the unknowns are called in the error.
    otherwise : str
        The error, up to the names.

    Returns
    -------
    tuple of Fraction
        :math:`x = \sum_n A^n c`.

    Raises
    ------
    InvalidArgument
        If the spectral radius of :math:`A` is 1 or more, so that the sum need not be finite.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> solve_flow([3, 0], [[(1, F(1, 2))], [(0, 1)]], names=["a", "b"])
    (Fraction(6, 1), Fraction(6, 1))
    """
    import networkx as nx

    needs = nx.DiGraph()
    needs.add_nodes_from(range(len(rows)))
    needs.add_edges_from((k, l) for k, row in enumerate(rows) for l, _ in row)
    groups = nx.condensation(needs)
    solution: dict[int, Fraction] = {}
    for group in reversed(list(nx.topological_sort(groups))):
        members = groups.nodes[group]["members"]
        within = {k: {l: Fraction(a) for l, a in rows[k] if l in members} for k in members}
        known = {
            k: Fraction(constants[k])
            + sum(a * solution[l] for l, a in rows[k] if l not in members)
            for k in members
        }
        solved = _eliminate(within, known)
        if solved is None:
            listed = ", ".join(repr(names[k]) for k in sorted(members))
            msg = f"{otherwise} {listed}."
            raise InvalidArgument(msg)
        solution.update(solved)
    return tuple(solution[k] for k in range(len(rows)))


def _eliminate(
    rows: dict[int, dict[int, Fraction]], constants: dict[int, Fraction]
) -> dict[int, Fraction] | None:
    """Solve one group, which is used up; None if a pivot is not positive."""
    users: dict[int, set[int]] = {k: set() for k in rows}
    for k, row in rows.items():
        for l in row:
            users[l].add(k)
    substitutions = []
    while rows:
        # The unknown whose elimination fills in the least.
        k = min(rows, key=lambda k: (len(rows[k]) * len(users[k]), k))
        row = rows.pop(k)
        pivot = 1 - row.pop(k, Fraction(0))
        if pivot <= 0:
            return None
        row = {l: a / pivot for l, a in row.items()}
        constant = constants[k] / pivot
        substitutions.append((k, row, constant))
        for l in row:
            users[l].discard(k)
        for user in users.pop(k) - {k}:
            factor = rows[user].pop(k)
            constants[user] += factor * constant
            for l, a in row.items():
                rows[user][l] = rows[user].get(l, Fraction(0)) + factor * a
                users[l].add(user)
    solution: dict[int, Fraction] = {}
    for k, row, constant in reversed(substitutions):
        solution[k] = constant + sum(a * solution[l] for l, a in row.items())
    return solution
