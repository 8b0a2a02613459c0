"""The paper's worked example, batch by batch: Fig. 8 of arXiv:2504.07347v3.

A, B and C decode with 2, 4 and 3 tokens left when D and E arrive, each with one prompt and
one decode token. The figure is schematic about its budget: no single value gives all four
printed rows.
"""

import pytest

import queueing_llm as ql

SECONDS = ql.StaircaseStepTime(overhead=1, per_block=1, block=8)  # two seconds a batch


def batches(policy, budget, *, engine_accounting=False) -> list[str]:
    """Every batch as a word: each member in order of arrival, with its phase."""
    engine = ql.Engine(
        step_time=SECONDS, token_budget=budget, first_token_from_prefill=engine_accounting
    )
    more = int(engine_accounting)
    workload = ql.Workload.of_requests(
        [0, 0, 0, 3, 3],
        prompt_tokens=[1] * 5,
        output_tokens=[2 + more, 4 + more, 3 + more, 1, 1],
    )
    words = []
    for step in ql.watch(engine, workload, policy=ql.policy_named(policy), horizon=99):
        word = ""
        for i in step.batch.tokens.nonzero()[0]:
            word += "ABCDE"[step.state.request[i]] + "dp"[int(step.state.prompt_left[i] > 0)]
        words.append(word)
    return words


@pytest.mark.parametrize(
    ("policy", "budget", "expected"),
    [
        # Printed rows: vectors fig8.vllm, fig8.orca, fig8.faster_transformer, fig8.sarathi.
        ("vanilla_vllm", 4, "AdBdCd DpEp AdBdCdDd BdCdEd Bd"),
        ("orca", 5, "AdBdCd AdBdCdDpEp BdCdDdEd Bd"),
        ("faster_transformer", 4, "AdBdCd AdBdCd BdCd Bd DpEp DdEd"),
        ("sarathi", 4, "AdBdCd AdBdCdDp BdCdDdEp BdEd"),
        # Derived rows: fig8.orca.b4, fig8.vllm.b5, fig8.sarathi.b5, fig8.vllm_v1.b4.
        ("orca", 4, "AdBdCd AdBdDpEp BdCdDdEd BdCd"),
        ("vanilla_vllm", 5, "AdBdCd DpEp AdBdCdDdEd BdCd Bd"),
        ("sarathi", 5, "AdBdCd AdBdCdDpEp BdCdDdEd Bd"),
        ("vllm_v1", 4, "AdBdCd AdBdCdDp BdCdDdEp BdEd"),
    ],
)
def test_batches_in_the_accounting_of_the_paper(policy, budget, expected):
    assert batches(policy, budget) == ["ApBpCp", *expected.split()]


@pytest.mark.parametrize(
    ("policy", "budget", "expected"),
    [
        # Vectors fig8.*.engine_accounting: D and E end with their prefill.
        ("vanilla_vllm", 4, "AdBdCd DpEp AdBdCd BdCd Bd"),
        ("orca", 5, "AdBdCd AdBdCdDpEp BdCd Bd"),
        ("sarathi", 4, "AdBdCd AdBdCdDp BdCdEp Bd"),
        ("faster_transformer", 4, "AdBdCd AdBdCd BdCd Bd DpEp"),
        ("vllm_v1", 4, "AdBdCd AdBdCdDp BdCdEp Bd"),
    ],
)
def test_batches_when_the_prefill_yields_the_first_token(policy, budget, expected):
    assert batches(policy, budget, engine_accounting=True) == ["ApBpCp", *expected.split()]
