r"""WAIT and Nested WAIT of arXiv:2504.11320: requests advance only in large enough groups.

Requests pass stages: stage 0 is the prompt, stage ``s`` the decode step ``s``. An iteration
starts only if enough prompts wait, so that the stages keep equal numbers and the KV cache
that they need is known beforehand. If no group may advance the batch is empty: the engine
waits for the next arrival while residents keep their cache.

What the account of the paper leaves open, as read here

* WAIT has one group per class, and requests of a class are alike, so the decode steps left
  tell the stage. A request that was preempted waits with the prompts of its class.
* The model has no token budget and no batch-size limit. Where they bind, decodes go first,
  every prompt that is taken starts with one token, and the oldest get the rest.
* If the cache overflows, the newest requests lose their place: prompts of the batch are not
  taken, residents are preempted and later recompute what they had. If nothing of the batch
  fits, nobody is preempted and the engine waits.

In the shape descriptions, ``R`` is the number of requests present.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, final

import numpy as np

from queueing_llm._validate import Domain, Tokens, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies._contract import Batch, EngineState
from queueing_llm.policies._share_out import share_out

Threshold = Annotated[int, Domain("n", "requests", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True)
class Wait:
    r"""WAIT, the threshold policy of arXiv:2504.11320 for known output lengths.

    Class :math:`j` may advance when :math:`n_j` of its prompts wait; then the oldest
    :math:`n_j` requests of each of its stages are served.

    Parameters
    ----------
    thresholds : sequence of int
        :math:`n_j` of each class, in the order of the workload's classes [requests].

    Raises
    ------
    InvalidArgument
        If there is no threshold or one is not a positive integer; when called, if a request
        is of a class that has none.

    Notes
    -----
    In the paper's model the cache never holds more than
    :math:`M^\pi = \sum_j n_j (l'_j + 1)(l_j + l'_j / 2)` tokens, for prompts :math:`l_j` and
    decode steps :math:`l'_j`, because the stages of a class advance together.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.policies import Wait
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1, 1), token_budget=99)
    >>> times = [0, 0, 0, 5, 5, 5]
    >>> load = ql.Workload.of_requests(times, prompt_tokens=[4] * 6, output_tokens=[1] * 6)
    >>> steps = ql.watch(engine, load, policy=Wait([3]), horizon=99)
    >>> [int(step.batch.tokens.sum()) for step in steps]
    [12, 15]
    """

    thresholds: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", _counts(self.thresholds, "thresholds"))

    def __call__(self, state: EngineState) -> Batch:
        """Return the batch of this step; an empty one waits."""
        thresholds, classes = np.array(self.thresholds), state.class_index
        if classes.max(initial=0) >= len(thresholds):
            msg = (
                f"thresholds must name one number for each class, got {len(thresholds)} of "
                f"them and a request of class {classes.max()}."
            )
            raise InvalidArgument(msg)
        is_prompt = state.prompt_left > 0
        waiting = np.bincount(classes[is_prompt], minlength=len(thresholds))
        stage = np.where(is_prompt, 0, state.decode_left)
        group = stage * len(thresholds) + classes
        advances = (waiting >= thresholds)[classes]
        return share_out(state, advances & oldest_of_each(group, thresholds[classes]))


@final
@dataclass(frozen=True, slots=True)
class NestedWait:
    r"""Nested WAIT, the policy of arXiv:2504.11320 for unknown output lengths.

    Segment 1 holds the prompts and the decode steps up to :math:`l'_1`, segment :math:`k`
    those above :math:`l'_{k-1}` up to :math:`l'_k`. A request whose output is longer than its
    segment queues at the next one. The segments :math:`1, \ldots, k` advance, for the largest
    :math:`k` such that :math:`n_1, \ldots, n_k` requests queue at their beginnings; then the
    oldest :math:`n_i` of each stage of segment :math:`i` are served.

    Parameters
    ----------
    thresholds : sequence of int
        :math:`n_k` of each segment [requests].
    boundaries : sequence of int
        :math:`l'_k`, increasing: the decode steps after which requests may be finished; none
        takes more than the last [tokens].
    prompt_tokens : int
        The common prompt length :math:`l` [tokens].

    Raises
    ------
    InvalidArgument
        If the numbers are no positive integers, as many boundaries as thresholds, or
        boundaries do not increase; when called, if a resident has decoded fewer than 0 or at
        least :math:`l'_m` tokens and is not finished.

    Notes
    -----
    Looks at the tokens that a request has, never at those that are left. Queues between the
    segments are random, so the cache may overflow unless it leaves room for them.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.policies import NestedWait
    >>> policy = NestedWait([2, 1], [1, 3], prompt_tokens=4)
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1, 1), token_budget=99)
    >>> times, outputs = [0, 0, 1, 1, 2, 2, 3, 3], [1, 3] * 4
    >>> load = ql.Workload.of_requests(times, prompt_tokens=[4] * 8, output_tokens=outputs)
    >>> steps = ql.watch(engine, load, policy=policy, horizon=99)
    >>> [int(step.batch.tokens.sum()) for step in steps]
    [8, 10, 11, 12]
    """

    thresholds: Sequence[int]
    boundaries: Sequence[int]
    prompt_tokens: Tokens = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", _counts(self.thresholds, "thresholds"))
        object.__setattr__(self, "boundaries", _counts(self.boundaries, "boundaries"))
        check(self.prompt_tokens, "prompt_tokens", Tokens)
        alike = len(self.boundaries) == len(self.thresholds)
        if not alike or (np.diff(self.boundaries) <= 0).any():
            msg = (
                "boundaries must increase, one for each threshold, got "
                f"boundaries={self.boundaries} for thresholds={self.thresholds}."
            )
            raise InvalidArgument(msg)

    def __call__(self, state: EngineState) -> Batch:
        """Return the batch of this step; an empty one waits."""
        thresholds, boundaries = np.array(self.thresholds), np.array(self.boundaries)
        done = np.where(state.prompt_left > 0, -1, state.stored - self.prompt_tokens)
        self._check(state, done)
        segment = np.searchsorted(boundaries, done, side="right")
        first = np.concatenate([[-1], boundaries[:-1]])
        queues = segment[done == first[segment]]
        queued = np.bincount(queues, minlength=len(thresholds))
        advances = np.logical_and.accumulate(queued >= thresholds)[segment]
        return share_out(state, advances & oldest_of_each(done, thresholds[segment]))

    def _check(self, state: EngineState, done: np.ndarray) -> None:
        strange = (state.prompt_left == 0) & ((done < 0) | (done >= self.boundaries[-1]))
        if strange.any():
            i = int(np.argmax(strange))
            msg = (
                f"requests must have prompts of prompt_tokens={self.prompt_tokens} and at most "
                f"{self.boundaries[-1]} decode steps, got request {int(state.request[i])}, "
                f"which holds {int(state.stored[i])} tokens and is not finished."
            )
            raise InvalidArgument(msg)


def oldest_of_each(group: np.ndarray, at_most: np.ndarray) -> np.ndarray:
    """Whether each request is among the oldest of its group, bool array, shape (R,).

    Parameters
    ----------
    group : int64 array, shape (R,)
        Group of each request, in order of arrival.
    at_most : int64 array, shape (R,)
        How many of its group are wanted; the same number for a whole group.
    """
    order = np.argsort(group, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.searchsorted(group[order], group[order])
    return rank < at_most


def _counts(values: Sequence[int], name: str) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not values:
        msg = f"{name} must be a non-empty list of positive integers, got {name}={values!r}."
        raise InvalidArgument(msg)
    for i, value in enumerate(values):
        check(value, f"{name}[{i}]", Threshold)
    return tuple(values)
