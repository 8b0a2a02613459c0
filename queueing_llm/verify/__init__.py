"""Whether a scheduling policy keeps its contracts, and the smallest thing that breaks one."""

from queueing_llm.verify._check_policy import EFFORTS, check_policy
from queueing_llm.verify._machine import policy_machine
from queueing_llm.verify._open_play import OpenPlay
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.contracts._listed import CONTRACTS
from queueing_llm.verify.contracts._named import contract_named, fcfs_window, same_as
from queueing_llm.verify.contracts._tenants import fair_between_tenants
from queueing_llm.verify.contracts._waiting import progress_within, starvation_bound
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.findings._page import page
from queueing_llm.verify.findings._report import Finding, Outcome, PolicyReport, Support
from queueing_llm.verify.findings._reproduction import (
    replay,
    save_counterexample,
    save_counterexamples,
)
from queueing_llm.verify.loads._drift import drift
from queueing_llm.verify.loads._rate import stable_at
from queueing_llm.verify.plays._decision import Decision, Ending, Play
from queueing_llm.verify.plays._exhaustive import Scope, all_states, reachable_states
from queueing_llm.verify.plays._play import play
from queueing_llm.verify.plays._trial import Arrival, Trial
from queueing_llm.verify.symbolic._prove import Proof, counterexample, prove

__all__ = [
    "CONTRACTS",
    "EFFORTS",
    "Arrival",
    "Contract",
    "Counterexample",
    "Decision",
    "Ending",
    "Finding",
    "OpenPlay",
    "Outcome",
    "Play",
    "PolicyReport",
    "Proof",
    "Scope",
    "Support",
    "Trial",
    "all_states",
    "check_policy",
    "contract_named",
    "counterexample",
    "drift",
    "fair_between_tenants",
    "fcfs_window",
    "page",
    "play",
    "policy_machine",
    "progress_within",
    "prove",
    "reachable_states",
    "replay",
    "same_as",
    "save_counterexample",
    "save_counterexamples",
    "stable_at",
    "starvation_bound",
]
