"""The workloads of arXiv:2605.04595, and engines whose batches all take the same time."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, final

import queueing_llm as ql

KV_CAPACITY = 131_000
CHUNK_TOKENS = 512
SHORTEST = 10
"""Shortest prompt and shortest output [tokens]."""


@final
@dataclass(frozen=True, slots=True)
class Lengths:
    r"""A workload of Table 1: prompts and outputs are independent, uniform on integers.

    Parameters
    ----------
    name : str
        Mean prompt to mean output, as the paper names it.
    longest_prompt, longest_output : int
        Upper ends; the lower ends are 10 [tokens].
    batch_seconds : Fraction
        :math:`\bar b` [s], the median time of a batch on the GPU.
    measured : Fraction
        What the GPU completed [requests/s].

    Examples
    --------
    >>> round(float(WORKLOADS[0].threshold().unstable_above), 3)
    3.263
    """

    name: str
    longest_prompt: int
    longest_output: int
    batch_seconds: Fraction
    measured: Fraction

    @property
    def key(self) -> str:
        """The name as a part of the name of a value."""
        return self.name.replace(":", "_")

    @property
    def engine(self) -> ql.Engine:
        """Chunks fill a budget of 512 tokens, and every batch takes the same time."""
        return ql.Engine(
            step_time=ql.AffineStepTime(base=self.batch_seconds, per_token=0),
            token_budget=CHUNK_TOKENS,
            kv_capacity=KV_CAPACITY,
        )

    def at(self, rate: Any) -> ql.Workload:
        """Return Poisson arrivals at that rate [requests/s]."""
        return ql.Workload.poisson(
            rate,
            prompt_tokens=ql.UniformLength(SHORTEST, self.longest_prompt),
            output_tokens=ql.UniformLength(SHORTEST, self.longest_output),
        )

    def threshold(self, servers: int = 1) -> ql.MemoryThreshold:
        """Return the two sides of the KV-memory threshold, of so many replicas.

        In the model of the theorems nothing but memory limits a batch.
        """
        return ql.memory_threshold(
            replace(self.engine, token_budget=KV_CAPACITY),
            self.at(1),
            batch_seconds=self.batch_seconds,
            chunk_tokens=CHUNK_TOKENS,
            servers=servers,
        )


WORKLOADS = (
    Lengths("1:1", 1600, 1600, Fraction("0.0372"), Fraction("3.387")),
    Lengths("2:1", 2133, 1066, Fraction("0.0430"), Fraction("3.650")),
    Lengths("1:2", 1066, 2133, Fraction("0.0337"), Fraction("2.969")),
)
EQUAL, PROMPTS, OUTPUTS = WORKLOADS


def word_for(rate: Any, threshold: ql.MemoryThreshold) -> str:
    r"""Return what the theorems say at a rate: STABLE, UNSTABLE or OPEN.

    Parameters
    ----------
    rate : number
        :math:`\lambda` [requests/s].
    threshold : MemoryThreshold
        Its two sides; the stable one for chunks that do not divide the prompts.

    Examples
    --------
    >>> [word_for(rate, WORKLOADS[0].threshold()) for rate in (3, 3.2, 5)]
    ['STABLE', 'OPEN', 'UNSTABLE']
    """
    if rate > threshold.unstable_above:
        return "UNSTABLE"
    below = threshold.stable_below
    return "STABLE" if below is not None and rate < below else "OPEN"
