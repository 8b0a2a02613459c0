"""Fluid limits: where a large backlog goes when time and backlog are scaled together."""

from queueing_llm.fluid._fluid_path import fluid_path
from queueing_llm.fluid._path import FluidPath, FluidPiece, FluidState

__all__ = ["FluidPath", "FluidPiece", "FluidState", "fluid_path"]
