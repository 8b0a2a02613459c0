"""Scheduling policies: pure functions from an engine state to one batch."""

from queueing_llm.policies._contract import (
    Batch,
    EngineState,
    Policy,
    check_batch,
    check_policy,
)
from queueing_llm.policies._exclusive import ExclusiveBatching, HybridBatching
from queueing_llm.policies._named import (
    FASTER_TRANSFORMER,
    ORCA,
    POLICIES,
    READINGS,
    SARATHI,
    VANILLA_VLLM,
    VLLM_V1,
    policy_named,
)
from queueing_llm.policies._rule import BatchRule
from queueing_llm.policies._wait import NestedWait, Wait

__all__ = [
    "FASTER_TRANSFORMER",
    "ORCA",
    "POLICIES",
    "READINGS",
    "SARATHI",
    "VANILLA_VLLM",
    "VLLM_V1",
    "Batch",
    "BatchRule",
    "EngineState",
    "ExclusiveBatching",
    "HybridBatching",
    "NestedWait",
    "Policy",
    "Wait",
    "check_batch",
    "check_policy",
    "policy_named",
]
