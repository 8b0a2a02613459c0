"""Claims about a network that its traffic decides: overload, and jobs that never turn back.

Kind ``network-overload``: *no policy whatsoever keeps up*, although classes may be served at
several stations. Each second of station j has the price y_j, all prices together at most 1; a
job of class k is worth v_k seconds. Serving one at station j takes m_kj seconds on average and
leaves what it turns into, so if

    v_k - sum_l R_kl v_l <= y_j m_kj    for every class k and station j that can serve it,

with 0 on the right for a class that takes no station's time, then work worth at most
sum_j y_j <= 1 second is done per second, by every policy. If what arrives per second is worth
at least 1 + ``excess``, the worth of the backlog grows by ``excess`` in the long run, and so
does the backlog, as its worth is at most max v times it.

Kind ``network-feed-forward``: *the fluid model of every non-idling policy is stable*. The
worth x >= 0 with x_k > sum_l R_kl x_l for every class shows that jobs leave: by R, x shrinks
by a factor below 1, so the powers of R tend to 0 and lambda = alpha + R' lambda has one
solution, ``visit_rates``. If jobs move between different stations only forward in ``order``
and each load is at most 1 - ``slack``, the stations empty one after the other: what enters a
station from those that are empty for good is what the rates say, and the work that a job will
still ask of the station is done at rate 1 while it is not empty.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR
from fractions import Fraction
from typing import Any

from queueing_llm.certificates._checker._document import (
    Checked,
    brief,
    entries,
    fields_of,
    position,
    rational,
    rationals,
    reject,
)
from queueing_llm.certificates._checker._network import (
    MOST_CLASSES,
    Network,
    read_network,
    read_pairs,
    read_traffic,
)

OVERLOAD = ("network", "prices", "worth", "excess")
FEED_FORWARD = ("network", "order", "visit_rates", "worth", "slack")


def check_overload(fields: Mapping[str, Any]) -> Checked:
    """Compare the worth of what arrives with that of the work that can be done."""
    names = ("servers", "arrival_rates", "routing")
    network = fields_of(fields["network"], "network", names)
    traffic = read_traffic(network["arrival_rates"], network["routing"])
    classes = len(traffic.routing)
    listed = fields["prices"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_CLASSES:
        reject(f"prices must be a list of 1 to {MOST_CLASSES} entries")
    prices = rationals(listed, "prices", count=len(listed))
    rows = entries(network["servers"], "servers", count=classes)
    servers = [read_pairs(row, "servers", count=len(prices)) for row in rows]
    worth = rationals(fields["worth"], "worth", count=classes)
    if sum(prices) > 1:
        reject("the prices of the stations add up to more than 1")
    for k, done in enumerate(traffic.left_behind(worth)):
        times = (prices[station] * seconds for station, seconds in servers[k])
        if done > min(times, default=0):
            reject(f"a job of class {k} is worth more than the time it takes")
    excess = rational(fields["excess"], "excess")
    arriving = traffic.arriving(worth)
    if excess <= 0 or arriving - 1 < excess:
        reject(
            f"work worth {brief(arriving)} s arrives per second, "
            f"which does not exceed 1 by the claimed {brief(excess)}"
        )
    statement = (
        "no policy keeps up with what arrives at the network: the backlog, weighted by the "
        f"worth of its jobs, grows by at least {brief(excess, ROUND_FLOOR)} seconds of work "
        "per second"
    )
    return Checked("network-overload", statement, classes + sum(map(len, servers)) + 2)


def check_feed_forward(fields: Mapping[str, Any]) -> Checked:
    """Compare the loads with 1 and the moves with the order of the stations."""
    network = read_network(fields["network"])
    stations, classes = len(network.members), len(network.stations)
    order = entries(fields["order"], "order", count=stations)
    places = {position(at, "order", count=stations): n for n, at in enumerate(order)}
    if len(places) < stations:
        reject("order must name every station once")
    for k, row in enumerate(network.traffic.routing):
        for l, _ in row:
            here, there = network.stations[k], network.stations[l]
            if places[there] < places[here]:
                reject(f"jobs of class {k} turn back from station {here} to station {there}")
    worth = rationals(fields["worth"], "worth", count=classes)
    if min(network.traffic.left_behind(worth)) <= 0:
        reject("the worth does not show that jobs leave")
    rates = rationals(fields["visit_rates"], "visit_rates", count=classes)
    _check_traffic(network, rates)
    slack = rational(fields["slack"], "slack")
    for station, members in enumerate(network.members):
        load = sum(rates[k] * network.mean_service[k] for k in members)
        if slack <= 0 or load + slack > 1:
            reject(
                f"station {station} has load {brief(Fraction(load))}, "
                f"which is not below 1 by the claimed {brief(slack)}"
            )
    statement = (
        "the fluid model of every non-idling policy is stable: jobs only move forward, and no "
        f"station is loaded to more than {brief(1 - slack, ROUND_CEILING)}"
    )
    moves = sum(map(len, network.traffic.routing))
    return Checked("network-feed-forward", statement, moves + 2 * classes + stations + 1)


def _check_traffic(network: Network, rates: Sequence[Fraction]) -> None:
    entering = list(network.traffic.arrival_rates)
    for k, row in enumerate(network.traffic.routing):
        for l, share in row:
            entering[l] += rates[k] * share
    if entering != list(rates):
        reject("the visit_rates are not those of the traffic")
