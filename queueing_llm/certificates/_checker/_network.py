"""Networks in a certificate: classes of jobs, what they turn into, and who serves them.

Jobs of class k arrive from outside at rate ``arrival_rates[k]``. A job of class k that is
served turns into R_kl jobs of class l on average; ``routing[k]`` lists the pairs [l, R_kl].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

from queueing_llm.certificates._checker._document import (
    LARGEST,
    entries,
    fields_of,
    is_integer,
    position,
    rational,
    rationals,
    reject,
)

MOST_CLASSES = 4_096


@final
@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives, and what it turns into."""

    arrival_rates: tuple[Fraction, ...]
    routing: tuple[tuple[tuple[int, Fraction], ...], ...]

    def left_behind(self, worth: Sequence[Fraction]) -> tuple[Fraction, ...]:
        """Return how much worth a job of each class loses when it is served."""
        return tuple(
            worth[k] - sum(share * worth[l] for l, share in row)
            for k, row in enumerate(self.routing)
        )

    def arriving(self, worth: Sequence[Fraction]) -> Fraction:
        """Return the worth that arrives from outside per second."""
        pairs = zip(self.arrival_rates, worth, strict=True)
        return sum((rate * value for rate, value in pairs), Fraction(0))


@final
@dataclass(frozen=True, slots=True)
class Network:
    """Classes that are served at one station each."""

    stations: tuple[int, ...]
    mean_service: tuple[Fraction, ...]
    traffic: Traffic

    @property
    def members(self) -> list[list[int]]:
        """The classes at each station."""
        count = max(self.stations) + 1
        return [[k for k, at in enumerate(self.stations) if at == j] for j in range(count)]


def read_network(document: object) -> Network:
    """Return a network whose classes are served at one station each."""
    own = ("stations", "mean_service")
    fields = fields_of(document, "network", (*own, "arrival_rates", "routing"))
    traffic = read_traffic(fields["arrival_rates"], fields["routing"])
    count = len(traffic.routing)
    stations = tuple(
        position(at, "stations", count=count)
        for at in entries(fields["stations"], "stations", count=count)
    )
    if len(set(stations)) != max(stations) + 1:
        reject("stations must be numbered from 0 without gaps")
    mean_service = rationals(fields["mean_service"], "mean_service", count=count)
    if min(mean_service) <= 0:
        reject("mean_service must be positive")
    return Network(stations, mean_service, traffic)


def read_traffic(arrival_rates: object, routing: object) -> Traffic:
    """Return what arrives and what it turns into; this settles the number of classes."""
    if not isinstance(routing, list) or not 1 <= len(routing) <= MOST_CLASSES:
        reject(f"routing must be a list of 1 to {MOST_CLASSES} rows")
    count = len(routing)
    rates = rationals(arrival_rates, "arrival_rates", count=count)
    return Traffic(rates, tuple(read_pairs(row, "routing", count=count) for row in routing))


def read_pairs(row: object, where: str, *, count: int) -> tuple[tuple[int, Fraction], ...]:
    """Return pairs of one of so many things, each at most once, and a positive number."""
    if not isinstance(row, list):
        reject(f"each row of {where} must be a list")
    pairs = [entries(entry, f"each pair of {where}", count=2) for entry in row]
    targets = [position(target, where, count=count) for target, _ in pairs]
    if len(set(targets)) < len(targets):
        reject(f"a row of {where} names something twice")
    numbers = [rational(number, where) for _, number in pairs]
    if not all(numbers):
        reject(f"{where} must leave out what is 0")
    return tuple(zip(targets, numbers, strict=True))


def read_priority(value: object, network: Network) -> tuple[int, ...] | None:
    """Return a rank for each class, smaller first, different within a station; or None."""
    if value is None:
        return None
    ranks: list[Any] = entries(value, "priority", count=len(network.stations))
    if not all(is_integer(rank) and abs(rank) < LARGEST for rank in ranks):
        reject("priority must be null or a list of integers")
    if len(set(zip(network.stations, ranks, strict=True))) < len(ranks):
        reject("priority must be different for all classes of a station")
    return tuple(ranks)
