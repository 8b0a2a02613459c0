"""Up to which rate two stations are stable whatever is served first: eleven networks.

For each network three multiples of its arrival rates: by the loads of its stations, with
virtual stations as well, and with push starts, which is the exact one. The exact multiple is
tried from both sides: 1/1000 below it a Lyapunov function must pass the checker of
certificates, 1/1000 above it the fluid of a static priority must grow, unless a station is
overloaded; and a linear programme, which knows nothing of virtual stations, must end there.

The networks are chosen here; routes name the station of each hop, services are in tenths of
seconds, and jobs arrive once a second (twice for the second type of the last network).
"""

from fractions import Fraction as F
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import queueing_llm as ql
from queueing_llm.certificates import certify_growth, certify_network_stability
from queueing_llm.networks import (
    LyapunovPieces,
    critical_scaling,
    drift_margin,
    growing_cycle,
    station_loads,
    two_station_pieces,
    two_station_threshold,
)
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOVE, BELOW = F(1001, 1000), F(999, 1000)
SEED = 2000


class Chosen(NamedTuple):
    """A network to try: routes, services in units of a second over ``unit``, rates."""

    routes: tuple[str, ...]
    services: tuple[int, ...]
    unit: int = 10
    rates: tuple[int, ...] = (1,)

    @property
    def label(self) -> str:
        """How the figure calls it."""
        services = ", ".join(str(F(m, self.unit)) for m in self.services)
        return f"{' '.join(self.routes)}  ({services})"

    def network(self) -> ql.MulticlassNetwork:
        """Return the network."""
        return ql.MulticlassNetwork.with_routes(
            self.routes,
            mean_service=[F(m, self.unit) for m in self.services],
            arrival_rates=self.rates,
        )


NETWORKS = {
    "ABBA": Chosen(("ABBA",), (1, 6, 1, 6)),
    "ABBA, unequal": Chosen(("ABBA",), (2, 5, 3, 4)),
    "ABBA, balanced": Chosen(("ABBA",), (4, 4, 1, 4)),
    "ABABA": Chosen(("ABABA",), (1, 6, 1, 1, 6)),
    "AABBA": Chosen(("AABBA",), (3, 1, 5, 1, 4)),
    "BABBA": Chosen(("BABBA",), (3, 1, 4, 1, 4)),
    "BABABA": Chosen(("BABABA",), (3, 1, 4, 1, 1, 5)),
    "AABBBA": Chosen(("AABBBA",), (4, 5, 4, 5, 4, 4)),
    "ABAAB": Chosen(("ABAAB",), (1, 1, 3, 1, 4)),
    "Lu-Kumar": Chosen(("ABBA",), (3, 200, 3, 200), 300),
    "Rybko-Stolyar": Chosen(("AB", "BA"), (1, 6, 1, 3), 10, (1, 2)),
}


def compute(*, quick: bool = False) -> Computed:
    """Find the thresholds and try them from both sides."""
    found = {name: thresholds(chosen.network()) for name, chosen in NETWORKS.items()}
    tried = [both_sides(chosen.network()) for chosen in NETWORKS.values()]
    at_random = [both_sides(network) for network in random_networks(40 if quick else 120)]
    columns = list(zip(*found.values(), strict=True))
    return Computed(
        dict(found)
        | {
            "stable_below": all(stable for stable, _, _ in tried),
            "unstable_above": all(grows for _, grows, _ in tried),
            "programme_agrees": all(agrees for _, _, agrees in tried),
            "random_stable_below": all(stable for stable, _, _ in at_random),
            "random_unstable_above": all(grows for _, grows, _ in at_random),
            "random_programme_agrees": all(agrees for _, _, agrees in at_random),
            "push_starts": push_starts(),
            "root_is_enclosed": root_is_enclosed(),
            "drift_of_aabba": drift_of_aabba(),
        },
        {
            "thresholds": {
                "network": [chosen.label for chosen in NETWORKS.values()],
                "loads_multiple": list(map(float, columns[0])),
                "virtual_stations_multiple": list(map(float, columns[1])),
                "push_starts_multiple": list(map(float, columns[2])),
            }
        },
    )


