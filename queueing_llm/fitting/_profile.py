"""The step of a model as the sum of its measured operators."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, final

import numpy as np

from queueing_llm._validate import Domain, Tokens, check, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._profile_grid import MeasuredGrid
from queueing_llm.fitting._samples import StepSamples
from queueing_llm.steptime import TableStepTime

FEWEST_KV = 16


@final
@dataclass(frozen=True, slots=True, eq=False)
class OperatorProfile:
    r"""Seconds of one batch, summed over operators that were timed one by one.

    .. math:: t(x, y, K) = D(x + y) + L \, A(x, y, K) + S(s),

    with :math:`D` what runs once per token (embedding, :math:`L` times the matrix products,
    rotation, activation and norms of a layer, the last norm), :math:`A` the attention of one
    layer and :math:`S` what runs once per sequence that yields a token (``lm_head`` and
    sampling). Calling a profile evaluates it; :meth:`table` makes a law for an engine.

    Parameters
    ----------
    layers : int
        :math:`L`.
    prompt_tokens : int
        :math:`P` [tokens], the length of the prompts that prefill tokens belong to.
    by_tokens, by_sequences : MeasuredGrid of one axis
        :math:`D` against tokens, :math:`S` against sequences [s].
    decode, prefill, mixed : MeasuredGrid of two, two and four axes
        Attention of one layer [s] against (decodes, KV tokens of each), (chunk, context),
        and (chunk, context, decodes, KV tokens of each).
    source : str
        Where the times come from.

    Raises
    ------
    InvalidArgument
        If ``layers`` or ``prompt_tokens`` is not a positive integer.

    Notes
    -----
    A chunk of :math:`x \le P` tokens has the mean context :math:`(P - x)/2` of the chunks of
    its prompt, and attention is taken as linear in the context; beyond :math:`P` tokens,
    further prompts add the attention of a whole prompt each, in proportion. All decodes have
    the mean context :math:`K / y`. Each prompt in the batch yields one token. The time
    between operators (launches, the scheduler, communication) is not in the sum.

    Attention jumps where a first prefill token joins decodes, up to twofold on the GPUs that
    we know. So the mean time of pure and mixed steps is not that of the mean batch: weigh
    the two kinds.

    :attr:`notes` says what is interpolated and extrapolated.

    Examples
    --------
    >>> import numpy as np
    >>> from queueing_llm.fitting._profile_grid import MeasuredGrid
    >>> ends = np.array([1.0, 512.0])
    >>> free = [MeasuredGrid((ends,) * n, np.zeros((2,) * n)) for n in (1, 2, 2, 4)]
    >>> line = MeasuredGrid((ends,), np.array([0.01, 0.05]))
    >>> profile = OperatorProfile(32, 1024, line, *free)
    >>> float(profile(0, 512, 4096))
    0.05
    """

    layers: Annotated[int, Domain("L", "1", at_least=1, integer=True)]
    prompt_tokens: Tokens
    by_tokens: MeasuredGrid
    by_sequences: MeasuredGrid
    decode: MeasuredGrid
    prefill: MeasuredGrid
    mixed: MeasuredGrid
    source: str = ""

    def __post_init__(self) -> None:
        validate(self)

    def __call__(self, prefill_tokens: Any, decode_tokens: Any = 0, kv_tokens: Any = 0) -> Any:
        """Return the seconds that each batch takes, elementwise.

        Parameters
        ----------
        prefill_tokens, decode_tokens, kv_tokens : number or array of numbers
            :math:`x`, :math:`y`, :math:`K` [tokens]; they need not be integers.

        Returns
        -------
        float64 array
            :math:`t` [s], of the broadcast shape.

        Raises
        ------
        InvalidArgument
            If a count is negative or not finite, or the tokens are none or more than were
            profiled.
        """
        batch = self._checked(prefill_tokens, decode_tokens, kv_tokens)
        return self._seconds(*batch)

    def is_extrapolated(
        self, prefill_tokens: Any, decode_tokens: Any = 0, kv_tokens: Any = 0
    ) -> Any:
        """Tell the batches that lie beyond what was measured along some axis.

        Parameters
        ----------
        prefill_tokens, decode_tokens, kv_tokens : number or array of numbers
            As for the call.

        Returns
        -------
        bool array
            Of the broadcast shape.

        Raises
        ------
        InvalidArgument
            As for the call.
        """
        x, y, kv = self._checked(prefill_tokens, decode_tokens, kv_tokens)
        chunk, context, _ = self._chunks(x)
        each = _each(kv, y)
        beyond = self.by_sequences.is_beyond(self._sequences(x, y))
        beyond |= (x == 0) & self.decode.is_beyond(y, each)
        beyond |= (y == 0) & self.prefill.is_beyond(chunk, context)
        return beyond | ((x > 0) & (y > 0) & self.mixed.is_beyond(chunk, context, y, each))

    def table(
        self, *, token_budget: int, most_decode_tokens: int, kv_capacity: int
    ) -> TableStepTime:
        """Return the profile as a table of batches, for an engine.

        The nodes are the profiled counts of tokens, and KV counts of which each is at most
        1.5 times the one before; batches of 1 decode or prefill token are nodes, so that
        nothing is interpolated between a pure and a mixed batch.

        Parameters
        ----------
        token_budget : int
            Most tokens in a batch; at most as many as were profiled.
        most_decode_tokens : int
            Most decodes in a batch, at most ``token_budget``.
        kv_capacity : int
            Most KV tokens that a batch reads.

        Returns
        -------
        TableStepTime
            Seconds on a grid of (prefill, decode, KV tokens).

        Raises
        ------
        InvalidArgument
            If a limit is not a positive integer, or the budget was not profiled.
        """
        check(token_budget, "token_budget", Tokens)
        check(most_decode_tokens, "most_decode_tokens", Tokens)
        check(kv_capacity, "kv_capacity", Tokens)
        self._require_profiled("token_budget", token_budget)
        nodes = self.by_tokens.axes[0].astype(int).tolist()
        sequences = self.by_sequences.axes[0].astype(int).tolist()
        powers = [FEWEST_KV << i for i in range(kv_capacity.bit_length())]
        axes = (
            _axis([*nodes, self.prompt_tokens], token_budget),
            _axis([*nodes, *sequences], min(most_decode_tokens, token_budget)),
            _axis([*powers, *(3 * p // 2 for p in powers)], kv_capacity),
        )
        x, y, kv = np.meshgrid(*(np.array(axis, dtype=float) for axis in axes), indexing="ij")
        # An empty batch is never asked for; the node must only hold some time.
        x = np.where(x + y == 0, 1.0, x)
        return TableStepTime(axes, tuple(self._seconds(x, y, kv).ravel().tolist()))

    def samples(self, *, kv_capacity: int | None = None) -> StepSamples:
        """Return the profile at its own decodes, chunks and mixes, nothing extrapolated.

        Parameters
        ----------
        kv_capacity : int, optional
            Most KV tokens that a batch reads; by default any that were profiled, also more
            than the GPU can hold in all layers.

        Returns
        -------
        StepSamples
            Batches of decodes of one context each, of prefill tokens, and of both.

        """
        chunks, _, decodes, contexts = self.mixed.axes
        mixed = itertools.product([0.0, *chunks], [0.0, *decodes], contexts)
        pure = itertools.product([0.0], self.decode.axes[0], self.decode.axes[1])
        batches = np.array(sorted({(x, y, y * k) for x, y, k in (*mixed, *pure) if x + y > 0}))
        batches = batches[batches[:, 0] + batches[:, 1] <= self.by_tokens.axes[0][-1]]
        if kv_capacity is not None:
            check(kv_capacity, "kv_capacity", Tokens)
            batches = batches[batches[:, 2] <= kv_capacity]
        batches = batches[~self.is_extrapolated(*batches.T)]
        x, y, kv = batches.T
        return StepSamples(x, y, kv, self(x, y, kv), self.source)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is interpolated and what is extrapolated, a sentence each."""
        tokens, sequences = self.by_tokens.axes[0][-1], self.by_sequences.axes[0][-1]
        contexts, decodes = self.decode.axes[1][-1], self.mixed.axes[2][-1]
        beyond = (
            f"{contexts:,.0f} KV tokens a request, {decodes:,.0f} decodes beside a chunk or "
            f"{sequences:,.0f} sequences"
        )
        return (
            "attention is interpolated linearly between profiled batches",
            *(f"{words}: median error {gap:.1%}" for words, gap in self._gaps()),
            f"beyond {beyond} it is continued along the last cell",
            f"beyond {tokens:,.0f} tokens a batch is refused",
            f"chunks have the mean context of prompts of {self.prompt_tokens:,} tokens",
            "decodes have the mean context of their batch",
            "launches, scheduling and communication between operators are not counted",
        )

    def _gaps(self) -> list[tuple[str, float]]:
        grids = {"prefill": self.prefill, "mixed": self.mixed, "decode": self.decode}
        words = "attention at profiled {} batches that are not on the grid"
        return [(words.format(name), g.gap) for name, g in grids.items() if not np.isnan(g.gap)]

    def _seconds(self, x: np.ndarray, y: np.ndarray, kv: np.ndarray) -> np.ndarray:
        chunk, context, more = self._chunks(x)
        each = _each(kv, y)
        alone = np.where(x > 0, self.prefill.at(chunk, context), 0.0)
        both = np.where(x > 0, self.mixed.at(chunk, context, y, each), self.decode.at(y, each))
        whole = self.prefill.at(np.full_like(x, self.prompt_tokens), np.zeros_like(x))
        attention = np.where(y > 0, both, alone) + more * whole
        once = self.by_tokens.at(x + y) + self.by_sequences.at(self._sequences(x, y))
        return once + self.layers * attention

    def _chunks(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the first chunk, its context, and how many whole prompts are beside it."""
        chunk = np.minimum(x, self.prompt_tokens)
        return chunk, (self.prompt_tokens - chunk) / 2, (x - chunk) / self.prompt_tokens

    def _sequences(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y + np.where(x > 0, np.maximum(x / self.prompt_tokens, 1.0), 0.0)

    def _checked(self, *batch: Any) -> Sequence[np.ndarray]:
        names = ("prefill_tokens", "decode_tokens", "kv_tokens")
        for name, counts in zip(names, batch, strict=True):
            array = np.asarray(counts)
            is_number = array.dtype.kind in "iuf"
            if not is_number or not np.all((array >= 0) & (array < np.inf)):
                msg = f"{name} must be finite and at least 0 [tokens], got {name}={counts!r}."
                raise InvalidArgument(msg)
        x, y, kv = np.broadcast_arrays(*(np.asarray(c, dtype=np.float64) for c in batch))
        if np.any(x + y == 0):
            msg = "prefill_tokens + decode_tokens must be above 0 [tokens], got 0."
            raise InvalidArgument(msg)
        self._require_profiled("prefill_tokens + decode_tokens", float(np.max(x + y)))
        return x, y, kv

    def _require_profiled(self, name: str, tokens: float) -> None:
        most = self.by_tokens.axes[0][-1]
        if tokens > most:
            msg = (
                f"{name} must be at most {most:g} [tokens], the most profiled, got {tokens:g}."
            )
            raise InvalidArgument(msg)


def _each(kv: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean KV tokens of a decode, 0 where nothing decodes."""
    return np.divide(kv, y, out=np.zeros_like(kv), where=y > 0)


def _axis(nodes: Sequence[int], last: int) -> tuple[int, ...]:
    inside = {node for node in nodes if node < last}
    return tuple(sorted(inside | {0, 1, last}))
