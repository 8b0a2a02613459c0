"""One declarative rule for the batch schedulers of the literature.

Table 1 of arXiv:2504.07347v3 as data: which phase goes first, whether one batch may mix
phases, whether a prompt may be split. Every rule serves both phases first come, first
served, so residents are always the oldest requests present.

Memory, when the engine has a ``kv_capacity``. A request holds whole blocks of
``kv_block_size`` tokens, so a decode needs a block only where its last one is full; with
blocks of one token that is always. Decodes come first: if the blocks that the decodes of the
step lack are not free, the newest resident is preempted, and so on; in such a step nothing is
prefilled (under exclusive rules this happens in decode steps only). A waiting request is
admitted only if its whole prompt fits into the free blocks; a prompt that is already resident
fills its last block and takes what is free. A preempted request waits at the head of the
queue and recomputes its prompt and what it has generated.
"""

from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies._contract import Batch, EngineState


@final
@dataclass(frozen=True, slots=True)
class BatchRule:
    """A first-come-first-served batch scheduler, as data.

    Parameters
    ----------
    name : str
        Name in tables.
    first : {"decode", "prefill"}
        The phase that is served first.
    mixed : bool
        Whether one batch may hold both phases. If not, the phase that goes first has the
        batch for itself whenever it can use it.
    chunked : bool
        Whether a prompt may be split over batches. If not, a prompt that does not fit
        blocks those behind it, and one longer than the token budget is never served.
    limit_counts : {"members", "residents"}
        Whether ``max_batch_size`` counts the requests in one batch, or all requests that
        have started and not finished.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> ql.ORCA.is_work_conserving, ql.ORCA.variant(chunked=False).is_work_conserving
    (True, False)
    """

    name: str
    first: Literal["decode", "prefill"]
    mixed: bool
    chunked: bool
    limit_counts: Literal["members", "residents"] = "members"

    def __post_init__(self) -> None:
        for field, accepted in (
            ("first", ("decode", "prefill")),
            ("limit_counts", ("members", "residents")),
        ):
            value = getattr(self, field)
            if value not in accepted:
                hint = nearest(str(value), accepted)
                msg = f"{field} must be one of two words, got {field}={value!r}: {hint}."
                raise InvalidArgument(msg)

    @property
    def is_work_conserving(self) -> bool:
        """Whether every batch holds min(budget, demand) tokens if no other limit binds.

        Holds exactly for mixed, chunked rules, (8)-(9) of arXiv:2504.07347v3: decodes and
        prompts together are then taken until the budget or the demand is exhausted.
        """
        return self.mixed and self.chunked

    def variant(
        self,
        *,
        chunked: bool | None = None,
        limit_counts: Literal["members", "residents"] | None = None,
    ) -> "BatchRule":
        """Return this rule with other readings of what the literature leaves open."""
        chunked = self.chunked if chunked is None else chunked
        counts = self.limit_counts if limit_counts is None else limit_counts
        changed = [] if chunked == self.chunked else ["chunked" if chunked else "whole"]
        changed += [] if counts == self.limit_counts else [counts]
        name = ",".join([self.name, *changed])
        name = name if ":" in name else name.replace(",", ":", 1)
        return replace(self, name=name, chunked=chunked, limit_counts=counts)

    def __call__(self, state: EngineState) -> Batch:
        """Return the batch of this step."""
        draft = _Draft(state, self)
        if self.mixed:
            draft.make_room_for_decodes()
        phases = (draft.decode, draft.prefill)
        first, second = phases if self.first == "decode" else reversed(phases)
        first()
        if self.mixed or draft.is_empty:
            second()
        return draft.batch()


class _Draft:
    """A batch being filled, first come, first served, inside the limits of the engine."""

    def __init__(self, state: EngineState, rule: BatchRule) -> None:
        self.state, self.rule = state, rule
        self.tokens = np.zeros(len(state.request), dtype=np.int64)
        self.preempted = np.zeros(len(state.request), dtype=np.bool_)
        unlimited = 2**62
        limit = state.max_batch_size or unlimited
        counts_members = rule.limit_counts == "members"
        self.member_limit = limit if counts_members else unlimited
        self.resident_limit = unlimited if counts_members else limit
        self.kv_blocks = unlimited if state.kv_blocks is None else state.kv_blocks
        self.reserved_blocks = 0

    @property
    def is_empty(self) -> bool:
        return not self.tokens.any()

    @property
    def room(self) -> int:
        return self.state.token_budget - int(self.tokens.sum())

    @property
    def places(self) -> int:
        return self.member_limit - int((self.tokens > 0).sum())

    @property
    def free_blocks(self) -> int:
        stored = (self.state.stored + self.tokens)[~self.preempted]
        return self.kv_blocks - int(self.state.blocks_of(stored).sum())

    def blocks_lacking(self, positions: np.ndarray) -> int:
        """Blocks that these requests lack to store one more token each."""
        stored = self.state.stored[positions]
        return int((self.state.blocks_of(stored + 1) - self.state.blocks_of(stored)).sum())

    def slots_beside(self, stored: int) -> int:
        """Tokens that a request can store beside those that it has: free and unreserved."""
        blocks = self.free_blocks - self.reserved_blocks + int(self.state.blocks_of(stored))
        return blocks * self.state.kv_block_size - stored

    def decoders(self) -> np.ndarray:
        """Positions of the decodes that one step may serve at most, oldest first."""
        decoding = self.state.decoding
        decoding = decoding[~self.preempted[decoding]]
        return decoding[: min(self.state.token_budget, self.member_limit)]

    def make_room_for_decodes(self) -> None:
        """Preempt the newest residents until every decode of the step has a place."""
        while self.blocks_lacking(self.decoders()) > self.free_blocks:
            residents = np.flatnonzero((self.state.stored > 0) & ~self.preempted)
            self.preempted[residents[-1]] = True
        self.reserved_blocks = self.blocks_lacking(self.decoders())

    def decode(self) -> None:
        """Give one token each to the oldest decodes."""
        self.make_room_for_decodes()
        served = self.decoders()[: max(0, min(self.room, self.places))]
        self.tokens[served] = 1
        self.reserved_blocks = 0

    def prefill(self) -> None:
        """Give the oldest prompts what the limits leave, in order; stop at the first misfit."""
        if self.preempted.any():
            return
        state = self.state
        residents = int((state.stored > 0).sum())
        for i in state.prefilling:
            left, stored = int(state.prompt_left[i]), int(state.stored[i])
            is_new, slots = stored == 0, self.slots_beside(stored)
            if is_new and (residents >= self.resident_limit or left > slots):
                return
            take = min(left, self.room, slots)
            if self.places <= 0 or take <= 0 or (take < left and not self.rule.chunked):
                return
            self.tokens[i] = take
            residents += int(is_new)
            if take < left:
                return

    def batch(self) -> Batch:
        return Batch(self.tokens, self.preempted)
