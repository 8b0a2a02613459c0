"""The setting of section 6.2: an engine with a batch-size limit, and requests of vertex C.

CodeLlama-34B on one A100 takes 11.28 ms and 35.47 ms per block of 128 tokens for a batch; at
most 100 requests share one. A request of 290 prompt and 990 output tokens every 467.5 ms is
the vertex C = (29, 99) / 46.75 tokens/ms of the stability region.
"""

from fractions import Fraction

import queueing_llm as ql
from paper_repro.dai2025._published import COLOUR, STEP_TIME
from queueing_llm.plots import COLOURS

PROMPT, OUTPUT, PLACES = 290, 990, 100
GAP = Fraction("0.4675")
"""Between the arrivals of vertex C [s]."""
SARATHI_COLOUR = {128: COLOUR["Sarathi-Serve"], 256: COLOURS[5], 1024: COLOURS[1]}
"""By token budget; the other policies have the colours of the other figures."""


def engine(token_budget: int, *, places: int | None = PLACES) -> ql.Engine:
    """Return the engine with a token budget and a batch-size limit."""
    return ql.Engine(STEP_TIME, token_budget, max_batch_size=places)


def evenly(load: Fraction | int = 1) -> ql.Workload:
    """Return equal requests, evenly spaced, at a share of vertex C; the first after one gap."""
    lengths = ql.IndependentLengths(
        ql.DeterministicLength(PROMPT), ql.DeterministicLength(OUTPUT)
    )
    return ql.Workload.of(ql.DeterministicArrivals(load / GAP), lengths)


def poisson(load: Fraction | int, *, output: int | ql.GeometricLength = OUTPUT) -> ql.Workload:
    """Return Poisson arrivals of requests of 290 prompt tokens at a share of vertex C."""
    return ql.Workload.poisson(load / GAP, prompt_tokens=PROMPT, output_tokens=output)
