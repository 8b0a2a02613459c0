"""The step time of a model on a GPU whose operators were measured."""

from queueing_llm.steptime.measured._host_costs import HostCosts
from queueing_llm.steptime.measured._measured import MeasuredStepTime
from queueing_llm.steptime.measured._memory import kv_cache_tokens

__all__ = ["HostCosts", "MeasuredStepTime", "kv_cache_tokens"]
