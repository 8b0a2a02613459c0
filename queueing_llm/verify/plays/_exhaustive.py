r"""Every small engine state, and every small state that a policy can lead an engine into.

A request is three numbers: prompt tokens left :math:`p`, decode steps left :math:`d`, tokens
stored :math:`s`. A state is *legal* if every request has something left and a prompt of at
least one token, of which nothing is lost: :math:`p, d, s \ge 0`, :math:`p + d \ge 1`,
:math:`p + s \ge 1`; if the requests together hold no more blocks than the KV cache has; and
if each would fit into the cache alone, :math:`p + d + s \le M`. So a decode is stored, and a
request has started exactly if it stores something. Nothing is said about who started first
or how many prompts are cut: such things hold in the states that a policy *reaches*.

Requests are numbered from 0 and belong to one class, so states that differ only in the
numbers of their requests are one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, TypeAlias, final

import numpy as np

from queueing_llm._validate import Domain, validate
from queueing_llm.policies import EngineState, Policy, check_policy
from queueing_llm.policies._contract import blocks_for, check_blocks
from queueing_llm.verify.plays._ask import ask, broken_rule
from queueing_llm.verify.plays._books import victims

Row: TypeAlias = tuple[int, int, int]
Rows: TypeAlias = tuple[Row, ...]

Few = Annotated[int, Domain("R", "requests", at_least=1, integer=True)]
Short = Annotated[int, Domain("m", "tokens", at_least=1, integer=True)]
Budget = Annotated[int, Domain("b", "tokens", at_least=1, integer=True)]
Places = Annotated[int | None, Domain("k", "requests", at_least=1, integer=True, optional=True)]
Slots = Annotated[int | None, Domain("M", "tokens", at_least=1, integer=True, optional=True)]
Block = Annotated[int, Domain("B", "tokens", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Bounds that leave finitely many states.

    Parameters
    ----------
    requests : int
        Most requests present at once [requests].
    tokens : int
        Longest prompt, and most decode steps of a request [tokens].
    token_budget : int
        Of the engine [tokens/step].
    max_batch_size, kv_capacity : int or None
        Of the engine [requests], [tokens].
    kv_block_size : int
        Of the engine [tokens].

    Raises
    ------
    InvalidArgument
        If a bound is not a positive integer, or the cache does not consist of whole blocks.

    Examples
    --------
    >>> print(Scope(requests=2, tokens=3, token_budget=4))
    at most 2 requests, prompts and outputs of at most 3 tokens, token_budget=4
    """

    requests: Few
    tokens: Short
    token_budget: Budget
    max_batch_size: Places = None
    kv_capacity: Slots = None
    kv_block_size: Block = 1

    def __post_init__(self) -> None:
        validate(self)
        check_blocks(self.kv_capacity, block_size=self.kv_block_size)

    def __str__(self) -> str:
        sizes = f"prompts and outputs of at most {self.tokens} tokens"
        limits = [
            f"{name}={getattr(self, name)}"
            for name in ("token_budget", "max_batch_size", "kv_capacity")
            if getattr(self, name) is not None
        ]
        limits += [f"kv_block_size={self.kv_block_size}"] if self.kv_block_size > 1 else []
        return ", ".join([f"at most {self.requests} requests", sizes, *limits])

    def state(self, rows: Rows) -> EngineState:
        """Return the state with these requests, oldest first; nobody can write to it."""
        columns = [range(len(rows)), [0] * len(rows), *zip(*rows, strict=True)]
        table = np.array([list(column) for column in columns], dtype=np.int64)
        table.setflags(write=False)
        request, class_index, prompt_left, decode_left, stored = table
        return EngineState(
            request,
            class_index,
            prompt_left,
            decode_left,
            stored,
            token_budget=self.token_budget,
            max_batch_size=self.max_batch_size,
            kv_capacity=self.kv_capacity,
            kv_block_size=self.kv_block_size,
        )


def all_states(
    *,
    requests: int,
    tokens: int,
    token_budget: int,
    max_batch_size: int | None = None,
    kv_capacity: int | None = None,
    kv_block_size: int = 1,
) -> Iterator[EngineState]:
    r"""Yield every legal state with few, short requests, smallest first.

    Parameters
    ----------
    requests : int
        Most requests in a state [requests].
    tokens : int
        Longest context :math:`p + s` of a request, and most decode steps :math:`d` that it
        has left [tokens].
    token_budget, max_batch_size, kv_capacity, kv_block_size
        Limits of the engine, the same in all states.

    Yields
    ------
    EngineState
        By number of requests, then by their tokens :math:`\sum (p + d + s)`, so the first
        state that breaks something is a smallest one within the bounds.

    Raises
    ------
    InvalidArgument
        If a bound is not a positive integer, or the cache does not consist of whole blocks.

    Notes
    -----
    Without a KV cache a request has :math:`r = m (m + 1)^2 / 2 + m^2` forms for
    ``tokens`` :math:`= m`, so there are :math:`r + r^2 + \dots` states. In a legal state more
    requests may have started than ``max_batch_size``.

    Examples
    --------
    >>> sum(1 for _ in all_states(requests=2, tokens=3, token_budget=4))
    1122
    """
    scope = Scope(
        requests=requests,
        tokens=tokens,
        token_budget=token_budget,
        max_batch_size=max_batch_size,
        kv_capacity=kv_capacity,
        kv_block_size=kv_block_size,
    )
    by_size: dict[int, list[Row]] = {}
    for row in _rows(scope):
        by_size.setdefault(sum(row), []).append(row)
    for count in range(1, requests + 1):
        for size in range(count, 2 * tokens * count + 1):
            for rows in _of_size(by_size, count, size):
                if _is_stored(rows, scope):
                    yield scope.state(rows)


