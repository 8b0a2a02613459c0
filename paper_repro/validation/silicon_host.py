r"""What steps of real engines take beside their operators: seven constants for all engines.

What a step takes is :class:`queueing_llm.steptime.HostCosts`; six of the constants say these
costs of every backend. For TensorRT-LLM the operator times of a quantised model hold once per
matrix product what the engine fuses: on one GPU they exceed those of vLLM by 6 to 7 us per
quantised product, of which a layer has four, and norms and activations are another 9 us.
Besides, a request spends :math:`\tau` between client and scheduler. The values are fitted
(:mod:`silicon_fit`) to the runs with TP 2.
"""

from dataclasses import dataclass
from typing import final

from queueing_llm import steptime


@final
@dataclass(frozen=True, slots=True)
class HostCosts:
    r"""Constants of the engines [s].

    Parameters
    ----------
    vllm, trtllm, sglang : float
        Per step, by backend; 0 for a vLLM that schedules ahead.
    decode : float
        Per decode of a step.
    prefill_layer : float
        Per layer of a step with prompts.
    fused_layer : float
        What TensorRT-LLM saves per layer of a quantised model.
    frontend : float
        :math:`\tau`, mean time between client and scheduler, exponential.

    Examples
    --------
    >>> FITTED.of_step("vllm", ahead=True, quantised=False).per_step
    0.0
    """

    vllm: float
    trtllm: float
    sglang: float
    decode: float
    prefill_layer: float
    fused_layer: float
    frontend: float

    def of_step(self, backend: str, *, ahead: bool, quantised: bool) -> steptime.HostCosts:
        """Return what the steps of one engine take."""
        waits = not (ahead and backend == "vllm")
        of_backend = {"vllm": self.vllm, "trtllm": self.trtllm, "sglang": self.sglang}
        return steptime.HostCosts(
            per_step=of_backend[backend] if waits else 0.0,
            per_decode=self.decode,
            per_prefill_layer=self.prefill_layer,
            saved_per_layer=self.fused_layer if quantised and backend == "trtllm" else 0.0,
        )


_VLLM, _TRTLLM, _SGLANG = (
    steptime.HostCosts.fitted(backend, quantised=True)
    for backend in ("vllm", "trtllm", "sglang")
)

FITTED = HostCosts(
    vllm=_VLLM.per_step,
    trtllm=_TRTLLM.per_step,
    sglang=_SGLANG.per_step,
    decode=_VLLM.per_decode,
    prefill_layer=_VLLM.per_prefill_layer,
    fused_layer=_TRTLLM.saved_per_layer,
    frontend=16.2e-3,
)
"""Fitted to the runs with TP 2; see :mod:`silicon_fit`."""

NOTHING = HostCosts(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Operators only."""
