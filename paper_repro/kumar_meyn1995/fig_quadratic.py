"""What a quadratic function proves of a network, beside what is true.

Left: up to which multiple of the arrival rates a quadratic Lyapunov function is found for six
networks, the exact multiple, and that by the loads. Right: the network of Rybko and Stolyar
with one job a second of each type and first hops of 1/10 s, in the plane of its second hops.

The programme is the paper's without a linear term in the function, for every non-idling rule.
The networks are chosen here, because the numbers of the paper's examples are not at hand.
"""

from collections.abc import Callable
from fractions import Fraction as F
from typing import TYPE_CHECKING, Any

import numpy as np

import queueing_llm as ql
from queueing_llm.networks import (
    is_globally_stable,
    quadratic_margin,
    quadratic_scaling,
    two_station_threshold,
)
from queueing_llm.plots import COLOURS, two_panels
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHORT, ROOM = F(1, 10), F(9, 10)
FOUND = 1e-7
"""A smaller drift may be the solver's tolerance [1/s]."""
HALVINGS = 14
SEED = 1995


def network(routes: tuple[str, ...], tenths: tuple[int, ...]) -> ql.MulticlassNetwork:
    """Return the network with these routes and services, one job a second on each route."""
    services = [F(m, 10) for m in tenths]
    rates = [1] * len(routes)
    return ql.MulticlassNetwork.with_routes(routes, mean_service=services, arrival_rates=rates)


NETWORKS = {
    "ABBA (Lu-Kumar)": network(("ABBA",), (1, 6, 1, 6)),
    "AB, BA (Rybko-Stolyar)": network(("AB", "BA"), (1, 6, 1, 6)),
    "ABBA, equal services": network(("ABBA",), (5, 5, 5, 5)),
    "ABA": network(("ABA",), (3, 5, 4)),
    "AABBA": network(("AABBA",), (3, 1, 5, 1, 4)),
    "AB (tandem)": network(("AB",), (5, 8)),
}


def scalings(network: ql.MulticlassNetwork) -> tuple[float, F, F]:
    """Return the multiples by a quadratic function, the exact one, and that by the loads."""
    found = two_station_threshold(network)
    assert found is not None
    return quadratic_scaling(network), found.low, found.nominal_scaling


def compute(*, quick: bool = False) -> Computed:
    """Solve the programme for the networks, and along the boundary of its region."""
    found = {name: scalings(chosen) for name, chosen in NETWORKS.items()}
    region = regions(12 if quick else 36)
    at_random = [scalings(drawn) for drawn in random_networks(20 if quick else 100)]
    columns = list(zip(*found.values(), strict=True))
    values: dict[str, Any] = {f"quadratic: {name}": found[name][0] for name in found}
    values |= {f"exact: {name}": found[name][1] for name in found}
    return Computed(
        values
        | {
            "never_beyond_exact": all(
                q <= float(exact) * (1 + 1e-6) for q, exact, _ in at_random
            ),
            "is_conservative": any(q < float(exact) * (1 - 1e-2) for q, exact, _ in at_random),
            "region_is_a_part": all(
                quadratic <= exact
                for quadratic, exact in zip(
                    region["quadratic_s"], region["exact_s"], strict=True
                )
            ),
            "region_is_not_empty": min(region["quadratic_s"]) > 0,
            "found_inside": has_quadratic(rybko_stolyar(F(9, 20), F(9, 20))),
            "none_found_between": not has_quadratic(BETWEEN),
            "between_is_stable": is_globally_stable(BETWEEN),
            "none_found_outside": not has_quadratic(rybko_stolyar(F(11, 20), F(11, 20))),
        },
        {
            "networks": {
                "network": list(found),
                "quadratic_multiple": list(columns[0]),
                "exact_multiple": list(map(float, columns[1])),
                "loads_multiple": list(map(float, columns[2])),
            },
            "rybko_stolyar": region,
        },
    )


def rybko_stolyar(first: F, second: F) -> ql.MulticlassNetwork:
    """Return the network whose types take this long at their second hops [s]."""
    return ql.MulticlassNetwork.with_routes(
        ["AB", "BA"], mean_service=[SHORT, first, SHORT, second], arrival_rates=[1, 1]
    )


def has_quadratic(network: ql.MulticlassNetwork) -> bool:
    """Whether a quadratic function is found."""
    return quadratic_margin(network) > FOUND


BETWEEN = rybko_stolyar(F(49, 100), F(49, 100))
"""Stable under every rule, outside the region of the programme."""


def largest_second(first: F, holds: Callable[[ql.MulticlassNetwork], bool]) -> float:
    """Return up to which second hop of the other type something holds [s]."""
    low, high = F(0), ROOM
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = holds(rybko_stolyar(first, middle))
        low, high = (middle, high) if inside else (low, middle)
    return float(low)


def regions(count: int) -> dict[str, list[float]]:
    """Return the boundaries of both regions in the plane of the second hops."""
    firsts = [ROOM * F(n, count) for n in range(1, count)]
    return {
        "second_hop_of_first_type_s": [float(first) for first in firsts],
        "quadratic_s": [largest_second(first, has_quadratic) for first in firsts],
        "exact_s": [largest_second(first, is_globally_stable) for first in firsts],
    }


def random_networks(count: int) -> list[ql.MulticlassNetwork]:
    """Return lines of three to five hops over two stations."""
    random = np.random.default_rng(SEED)
    networks: list[ql.MulticlassNetwork] = []
    while len(networks) < count:
        route = "".join(random.choice(list("AB"), size=random.integers(3, 6)))
        if len(set(route)) == 2:
            tenths = tuple(int(m) for m in random.integers(1, 10, size=len(route)))
            networks.append(network((route,), tenths))
    return networks


def plot(computed: Computed) -> "Figure":
    """Draw the networks beside the shares."""
    figure, left, right = two_panels(
        "A quadratic function proves a part of the region where every rule is stable",
        height=3.9,
    )
    table = computed.tables["networks"]
    rows = np.arange(len(table["network"]))[::-1]
    left.hlines(rows, table["quadratic_multiple"], table["loads_multiple"], color="0.8")
    for key, label, marker, size, colour in (
        ("loads_multiple", "room by the loads", "|", 180, "0.3"),
        ("exact_multiple", "exact", "o", 70, COLOURS[5]),
        ("quadratic_multiple", "quadratic function", "D", 22, COLOURS[0]),
    ):
        left.scatter(
            table[key], rows, s=size, marker=marker, color=colour, label=label, zorder=3
        )
    left.set_yticks(rows, table["network"], fontsize=8)
    left.set_xlabel("multiple of the arrival rates [1]")
    region = computed.tables["rybko_stolyar"]
    firsts = region["second_hop_of_first_type_s"]
    right.plot([0, 0.9, 0.9], [0.9, 0.9, 0], color="0.3", label="room by the loads")
    for key, label, colour in (
        ("exact_s", "exact", COLOURS[5]),
        ("quadratic_s", "quadratic function", COLOURS[0]),
    ):
        right.fill_between(firsts, 0, region[key], color=colour, alpha=0.2)
        right.plot(firsts, region[key], color=colour, label=label)
    right.set(xlabel="second hop of type 1 [s]", ylabel="second hop of type 2 [s]")
    right.set(xlim=(0, 1), ylim=(0, 1))
    right.set_title("Rybko-Stolyar network, one job a second of each type", fontsize=10)
    right.legend(loc="upper right", bbox_to_anchor=(0.9, 0.88), fontsize=8)
    return figure