def thresholds(network: ql.MulticlassNetwork) -> tuple[F, F, F]:
    """Return the multiples by loads, with virtual stations, and with push starts."""
    found = two_station_threshold(network)
    assert found is not None
    return found.nominal_scaling, found.virtual_station_scaling, found.low


def both_sides(network: ql.MulticlassNetwork) -> tuple[bool, bool, bool]:
    """Return whether it is stable below, unstable above, and the programme says the same."""
    found = two_station_threshold(network)
    assert found is not None
    below, above = network.scaled(found.low * BELOW), network.scaled(found.high * ABOVE)
    pieces = two_station_pieces(below)
    stable = pieces is not None and certify_network_stability(below, pieces) is not None
    grows = max(station_loads(above)) > 1
    if not grows:
        cycle = growing_cycle(above, priority=found.binding.priority)
        grows = cycle is not None and certify_growth(above, cycle) is not None
    programme = critical_scaling(network, tolerance=F(1, 10**4))
    agrees = programme.low <= found.high and abs(programme.low / found.low - 1) < F(1, 10**3)
    return stable, grows, agrees


def random_networks(count: int) -> list[ql.MulticlassNetwork]:
    """Return networks of one or two routes with three to five hops that loads do not decide."""
    random = np.random.default_rng(SEED)
    networks: list[ql.MulticlassNetwork] = []
    while len(networks) < count:
        lengths = random.integers(3, 6, size=random.integers(1, 3))
        routes = ["".join(random.choice(list("AB"), size=length)) for length in lengths]
        if len(set("".join(routes))) == 2:
            services = [F(int(m), 10) for m in random.integers(1, 10, size=sum(lengths))]
            network = ql.MulticlassNetwork.with_routes(
                routes, mean_service=services, arrival_rates=[1] * len(routes)
            )
            by_loads, _, exact = thresholds(network)
            networks += [network] if exact < by_loads else []
    return networks


def push_starts() -> tuple[str, ...]:
    """Return the networks whose binding condition has a push start."""
    bindings = {name: two_station_threshold(n.network()) for name, n in NETWORKS.items()}
    return tuple(name for name, found in bindings.items() if found and found.binding.push_start)


def root_is_enclosed() -> bool:
    """Whether 4 - 2 sqrt(21) / 3 lies between the exact bounds for AABBA.

    It is the smaller root of 3 x^2 - 24 x + 20: there x / 2 + (2 x / 5) / (1 - 3 x / 10) = 1.
    """
    found = two_station_threshold(NETWORKS["AABBA"].network())
    assert found is not None
    low, high = (3 * x * x - 24 * x + 20 for x in (found.low, found.high))
    return low >= 0 >= high and found.high < 4


def drift_of_aabba() -> F:
    """Return the drift of a stated function for AABBA at 9/10 jobs/s."""
    weights = tuple(tuple(map(F, w)) for w in ((40, 29, 15, 15, 15), (29, 29, 29, 15, 0)))
    mixture = ((F(0), F(1)), (F(1), F(0)))
    network = NETWORKS["AABBA"].network().scaled(F(9, 10))
    return drift_margin(network, LyapunovPieces(weights, mixture, None, (), F(0)))


def plot(computed: Computed) -> "Figure":
    """Draw the three multiples of each network."""
    table = computed.tables["thresholds"]
    figure, axes = framed("In five of eleven networks a push start binds", height=4.6)
    rows = np.arange(len(table["network"]))[::-1]
    axes.hlines(rows, table["push_starts_multiple"], table["loads_multiple"], color="0.8")
    for key, label, marker, colour in (
        ("loads_multiple", "room by the loads of the stations", "|", "0.3"),
        ("virtual_stations_multiple", "with virtual stations", "o", COLOURS[5]),
        ("push_starts_multiple", "with push starts: exact", "D", COLOURS[0]),
    ):
        size = {"|": 180, "o": 70, "D": 22}[marker]
        axes.scatter(
            table[key], rows, s=size, marker=marker, color=colour, label=label, zorder=3
        )
    axes.set_yticks(rows, table["network"], fontsize=8)
    axes.set_xlabel("multiple of the arrival rates [1]")
    axes.legend(loc="center right", fontsize=8)
    return figure
