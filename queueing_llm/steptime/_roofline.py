"""The roofline: a step waits for the slower of memory and arithmetic."""

from dataclasses import dataclass
from typing import Annotated, final

import numpy as np

from queueing_llm._ops import Number, coefficients, maximum
from queueing_llm._validate import Domain, Real, SecondsOrZero, check, validate
from queueing_llm.steptime._law import AbstractStepTime

_Bytes = Annotated[Real, Domain("W", "bytes", at_least=0)]
_Bandwidth = Annotated[Real, Domain("B", "bytes/s", above=0)]
_FlopsPerToken = Annotated[Real, Domain("F", "FLOP/token", above=0)]
_Flops = Annotated[Real, Domain("P", "FLOP/s", above=0)]
_BytesPerToken = Annotated[Real, Domain("w", "bytes/token", at_least=0)]
_Share = Annotated[Real, Domain("u", "1", above=0, at_most=1)]


@final
@dataclass(frozen=True, slots=True)
class RooflineStepTime(AbstractStepTime):
    r"""The slower of reading weights and KV cache, and computing the tokens.

    .. math:: t(x, y, K) = c + \max(m + \gamma K, \; a (x + y)).

    Parameters
    ----------
    overhead : number
        :math:`c` [s], at least 0.
    memory_seconds : number
        :math:`m` [s], time to read the weights once; at least 0.
    per_token : number
        :math:`a` [s/token], time to compute one token; above 0.
    per_kv_token : number
        :math:`\gamma` [s/token], time to read one token of KV cache; at least 0.

    Raises
    ------
    InvalidArgument
        If a parameter is outside its domain.

    Examples
    --------
    >>> from queueing_llm.steptime import RooflineStepTime
    >>> step = RooflineStepTime(overhead=0.001, memory_seconds=0.007, per_token=5e-5)
    >>> step(100), round(step(1000), 6)
    (0.008, 0.051)
    """

    overhead: SecondsOrZero
    memory_seconds: Annotated[Real, Domain("m", "s", at_least=0)]
    per_token: Annotated[Real, Domain("a", "s/token", above=0)]
    per_kv_token: Annotated[Real, Domain("gamma", "s/token", at_least=0)] = 0

    def __post_init__(self) -> None:
        validate(self)

    @classmethod
    def from_hardware(
        cls,
        *,
        weight_bytes: Real,
        memory_bandwidth: Real,
        flops_per_token: Real,
        peak_flops: Real,
        kv_bytes_per_token: Real = 0,
        overhead: Real = 0,
        memory_utilisation: Real = 1,
        compute_utilisation: Real = 1,
    ) -> "RooflineStepTime":
        r"""Return the law of a model on a device.

        .. math:: m = \frac{W}{u_m B}, \quad a = \frac{F}{u_c P}, \quad
           \gamma = \frac{w}{u_m B}.

        Parameters
        ----------
        weight_bytes : number
            :math:`W` [bytes], weights read in every step.
        memory_bandwidth : number
            :math:`B` [bytes/s], peak.
        flops_per_token : number
            :math:`F` [FLOP/token], about twice the parameters of a dense model.
        peak_flops : number
            :math:`P` [FLOP/s].
        kv_bytes_per_token : number
            :math:`w` [bytes/token] of KV cache.
        overhead : number
            :math:`c` [s], time of a step beyond the roofline.
        memory_utilisation, compute_utilisation : number
            :math:`u_m, u_c` in (0, 1], share of the peak that is reached.

        Raises
        ------
        InvalidArgument
            If a value is outside its domain.

        References
        ----------
        .. [1] The roofline arithmetic of arXiv:2606.20577.

        Examples
        --------
        Seven billion two-byte weights on an A100 80GB [1]_:

        >>> from queueing_llm.steptime import RooflineStepTime
        >>> step = RooflineStepTime.from_hardware(
        ...     weight_bytes=14e9, memory_bandwidth=2039e9,
        ...     flops_per_token=14e9, peak_flops=312e12,
        ... )
        >>> round(step(1), 6)
        0.006866
        """
        check(weight_bytes, "weight_bytes", _Bytes)
        check(memory_bandwidth, "memory_bandwidth", _Bandwidth)
        check(flops_per_token, "flops_per_token", _FlopsPerToken)
        check(peak_flops, "peak_flops", _Flops)
        check(kv_bytes_per_token, "kv_bytes_per_token", _BytesPerToken)
        check(memory_utilisation, "memory_utilisation", _Share)
        check(compute_utilisation, "compute_utilisation", _Share)
        bandwidth = memory_bandwidth * memory_utilisation
        return cls(
            overhead=overhead,
            memory_seconds=weight_bytes / bandwidth,
            per_token=flops_per_token / (peak_flops * compute_utilisation),
            per_kv_token=kv_bytes_per_token / bandwidth,
        )

    @property
    def kv_slope(self) -> Real | None:
        """Zero if the KV cache read costs nothing, else None: it hides behind computing."""
        return 0 if self.per_kv_token == 0 else None

    def _kernel_rows(self, tokens: np.ndarray) -> tuple[list[np.ndarray], list[Real]]:
        memory, compute = self._sides(tokens, np.zeros_like(tokens))
        return [memory, compute], [self.per_kv_token, 0]

    def _seconds(self, x: Number, y: Number, kv: Number) -> Number:
        return maximum(*self._sides(x + y, kv))

    def _sides(self, n: Number, kv: Number) -> tuple[Number, Number]:
        """Return the time that memory needs, and the time that arithmetic needs."""
        c, m, a, gamma = coefficients(
            n, self.overhead, self.memory_seconds, self.per_token, self.per_kv_token
        )
        return c + (m + gamma * kv), c + a * n
