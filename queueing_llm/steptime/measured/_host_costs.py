"""What a step of a real engine takes beside its operators."""

from dataclasses import dataclass, fields
from typing import final

import numpy as np

from queueing_llm._validate import SecondsOrZero, is_symbolic, validate
from queueing_llm.errors import InvalidArgument, nearest

_LEAST_SECONDS = 1e-4
_PER_STEP = {"vllm": 2.34e-3, "sglang": 0.55e-3, "trtllm": 0.284e-3}
_PER_DECODE = 18.4e-6
_PER_PREFILL_LAYER = 0.143e-3
_SAVED_PER_QUANTISED_LAYER = {"trtllm": 43.9e-6}


@final
@dataclass(frozen=True, slots=True)
class HostCosts:
    r"""Seconds that a step of an engine takes beside its operators, which were timed alone.

    .. math:: t = t_{ops}(x, y, K) + h + s\,y + L\,(m\,1[x > 0] - f),

    but at least 0.1 ms, for a model of :math:`L` layers. Source: ours.

    Parameters
    ----------
    per_step : float
        :math:`h` [s]: scheduler and sampler, while the GPU waits.
    per_decode : float
        :math:`s` [s] of each decode of a step.
    per_prefill_layer : float
        :math:`m` [s]: launching one layer of a step with prompts, which no CUDA graph holds.
    saved_per_layer : float
        :math:`f` [s]: what fusing operators of a layer saves.

    Raises
    ------
    InvalidArgument
        If a value is not a finite number of at least 0.

    Examples
    --------
    >>> from queueing_llm.steptime import HostCosts
    >>> HostCosts(per_step=0.002, per_decode=1e-5)
    HostCosts(per_step=0.002, per_decode=1e-05, per_prefill_layer=0.0, saved_per_layer=0.0)
    """

    per_step: SecondsOrZero = 0.0
    per_decode: SecondsOrZero = 0.0
    per_prefill_layer: SecondsOrZero = 0.0
    saved_per_layer: SecondsOrZero = 0.0

    def __post_init__(self) -> None:
        validate(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if is_symbolic(value) and not value.is_number:
                msg = f"{field.name} must be a number [s], got {field.name}={value!r}."
                raise InvalidArgument(msg)
            object.__setattr__(self, field.name, float(value))

    @classmethod
    def fitted(
        cls, backend: str, *, schedules_ahead: bool = False, quantised: bool = False
    ) -> "HostCosts":
        """Return the costs that were fitted to benchmarks of a backend.

        Parameters
        ----------
        backend : {"vllm", "sglang", "trtllm"}
            The engine.
        schedules_ahead : bool
            Whether vLLM prepares a step while the GPU runs the last one, as it does unasked
            from 0.14 on: then ``per_step`` is 0. The fit holds the others as they are unasked.
        quantised : bool
            Whether matrix products are of less than 16 bits: for these the operator times of
            TensorRT-LLM hold per product what the engine fuses.

        Raises
        ------
        InvalidArgument
            If the backend is not one of these.

        Notes
        -----
        Six constants for all models and GPUs, fitted by robust least squares (ours) to 115
        closed-loop benchmark runs with TP 2 of dense models, 8B to 70B, on H100, H200 and B200:
        vLLM 0.12, SGLang 0.5, TensorRT-LLM 1.0 and a published benchmark of October 2025,
        whose vLLM scheduled ahead. On 745 runs with other TP the median error of the time per
        output token is then 6.9 %, where operators alone are 12.0 % off, and of the rate 6.5 %
        against 12.6 %. On B200 the fit saw a 70B model alone. No other GPU was tried, and no
        mixture of experts.

        The rates at which a vLLM with Llama-3.1-8B saturated under eight workloads took no part
        in the fit. Neither its GPU, taken for an H100, nor its version was recorded. If it
        schedules ahead they are off by 2.2 % in the median and 4.7 % at worst, if not by about
        7 % and 8 %, with operators alone by 14.1 % and 49.2 %.

        Examples
        --------
        >>> from queueing_llm.steptime import HostCosts
        >>> HostCosts.fitted("vllm").per_step, HostCosts.fitted("trtllm").per_step
        (0.00234, 0.000284)
        """
        if not isinstance(backend, str) or backend not in _PER_STEP:
            clause = nearest(str(backend), _PER_STEP)
            msg = f"backend must have fitted costs, got backend={backend!r}: {clause}."
            raise InvalidArgument(msg)
        waits = not (schedules_ahead and backend == "vllm")
        return cls(
            per_step=_PER_STEP[backend] if waits else 0.0,
            per_decode=_PER_DECODE,
            per_prefill_layer=_PER_PREFILL_LAYER,
            saved_per_layer=_SAVED_PER_QUANTISED_LAYER.get(backend, 0.0) if quantised else 0.0,
        )

    def added_to(
        self,
        seconds: np.ndarray,
        layers: int,
        *,
        prefill_tokens: np.ndarray,
        decode_tokens: np.ndarray,
    ) -> np.ndarray:
        """Return the times [s] of steps whose operators take ``seconds``, elementwise.

        Parameters
        ----------
        seconds, prefill_tokens, decode_tokens : float64 arrays, broadcastable shapes
            :math:`t_{ops}` [s], :math:`x` and :math:`y` [tokens]; linear for :math:`x < 1`.
        layers : int
            :math:`L`.

        Examples
        --------
        >>> import numpy as np
        >>> from queueing_llm.steptime import HostCosts
        >>> host = HostCosts(per_step=0.002, per_prefill_layer=0.001)
        >>> decodes = np.asarray([8.0, 8.0])
        >>> prompts = np.asarray([0.0, 512.0])
        >>> host.added_to(np.full(2, 0.01), 4, prefill_tokens=prompts, decode_tokens=decodes)
        array([0.012, 0.016])
        """
        total = (
            seconds
            + self.per_step
            + self.per_decode * decode_tokens
            + layers * self.per_prefill_layer * np.minimum(prefill_tokens, 1)
            - layers * self.saved_per_layer
        )
        return np.maximum(total, _LEAST_SECONDS)
