"""What batches of Qwen3-8B cost on two GPUs: the calibration that its authors publish.

From the files of the artifact of arXiv:2606.00516 (weifang231/eb-vllm). Its scheduler takes the
fixed time of a mixed batch to be that of a prefill unless told otherwise, and so do we.
"""

import queueing_llm as ql
from queueing_llm.stability import best_refill_share

H200 = ql.BatchingCosts(
    prefill_base=0.0012785933415095027,
    prefill_per_token=2.4852551825304505e-05,
    decode_base=0.008921181622454422,
    decode_per_request=4.586467522217373e-05,
    mixed_base=0.0012785933415095027,
    mixed_per_token=(2.493675e-05, 5.192856e-05, 1.477785e-05),
)
RTX_PRO_6000 = ql.BatchingCosts(
    prefill_base=0.004691170692443847,
    prefill_per_token=5.007938367705191e-05,
    decode_base=0.010375998928844651,
    decode_per_request=0.00010388105329650523,
    mixed_base=0.004691170692443847,
    mixed_per_token=(6.293427e-05, 1.968926e-04, 9.898973e-06),
)
GPUS = {"H200": H200, "RTX PRO 6000": RTX_PRO_6000}
WORKLOADS = {"decode-heavy": (128, 1024), "balanced": (512, 512), "prefill-heavy": (1024, 128)}
"""Mean prompt and output [tokens]; outputs are geometric."""
TRAFFIC = (512, 256)
"""The workload of Table 4: mean prompt and output [tokens]."""


def compared(
    costs: ql.BatchingCosts, lengths: tuple[int, int], *, slots: float
) -> tuple[float, float]:
    """Return the throughput of exclusive and of mixed batches [tokens/s].

    The refill is the best one, and at least one request.

    Examples
    --------
    >>> [round(rate) for rate in compared(H200, (512, 512), slots=1024)]
    [25114, 18109]
    """
    prompt, output = lengths
    found = ql.compare_batching(
        costs,
        prompt_tokens=prompt,
        output_tokens=output,
        slots=slots,
        refill=max(1.0, best_refill_share(costs, output) * slots),
    )
    return found.exclusive_tokens_per_second, found.mixed_tokens_per_second


def winner(exclusive: float, mixed: float) -> str:
    """Return which kind of batches serves more."""
    return "exclusive" if exclusive > mixed else "mixed"
