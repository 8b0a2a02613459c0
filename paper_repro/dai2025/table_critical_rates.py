"""Critical rates of FasterTransformer and vanilla vLLM, which the paper does not give.

Ours, for the published law. FasterTransformer: completions over the length of one cycle of a
saturated engine, prefill until a prompt is done, then decode until all are. Vanilla vLLM: the
mean cycle of one full decode batch and the prefill burst of those who arrive meanwhile. Whether
the two split prompts is not known from the paper; both readings are computed. The rates are far
below the capacity (Theorem 2), most where a prompt is one token longer than a block. The cycles
of FasterTransformer are found a second time by following equal requests until they repeat.
"""

from dataclasses import replace
from typing import Any

import queueing_llm as ql
from paper_repro.dai2025._published import ENGINE
from queueing_llm.reproduce import Computed

Case = tuple[int, int, int]
"""Token budget, prompt tokens, output tokens."""
FASTER: tuple[Case, ...] = ((512, 129, 112), (512, 100, 100), (1024, 290, 990))
TOO_LONG: Case = (128, 290, 990)
"""No whole prompt of this length fits into a batch."""
VANILLA: tuple[Case, ...] = (
    (512, 129, 112),
    (512, 128, 128),
    (512, 100, 100),
    (512, 64, 200),
    (256, 129, 112),
    (1024, 129, 112),
    (2048, 129, 112),
)
VANILLA_CHUNKED: tuple[Case, ...] = ((512, 129, 112), (256, 300, 100))
RESIDENTS = 128


def compute(*, quick: bool = False) -> Computed:
    """Return the rates [requests/s]; ``quick`` changes nothing, closed forms cost little."""
    del quick
    whole, vanilla = ql.FASTER_TRANSFORMER, ql.VANILLA_VLLM
    return Computed(
        values={
            "faster_transformer": tuple(_rate(whole, case) for case in FASTER),
            "faster_transformer_by_cycle": tuple(_limit_cycle(case) for case in FASTER),
            "faster_transformer_chunked": tuple(
                _rate(whole.variant(chunked=True), case) for case in (*FASTER, TOO_LONG)
            ),
            "faster_transformer_too_long": _rate(whole, TOO_LONG),
            "faster_transformer_geometric": _geometric(whole, mean=100, prompt=128),
            "vanilla_vllm": tuple(_rate(vanilla, case) for case in VANILLA),
            "vanilla_vllm_chunked": tuple(
                _rate(vanilla.variant(chunked=True), case) for case in VANILLA_CHUNKED
            ),
            "vanilla_vllm_128_members": _rate(vanilla, VANILLA[0], limit=RESIDENTS),
            "vanilla_vllm_128_residents": _geometric(
                vanilla.variant(limit_counts="residents"), mean=112, prompt=129, limit=RESIDENTS
            ),
        },
        tables={"critical_rates": _table(whole, vanilla)},
    )


def _table(whole: ql.BatchRule, vanilla: ql.BatchRule) -> dict[str, list[Any]]:
    """Return the rates of equal requests without a limit, beside what any policy can reach."""
    rows = [
        (policy.name, *case, float(_rate(policy, case)), float(_capacity(case)))
        for policy, cases in (
            (whole, (*FASTER, TOO_LONG)),
            (whole.variant(chunked=True), (*FASTER, TOO_LONG)),
            (vanilla, VANILLA),
            (vanilla.variant(chunked=True), VANILLA_CHUNKED),
        )
        for case in cases
    ]
    names = (
        "policy",
        "budget_tokens",
        "prompt_tokens",
        "output_tokens",
        "critical_rate_per_s",
        "capacity_per_s",
    )
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _rate(policy: ql.BatchRule, case: Case, *, limit: int | None = None) -> Any:
    """Return the critical rate of equal requests."""
    budget, prompt, output = case
    return _critical(policy, budget, prompt=prompt, output=output, limit=limit)


def _geometric(
    policy: ql.BatchRule, *, mean: int, prompt: int, limit: int | None = None
) -> Any:
    """Return the critical rate at a budget of 512 if outputs are geometric."""
    output = ql.GeometricLength(mean)
    return _critical(policy, 512, prompt=prompt, output=output, limit=limit)


def _critical(
    policy: ql.BatchRule, budget: int, *, prompt: int, output: Any, limit: int | None
) -> Any:
    engine = replace(ENGINE, token_budget=budget, max_batch_size=limit)
    workload = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    found = ql.critical_rate(engine, workload, policy=policy)
    assert found.evidence is ql.Evidence.NUMERICAL, "a closed form, not a simulation"
    return found.value


def _limit_cycle(case: Case) -> Any:
    """Return what FasterTransformer completes in its cycle, followed batch by batch."""
    budget, prompt, output = case
    workload = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    engine = replace(ENGINE, token_budget=budget)
    cycle = ql.limit_cycle(engine, workload, policy=ql.FASTER_TRANSFORMER)
    assert cycle is not None, "equal requests that start together end together"
    return cycle.rate


def _capacity(case: Case) -> Any:
    budget, prompt, output = case
    workload = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    return ql.capacity(replace(ENGINE, token_budget=budget), workload).requests_per_second
