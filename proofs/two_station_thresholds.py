"""Four reentrant lines, stable whatever is served first at one rate, and unstable 1e-4 above.

**Setting.** Jobs arrive at rate alpha and visit two stations along one route, with these mean
services: ABBA 1/10, 3/5, 1/10, 3/5; ABABA 1/10, 3/5, 1/10, 1/10, 3/5; AABBA 3/10, 1/10, 1/2,
1/10, 2/5; BABBA 3/10, 1/10, 2/5, 1/10, 2/5. All loads are below 1 up to 10/7, 5/4, 5/4, 5/4.
**Claim.** At alpha = 0.8333, 0.8333, 0.9449, 1.0233 the fluid model of every non-idling policy
is stable. At a rate 0.0001 higher that of some static priority grows for ever.
**Checked here.** In integers, by the trusted checker: at the lower rates the fall of the larger
of two weighted sums, with the weights below; at the higher ones the stored certificates, phase
by phase; that each is about this line, rate and priority; that the loads are below 1.
**Not checked here.** That networks are stable with their fluid models, which is Dai's theorem
(1995), or grow with them; that the least rate at which some policy is unstable is the root of
alpha (m_2 + m_4) = 1, alpha (m_2 + m_5) = 1, alpha m_3 + alpha m_5 / (1 - alpha m_1) = 1, and
alpha m_3 / (1 - alpha m_1) + alpha m_5 = 1, which lie between (0.83333, 0.83333, 0.94495,
1.02333).
**Argument.** The larger sum belongs to a station with work, and falls while it has. For two
stations this method is exact, so that the weights exist up to the least unstable rate. In AABBA
and BABBA class 1 goes first and takes alpha m_1 of its station away: a push start.
**Source.** The method is that of Dai and Weiss (1996), the exactness and the push starts are
from Dai and Vande Vate (2000); lines and certificates ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from proofs._claim import NotProved, require
from queueing_llm.certificates import (
    Certificate,
    Rejected,
    certify_growth,
    certify_network_stability,
    check_network_certificate,
    read_certificate,
)
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks import LyapunovPieces, growing_cycle, station_loads

KIND = "theorem"

DATA = Path(__file__).parent / "data"
GAP = Fraction(1, 10**4)
Weights = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Line:
    """A route with ten times its mean services, and what is claimed of it."""

    tenths: tuple[int, ...]
    rate: Fraction
    weights: Weights
    ranks: tuple[int, ...]
    """The priority that is unstable."""


LINES = {
    "ABBA": Line(
        (1, 6, 1, 6), Fraction(8333, 10**4), ((2, 1, 1, 1), (2, 2, 1, 0)), (1, 0, 1, 0)
    ),
    "ABABA": Line(
        (1, 6, 1, 1, 6),
        Fraction(8333, 10**4),
        ((8, 5, 5, 4, 4), (8, 8, 4, 4, 0)),
        (2, 0, 1, 1, 0),
    ),
    "AABBA": Line(
        (3, 1, 5, 1, 4),
        Fraction(9449, 10**4),
        ((836, 599, 316, 316, 316), (599, 599, 599, 316, 0)),
        (0, 2, 0, 1, 1),
    ),
    "BABBA": Line(
        (3, 1, 4, 1, 4),
        Fraction(10_233, 10**4),
        ((386, 386, 158, 158, 158), (557, 386, 386, 158, 0)),
        (0, 1, 1, 2, 0),
    ),
}


def line_at(route: str, rate: Fraction) -> MulticlassNetwork:
    """Return a line with this rate of arrivals."""
    means = [Fraction(tenths, 10) for tenths in LINES[route].tenths]
    return MulticlassNetwork.with_routes([route], mean_service=means, arrival_rates=[rate])


def found(route: str) -> Certificate | None:
    """Return the certificate of growth that the library finds; what is stored is a copy."""
    network = line_at(route, LINES[route].rate + GAP)
    cycle = growing_cycle(network, priority=LINES[route].ranks)
    return None if cycle is None else certify_growth(network, cycle)


def prove() -> int:
    """Check both rates of every line."""
    return sum(
        stable(route, line.rate, line.weights) + grows(route, line.rate + GAP, line.ranks)
        for route, line in LINES.items()
    )


def stable(route: str, rate: Fraction, weights: Weights) -> int:
    """Check that the larger weighted sum falls under every non-idling policy."""
    exact = tuple(tuple(map(Fraction, piece)) for piece in weights)
    other = ((Fraction(0), Fraction(1)), (Fraction(1), Fraction(0)))
    margin = Fraction(1, 10**5)
    certificate = certify_network_stability(
        line_at(route, rate), LyapunovPieces(exact, other, None, (), margin)
    )
    if certificate is None:
        msg = f"the checker rejects the weights of {route} at {rate}"
        raise NotProved(msg)
    return certificate.check().comparisons


def grows(route: str, rate: Fraction, ranks: tuple[int, ...]) -> int:
    """Check the stored certificate against a line and a priority."""
    network = line_at(route, rate)
    certificate = read_certificate(DATA / f"two_station_thresholds.{route}.json")
    try:
        checked = check_network_certificate(certificate, network, priority=ranks)
    except Rejected as reason:
        raise NotProved(str(reason)) from reason
    require(checked.kind == "network-growth", f"it proves {checked.kind}")
    require(max(station_loads(network)) < 1, "a load is 1 or more")
    return checked.comparisons + 2


CONTROLS: tuple[Callable[[], int], ...] = (
    *(
        lambda route=route, line=line: stable(route, line.rate + GAP, line.weights)
        for route, line in LINES.items()
    ),
    *(
        lambda route=route, line=line: grows(route, line.rate, line.ranks)
        for route, line in LINES.items()
    ),
    lambda: stable("AABBA", LINES["AABBA"].rate, ((40, 29, 15, 15, 15), (29, 29, 29, 15, 0))),
    lambda: grows("AABBA", LINES["AABBA"].rate + GAP, (1, 2, 0, 1, 0)),
)
