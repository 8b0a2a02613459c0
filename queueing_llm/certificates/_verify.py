"""Whether a certificate proves its claim about this very system."""

from collections.abc import Mapping, Sequence
from typing import Any

from queueing_llm.certificates._checker import Checked, Rejected
from queueing_llm.certificates._network_system import network_system, own_servers
from queueing_llm.certificates._store import Certificate
from queueing_llm.certificates._system import drift_system, overload_system
from queueing_llm.model import Engine, MulticlassNetwork, Workload
from queueing_llm.networks._planning import Servers
from queueing_llm.policies import Policy


def check_certificate(
    certificate: Certificate,
    engine: Engine,
    *,
    workload: Workload,
    policy: Policy | None = None,
) -> Checked:
    """Verify that a certificate proves its claim about this very system.

    Parameters
    ----------
    certificate : Certificate
        A proof of overload, which is about every policy, or of stability of one.
    engine, workload, policy
        The system; a proof of overload needs no policy.

    Returns
    -------
    Checked
        What it proves.

    Raises
    ------
    Rejected
        If it proves nothing, or is about another engine, workload, rate or policy.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> load = ql.Workload.poisson(1, prompt_tokens=5, output_tokens=4)
    >>> check_certificate(ql.certify_overload(engine, load), engine, workload=load).kind
    'overload'
    """
    checked = certificate.check()
    if checked.kind == "overload":
        system = overload_system(engine, workload)
    else:
        system = None if policy is None else drift_system(engine, workload, policy)
    if system is None:
        msg = "it is about another system: this one is not exact, or not of its kind"
        raise Rejected(msg)
    _require_same(certificate, system)
    return checked


def check_network_certificate(
    certificate: Certificate,
    network: MulticlassNetwork,
    *,
    priority: Sequence[int] | None = None,
    servers: Servers | None = None,
) -> Checked:
    """Verify that a certificate proves its claim about this very network.

    Parameters
    ----------
    certificate : Certificate
        Any about a network.
    network : MulticlassNetwork
        The network.
    priority : sequence of int, optional
        Ranks of the classes under the discipline in question, smaller served first. None if
        it is not known; then a claim about one priority says nothing of it.
    servers : sequence of sequences of (int, int or Fraction), one per class, optional
        Stations that can serve the class, and the mean service there [s], for a proof of
        overload where there is a choice.

    Returns
    -------
    Checked
        What it proves.

    Raises
    ------
    Rejected
        If it proves nothing, or is about another network or discipline.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from queueing_llm.certificates import certify_feed_forward
    >>> one = MulticlassNetwork.with_routes(["A"], mean_service=[1], arrival_rates=[F(1, 2)])
    >>> check_network_certificate(certify_feed_forward(one), one).kind
    'network-feed-forward'
    """
    checked = certificate.check()
    document = certificate.document
    if not checked.kind.startswith("network-"):
        msg = "it is about another system: one engine"
        raise Rejected(msg)
    if checked.kind == "network-overload" and servers is None:
        servers = own_servers(network)
    _require_same(certificate, {"network": network_system(network, servers=servers)})
    covers_all = checked.kind != "network-growth" and document.get("priority") is None
    ranks = None if priority is None else list(priority)
    if not covers_all and document["priority"] != ranks:
        msg = "it is about another system: priority differs"
        raise Rejected(msg)
    return checked


def _require_same(certificate: Certificate, system: Mapping[str, Any]) -> None:
    """Raise Rejected unless the certificate describes a system like this."""
    for part, expected in system.items():
        if certificate.document.get(part) != expected:
            msg = f"it is about another system: {part} differs"
            raise Rejected(msg)
