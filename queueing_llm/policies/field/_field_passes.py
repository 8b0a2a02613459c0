"""A batch rule as the passes over running and waiting requests that fill a batch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

Pass: TypeAlias = Literal["decode", "continue", "admit"]
"""Serve decodes; serve prompts that were begun; begin prompts."""


@final
@dataclass(frozen=True, slots=True)
class Passes:
    """The order in which a batch is filled.

    Parameters
    ----------
    order : tuple of {"decode", "continue", "admit"}
        Passes, first one first.
    mixed : bool
        Whether the later passes fill up what an earlier one has begun.
    chunked : bool
        Whether prompts are split to fill a chunk.
    slots : bool
        Whether a request takes at admission all the blocks that it may ever need.
    alternates : bool
        Whether the step after one with prompts is for decodes only.
    """

    order: tuple[Pass, ...]
    mixed: bool
    chunked: bool = False
    slots: bool = False
    alternates: bool = False


SARATHI = Passes(("decode", "continue", "admit"), mixed=True, chunked=True)
VLLM = Passes(("admit", "decode"), mixed=False)
ORCA = Passes(("decode", "admit"), mixed=True, slots=True)
FASTER_TRANSFORMER = Passes(("decode", "admit"), mixed=False, slots=True)
SIMPLE_CHUNKING = Passes(
    ("continue", "admit", "decode"), mixed=False, chunked=True, alternates=True
)
