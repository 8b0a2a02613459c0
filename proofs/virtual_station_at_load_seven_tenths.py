"""Two stations, each loaded to 7/10, grow for ever: their long hops share a virtual station.

**Setting.** Jobs of two types arrive once a second each. The first type visits stations A, B
and the second B, A; a first hop takes 1/10 s, a second hop 3/5 s. Each station serves second
hops first.
**Claim.** Both stations have load 7/10, and the fluid model of this priority grows 9/4-fold
every cycle. With three quarters of the arrivals, loads 21/40, every non-idling policy is
stable.
**Checked here.** In integers, by the trusted checker: the path that grows; and for 3/4, the
fall of max(h_1 . Q, h_2 . Q) with h_1 = (1, 0, 1, 1), h_2 = (1, 1, 1, 0) under every non-idling
policy.
**Not checked here.** That the stochastic network grows or is stable with its fluid model; for
stability that is Dai's theorem (1995).
**Argument.** Second hops of the two types are never served at the same time for long: while one
station serves them, it holds back the first hops that would bring them to the other. Together
they need 2 * 3/5 > 1 second per second.
**Source.** A. N. Rybko and A. L. Stolyar (1992), "Ergodicity of stochastic processes describing
the operation of open queueing networks"; numbers ours.
"""

from collections.abc import Callable
from fractions import Fraction

from proofs._claim import NotProved, require
from proofs._rybko_stolyar import growing_path, pair
from queueing_llm.certificates import Certificate, certify_growth, certify_network_stability
from queueing_llm.networks import LyapunovPieces, station_loads

KIND = "counterexample"

SHORT, LONG = Fraction(1, 10), Fraction(3, 5)
LOADED, CALM = Fraction(1), Fraction(3, 4)


def prove(*, loaded: Fraction = LOADED, calm: Fraction = CALM) -> int:
    """Check growth at one rate and stability at the other."""
    network = pair(loaded, short=SHORT, long=LONG)
    require(station_loads(network) == (Fraction(7, 10),) * 2, "the loads are not 7/10")
    growth = _proved(certify_growth(network, growing_path(loaded, short=SHORT, long=LONG)))
    factor = Fraction(*growth.document["factor"])
    require(factor == Fraction(9, 4), f"the factor is {factor}")
    return growth.check().comparisons + 3 + stable(calm)


def stable(rate: Fraction) -> int:
    """Check that every non-idling policy is stable at a rate."""
    weights = (tuple(map(Fraction, (1, 0, 1, 1))), tuple(map(Fraction, (1, 1, 1, 0))))
    mixture = ((Fraction(0), Fraction(1)), (Fraction(1), Fraction(0)))
    pieces = LyapunovPieces(weights, mixture, None, (), 1 / LONG - 2 * rate)
    network = pair(rate, short=SHORT, long=LONG)
    return _proved(certify_network_stability(network, pieces)).check().comparisons


def _proved(certificate: Certificate | None) -> Certificate:
    if certificate is None:
        msg = "the checker rejects the certificate"
        raise NotProved(msg)
    return certificate


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(loaded=Fraction(9, 10)),
    lambda: prove(calm=LOADED),
    lambda: stable(Fraction(5, 6)),
)
