"""What is set on the scheduler of SGLang, and how its estimate of the output starts."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, TypeAlias, final

from queueing_llm._validate import Domain, Real, Tokens, validate
from queueing_llm.policies.field._field_jobs import Requests

Conservativeness: TypeAlias = Annotated[Real, Domain("c", "1", above=0)]

STEPS_TO_THE_FLOOR = 600
"""Decode steps in which the ratio falls to its least."""


@final
@dataclass(frozen=True, slots=True)
class SglangConfig:
    """The settings of SGLang 0.5.6 that decide its batches, under its own names.

    Parameters
    ----------
    kv_tokens : int
        Tokens that the KV cache holds.
    max_running : int
        Limit on running requests.
    chunked_prefill_size : int
        Most prompt tokens of a batch, less its decodes; a longer prompt is split.
    max_prefill_tokens : int
        A prompt of so many tokens more than what was taken is not added to others.
    mixed : bool
        Whether decodes join batches of prompts (``enable_mixed_chunk``).
    conservativeness : float
        The ratio starts at 0.7 times this, at most at 1.
    with_defects : bool
        Whether to repeat two defects of 0.5.6, to follow it exactly. When the last running
        requests have ended, one pass is idle although requests wait. And a split prompt is
        continued with fewer than no tokens when the estimate leaves none: the server then
        runs out of memory within a few steps, and this scheduler ends at once, by an error;
        without defects the prompt waits, and is retracted at last.

    Raises
    ------
    InvalidArgument
        If a setting lies outside its domain.

    Examples
    --------
    >>> SglangConfig(1000, 8, conservativeness=0.3).first_ratio
    0.21
    """

    kv_tokens: Tokens
    max_running: Requests
    _: KW_ONLY
    chunked_prefill_size: Tokens = 8192
    max_prefill_tokens: Tokens = 16384
    mixed: bool = False
    conservativeness: Conservativeness = 1.0
    with_defects: bool = True

    def __post_init__(self) -> None:
        validate(self)

    @property
    def first_ratio(self) -> float:
        """The part of the promised output that is expected at first."""
        return min(0.7 * float(self.conservativeness), 1.0)

    @property
    def least_ratio(self) -> float:
        """The part of the promised output that is always expected."""
        return min(self.first_ratio * 0.14, 1.0)

    @property
    def ratio_decay(self) -> float:
        """What the ratio loses in a decode step."""
        return (self.first_ratio - self.least_ratio) / STEPS_TO_THE_FLOOR
