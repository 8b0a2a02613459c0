"""A fitted law with what is known of it."""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.fitting._samples import StepSamples
from queueing_llm.steptime import AbstractStepTime


@final
@dataclass(frozen=True, slots=True)
class Coefficient:
    """One coefficient of a fitted law.

    Parameters
    ----------
    name : str
        The parameter of the law, such as ``"per_token"``.
    symbol, unit : str
        As in the law's formula.
    value : float
        The estimate; an integer for a block.
    standard_error : float or None
        Standard deviation over the resampled measurements; None for a number that was chosen
        among candidates, or that lies at its bound.
    low, high : float or None
        The confidence interval, value plus and minus the error times Student's t; None
        without an error. It is not cut at 0.

    Examples
    --------
    >>> from queueing_llm.fitting import Coefficient
    >>> print(Coefficient("per_token", "a", 5e-5, "s/token", 1e-6, 4.8e-5, 5.2e-5))
    per_token = 5e-05 [4.8e-05, 5.2e-05] s/token
    """

    name: str
    symbol: str
    value: float
    unit: str
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.name} = {self.value:.5g}{interval} {self.unit}"


@final
@dataclass(frozen=True, slots=True, eq=False)
class StepTimeFit:
    r"""A law fitted to samples, and how far it is from them.

    Parameters
    ----------
    law : str
        The form: ``"affine"``, ``"hinge"``, ``"split"`` or ``"staircase"``.
    step_time : AbstractStepTime
        The law, ready for an engine. Beyond the range of the samples it is an extrapolation.
    coefficients : tuple of Coefficient
        Of the law, in the order of its formula.
    objective : {"relative", "absolute"}
        What the least squares were taken of.
    confidence : float
        Of the intervals.
    residual_correlation : float
        Of neighbours by tokens, as the intervals take it; 0 if it is within noise.
    samples : StepSamples
        What was fitted.
    notes : tuple of str
        What a reader must know, such as a coefficient at its bound; a sentence each.

    Examples
    --------
    >>> from queueing_llm.fitting import StepSamples, fit_step_time
    >>> samples = StepSamples.of_tokens([1, 64, 128, 256], [0.01, 0.0164, 0.0228, 0.0356])
    >>> fit = fit_step_time(samples, law="affine")
    >>> print(fit.coefficients[0].name, round(fit.coefficients[0].value, 6))
    base 0.009914
    >>> round(fit.worst_relative_error, 3)
    0.003
    """

    law: str
    step_time: AbstractStepTime
    coefficients: tuple[Coefficient, ...]
    objective: str
    confidence: float
    residual_correlation: float
    samples: StepSamples
    notes: tuple[str, ...] = ()

    @property
    def fitted_seconds(self) -> np.ndarray:
        """What the law says of each sample [s], shape (N,)."""
        batch = self.samples.prefill_tokens, self.samples.decode_tokens, self.samples.kv_tokens
        return np.asarray(self.step_time(*batch))

    @property
    def residuals(self) -> np.ndarray:
        """Measured less fitted seconds [s], shape (N,)."""
        return self.samples.seconds - self.fitted_seconds

    @property
    def relative_errors(self) -> np.ndarray:
        """Fitted less measured over measured seconds, shape (N,)."""
        return self.fitted_seconds / self.samples.seconds - 1

    @property
    def mean_relative_error(self) -> float:
        """Mean of the absolute relative errors."""
        return float(np.mean(np.abs(self.relative_errors)))

    @property
    def worst_relative_error(self) -> float:
        """Largest absolute relative error."""
        return float(np.max(np.abs(self.relative_errors)))

    @property
    def r_squared(self) -> float | None:
        """Share of the variance of the seconds that the law explains; None if they are equal.

        Of seconds, whatever the objective was.
        """
        around = self.samples.seconds - self.samples.seconds.mean()
        total = float(around @ around)
        return None if total == 0 else 1 - float(self.residuals @ self.residuals) / total

    @property
    def interval_method(self) -> str:
        """What the intervals are, as a sentence."""
        errors = (
            f"correlated from neighbour to neighbour ({self.residual_correlation:.2f})"
            if self.residual_correlation
            else "independent"
        )
        return (
            f"{100 * self.confidence:g} % intervals of a bootstrap of the residuals, taken as "
            f"{errors}; the misfit of the law counts as error."
        )

    def coefficient(self, name: str) -> Coefficient:
        """Return a coefficient by its name.

        Parameters
        ----------
        name : str
            Such as ``"per_token"``.

        Raises
        ------
        KeyError
            If the law has no such coefficient.
        """
        return {each.name: each for each in self.coefficients}[name]
