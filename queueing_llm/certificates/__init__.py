"""Exact certificates, and a tiny checker that trusts nothing but integers."""

from queueing_llm.certificates._checker import Checked, Rejected, check
from queueing_llm.certificates._drift import certify_stability
from queueing_llm.certificates._networks import (
    certify_feed_forward,
    certify_growth,
    certify_network_overload,
    certify_network_stability,
)
from queueing_llm.certificates._overload import certify_overload
from queueing_llm.certificates._store import Certificate, read_certificate
from queueing_llm.certificates._verify import check_certificate, check_network_certificate

__all__ = [
    "Certificate",
    "Checked",
    "Rejected",
    "certify_feed_forward",
    "certify_growth",
    "certify_network_overload",
    "certify_network_stability",
    "certify_overload",
    "certify_stability",
    "check",
    "check_certificate",
    "check_network_certificate",
    "read_certificate",
]
