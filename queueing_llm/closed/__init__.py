"""Closed systems: a fixed number of users who wait for an answer before they ask again."""

from queueing_llm.closed._closed_loop import closed_curve, closed_loop
from queueing_llm.closed._loop import ClosedLoop
from queueing_llm.closed._operating_point import OperatingPoint

__all__ = ["ClosedLoop", "OperatingPoint", "closed_curve", "closed_loop"]
