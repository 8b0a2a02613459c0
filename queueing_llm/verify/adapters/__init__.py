"""The schedulers of real serving engines, driven on a CPU in an interpreter of their own."""

from queueing_llm.verify.adapters._build import build_environment
from queueing_llm.verify.adapters._environment import INSTALLATIONS, Installation, Place
from queueing_llm.verify.adapters._fuzz import (
    FieldDifference,
    FuzzReport,
    first_difference,
    fuzz,
)
from queueing_llm.verify.adapters._fuzz_live import played_live
from queueing_llm.verify.adapters._fuzz_random import random_workloads
from queueing_llm.verify.adapters._fuzz_shrink import shrunk
from queueing_llm.verify.adapters._fuzz_workload import FieldWorkload, played_by_model
from queueing_llm.verify.adapters._live import LiveScheduler, live_system, open_worker
from queueing_llm.verify.adapters._protocol import LiveFailure, LiveStep, LiveView
from queueing_llm.verify.adapters._record import recorded
from queueing_llm.verify.adapters._record_file import (
    FieldRecording,
    read_recording,
    write_recording,
)
from queueing_llm.verify.adapters._worker import Worker

__all__ = [
    "INSTALLATIONS",
    "FieldDifference",
    "FieldRecording",
    "FieldWorkload",
    "FuzzReport",
    "Installation",
    "LiveFailure",
    "LiveScheduler",
    "LiveStep",
    "LiveView",
    "Place",
    "Worker",
    "build_environment",
    "first_difference",
    "fuzz",
    "live_system",
    "open_worker",
    "played_by_model",
    "played_live",
    "random_workloads",
    "read_recording",
    "recorded",
    "shrunk",
    "write_recording",
]
