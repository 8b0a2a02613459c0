"""Engines, workloads and recorded traces: frozen data, no algorithms."""

from queueing_llm.model._arrivals import AbstractArrivals
from queueing_llm.model._closed_arrivals import ClosedArrivals
from queueing_llm.model._engine import Engine
from queueing_llm.model._fitted_lengths import LognormalLength, PoissonLength
from queueing_llm.model._joint_lengths import (
    AbstractRequestLengths,
    EmpiricalLengths,
    IndependentLengths,
)
from queueing_llm.model._lengths import (
    AbstractLength,
    DeterministicLength,
    EmpiricalLength,
    GeometricLength,
    UniformLength,
)
from queueing_llm.model._moments import LengthMoments
from queueing_llm.model._multiclass_network import MulticlassNetwork
from queueing_llm.model._recorded_arrivals import ReplayArrivals, ScheduledArrivals
from queueing_llm.model._renewal_arrivals import (
    DeterministicArrivals,
    GammaArrivals,
    PoissonArrivals,
    RenewalArrivals,
)
from queueing_llm.model._requests import RequestClass, Requests
from queueing_llm.model._trace import Trace
from queueing_llm.model._uneven_arrivals import BatchArrivals, OnOffArrivals
from queueing_llm.model._workload import Workload

__all__ = [
    "AbstractArrivals",
    "AbstractLength",
    "AbstractRequestLengths",
    "BatchArrivals",
    "ClosedArrivals",
    "DeterministicArrivals",
    "DeterministicLength",
    "EmpiricalLength",
    "EmpiricalLengths",
    "Engine",
    "GammaArrivals",
    "GeometricLength",
    "IndependentLengths",
    "LengthMoments",
    "LognormalLength",
    "MulticlassNetwork",
    "OnOffArrivals",
    "PoissonArrivals",
    "PoissonLength",
    "RenewalArrivals",
    "ReplayArrivals",
    "RequestClass",
    "Requests",
    "ScheduledArrivals",
    "Trace",
    "UniformLength",
    "Workload",
]
