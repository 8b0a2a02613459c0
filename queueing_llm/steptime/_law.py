"""What every step-time law promises."""

import abc
import math
from numbers import Real as RealNumber

import numpy as np

from queueing_llm._ops import (
    Number,
    alike,
    is_array,
    is_false,
    is_traced,
    namespace,
    where_known,
)
from queueing_llm._validate import Real, Tokens, check, is_symbolic, unboxed
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime._kernel_form import KernelForm


class AbstractStepTime(abc.ABC):
    r"""Seconds :math:`t(x, y, K)` that one batch takes.

    A batch holds :math:`x` prefill tokens, :math:`y` decode tokens (one per decoding
    request) and reads :math:`K` tokens of KV cache: the tokens stored, before the step, by
    the requests that decode in it, so :math:`K = 0` if :math:`y = 0`. Laws are frozen
    values; calling one evaluates it.

    Examples
    --------
    >>> from queueing_llm.steptime import AbstractStepTime, AffineStepTime
    >>> isinstance(AffineStepTime(base=0.01, per_token=5e-5), AbstractStepTime)
    True
    """

    # A compiler keeps weak references to what it has compiled.
    __slots__ = ("__weakref__",)

    def __call__(
        self, prefill_tokens: Number, decode_tokens: Number = 0, kv_tokens: Number = 0
    ) -> Number:
        """Return the seconds that each batch takes, elementwise.

        Parameters
        ----------
        prefill_tokens, decode_tokens, kv_tokens : number or array, broadcastable shapes
            :math:`x`, :math:`y`, :math:`K` [tokens]. Python numbers, Fractions, SymPy
            expressions, or arrays of any library that follows the Python array API.

        Returns
        -------
        number or array
            Seconds, of the kind and on the device of the input; exact if the counts and the
            parameters are. Arrays are double precision, of the broadcast shape.

        Raises
        ------
        InvalidArgument
            If a count is negative or not finite, or outside the range in which the law is
            known.

        Notes
        -----
        ``jax.jit(law)`` and ``torch.compile(law)`` fuse the formula into one pass. There are no
        values to check while it is compiled: batches that would be refused get NaN.
        """
        x = _count("prefill_tokens", prefill_tokens)
        y = _count("decode_tokens", decode_tokens)
        kv = _count("kv_tokens", kv_tokens)
        x, y, kv = alike(x, y, kv)
        known = ((n >= 0) & (n < math.inf) for n in (x, y, kv)) if is_traced(x) else ()
        return where_known(self._seconds(x, y, kv), *known)

    @property
    @abc.abstractmethod
    def kv_slope(self) -> Real | None:
        r"""The :math:`\gamma` of :math:`t(x, y, K) = t(x + y, 0, 0) + \gamma K` [s/token].

        None if the law is not known to have this form.
        """

    def candidate_batches(
        self, most_tokens: int, *, most_decode_tokens: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r"""Return batches among which one serves the most tokens per second.

        The best rate :math:`r^\star = \max (x + y) / t(x, y, K)` over all batches of 1 to
        ``most_tokens`` tokens is attained by one of these.

        Parameters
        ----------
        most_tokens : int
            :math:`b` [tokens], most tokens in a batch.
        most_decode_tokens : int or None
            Most decode tokens in a batch, such as the engine's ``max_batch_size``; None
            stands for ``most_tokens``.

        Returns
        -------
        prefill_tokens : int64 array, shape (C,)
            :math:`x` [tokens] of each of ``C`` batches.
        decode_tokens : int64 array, shape (C,)
            :math:`y` [tokens].
        kv_tokens : int64 array, shape (C,)
            :math:`K` [tokens].

        Raises
        ------
        InvalidArgument
            If a limit is not a positive integer, or a batch within them may be one whose
            time is not known.

        Notes
        -----
        A law of :math:`n = x + y` that never falls as :math:`K` grows is fastest at
        :math:`K = 0`, and all its :math:`n` are listed: a full batch need not be the best.
        A law for which this is not so lists other batches.
        """
        check_limits(most_tokens, most_decode_tokens)
        return every_token_count(most_tokens)

    def kernel_form(self, most_tokens: int) -> KernelForm:
        """Return the law as plain arrays, for compiled code.

        Parameters
        ----------
        most_tokens : int
            Most tokens in a batch.

        Returns
        -------
        KernelForm
            Arrays that cover every batch of 1 to ``most_tokens`` tokens.

        Raises
        ------
        InvalidArgument
            If ``most_tokens`` is not a positive integer, a parameter is symbolic, or a batch
            of 1 to ``most_tokens`` tokens is one whose time is not known.
        """
        check(most_tokens, "most_tokens", Tokens)
        by_tokens, per_kv = self._kernel_rows(np.arange(most_tokens + 1, dtype=np.float64))
        return KernelForm.of_rows(by_tokens, per_kv)

    def _kernel_rows(self, tokens: np.ndarray) -> tuple[list[np.ndarray], list[Real]]:
        """Return the rows whose maximum is the law, and the KV slope of each."""
        return [self(tokens)], [self.kv_slope]

    @abc.abstractmethod
    def _seconds(self, x: Number, y: Number, kv: Number) -> Number:
        """Evaluate the law on checked counts: three numbers, or three float64 arrays."""


def every_token_count(most_tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one batch, of prefill tokens only, of each size up to ``most_tokens``."""
    prefill = np.arange(1, most_tokens + 1, dtype=np.int64)
    return prefill, np.zeros_like(prefill), np.zeros_like(prefill)


def check_limits(most_tokens: int, most_decode_tokens: int | None) -> None:
    """Raise :class:`InvalidArgument` unless the limits of a batch are positive integers."""
    check(most_tokens, "most_tokens", Tokens)
    if most_decode_tokens is not None:
        check(most_decode_tokens, "most_decode_tokens", Tokens)


def _count(name: str, value: Number) -> Number:
    number = unboxed(value)
    if not _is_numeric(number):
        msg = f"{name} must be a number or an array of numbers, got {name}={value!r}."
        raise InvalidArgument(msg)
    (number,) = alike(number)
    if is_false(number >= 0) or is_false(number < math.inf):
        msg = f"{name} must be finite and at least 0 [tokens], got {name}={value!r}."
        raise InvalidArgument(msg)
    return number


def _is_numeric(value: object) -> bool:
    if is_array(value):
        xp = namespace(value)
        return bool(xp.isdtype(value.dtype, ("integral", "real floating")))  # type: ignore[attr-defined]
    return is_symbolic(value) or (isinstance(value, RealNumber) and not isinstance(value, bool))
