"""Whether a scheduling policy keeps its contracts, and the smallest thing that breaks one."""

from queueing_llm.verify._check_policy import EFFORTS, check_policy
from queueing_llm.verify._contract import Contract
from queueing_llm.verify._counterexample import Counterexample
from queueing_llm.verify._decision import Decision, Ending, Play
from queueing_llm.verify._drift_contract import drift
from queueing_llm.verify._exhaustive import Scope, all_states, reachable_states
from queueing_llm.verify._listed import CONTRACTS
from queueing_llm.verify._machine import policy_machine
from queueing_llm.verify._named import contract_named, fcfs_window, same_as
from queueing_llm.verify._open_play import OpenPlay
from queueing_llm.verify._page import page
from queueing_llm.verify._play import play
from queueing_llm.verify._rate_contract import stable_at
from queueing_llm.verify._report import Finding, Outcome, PolicyReport, Support
from queueing_llm.verify._reproduction import replay, save_counterexample, save_counterexamples
from queueing_llm.verify._symbolic import Proof, counterexample, prove
from queueing_llm.verify._tenant_contracts import fair_between_tenants
from queueing_llm.verify._trial import Arrival, Trial
from queueing_llm.verify._waiting_contracts import progress_within, starvation_bound

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
