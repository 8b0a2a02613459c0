"""What :func:`~queueing_llm.check_network` answers."""

from dataclasses import dataclass
from typing import final

from queueing_llm._validate import Real
from queueing_llm.certificates import Certificate
from queueing_llm.evidence import Evidence, Hypothesis, Status
from queueing_llm.networks import EngineLoad


@final
@dataclass(frozen=True, slots=True)
class NetworkVerdict:
    r"""Whether a network of engines keeps up, and how that is known.

    Parameters
    ----------
    status : Status
        The answer.
    evidence : Evidence
        How the answer is known; never a higher grade than it has.
    reason : str
        The decisive argument in a sentence.
    arrival_rate : number
        Sessions that start per second, all classes together [sessions/s].
    engines : tuple of EngineLoad
        What each engine is asked for.
    bottleneck : str
        The engine of the largest load.
    nominal_scaling : number
        :math:`1 / \max_j \rho_j`, by the least loads: no policy keeps up above this multiple
        of the arrival rates.
    stable_scaling, unstable_scaling : number or None
        Stable when the arrival rates are multiplied by the first, unstable by the second, the
        closest that were found; where a load decides, stable below the first and unstable
        above the second, and nothing is said of load 1 itself. What lies between other
        multiples is not said: under priorities, fewer arrivals may be worse. None if none
        was found, or none was looked for.
    any_policy_scaling : number or None
        The same as ``stable_scaling`` for every work-conserving policy that finishes requests
        in the order in which it starts them, whatever its priorities; smaller multiples are
        stable, too.
    any_order_scaling : number or None
        The same for every work-conserving policy, also if it serves prefill and decode in
        whatever order it likes; None if it was not looked for, as in large networks.
    basis : str
        What the scalings rest on.
    hypotheses : tuple of Hypothesis
        What was checked for the argument.
    virtual_stations : tuple of str
        Groups of visits that the priorities keep from being served side by side, so that
        they share one station, with their load.
    growth_factor : number or None
        Growth of a backlog from one turn of an unstable cycle to the next [1].
    certificate : Certificate or None
        An exact certificate, where there is one.
    advice : tuple of str
        What would make the network stable, or more so.
    """

    status: Status
    evidence: Evidence
    reason: str
    arrival_rate: Real
    engines: tuple[EngineLoad, ...]
    bottleneck: str
    nominal_scaling: Real
    stable_scaling: Real | None = None
    unstable_scaling: Real | None = None
    any_policy_scaling: Real | None = None
    any_order_scaling: Real | None = None
    basis: str = ""
    hypotheses: tuple[Hypothesis, ...] = ()
    virtual_stations: tuple[str, ...] = ()
    growth_factor: Real | None = None
    certificate: Certificate | None = None
    advice: tuple[str, ...] = ()
