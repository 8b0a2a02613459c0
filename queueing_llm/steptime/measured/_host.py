"""Numbers and arrays of any library as NumPy arrays, and back, for laws that must look up."""

from collections.abc import Callable, Sequence

import numpy as np

from queueing_llm._ops import Number, is_array, namespace, tabulated
from queueing_llm._validate import is_symbolic
from queueing_llm.errors import InvalidArgument


def on_the_host(law: Callable[..., np.ndarray], counts: Sequence[Number]) -> Number:
    """Return a law of flat float64 arrays on three numbers, or on arrays of one shape."""
    first = counts[0]
    if not is_array(first):
        return float(law(*(np.asarray([_plain(count)]) for count in counts))[0])
    seconds = law(*(_copied(count) for count in counts))
    xp = namespace(first)
    return xp.reshape(tabulated(seconds.tolist(), first), first.shape)


def _plain(count: Number) -> float:
    if is_symbolic(count) and not count.is_number:
        msg = f"a count must be a number to be looked up in measurements, got {count!r}."
        raise InvalidArgument(msg)
    return float(count)


def _copied(count: Number) -> np.ndarray:
    try:
        array = np.asarray(count)
    except TypeError:
        # So do arrays on a GPU refuse to be copied unasked.
        import array_api_compat

        array = np.asarray(array_api_compat.to_device(count, "cpu"))
    return array.astype(np.float64).ravel()
