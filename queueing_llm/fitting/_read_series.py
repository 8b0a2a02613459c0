"""From what an engine counts per interval to the mean step of each interval."""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._samples import StepSamples


@final
@dataclass(frozen=True, slots=True, eq=False)
class EngineSeries:
    """Counts at the ends of consecutive intervals, and rates within them.

    Parameters
    ----------
    prompt_rate, output_rate : float64 array, shape (N,)
        Prompt and output tokens per second within the interval that ends at each point.
    running : float64 array, shape (N,)
        Requests in the batch at each point.
    kv_tokens : float64 array, shape (N,)
        Their KV tokens at each point; zeros if unknown.
    """

    prompt_rate: np.ndarray
    output_rate: np.ndarray
    running: np.ndarray
    kv_tokens: np.ndarray

    def samples(self, usable: np.ndarray, *, source: str) -> StepSamples:
        r"""Return the mean step of each usable interval in which tokens were generated.

        A running request yields a token a step, so that a step takes the mean number that
        run over the output rate. Where prompts are prefilled, requests that do not decode
        yet are counted among the running.

        Parameters
        ----------
        usable : bool array, shape (N,)
            Which intervals are whole; the first has no beginning and never is.
        source : str
            Where the series comes from; the number of intervals is added.

        Raises
        ------
        InvalidArgument
            If no interval is left.
        """
        running, kv = _means(self.running), _means(self.kv_tokens)
        chosen = usable[1:] & (self.output_rate[1:] > 0) & (running > 0)
        if not chosen.any():
            msg = (
                f"{source}: none of {len(chosen)} intervals can be used; accepted are whole "
                "intervals in which requests run and tokens are generated."
            )
            raise InvalidArgument(msg)
        decodes = running[chosen]
        seconds = decodes / self.output_rate[1:][chosen]
        about = f"{source}, {int(chosen.sum())} of {len(self.running)} intervals"
        prefill = self.prompt_rate[1:][chosen] * seconds
        return StepSamples(prefill, decodes, kv[chosen], seconds, about)


def _means(values: np.ndarray) -> np.ndarray:
    """Return the mean of the two ends of each interval but the first."""
    return (values[1:] + values[:-1]) / 2
