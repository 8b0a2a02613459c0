"""The same two agents are stable at load 9/10 if they serve first hops first.

**Setting.** Two engines with a budget of 768 tokens, one slot a batch. Jobs of type A make a
hop of 32 + 32 tokens at engine 1, then one of 512 + 32 tokens at engine 2, those of type B the
reverse; so hops take 1/12 and 17/24 slot of a full engine. Each type arrives 108/95 times a
slot, and both engines are loaded to 9/10. Each engine serves the short first hops first.
**Claim.** The fluid model of this priority is stable: with weight 3/2 for short and 1 for long
hops the weighted fluid falls by at least 12/85 per slot while there is any.
**Checked here.** The stored certificate, in integers, by the trusted checker. It goes through
all 8 modes with work: what may have fluid, who may be served, and at least how fast the
weighted sum falls. And that it is about this network and priority.
**Not checked here.** That a network is positive Harris recurrent if its fluid model is stable,
which is Dai's theorem (1995).
**Argument.** Where short hops wait, serving them lowers the sum fast enough. Where they do not,
they stay empty, so their weight may be chosen anew: counted as 2/17 more than the hop that they
turn into, they lower the sum by 24/17 per slot, just as the long hops do.
**Source.** The configuration is that of section 5.4 of arXiv:2504.07347v3; the weights are
derived here.
"""

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from proofs._claim import NotProved, require
from proofs._rybko_stolyar import EXIT_FIRST, OTHER_TYPE, SHORT_FIRST, pair
from queueing_llm.certificates import (
    Certificate,
    Rejected,
    certify_network_stability,
    check,
    check_network_certificate,
    read_certificate,
)
from queueing_llm.networks import LyapunovPieces

KIND = "theorem"

CERTIFICATE = Path(__file__).parent / "data" / "agent_pair_short_first_is_stable.json"
SHORT, LONG = Fraction(32 + 32, 768), Fraction(512 + 32, 768)
LOAD = Fraction(9, 10)
MARGIN = Fraction(12, 85)
USUAL = (Fraction(3, 2), Fraction(1), Fraction(3, 2), Fraction(1))
EVEN = 1 + SHORT / LONG
"""Weight of a short hop such that serving it does as much as serving a long one."""


def rate_at(load: Fraction) -> Fraction:
    """Return the arrival rate of each type at which both engines have this load [1/slot]."""
    return load / (SHORT + LONG)


def weights_in(mode: tuple[int | None, int | None]) -> tuple[Fraction, ...]:
    """Return the weights where engine A has work, and classes 0 or 2 do not wait."""
    at_a, at_b = mode
    weights = list(USUAL)
    if at_b is None:
        # Nothing is gained at B, and nothing must be lost there.
        weights[1:3] = Fraction(0), Fraction(1)
    if at_b == 1:
        weights[2] = EVEN
    if at_a == 3:
        weights[0] = weights[1] + SHORT / LONG
    return tuple(weights)


def cases() -> tuple[tuple[int, tuple[int | None, int | None], tuple[Fraction, ...]], ...]:
    """Return the weights of each mode by piece; types and engines mirror each other."""
    mirror = {None: None, **dict(enumerate(OTHER_TYPE))}
    listed = []
    for mode in itertools.product((0, 3), (2, 1, None)):
        weights = weights_in(mode)
        mirrored = tuple(weights[k] for k in OTHER_TYPE)
        listed += [(0, mode, weights), (1, (mirror[mode[1]], mirror[mode[0]]), mirrored)]
    return tuple(listed)


def found() -> Certificate | None:
    """Return the certificate of these weights; what is stored is a copy of it."""
    network = pair(rate_at(LOAD), short=SHORT, long=LONG)
    pieces = LyapunovPieces((USUAL, USUAL), (), SHORT_FIRST, cases(), MARGIN)
    return certify_network_stability(network, pieces)


def prove(*, load: Fraction = LOAD, ranks: tuple[int, ...] = SHORT_FIRST) -> int:
    """Check the stored certificate against the pair."""
    certificate = read_certificate(CERTIFICATE)
    network = pair(rate_at(load), short=SHORT, long=LONG)
    try:
        checked = check_network_certificate(certificate, network, priority=ranks)
    except Rejected as reason:
        raise NotProved(str(reason)) from reason
    margin = Fraction(*certificate.document["margin"])
    require(margin == MARGIN, f"the margin is {margin}")
    return checked.comparisons + 1


def changed(**fields: object) -> int:
    """Check the stored certificate with another claim, priority or rate."""
    stored = read_certificate(CERTIFICATE).document
    try:
        return check({**stored, **fields}).comparisons
    except Rejected as reason:
        raise NotProved(str(reason)) from reason


def arriving(load: Fraction) -> dict[str, object]:
    """Return the stored network at another load."""
    rate = [*rate_at(load).as_integer_ratio()]
    stored = read_certificate(CERTIFICATE).document["network"]
    return {**stored, "arrival_rates": [rate, [0, 1], rate, [0, 1]]}


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(load=LOAD + Fraction(1, 10**9)),
    lambda: prove(ranks=EXIT_FIRST),
    lambda: changed(margin=[*(MARGIN + Fraction(1, 10**9)).as_integer_ratio()]),
    lambda: changed(priority=list(EXIT_FIRST)),
    lambda: changed(priority=None, cases=[]),
    lambda: changed(cases=[]),
    lambda: changed(network=arriving(Fraction(1))),
)
