"""Whether a scheduling policy keeps its contracts, and the smallest thing that breaks one."""

from queueing_llm.verify._check_policy import EFFORTS, check_policy
from queueing_llm.verify._contract import Contract
from queueing_llm.verify._counterexample import Counterexample
from queueing_llm.verify._exhaustive import Scope, all_states, reachable_states
from queueing_llm.verify._listed import CONTRACTS
from queueing_llm.verify._named import contract_named, fcfs_window, same_as
from queueing_llm.verify._play import Decision, Ending, Play, play
from queueing_llm.verify._report import Finding, Outcome, PolicyReport, Support
from queueing_llm.verify._symbolic import Proof, counterexample, prove
from queueing_llm.verify._trial import Arrival, Trial

__all__ = [
    "CONTRACTS",
    "EFFORTS",
    "Arrival",
    "Contract",
    "Counterexample",
    "Decision",
    "Ending",
    "Finding",
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
    "fcfs_window",
    "play",
    "prove",
    "reachable_states",
    "same_as",
]
