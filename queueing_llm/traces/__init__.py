"""Readers of public request traces, and presets that stand for four of them."""

from queueing_llm.traces._facts import LengthFacts, TraceFacts, trace_facts
from queueing_llm.traces._formats import FORMATS, TraceFormat
from queueing_llm.traces._presets import Preset, preset, preset_names
from queueing_llm.traces._read import read_trace

__all__ = [
    "FORMATS",
    "LengthFacts",
    "Preset",
    "TraceFacts",
    "TraceFormat",
    "preset",
    "preset_names",
    "read_trace",
    "trace_facts",
]
