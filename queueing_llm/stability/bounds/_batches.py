"""Which batches an engine may form, and those among them that can shape its region."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.steptime import AbstractStepTime, MeasuredStepTime, TableStepTime


class TimedBatch(NamedTuple):
    """A batch of prefill and decode tokens [tokens] and the seconds it takes."""

    prefill_tokens: int
    decode_tokens: int
    seconds: Real


@final
@dataclass(frozen=True, slots=True)
class BatchLimits:
    r"""The batches :math:`(x, y)` with :math:`x + y \le b` and :math:`y + s(x) \le k`.

    At least :math:`s(x) = \lceil x / p \rceil` requests hold :math:`x` prompt tokens.

    Parameters
    ----------
    tokens : int
        :math:`b` [tokens].
    requests : int
        :math:`k`; without a limit it is :math:`b`, which a batch never exceeds.
    prompt : int
        :math:`p` [tokens], the most that one request prefills in a batch; :math:`b` makes
        every :math:`x > 0` count as one request.
    """

    tokens: int
    requests: int
    prompt: int

    @classmethod
    def of(cls, engine: Engine, longest_prompt: int | None) -> "BatchLimits":
        """Return the limits of an engine, the KV cache bounding the tokens of a batch."""
        tokens = engine.batch_tokens_limit()
        return cls(
            tokens=tokens,
            requests=min(tokens, engine.max_batch_size or tokens),
            prompt=min(tokens, longest_prompt or tokens),
        )

    @property
    def most_tokens(self) -> int:
        """The most tokens that any allowed batch holds."""
        return min(self.tokens, self.requests * self.prompt)

    def most_decode(self, tokens: int) -> int:
        r"""Return the largest :math:`y` of a batch of ``tokens``, at most ``most_tokens``.

        Solves :math:`y + \lceil (n - y) / p \rceil \le k`, whose left side never falls as
        :math:`y` grows, so that every smaller :math:`y` is allowed too.
        """
        if self.prompt == 1:
            return tokens
        places = (self.prompt * self.requests - tokens) // (self.prompt - 1)
        return min(tokens, places)

    def most_decode_beside(self, prefill_tokens: int) -> int:
        """Return the most decode tokens beside so many of prefill; negative if too many."""
        taken = -(-prefill_tokens // self.prompt)
        return min(self.tokens - prefill_tokens, self.requests - taken)

    def most_prefill_beside(self, decode_tokens: int) -> int:
        """Return the most prefill tokens beside so many of decode."""
        free = self.requests - decode_tokens
        return min(self.tokens - decode_tokens, self.prompt * free)


def shaping_batches(law: AbstractStepTime, limits: BatchLimits) -> list[TimedBatch]:
    r"""Return batches whose hull is that of all allowed batches, each at its least time.

    Raises
    ------
    InvalidArgument
        If an allowed batch has no known time, or the law has a form for which it is not
        known which batches shape the region.

    Notes
    -----
    *A law of the tokens* :math:`n = x + y` that never falls as :math:`K` grows is fastest at
    :math:`K = 0`. The batches of :math:`n` tokens then all take :math:`t(n)`: their rates
    :math:`(n - y, y) / t(n)` lie on one segment, along which :math:`y` goes from 0 to its
    largest allowed value without a gap. The two ends span it, so :math:`2 b` batches remain.

    *A grid* :math:`t(x, y, K)` is linear along each coordinate within a cell. For any prices
    :math:`\pi`, :math:`(\pi_p x + \pi_d y) / t` is then monotone along each, and a batch can
    be moved at no loss: :math:`K` to a grid point; then :math:`x` to a grid point or to the
    most allowed beside :math:`y`; in the former case :math:`y` to a grid point, to 1 (below
    which no KV cache is read) or to the most allowed beside :math:`x`. Fewer tokens of either
    kind are always allowed.
    """
    if is_of_token_count(law):
        return list(_ends_of_segments(law, limits))
    if isinstance(law, TableStepTime):
        return list(_grid_batches(law, limits))
    msg = (
        "step_time must be a law of the total tokens in a batch or a TableStepTime for the "
        f"batches that matter to be known, got step_time={law!r}."
    )
    raise InvalidArgument(msg)


def on_a_table(engine: Engine) -> Engine:
    """Return the engine with a measured law as a table: of that it is known which matter."""
    law = engine.step_time
    if not isinstance(law, MeasuredStepTime):
        return engine
    most_decodes = min(engine.token_budget, engine.max_batch_size or engine.token_budget)
    table = law.table(
        engine.token_budget, most_decode_tokens=most_decodes, kv_capacity=engine.kv_capacity
    )
    return replace(engine, step_time=table)


def has_known_shape(law: AbstractStepTime) -> bool:
    """Whether it is known which batches shape the region of an engine with this law."""
    return is_of_token_count(law) or isinstance(law, TableStepTime)


def reads_kv(law: AbstractStepTime) -> bool:
    """Whether the time of a batch may depend on the KV tokens that it reads."""
    if isinstance(law, TableStepTime):
        return len(law.axes) == 3 and law.axes[2] is not None
    return law.kv_slope != 0


def is_of_token_count(law: AbstractStepTime) -> bool:
    r"""Whether :math:`t(x, y, 0)` depends on :math:`x + y` only, and :math:`K` adds to it.

    It does if there is a KV slope, and by contract where ``candidate_batches`` is inherited.
    """
    inherited = type(law).candidate_batches is AbstractStepTime.candidate_batches
    return law.kv_slope is not None or inherited


def _ends_of_segments(law: AbstractStepTime, limits: BatchLimits) -> Iterator[TimedBatch]:
    # Called for its check that every batch within the limits has a known time.
    law.candidate_batches(limits.most_tokens)
    for tokens in range(1, limits.most_tokens + 1):
        seconds = law(tokens)
        decode = limits.most_decode(tokens)
        yield TimedBatch(tokens, 0, seconds)
        yield TimedBatch(tokens - decode, decode, seconds)


def _grid_batches(law: TableStepTime, limits: BatchLimits) -> Iterator[TimedBatch]:
    # Called for its check that the table covers every batch within the limits.
    law.candidate_batches(limits.most_tokens, most_decode_tokens=limits.requests)
    prefill_axis, decode_axis, kv_axis = ((0,) if axis is None else axis for axis in law.axes)
    batches = {
        (limits.most_prefill_beside(decode), decode) for decode in range(limits.requests + 1)
    }
    for prefill in prefill_axis:
        most = limits.most_decode_beside(prefill)
        batches |= {(prefill, y) for y in (*decode_axis, 1, most) if 0 <= y <= most}
    pairs = sorted(batches - {(0, 0)})
    for (prefill, decode), seconds in zip(pairs, _least(law, pairs, kv_axis), strict=True):
        yield TimedBatch(prefill, decode, seconds)


def _least(
    law: TableStepTime, pairs: list[tuple[int, int]], kv_axis: tuple[int, ...]
) -> list[Real]:
    """Return the least time of each batch over the KV tokens that it may read."""
    if all(isinstance(value, float) for value in law.seconds):
        x, y = np.array(pairs).T
        times = np.stack([law(x, y, np.where(y > 0, kv, 0)) for kv in kv_axis])
        return times.min(axis=0).tolist()
    return [min(law(x, y, kv) for kv in (kv_axis if y else (0,))) for x, y in pairs]
