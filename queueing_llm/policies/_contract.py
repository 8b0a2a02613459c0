"""What a scheduling policy sees, what it answers, and what makes an answer legal.

A policy is any callable ``EngineState -> Batch``. It is asked once per step and sees
nothing but the state: the requests present, in order of arrival, and the limits of the
engine. It must not change the state, and must answer the same for the same state.

A legal batch (equation numbers of arXiv:2504.07347v3)

* gives a request no more tokens than it has left;
* gives prompt tokens only while prompt tokens are left, and otherwise at most one decode
  token (6a, 6c);
* holds at most ``token_budget`` tokens (6d) and at most ``max_batch_size`` requests;
* fits in the KV cache, together with what the requests that it does not preempt hold, each
  in whole blocks of ``kv_block_size`` tokens;
* preempts residents only, and gives a preempted request nothing in that step.

In the shape descriptions, ``R`` is the number of requests present.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from queueing_llm.errors import InvalidArgument


def blocks_for(tokens: Any, *, block_size: int) -> Any:
    """Return the KV blocks that hold so many tokens of one request.

    Parameters
    ----------
    tokens : int or int64 array
        Tokens stored [tokens].
    block_size : int
        Tokens in a block [tokens].

    Examples
    --------
    >>> blocks_for(33, block_size=16), blocks_for(np.array([0, 1, 16, 17]), block_size=16)
    (3, array([0, 1, 1, 2]))
    """
    return -(-tokens // block_size)


def check_blocks(kv_capacity: int | None, *, block_size: int) -> None:
    """Raise :class:`InvalidArgument` unless a KV cache consists of whole blocks.

    Parameters
    ----------
    kv_capacity : int or None
        Size of the cache [tokens]; None only with blocks of one token.
    block_size : int
        Tokens in a block [tokens].

    Raises
    ------
    InvalidArgument
        If the cache is no multiple of a block above one token.

    Examples
    --------
    >>> check_blocks(64, block_size=16), check_blocks(None, block_size=1)
    (None, None)
    """
    if block_size > 1 and (kv_capacity is None or kv_capacity % block_size):
        msg = (
            f"kv_capacity must be a multiple of kv_block_size={block_size} tokens, "
            f"got kv_capacity={kv_capacity!r}."
        )
        raise InvalidArgument(msg)


@final
@dataclass(frozen=True, slots=True, eq=False)
class EngineState:
    """The requests present at the start of a step, in order of arrival.

    Parameters
    ----------
    request : int64 array, shape (R,)
        Arrival number of each request, increasing.
    class_index : int64 array, shape (R,)
        Request class of each request.
    prompt_left : int64 array, shape (R,)
        Prompt tokens still to process [tokens].
    decode_left : int64 array, shape (R,)
        Decode steps still to take [tokens].
    stored : int64 array, shape (R,)
        Tokens held in the KV cache [tokens]; positive exactly for residents.
    token_budget : int
        Most tokens in one batch [tokens/step].
    max_batch_size : int or None
        Most requests in one batch.
    kv_capacity : int or None
        Size of the KV cache [tokens], a multiple of the block size.
    kv_block_size : int
        Tokens in a block of the cache [tokens]; a block belongs to one request.
    """

    request: np.ndarray
    class_index: np.ndarray
    prompt_left: np.ndarray
    decode_left: np.ndarray
    stored: np.ndarray
    token_budget: int
    max_batch_size: int | None = None
    kv_capacity: int | None = None
    kv_block_size: int = 1

    @property
    def kv_blocks(self) -> int | None:
        """Blocks of the KV cache; with blocks of one token these are its slots."""
        return None if self.kv_capacity is None else self.kv_capacity // self.kv_block_size

    def blocks_of(self, tokens: Any) -> Any:
        """Return the KV blocks that requests hold which store so many tokens each.

        Examples
        --------
        >>> columns = np.array([[0, 1, 2], [0, 0, 0], [0, 7, 9], [3, 1, 1], [4, 5, 0]])
        >>> state = EngineState(*columns, token_budget=8, kv_capacity=16, kv_block_size=4)
        >>> state.blocks_of(state.stored), state.kv_blocks
        (array([1, 2, 0]), 4)
        """
        return blocks_for(tokens, block_size=self.kv_block_size)

    @property
    def decoding(self) -> np.ndarray:
        """Positions of the requests whose prompt is done, oldest first."""
        return np.flatnonzero(self.prompt_left == 0)

    @property
    def prefilling(self) -> np.ndarray:
        """Positions of the requests with prompt tokens left, oldest first."""
        return np.flatnonzero(self.prompt_left > 0)

    @property
    def demand(self) -> int:
        """Tokens that all requests together could take now, (8) of arXiv:2504.07347v3."""
        return int(np.maximum(self.prompt_left, 1).sum())


@final
@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's grant.

    Parameters
    ----------
    tokens : int64 array, shape (R,)
        Tokens given to each request of the state: prompt tokens, or one decode token.
    preempted : bool array, shape (R,), optional
        Residents that lose their KV cache and wait again, to recompute it later.
    """

    tokens: np.ndarray
    preempted: np.ndarray | None = None

    def prefill_tokens(self, state: EngineState) -> int:
        """Return the prompt tokens in the batch, :math:`x` [tokens]."""
        return int(self.tokens[state.prompt_left > 0].sum())

    def decode_tokens(self, state: EngineState) -> int:
        """Return the decode tokens in the batch, :math:`y` [tokens]."""
        return int(self.tokens[state.prompt_left == 0].sum())


