"""Readers of public traces of requests and of agent sessions, and presets for four."""

from queueing_llm.traces._facts import LengthFacts, TraceFacts, trace_facts
from queueing_llm.traces._formats import FORMATS, TraceFormat
from queueing_llm.traces._presets import Preset, preset, preset_names
from queueing_llm.traces._read import read_trace
from queueing_llm.traces._sessions import SessionTrace
from queueing_llm.traces._sessions_facts import SessionFacts, session_facts
from queueing_llm.traces._sessions_network import session_network
from queueing_llm.traces._sessions_read import read_sessions

__all__ = [
    "FORMATS",
    "LengthFacts",
    "Preset",
    "SessionFacts",
    "SessionTrace",
    "TraceFacts",
    "TraceFormat",
    "preset",
    "preset_names",
    "read_sessions",
    "read_trace",
    "session_facts",
    "session_network",
    "trace_facts",
]
