"""The few exceptions that the package raises on purpose."""

import difflib
from collections.abc import Iterable


class QueueingLLMError(Exception):
    """Anything that this package refuses to do, with the reason."""


class InvalidArgument(QueueingLLMError, ValueError):
    """An argument lies outside the domain that the model is defined on."""


class MissingDependency(QueueingLLMError, ImportError):
    """An optional package is needed; the message names the extra to install."""


class ConservationViolated(QueueingLLMError, RuntimeError):
    """A simulation lost or invented tokens; its results must not be used."""


def nearest(word: str, accepted: Iterable[str]) -> str:
    """Return the clause that tells which words are accepted, closest one first.

    Examples
    --------
    >>> nearest("sarathy", ["orca", "sarathi"])
    "did you mean 'sarathi'? Accepted: 'orca', 'sarathi'"
    """
    known = sorted(accepted)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    listing = ", ".join(repr(k) for k in known)
    return (
        f"did you mean {close[0]!r}? Accepted: {listing}" if close else f"accepted: {listing}"
    )
