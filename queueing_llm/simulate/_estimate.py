"""Point estimates that say how sure they are, and by which method."""

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

Method = Literal["replications", "batch means"]


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its standard error.

    Parameters
    ----------
    value : float
        The estimate.
    standard_error : float
        Its standard error; NaN if there is only one observation.
    observations : int
        How many (nearly) independent observations it rests on.
    method : {"replications", "batch means"}
        Where they come from: independent replications, or consecutive stretches of one run.

    Examples
    --------
    >>> Estimate.of(np.array([1.0, 2.0, 3.0]), "replications").standard_error.__round__(4)
    0.5774
    """

    value: float
    standard_error: float
    observations: int
    method: Method

    @classmethod
    def of(cls, values: np.ndarray, method: Method) -> "Estimate":
        """Return the estimate that independent observations give."""
        values = values[np.isfinite(values)]
        count = len(values)
        if count == 0:
            return cls(math.nan, math.nan, 0, method)
        error = float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
        return cls(float(values.mean()), error, count, method)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the two-sided Student confidence interval."""
        if self.observations < 2:
            return math.nan, math.nan
        from scipy.special import stdtrit

        half = stdtrit(self.observations - 1, (1 + confidence) / 2) * self.standard_error
        return float(self.value - half), float(self.value + half)

    def __str__(self) -> str:
        return (
            f"{self.value:.6g} ± {self.standard_error:.2g} ({self.observations} {self.method})"
        )
