"""Linear programmes whose answer is exact: a solver proposes, integers decide."""

from queueing_llm.linear._corners import PolytopeCorner, polytope_corners
from queueing_llm.linear._maximum import exact_maximum
from queueing_llm.linear._optimum import ExactOptimum, is_optimal

__all__ = [
    "ExactOptimum",
    "PolytopeCorner",
    "exact_maximum",
    "is_optimal",
    "polytope_corners",
]
