r"""What one request holds in the KV cache over all its batches, when prompts come in chunks.

A prompt of :math:`s` tokens in chunks of at most :math:`\hat s` takes at least
:math:`k + 1 = \lceil s / \hat s \rceil` batches, and what it holds after each depends on the
order of the chunks. Three sums, from the least to the most:

* :func:`lifetime_demand`, the smooth formula of arXiv:2605.04595, below every schedule;
* :func:`least_lifetime`, the short chunk first, the least that a schedule attains;
* :func:`full_chunk_lifetime`, full chunks first, as engines do.

All three agree exactly where :math:`\hat s` divides :math:`s`;
``proofs/kv_threshold_overload.py`` proves the order.
"""

from queueing_llm._ops import Number, is_false, ratio
from queueing_llm.errors import InvalidArgument


def lifetime_demand(prompt: Number, output: Number, *, chunk: Number) -> Number:
    r"""Return the lifetime demand of arXiv:2605.04595 for one request.

    .. math:: g(s, o) = \frac{s}{2} \Bigl(1 + \frac{s}{\hat s}\Bigr) + s o + \frac{o (1 + o)}{2}

    Parameters
    ----------
    prompt, output : number or array
        :math:`s` and the decode steps :math:`o` [tokens].
    chunk : number
        :math:`\hat s` [tokens], most prompt tokens of a request in one batch.

    Returns
    -------
    number or array
        :math:`g` [token batches], a Fraction for integers.

    Raises
    ------
    InvalidArgument
        If a prompt or the chunk is below 1, or an output below 0.

    Notes
    -----
    A lower bound for every schedule of chunks of at most :math:`\hat s` tokens; tight where
    :math:`\hat s` divides :math:`s`. A prompt far below the chunk is counted at half.

    Examples
    --------
    >>> lifetime_demand(1024, 256, chunk=512)
    Fraction(296576, 1)
    """
    _check_request(prompt, output, chunk)
    return smooth_prefill(prompt, prompt**2, chunk=chunk) + decode_lifetime(prompt, output)


def least_lifetime(prompt: Number, output: Number, *, chunk: Number) -> Number:
    r"""Return the least that a request holds over its batches, the short chunk first.

    .. math:: (k + 1) \Bigl(s - \frac{\hat s k}{2}\Bigr) + s o + \frac{o (1 + o)}{2},
       \qquad k = \Bigl\lfloor \frac{s - 1}{\hat s} \Bigr\rfloor.

    Parameters
    ----------
    prompt, output : int or integer array
        :math:`s` and the decode steps :math:`o` [tokens].
    chunk : int
        :math:`\hat s` [tokens].

    Returns
    -------
    number or array
        Token batches.

    Raises
    ------
    InvalidArgument
        If a prompt or the chunk is below 1, or an output below 0.

    Notes
    -----
    Tight lower bound over all schedules of chunks of at most :math:`\hat s` tokens. Derived
    here.

    Examples
    --------
    >>> least_lifetime(700, 0, chunk=512)
    Fraction(888, 1)
    """
    _check_request(prompt, output, chunk)
    return least_prefill(prompt, chunk=chunk) + decode_lifetime(prompt, output)


def full_chunk_lifetime(prompt: Number, output: Number, *, chunk: Number) -> Number:
    r"""Return what a request holds over its batches, full chunks first.

    .. math:: s + \frac{\hat s k (k + 1)}{2} + s o + \frac{o (1 + o)}{2},
       \qquad k = \Bigl\lfloor \frac{s - 1}{\hat s} \Bigr\rfloor.

    Parameters
    ----------
    prompt, output : int or integer array
        :math:`s` and the decode steps :math:`o` [tokens].
    chunk : int
        :math:`\hat s` [tokens].

    Returns
    -------
    number or array
        Token batches, exactly for this order of chunks.

    Raises
    ------
    InvalidArgument
        If a prompt or the chunk is below 1, or an output below 0.

    Notes
    -----
    It exceeds :func:`lifetime_demand` by at most :math:`s (1 - 1 / \hat s)`. Derived here.

    Examples
    --------
    >>> full_chunk_lifetime(700, 0, chunk=512)
    Fraction(1212, 1)
    """
    _check_request(prompt, output, chunk)
    return full_prefill(prompt, chunk=chunk) + decode_lifetime(prompt, output)


def decode_lifetime(prompt: Number, steps: Number) -> Number:
    r"""Return :math:`\sum_{j=1}^{o} (s + j)`, what the decode steps of a request hold."""
    return prompt * steps + ratio(steps * (steps + 1), 2)


def smooth_prefill(prompt: Number, prompt_squared: Number, *, chunk: Number) -> Number:
    r"""Return :math:`s (1 + s / \hat s) / 2` from :math:`s` and :math:`s^2`, or their means."""
    return ratio(prompt * chunk + prompt_squared, 2 * chunk)


def least_prefill(prompt: Number, *, chunk: Number) -> Number:
    """Return what a prompt holds over its chunks, the short one first."""
    full = (prompt - 1) // chunk
    return ratio((full + 1) * (2 * prompt - chunk * full), 2)


def full_prefill(prompt: Number, *, chunk: Number) -> Number:
    """Return what a prompt holds over its chunks, the short one last."""
    full = (prompt - 1) // chunk
    return prompt + ratio(chunk * full * (full + 1), 2)


def _check_request(prompt: Number, output: Number, chunk: Number) -> None:
    for name, value, least in (
        ("prompt", prompt, 1),
        ("output", output, 0),
        ("chunk", chunk, 1),
    ):
        if is_false(value >= least):
            msg = f"{name} must be at least {least} [tokens], got {name}={value!r}."
            raise InvalidArgument(msg)
