"""Closed formulas in SymPy, returned by the functions that run on numbers."""

from queueing_llm.symbolic._capacity import capacity, overload_growth
from queueing_llm.symbolic._formula import Formula
from queueing_llm.symbolic._memory import kv_threshold, wait_equilibrium
from queueing_llm.symbolic._region import region_facets, region_vertices

__all__ = [
    "Formula",
    "capacity",
    "kv_threshold",
    "overload_growth",
    "region_facets",
    "region_vertices",
    "wait_equilibrium",
]
