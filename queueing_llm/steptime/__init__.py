"""Step-time laws: how long an engine takes for one batch."""

from queueing_llm.steptime._affine import AffineStepTime
from queueing_llm.steptime._hinge import HingeStepTime
from queueing_llm.steptime._kernel_form import KernelForm
from queueing_llm.steptime._law import AbstractStepTime
from queueing_llm.steptime._roofline import RooflineStepTime
from queueing_llm.steptime._staircase import StaircaseStepTime
from queueing_llm.steptime._table import TableStepTime
from queueing_llm.steptime.measured import HostCosts, MeasuredStepTime, kv_cache_tokens

__all__ = [
    "AbstractStepTime",
    "AffineStepTime",
    "HingeStepTime",
    "HostCosts",
    "KernelForm",
    "MeasuredStepTime",
    "RooflineStepTime",
    "StaircaseStepTime",
    "TableStepTime",
    "kv_cache_tokens",
]
