"""Token-exact simulation: a compiled kernel for batch rules, a transparent driver for all."""

from queueing_llm.simulate._bracket import bracket_critical_rate
from queueing_llm.simulate._estimate import Estimate
from queueing_llm.simulate._outcome import RequestLog
from queueing_llm.simulate._reference import Step
from queueing_llm.simulate._run import Run
from queueing_llm.simulate._simulate import simulate, watch

__all__ = [
    "Estimate",
    "RequestLog",
    "Run",
    "Step",
    "bracket_critical_rate",
    "simulate",
    "watch",
]
