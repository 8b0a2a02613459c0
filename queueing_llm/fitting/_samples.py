"""What was measured: batches, and the seconds that each took."""

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from queueing_llm.errors import InvalidArgument

Column: TypeAlias = Any
"""One number per sample: any flat sequence of numbers, kept as a float64 array."""

SECONDS = 1e-12, 1e12
MOST_TOKENS = 2.0**53
"""Beyond any step there is, and within what sums of squares can hold."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class StepSamples:
    r"""Batches :math:`(x_i, y_i, K_i)` and the seconds :math:`t_i` that each took.

    A sample is one step, or the mean of many steps at a steady operating point: then its
    counts need not be integers (see :attr:`is_averaged`).

    Parameters
    ----------
    prefill_tokens : sequence of float, shape (N,)
        :math:`x_i` [tokens/step], at least 0.
    decode_tokens : sequence of float, shape (N,)
        :math:`y_i` [tokens/step], one per decoding request; at least 0.
    kv_tokens : sequence of float, shape (N,)
        :math:`K_i` [tokens/step], KV tokens that the decodes read; 0 where nothing decodes.
    seconds : sequence of float, shape (N,)
        :math:`t_i` [s/step], from 1e-12 to 1e12.
    source : str
        Where the samples come from, for reports; may be empty.

    Raises
    ------
    InvalidArgument
        If the sequences differ in length, are empty, or hold a value outside its domain.

    Examples
    --------
    >>> from queueing_llm.fitting import StepSamples
    >>> samples = StepSamples([512, 0], [0, 8], [0, 4096], [0.05, 0.01], source="a bench")
    >>> len(samples), samples.tokens
    (2, array([512.,   8.]))
    """

    prefill_tokens: Column
    decode_tokens: Column
    kv_tokens: Column
    seconds: Column
    source: str = ""

    def __post_init__(self) -> None:
        names = ("prefill_tokens", "decode_tokens", "kv_tokens", "seconds")
        for name in names:
            object.__setattr__(self, name, _column(name, getattr(self, name)))
        lengths = [len(getattr(self, name)) for name in names]
        if len(set(lengths)) != 1 or lengths[0] == 0:
            msg = f"samples must be columns of one length, at least 1, got lengths {lengths}."
            raise InvalidArgument(msg)
        self._require_batches()

    @classmethod
    def of_tokens(cls, tokens: Column, seconds: Column, *, source: str = "") -> "StepSamples":
        """Return samples of batches in which only the number of tokens is known.

        The tokens are entered as prefill tokens, and no KV is read: a law of the total tokens
        is all that can be fitted to them.

        Parameters
        ----------
        tokens : sequence of float, shape (N,)
            :math:`n_i` [tokens/step].
        seconds : sequence of float, shape (N,)
            :math:`t_i` [s/step].
        source : str
            Where the samples come from.

        Raises
        ------
        InvalidArgument
            As for the constructor.

        Examples
        --------
        >>> from queueing_llm.fitting import StepSamples
        >>> StepSamples.of_tokens([1, 128], [0.01, 0.012]).decode_tokens
        array([0., 0.])
        """
        nothing = np.zeros(len(_column("tokens", tokens)))
        return cls(tokens, nothing, nothing, seconds, source)

    @property
    def tokens(self) -> np.ndarray:
        """:math:`n_i = x_i + y_i` [tokens/step], shape (N,)."""
        return self.prefill_tokens + self.decode_tokens

    @property
    def is_averaged(self) -> bool:
        """Whether some count is not an integer: such a sample is the mean of several steps."""
        counts = np.concatenate([self.prefill_tokens, self.decode_tokens])
        return bool(np.any(counts != np.rint(counts)))

    def __len__(self) -> int:
        """Return :math:`N`."""
        return len(self.seconds)

    def select(self, chosen: Any) -> "StepSamples":
        """Return some of the samples.

        Parameters
        ----------
        chosen : bool array, shape (N,), or int array
            A mask, or the positions of the samples to keep.

        Raises
        ------
        InvalidArgument
            If nothing is left.

        Examples
        --------
        >>> from queueing_llm.fitting import StepSamples
        >>> samples = StepSamples.of_tokens([1, 64, 4096], [0.01, 0.011, 0.3])
        >>> len(samples.select(samples.tokens <= 512))
        2
        """
        index = np.asarray(chosen)
        return StepSamples(
            self.prefill_tokens[index],
            self.decode_tokens[index],
            self.kv_tokens[index],
            self.seconds[index],
            self.source,
        )

    def _require_batches(self) -> None:
        shortest, longest = SECONDS
        known = (self.seconds >= shortest) & (self.seconds <= longest)
        _require("seconds", self.seconds, known, f"from {shortest:g} to {longest:g} [s]")
        for name in ("prefill_tokens", "decode_tokens", "kv_tokens"):
            column = getattr(self, name)
            known = (column >= 0) & (column <= MOST_TOKENS)
            _require(name, column, known, f"from 0 to {MOST_TOKENS:g} [tokens]")
        _require(
            "prefill_tokens + decode_tokens", self.tokens, self.tokens > 0, "above 0 [tokens]"
        )
        read_by_decodes = (self.kv_tokens == 0) | (self.decode_tokens > 0)
        _require("kv_tokens", self.kv_tokens, read_by_decodes, "0 where nothing decodes")


def _column(name: str, values: Any) -> np.ndarray:
    """Return a private float64 copy of a sequence of finite numbers, closed to writing."""
    try:
        column = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        column = np.empty((0, 0))
    if column.ndim != 1:
        msg = f"{name} must be a flat sequence of numbers, got {values!r}."
        raise InvalidArgument(msg)
    _require(name, column, np.isfinite(column), "finite")
    column.flags.writeable = False
    return column


def _require(name: str, column: np.ndarray, holds: np.ndarray, accepted: str) -> None:
    if not np.all(holds):
        first = int(np.argmin(holds))
        msg = f"{name} must be {accepted}, got {name}={column[first]:g} in sample {first}."
        raise InvalidArgument(msg)
