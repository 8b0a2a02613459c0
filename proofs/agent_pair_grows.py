"""Two agents that serve last hops first grow 153/37-fold every half cycle, at load 9/10.

**Setting.** Two engines with a budget of 768 tokens, one slot a batch. Jobs of type A make a
hop of 32 + 32 tokens at engine 1, then one of 512 + 32 tokens at engine 2, those of type B the
reverse; so hops take 1/12 and 17/24 slot of a full engine. Each type arrives 108/95 times a
slot, and both engines are loaded to 9/10. Each engine serves the hop that leaves first.
**Claim.** A path of the fluid model of this priority leads from q of the first type's short hop
to 153/37 q of the other's and, as the types mirror each other, on to (153/37)^2 q of the first:
it grows for ever.
**Checked here.** The stored certificate, in integers, by the trusted checker: the balance of
fluid, the shares and the priority in each phase, and the end; that it is about this network and
priority; that half the path gives the factor 153/37, by independent arithmetic.
**Not checked here.** That the stochastic network grows with its fluid model.
**Argument.** While the long hops of one type keep an engine busy, the short hops of the other
wait there, and with them the long hops behind them.
**Source.** The configuration is that of section 5.4 of arXiv:2504.07347v3; the path and its
factor are derived here, after Rybko and Stolyar (1992).
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from proofs._claim import NotProved, require
from proofs._fluid import Fluid
from proofs._rybko_stolyar import EXIT_FIRST, SHORT_FIRST, growing_path, half_cycle, pair
from queueing_llm.certificates import (
    Certificate,
    Rejected,
    certify_growth,
    check_network_certificate,
    read_certificate,
)

KIND = "counterexample"

CERTIFICATE = Path(__file__).parent / "data" / "agent_pair_grows.json"
SHORT, LONG = Fraction(32 + 32, 768), Fraction(512 + 32, 768)
LOAD = Fraction(9, 10)
HALF = Fraction(153, 37)


def rate_at(load: Fraction) -> Fraction:
    """Return the arrival rate of each type at which both engines have this load [1/slot]."""
    return load / (SHORT + LONG)


def found() -> Certificate | None:
    """Return the certificate of the path; what is stored is a copy of it."""
    rate = rate_at(LOAD)
    path = growing_path(rate, short=SHORT, long=LONG)
    return certify_growth(pair(rate, short=SHORT, long=LONG), path)


def prove(
    *, load: Fraction = LOAD, ranks: tuple[int, ...] = EXIT_FIRST, half: Fraction = HALF
) -> int:
    """Check the stored certificate against the pair, and half of its path once more."""
    certificate = read_certificate(CERTIFICATE)
    network = pair(rate_at(load), short=SHORT, long=LONG)
    try:
        checked = check_network_certificate(certificate, network, priority=ranks)
    except Rejected as reason:
        raise NotProved(str(reason)) from reason
    require(checked.kind == "network-growth", f"it proves {checked.kind}")
    factor = Fraction(*certificate.document["factor"])
    require(factor == half**2, f"the factor is {factor}")
    return checked.comparisons + 2 + from_one_type_to_the_other(load, half)


def from_one_type_to_the_other(load: Fraction, half: Fraction) -> int:
    """Follow the first half of the path without the package."""
    rate, means = rate_at(load), (SHORT, LONG, SHORT, LONG)
    fluid = Fluid((0, 1, 1, 0), means, (rate, 0, rate, 0), (1, None, 3, None), EXIT_FIRST, {})
    phases = half_cycle(rate, short=SHORT, long=LONG)
    end, comparisons = fluid.follow([1, 0, 0, 0], phases)
    require(end == [0, 0, half, 0], f"half a cycle ends at {end}")
    return comparisons + 1


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(load=LOAD + Fraction(1, 10**9)),
    lambda: prove(ranks=SHORT_FIRST),
    lambda: prove(half=HALF + Fraction(1, 10**9)),
    lambda: from_one_type_to_the_other(LOAD, HALF - Fraction(1, 10**9)),
    lambda: from_one_type_to_the_other(Fraction(1, 2), HALF),
)