def reachable_states(
    policy: Policy,
    *,
    requests: int,
    tokens: int,
    token_budget: int,
    max_batch_size: int | None = None,
    kv_capacity: int | None = None,
    kv_block_size: int = 1,
    first_token_from_prefill: bool = False,
) -> Iterator[EngineState]:
    """Yield every state in which a policy can be asked, smallest first.

    The engine starts empty. Before each step any number of requests of any length may join,
    as long as no more than ``requests`` are present; this goes on for ever. A state in which
    the policy raises or answers an illegal batch has no successor.

    Parameters
    ----------
    policy : Policy
        What forms the batches.
    requests : int
        Most requests present at once [requests].
    tokens : int
        Longest prompt, and most decode steps of a request when it arrives [tokens].
    token_budget, max_batch_size, kv_capacity, kv_block_size, first_token_from_prefill
        The engine; the last decides what a preempted request has left.

    Yields
    ------
    EngineState
        In the order of :func:`all_states`. Contexts may exceed ``tokens``: a preempted request
        computes again what it has generated.

    Raises
    ------
    InvalidArgument
        If a bound is not a positive integer, the cache does not consist of whole blocks, or
        ``policy`` cannot be called.

    Notes
    -----
    Complete for these bounds: breadth first, until nothing new is found, which takes all
    states before the first is yielded. A policy that remembers or guesses is followed only
    along the answers it gave.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> sum(1 for _ in reachable_states(ql.SARATHI, requests=2, tokens=2, token_budget=2))
    127
    """
    scope = Scope(
        requests=requests,
        tokens=tokens,
        token_budget=token_budget,
        max_batch_size=max_batch_size,
        kv_capacity=kv_capacity,
        kv_block_size=kv_block_size,
    )
    check_policy(policy)
    newcomers = [row for row in _rows(scope) if row[2] == 0]
    found: set[Rows] = {()}
    frontier: list[Rows] = [()]
    while frontier:
        reached: list[Rows] = []
        for rows in frontier:
            if len(rows) < requests:
                reached.extend((*rows, row) for row in newcomers)
            after = _after(scope, rows, policy=policy, emits=first_token_from_prefill)
            reached.extend([] if after is None else [after])
        frontier = [rows for rows in dict.fromkeys(reached) if rows not in found]
        found.update(frontier)
    found.remove(())
    for rows in sorted(found, key=lambda rows: (len(rows), sum(map(sum, rows)), rows)):
        yield scope.state(rows)


def _rows(scope: Scope) -> Iterator[Row]:
    """Yield the forms of one request: something left, a prompt, and room for it alone."""
    lengths = range(scope.tokens + 1)
    for left, decodes, stored in product(lengths, repeat=3):
        fits = scope.kv_capacity is None or left + decodes + stored <= scope.kv_capacity
        if left + decodes >= 1 and 1 <= left + stored <= scope.tokens and fits:
            yield left, decodes, stored


def _of_size(by_size: dict[int, list[Row]], count: int, size: int) -> Iterator[Rows]:
    """Yield every sequence of ``count`` requests that have ``size`` tokens together."""
    if count == 0:
        yield from [()] if size == 0 else []
        return
    for first in sorted(by_size):
        if first > size:
            return
        for rest in _of_size(by_size, count - 1, size - first):
            for row in by_size[first]:
                yield (row, *rest)


def _is_stored(rows: Rows, scope: Scope) -> bool:
    held = sum(blocks_for(stored, block_size=scope.kv_block_size) for _, _, stored in rows)
    return scope.kv_capacity is None or held * scope.kv_block_size <= scope.kv_capacity


def _after(scope: Scope, rows: Rows, *, policy: Policy, emits: bool) -> Rows | None:
    """Return the requests that are left after one step; None if the batch is illegal."""
    if not rows:
        return None
    decision = ask(policy, scope.state(rows))
    batch = decision.batch
    if batch is None or broken_rule(decision.state, batch):
        return None
    lost = victims(decision.state, batch).tolist()
    served = zip(rows, batch.tokens.tolist(), lost, strict=True)
    after = (_served(row, taken, is_lost, emits=emits) for row, taken, is_lost in served)
    return tuple(row for row in after if row[0] + row[1] > 0)


def _served(row: Row, taken: int, is_lost: bool, *, emits: bool) -> Row:  # noqa: FBT001
    """Return a request after its step.

    If prefills emit, a decode that loses its cache has emitted one token that it has not
    stored: it computes that one, too, and this emits the next.
    """
    left, decodes, stored = row
    if is_lost:
        again = int(emits and left == 0)
        return left + stored + again, decodes - again, 0
    if left > 0:
        return left - taken, decodes, stored + taken
    return left, decodes - taken, stored + taken
