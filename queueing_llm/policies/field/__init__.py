"""Schedulers of serving engines, version by version, as their code decides."""

from queueing_llm.policies._contract import blocks_for
from queueing_llm.policies.field._engine_door import EngineDoor
from queueing_llm.policies.field._faster_transformer import (
    FasterTransformerConfig,
    FasterTransformerScheduler,
)
from queueing_llm.policies.field._field_sglang_config import SglangConfig
from queueing_llm.policies.field._orca import OrcaConfig, OrcaScheduler
from queueing_llm.policies.field._sarathi_serve import (
    SARATHI_SERVE_POLICIES,
    SarathiServeConfig,
    SarathiServeScheduler,
)
from queueing_llm.policies.field._scheduler import (
    AbstractScheduler,
    FieldRequest,
    FieldStep,
)
from queueing_llm.policies.field._sglang import SglangScheduler
from queueing_llm.policies.field._system import FieldSystem, Limits
from queueing_llm.policies.field._systems import SYSTEMS, system_named
from queueing_llm.policies.field._tensorrt_llm import TensorrtLlmConfig, TensorrtLlmScheduler
from queueing_llm.policies.field._tgi import TgiConfig, TgiScheduler
from queueing_llm.policies.field._vidur import VIDUR_POLICIES, VidurConfig, VidurScheduler
from queueing_llm.policies.field._vidur_lightllm import (
    VidurLightllmConfig,
    VidurLightllmScheduler,
)
from queueing_llm.policies.field._vllm_v0 import VllmV0Config, VllmV0Scheduler
from queueing_llm.policies.field._vllm_v1 import VllmV1Scheduler
from queueing_llm.policies.field._vllm_v1_config import (
    VLLM_V1_RELEASES,
    VllmV1Config,
    VllmV1Release,
)

__all__ = [
    "SARATHI_SERVE_POLICIES",
    "SYSTEMS",
    "VIDUR_POLICIES",
    "VLLM_V1_RELEASES",
    "AbstractScheduler",
    "EngineDoor",
    "FasterTransformerConfig",
    "FasterTransformerScheduler",
    "FieldRequest",
    "FieldStep",
    "FieldSystem",
    "Limits",
    "OrcaConfig",
    "OrcaScheduler",
    "SarathiServeConfig",
    "SarathiServeScheduler",
    "SglangConfig",
    "SglangScheduler",
    "TensorrtLlmConfig",
    "TensorrtLlmScheduler",
    "TgiConfig",
    "TgiScheduler",
    "VidurConfig",
    "VidurLightllmConfig",
    "VidurLightllmScheduler",
    "VidurScheduler",
    "VllmV0Config",
    "VllmV0Scheduler",
    "VllmV1Config",
    "VllmV1Release",
    "VllmV1Scheduler",
    "blocks_for",
    "system_named",
]