Policy: TypeAlias = Callable[[EngineState], Batch]
"""A scheduling policy: a :class:`BatchRule`, or any function of the state."""


def check_policy(policy: object) -> None:
    """Raise :class:`InvalidArgument` unless ``policy`` can be asked for batches."""
    if not callable(policy):
        msg = (
            "policy must be a BatchRule such as SARATHI, or a function of an EngineState, got "
            f"policy={policy!r}; policy_named finds a rule by its name."
        )
        raise InvalidArgument(msg)


def check_batch(state: EngineState, batch: Batch) -> None:
    """Raise :class:`InvalidArgument` unless ``batch`` is legal in ``state``.

    Raises
    ------
    InvalidArgument
        Naming the rule that is broken, the request and the number.
    """
    broken = _broken_rule(state, batch)
    if broken:
        msg = f"illegal batch: {broken}."
        raise InvalidArgument(msg)


def _broken_rule(state: EngineState, batch: Batch) -> str | None:
    tokens = np.asarray(batch.tokens)
    if tokens.shape != state.request.shape or tokens.dtype.kind != "i":
        expected = f"integers of shape {state.request.shape}"
        return f"tokens must be {expected}, got {tokens.dtype} of shape {tokens.shape}"
    preempted = _preempted(state, batch)
    if preempted.shape != state.request.shape or preempted.dtype != np.bool_:
        expected = f"booleans of shape {state.request.shape}"
        return f"preempted must be {expected}, got {preempted.dtype} {preempted.shape}"
    at_most = np.where(
        state.prompt_left > 0, state.prompt_left, np.minimum(state.decode_left, 1)
    )
    for rule, bad in (
        ("tokens must be at least 0", tokens < 0),
        ("a request gets at most its prompt left, or one decode token", tokens > at_most),
        ("only a resident can be preempted", preempted & (state.stored == 0)),
        ("a preempted request gets nothing", preempted & (tokens > 0)),
    ):
        if bad.any():
            i = int(np.argmax(bad))
            return f"{rule}, got {int(tokens[i])} for request {int(state.request[i])}"
    return _broken_limit(state, tokens, preempted)


def _broken_limit(state: EngineState, tokens: np.ndarray, preempted: np.ndarray) -> str | None:
    total, members = int(tokens.sum()), int((tokens > 0).sum())
    held = int(state.blocks_of((state.stored + tokens)[~preempted]).sum())
    size = state.kv_block_size
    kind = "tokens" if size == 1 else f"blocks of {size} tokens"
    for what, value, limit in (
        ("tokens in the batch exceed token_budget", total, state.token_budget),
        ("requests in the batch exceed max_batch_size", members, state.max_batch_size),
        (f"{kind} in the KV cache exceed kv_capacity", held, state.kv_blocks),
    ):
        if limit is not None and value > limit:
            return f"{what}, got {value} > {limit}"
    return None


def _preempted(state: EngineState, batch: Batch) -> np.ndarray:
    if batch.preempted is None:
        return np.zeros(state.request.shape, dtype=np.bool_)
    return np.asarray(batch.preempted)
