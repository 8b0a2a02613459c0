"""Exact certificates, and a tiny checker that trusts nothing but integers."""

from queueing_llm.certificates._check import Checked, Rejected, check
from queueing_llm.certificates._overload import certify_overload, check_overload
from queueing_llm.certificates._store import Certificate, read_certificate

__all__ = [
    "Certificate",
    "Checked",
    "Rejected",
    "certify_overload",
    "check",
    "check_overload",
    "read_certificate",
]
