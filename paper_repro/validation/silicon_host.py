r"""What a step of a real engine takes beside its operators: seven constants for all engines.

The measured law adds up operators that were timed alone. A step of an engine is

.. math:: t = t_{ops}(x, y, K) + h + s\,y + L\,(m\,1[x > 0] - f\,1[quantised]),

where :math:`h` is what the scheduler and the sampler take per step while the GPU waits,
:math:`s` the same per decode, :math:`m` the launches of one layer of a batch with
prompts, which no CUDA graph holds, and :math:`f` what TensorRT-LLM saves per layer of a
quantised model by fusing norms and the quantisation of activations, which its operator times
hold once per matrix product: on one GPU they exceed those of vLLM by 6 to 7 us per quantised
product, of which a layer has four, and norms and activations are another 9 us. Besides, a
request spends :math:`\tau` between client and scheduler. The values are fitted
(:mod:`silicon_fit`) to the runs with TP 2.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.steptime import TableStepTime

_LEAST_SECONDS = 1e-4


@final
@dataclass(frozen=True, slots=True)
class HostCosts:
    r"""Constants of the engines [s].

    Parameters
    ----------
    vllm, trtllm, sglang : float
        :math:`h` by backend; 0 for a vLLM that schedules ahead.
    decode : float
        :math:`s` per decode of a step.
    prefill_layer : float
        :math:`m` per layer of a step with prompts.
    fused_layer : float
        :math:`f` per layer of a quantised model on TensorRT-LLM.
    frontend : float
        :math:`\tau`, mean time between client and scheduler, exponential.

    Examples
    --------
    >>> FITTED.of_step("vllm", ahead=True)
    0.0
    """

    vllm: float
    trtllm: float
    sglang: float
    decode: float
    prefill_layer: float
    fused_layer: float
    frontend: float

    def of_step(self, backend: str, *, ahead: bool) -> float:
        """Return :math:`h` [s]."""
        if ahead and backend == "vllm":
            return 0.0
        return {"vllm": self.vllm, "trtllm": self.trtllm, "sglang": self.sglang}[backend]


FITTED = HostCosts(
    vllm=2.34e-3,
    trtllm=0.284e-3,
    sglang=0.55e-3,
    decode=18.4e-6,
    prefill_layer=0.143e-3,
    fused_layer=43.9e-6,
    frontend=16.2e-3,
)
"""Fitted to the runs with TP 2; see :mod:`silicon_fit`."""

NOTHING = HostCosts(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Operators only."""


def with_host(
    table: TableStepTime,
    costs: HostCosts,
    *,
    backend: str,
    ahead: bool,
    layers: int,
    quantised: bool,
) -> TableStepTime:
    """Return a table of operator times with the costs of the host added.

    Parameters
    ----------
    table : TableStepTime
        :math:`t_{ops}` on axes of prefill, decode and KV tokens.
    costs : HostCosts
        The constants.
    backend, ahead
        Whose :math:`h`, and whether a vLLM schedules ahead.
    layers : int
        :math:`L`, transformer layers of the model.
    quantised : bool
        Whether matrix products are of less than 16 bits.
    """
    prefill, decode, kv = table.axes
    shape = tuple(1 if axis is None else len(axis) for axis in table.axes)
    seconds = np.asarray(table.seconds, dtype=np.float64).reshape(shape)
    x = np.asarray(prefill, dtype=np.float64)[:, None, None]
    y = np.asarray(decode, dtype=np.float64)[None, :, None]
    fused = layers * costs.fused_layer if quantised and backend == "trtllm" else 0.0
    total = (
        seconds
        + costs.of_step(backend, ahead=ahead)
        + costs.decode * y
        + layers * costs.prefill_layer * (x > 0)
        - fused
    )
    return TableStepTime.of_batches(prefill, decode, kv, np.maximum(total, _LEAST_SECONDS))
