"""A measured law as a table, and an engine that runs on it."""

import numpy as np
import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import VLLM_V1
from queueing_llm.simulate import simulate
from queueing_llm.steptime import MeasuredStepTime

pytest.importorskip("aiconfigurator_core", reason="aiconfigurator-core is not installed")

H100 = MeasuredStepTime("meta-llama/Meta-Llama-3.1-8B", "h100_sxm")
LAWS = {
    "h100": H100,
    "a100": MeasuredStepTime("meta-llama/Meta-Llama-3.1-8B", "a100_sxm"),
    "h200": MeasuredStepTime("Qwen/Qwen3-32B", "h200_sxm", backend="trtllm", tp=2),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize(("budget", "decodes"), [(512, 256), (2048, 256), (8192, None)])
def test_the_table_is_as_near_as_it_says_on_batches_of_ones_own(law, budget, decodes):
    table = law.table(budget, most_decode_tokens=decodes)
    median, worst = law.table_errors(budget, most_decode_tokens=decodes)
    assert median < 0.004
    assert worst < 0.2
    rng = np.random.default_rng(99)
    y = rng.integers(0, (decodes or budget) // 2, 500)
    x = rng.integers(0, budget - y + 1)
    kv = y * rng.integers(1, 3000, 500)
    kv = np.minimum(kv, table.axes[2][-1])
    errors = np.abs(table(x, y, kv) / law(x, y, kv) - 1)
    assert errors.mean() < 0.012
    assert errors.max() < worst + 0.1


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("budget", [512, 1024])
def test_a_step_after_the_budget_does_not_leak_into_full_batches(law, budget):
    y = np.arange(1, 256)
    kv = 700 * y
    table = law.table(budget, most_decode_tokens=256)
    bias = float((table(budget - y, y, kv) / law(budget - y, y, kv) - 1).mean())
    assert abs(bias) < 0.01


def test_without_the_straight_line_beyond_the_budget_it_would():
    # Control: the same grid with the law itself at corners beyond 512 tokens.
    from queueing_llm.steptime import TableStepTime

    table = H100.table(512, most_decode_tokens=256)
    grid = np.meshgrid(*(np.asarray(axis) for axis in table.axes), indexing="ij")
    naive = TableStepTime.of_batches(*table.axes, seconds=H100(*grid))
    y = np.arange(1, 256)
    bias = float((naive(512 - y, y, 700 * y) / H100(512 - y, y, 700 * y) - 1).mean())
    assert bias > 0.02


def test_it_reaches_every_batch_and_is_positive():
    table = H100.table(300, most_decode_tokens=7, kv_capacity=12_345)
    assert [axis[0] for axis in table.axes] == [0, 0, 0]
    assert [axis[-1] for axis in table.axes] == [300, 7, 12_345]
    assert min(table.seconds) > 0
    assert H100.table(300).axes[2][-1] >= H100.kv_capacity(1)


@pytest.mark.parametrize("budget", [1, 2, 3, 17])
def test_small_engines(budget):
    table = H100.table(budget, kv_capacity=1)
    assert table(budget) == pytest.approx(H100(budget), rel=0.02)


def test_a_smaller_error_makes_a_larger_table():
    coarse = H100.table(512, most_decode_tokens=64, kv_capacity=50_000)
    fine = H100.table(512, most_decode_tokens=64, kv_capacity=50_000, relative_error=0.0015)
    assert len(fine.seconds) > len(coarse.seconds)


@pytest.mark.parametrize(
    ("budget", "rest", "words"),
    [
        (0, {}, "token_budget must be an integer at least 1"),
        (2**17, {}, "token_budget must be an integer at least 1 and at most 65536"),
        (64, {"most_decode_tokens": 0}, "most_decode_tokens must be"),
        (64, {"kv_capacity": 0}, "kv_capacity must be"),
        (64, {"relative_error": 0}, "relative_error must be"),
        (2048, {"relative_error": 1e-5}, "relative_error must be at least"),
    ],
)
def test_limits_outside_the_domain(budget, rest, words):
    with pytest.raises(InvalidArgument, match=words):
        H100.table(budget, **rest)


def test_compiled_code_and_candidates_go_through_the_table():
    form = H100.kernel_form(512)
    table = H100.table(512)
    for batch in ((0, 1, 1), (448, 64, 70_000), (512, 0, 0), (0, 512, 300_000)):
        assert form.seconds_of(*batch) == pytest.approx(table(*batch), rel=1e-12)
    x, y, kv = H100.candidate_batches(512, most_decode_tokens=64)
    table = H100.table(512, most_decode_tokens=64)
    best = float(((x + y) / table(x, y, kv)).max())
    rng = np.random.default_rng(1)
    some_y = rng.integers(0, 65, 2000)
    some_x = rng.integers(1, 513 - some_y)
    some_kv = some_y * rng.integers(0, 2000, 2000)
    assert float(((some_x + some_y) / table(some_x, some_y, some_kv)).max()) <= best


def test_an_engine_runs_on_it():
    engine = Engine(
        step_time=H100,
        token_budget=512,
        max_batch_size=64,
        kv_capacity=H100.kv_capacity(),
        first_token_from_prefill=True,
    )
    workload = Workload.poisson(arrival_rate=2, prompt_tokens=512, output_tokens=65)
    run = simulate(engine, workload, policy=VLLM_V1, horizon=20, seed=3, keep_requests=True)
    # Alone, a request takes one full prefill step and 64 decode steps.
    alone = H100(512) + sum(H100(0, 1, 512 + k) for k in range(64))
    assert alone < run.latencies("end_to_end").mean() < 2 * alone
