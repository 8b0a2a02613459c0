r"""What the controller sets: the refill share, the refill, and the slots that memory allows.

Prop. 1 and the controller example of the artifact (H200, decode-heavy): an estimated hazard of
0.000475 gave 318 slots and a refill of 4, one of 0.000472 gave 315 slots. The formula for slots
is that of the artifact, which refines Prop. 3. The KV capacity behind these slots is not
published, so it is solved for.
"""

import numpy as np

import queueing_llm as ql
from paper_repro.zhang2026.calibration import H200, WORKLOADS
from queueing_llm.reproduce import Computed
from queueing_llm.stability import SafeSlots, best_refill_share, memory_safe_slots

HAZARDS = {0.000475: 318, 0.000472: 315}
"""Estimated hazards, and the slots that the controller set [requests]."""
PROMPT = WORKLOADS["decode-heavy"][0]


def compute(*, quick: bool = False) -> Computed:
    """Return refill shares, refills, and the capacity that the published slots imply."""
    outputs = [1 / hazard for hazard in HAZARDS] + [1024.0, 512.0, 128.0]
    shares = [best_refill_share(H200, output) for output in outputs]
    implied = [_capacity(hazard, slots) for hazard, slots in HAZARDS.items()]
    refills = [round(share * n) for share, n in zip(shares, HAZARDS.values(), strict=False)]
    return Computed(
        values={
            "controller_shares": tuple(shares[:2]),
            "shares": tuple(shares[2:]),
            "refills": tuple(refills),
            "best_refill_of_the_chain": _best_refill(quick=quick),
            "implied_capacity_tokens": tuple(implied),
            "slots_with_spread_ages": _slots(max(HAZARDS), implied[0]).slots,
        },
        tables={
            "shares": {
                "mean_output_tokens": outputs,
                "refill_share": shares,
            },
            "slots": {
                "hazard": list(HAZARDS),
                "published_slots_requests": list(HAZARDS.values()),
                "refill_requests": refills,
                "implied_capacity_tokens": implied,
            },
        },
    )


def _slots(hazard: float, capacity: float) -> SafeSlots:
    output = 1 / hazard
    share = best_refill_share(H200, output)
    return memory_safe_slots(
        capacity, prompt_tokens=PROMPT, output_tokens=output, refill_share=share
    )


def _capacity(hazard: float, slots: int) -> float:
    """Return the least KV capacity that allows so many slots, by bisection [tokens]."""
    low, high = 1e5, 1e7
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (
            (low, middle) if _slots(hazard, middle).published >= slots else (middle, high)
        )
    return high


def _best_refill(*, quick: bool) -> int:
    """Return the refill that costs least on the exact engine with 318 slots [requests]."""
    hazard, slots = next(iter(HAZARDS.items()))
    seconds = [
        ql.compare_batching(
            H200, prompt_tokens=PROMPT, output_tokens=1 / hazard, slots=slots, refill=refill
        ).exact_exclusive_seconds
        or np.inf
        for refill in range(1, 8 if quick else 30)
    ]
    return 1 + int(np.argmin(seconds))
