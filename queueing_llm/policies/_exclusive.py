r"""Threshold-based exclusive batching, and the hybrid with mixed batches (arXiv:2606.00516).

An exclusive engine decodes until enough of its slots are free and then prefills as many new
requests, alone. A policy is a function of the state, which does not tell whether the engine
is in the middle of a refill, unless some prompt has started and is not done. So a refill
gives a token to each of its prompts in its first batch, and goes on while one is not done.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies._contract import Batch, EngineState, Policy, check_policy
from queueing_llm.policies._share_out import share_out


@final
@dataclass(frozen=True, slots=True)
class ExclusiveBatching:
    r"""Decode until some slots are free, then prefill as many new requests (EB).

    Parameters
    ----------
    slots : int
        :math:`N`, the most residents [requests].
    refill : int
        :math:`k \le N`, the free slots that end a decode phase, and the requests that one
        refill starts [requests].

    Raises
    ------
    InvalidArgument
        If a number is not a positive integer or ``refill`` exceeds ``slots``.

    Notes
    -----
    As read here: a decode step may free more than :math:`k` slots, and still :math:`k`
    requests start; if :math:`k` slots are then still free, another refill follows. While
    fewer than :math:`k` requests wait decoding goes on, and if nothing decodes those that
    wait start. Token budget and batch-size limit lower :math:`k` to what one batch can
    start. With a KV cache, requests start only if their whole prompts fit, and if decodes
    overflow it the newest residents are preempted.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.policies import ExclusiveBatching
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=99)
    >>> load = ql.Workload.of_requests([0] * 4, prompt_tokens=[5] * 4, output_tokens=[1, 2] * 2)
    >>> run = ql.watch(engine, load, policy=ExclusiveBatching(3, refill=2), horizon=999)
    >>> [s.batch.tokens.tolist() for s in run]
    [[5, 5, 0, 0], [1, 1, 0, 0], [0, 5, 5], [1, 1, 1], [1]]
    """

    slots: Annotated[int, Domain("N", "requests", at_least=1, integer=True)]
    refill: Annotated[int, Domain("k", "requests", at_least=1, integer=True)]

    def __post_init__(self) -> None:
        validate(self)
        if self.refill > self.slots:
            msg = f"refill must be at most slots={self.slots}, got refill={self.refill}."
            raise InvalidArgument(msg)

    def __call__(self, state: EngineState) -> Batch:
        """Return the batch of this step."""
        has_prompt, is_resident = state.prompt_left > 0, state.stored > 0
        starting = self._starting(state)
        is_refill = starting.sum() == self._together(state)
        choices = (has_prompt & is_resident, starting & is_refill, ~has_prompt, starting)
        batches = (share_out(state, chosen) for chosen in choices)
        return next((b for b in batches if b.tokens.any()), Batch(np.zeros_like(state.stored)))

    def _together(self, state: EngineState) -> int:
        """Return the most requests that one batch can start."""
        return min(self.refill, state.token_budget, state.max_batch_size or self.refill)

    def _starting(self, state: EngineState) -> np.ndarray:
        """Which requests a refill would start now, bool array, shape (R,)."""
        free = self.slots - int((state.stored > 0).sum())
        waiting = np.flatnonzero(state.stored == 0)[: max(0, min(free, self._together(state)))]
        if state.kv_blocks is not None:
            needed = np.cumsum(state.blocks_of(state.prompt_left[waiting]))
            held = int(state.blocks_of(state.stored).sum())
            waiting = waiting[needed + held <= state.kv_blocks]
        starting = np.zeros(len(state.request), dtype=np.bool_)
        starting[waiting] = True
        return starting


@final
@dataclass(frozen=True, slots=True)
class HybridBatching:
    """Exclusive or mixed batches, whichever a criterion prefers in the state (EB+).

    Parameters
    ----------
    exclusive, mixed : Policy
        What to choose from, such as :class:`ExclusiveBatching` and ``VLLM_V1``.
    prefers_mixed : callable
        Says in which states ``mixed`` forms the batch, such as
        ``queueing_llm.stability.ObservedCrossover``.

    Raises
    ------
    InvalidArgument
        If an argument cannot be called.

    Notes
    -----
    The published controller has hysteresis, which needs a memory of what was chosen last. A
    policy has none, so this one has no hysteresis: it may switch at every step.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.policies import ExclusiveBatching, HybridBatching
    >>> exclusive = ExclusiveBatching(slots=4, refill=1)
    >>> policy = HybridBatching(exclusive, ql.SARATHI, lambda state: len(state.request) > 2)
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=9)
    >>> load = ql.Workload.of_requests([0] * 3, prompt_tokens=[4] * 3, output_tokens=[1] * 3)
    >>> [s.batch.tokens.tolist() for s in ql.watch(engine, load, policy=policy, horizon=99)]
    [[4, 4, 1], [1, 1, 3], [1]]
    """

    exclusive: Policy
    mixed: Policy
    prefers_mixed: Callable[[EngineState], bool]

    def __post_init__(self) -> None:
        check_policy(self.exclusive)
        check_policy(self.mixed)
        criterion: object = self.prefers_mixed
        if not callable(criterion):
            msg = (
                "prefers_mixed must be a function of an EngineState, got "
                f"prefers_mixed={criterion!r}."
            )
            raise InvalidArgument(msg)

    def __call__(self, state: EngineState) -> Batch:
        """Return the batch of this step."""
        policy = self.mixed if self.prefers_mixed(state) else self.exclusive
        return policy(state)
