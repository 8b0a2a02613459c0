"""A published theorem beside a network: what it says, and whether what it needs is there."""

from dataclasses import dataclass
from fractions import Fraction
from typing import final

from queueing_llm.evidence import Hypothesis
from queueing_llm.model import MulticlassNetwork
from queueing_llm.networks._traffic import station_loads


@final
@dataclass(frozen=True, slots=True)
class TheoremMatch:
    """A theorem beside a network: what it says, and whether what it needs is there.

    Parameters
    ----------
    name : str
        A few words.
    statement : str
        What holds under the hypotheses, for the fluid model; with independent interarrival
        and service times as in Dai (1995) it makes the network positive Harris recurrent.
    source : str
        Where it is published.
    disciplines : str
        The disciplines that it speaks of.
    hypotheses : tuple of Hypothesis
        What it needs.

    Examples
    --------
    >>> crowded = Hypothesis("every station has a load below 1", holds=False, how="1.2 at A")
    >>> TheoremMatch("one", "All is well.", "ours", "FIFO", (crowded,)).applies
    False
    """

    name: str
    statement: str
    source: str
    disciplines: str
    hypotheses: tuple[Hypothesis, ...]

    @property
    def applies(self) -> bool:
        """Whether every hypothesis holds."""
        return all(hypothesis.holds for hypothesis in self.hypotheses)


def loads_below_one(network: MulticlassNetwork) -> Hypothesis:
    """Return the hypothesis that every station has a load below 1, with the largest one."""
    loads = station_loads(network)
    worst = max(range(len(loads)), key=loads.__getitem__)
    return Hypothesis(
        name="every station has a load below 1",
        holds=loads[worst] < 1,
        how=f"largest load {float(loads[worst]):.6g} at {network.station_names[worst]}",
    )


def no_forks(network: MulticlassNetwork) -> Hypothesis:
    """Return the hypothesis that a job is followed by at most one job."""
    forks = [
        network.class_names[k]
        for k, row in enumerate(network.routing)
        if sum((share for _, share in row), Fraction(0)) > 1
    ]
    return Hypothesis(
        name="a job never becomes several",
        holds=not forks,
        how=f"forks after {', '.join(forks)}" if forks else "no row of the routing exceeds 1",
    )
