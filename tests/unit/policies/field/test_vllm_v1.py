"""The batches of vLLM v1 follow from its rules, stated here in words."""

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._vllm_v1 import VllmV1Scheduler
from queueing_llm.policies.field._vllm_v1_config import VLLM_V1_RELEASES, VllmV1Config


def engine(budget, seqs, *, requests=(), num_blocks=10001, **settings):
    scheduler = VllmV1Scheduler(VllmV1Config(budget, seqs, num_blocks=num_blocks, **settings))
    for number, (name, prompt, output, *priority) in enumerate(requests):
        scheduler.add(FieldRequest(name, prompt, output, *priority, arrival=number))
    return scheduler


def batches(scheduler, steps):
    return [dict(scheduler.step().tokens) for _ in range(steps)]


def test_running_requests_go_first_and_the_rest_of_the_budget_admits():
    requests = [("0", 800, 4), ("1", 800, 4), ("2", 800, 4)]
    assert batches(engine(1024, 8, requests=requests), 6) == [
        {"0": 800, "1": 224},
        {"0": 1, "1": 576, "2": 447},
        {"0": 1, "1": 1, "2": 353},
        {"0": 1, "1": 1, "2": 1},
        {"1": 1, "2": 1},
        {"2": 1},
    ]


def test_the_limit_counts_running_requests():
    scheduler = engine(64, 2, requests=[("a", 100, 3), ("b", 10, 5), ("c", 20, 2)])
    assert batches(scheduler, 4) == [
        {"a": 64},
        {"a": 36, "b": 10},
        {"a": 1, "b": 1},
        {"a": 1, "b": 1},
    ]
    assert scheduler.running == ("b",)
    assert batches(scheduler, 1) == [{"b": 1, "c": 20}], "the place of a is free after its step"


@pytest.mark.parametrize("version", VLLM_V1_RELEASES)
def test_whole_prompts_are_passed_or_block(version):
    scheduler = engine(
        128,
        8,
        requests=[("a", 100, 2), ("b", 100, 2), ("c", 20, 2)],
        version=version,
        enable_chunked_prefill=False,
    )
    first, second = batches(scheduler, 2)
    if version == "0.11.2":
        assert (first, second) == ({"a": 100, "c": 20}, {"a": 1, "c": 1, "b": 100})
    else:
        assert (first, second) == ({"a": 100}, {"a": 1, "b": 100, "c": 20})


@pytest.mark.parametrize(("with_defects", "order"), [(True, "cb"), (False, "bc")])
def test_two_passed_prompts_change_their_order_only_as_a_defect(with_defects, order):
    scheduler = engine(
        128,
        8,
        requests=[("a", 100, 2), ("b", 90, 2), ("c", 80, 2)],
        version="0.11.2",
        enable_chunked_prefill=False,
        with_defects=with_defects,
    )
    scheduler.step()
    assert "".join(scheduler.waiting) == order


def test_the_last_running_request_makes_room_and_nobody_is_admitted_then():
    """Two prompts fill 4 of 5 blocks; the third token of the first needs the fifth."""
    scheduler = engine(100, 8, requests=[("a", 31, 9), ("b", 31, 9)], num_blocks=5)
    assert batches(scheduler, 2) == [{"a": 31, "b": 31}, {"a": 1, "b": 1}]
    scheduler.add(FieldRequest("c", 1, 1))
    step = scheduler.step()
    assert step.preempted == ("b",)
    assert step.tokens == {"a": 1}, "c would fit in the two free blocks, and must wait"
    assert scheduler.waiting == ("b", "c"), "who was preempted waits at the head"
    assert scheduler.free_blocks == 1
    again = scheduler.step()
    assert again.tokens == {"a": 1}, "33 tokens of b need three blocks"
    assert again.preempted == ()


def test_the_list_decides_who_is_served_first_and_not_the_phase():
    """long is still being read and stands before the decode of short: it takes its block."""
    scheduler = engine(
        40,
        8,
        requests=[("long", 64, 2), ("short", 16, 9)],
        num_blocks=3,
        long_prefill_token_threshold=16,
        scheduler_reserve_full_isl=False,
    )
    assert batches(scheduler, 1) == [{"long": 16, "short": 16}]
    step = scheduler.step()
    assert step.preempted == ("short",)
    assert step.tokens == {"long": 16}


def test_a_preempted_request_recomputes_its_prompt_and_its_output():
    scheduler = engine(100, 8, requests=[("a", 31, 3), ("b", 31, 9)], num_blocks=5)
    total = {"a": 0, "b": 0}
    for batch in batches(scheduler, 12):
        for name, tokens in batch.items():
            total[name] += tokens
    assert scheduler.is_idle
    assert total["a"] == 31 + 3 - 1
    assert total["b"] == (31 + 1) + (31 + 9 - 1), "lost 32 tokens in the third step"


def test_the_tokens_of_who_is_preempted_go_back_to_the_budget():
    """low is served first and then preempted, so mid gets 20 tokens and not the last 5."""
    scheduler = engine(
        45,
        8,
        requests=[("low", 100, 2, 5)],
        num_blocks=5,
        block_size=32,
        version="0.11.2",
        policy="priority",
        long_prefill_token_threshold=20,
    )
    scheduler.step()
    scheduler.add(FieldRequest("high", 100, 2, 0, arrival=1))
    scheduler.add(FieldRequest("mid", 50, 2, 1, arrival=2))
    assert batches(scheduler, 1) == [{"low": 20, "high": 20, "mid": 5}]
    step = scheduler.step()
    assert step.preempted == ("low",)
    assert step.tokens == {"high": 20, "mid": 20}


@pytest.mark.parametrize(("version", "batch"), [("0.32.0", {}), ("0.33.0", {"high": 1})])
def test_versions_differ_when_a_request_preempts_itself(version, batch):
    """low stands first, is the lowest, and its 17th token needs a block that nobody has."""
    scheduler = engine(
        64, 8, requests=[("low", 10, 30, 5)], num_blocks=4, version=version, policy="priority"
    )
    scheduler.step()
    scheduler.add(FieldRequest("high", 20, 30, 0, arrival=1))
    assert batches(scheduler, 6) == [{"low": 1, "high": 20}] + [{"low": 1, "high": 1}] * 5
    step = scheduler.step()
    assert step.preempted == ("low",)
    assert step.tokens == batch


def test_the_cap_on_long_prompts_lets_them_starve_a_short_one():
    scheduler = engine(
        32, 8, requests=[("L1", 200, 3), ("L2", 200, 3)], long_prefill_token_threshold=24
    )
    scheduler.step()
    scheduler.add(FieldRequest("s", 5, 6))
    found = batches(scheduler, 9)
    assert found[:7] == [{"L1": 24, "L2": 8}] * 7
    assert found[7:] == [{"L1": 8, "L2": 24}, {"L1": 1, "L2": 24, "s": 5}]


@pytest.mark.parametrize(("version", "tokens"), [("0.11.2", 400), ("0.33.0", 1024)])
def test_the_cap_spares_a_lone_request(version, tokens):
    scheduler = engine(
        1024,
        8,
        requests=[("a", 2000, 2)],
        version=version,
        long_prefill_token_threshold=400,
    )
    assert batches(scheduler, 1) == [{"a": tokens}]


def test_a_lone_prompt_above_the_budget_is_not_split_without_chunking():
    scheduler = engine(64, 8, requests=[("a", 100, 2)], enable_chunked_prefill=False)
    assert batches(scheduler, 3) == [{}, {}, {}]
    assert scheduler.waiting == ("a",)


def test_a_whole_prompt_may_take_the_last_token_of_the_budget():
    requests = [("a", 40, 2), ("b", 24, 2)]
    scheduler = engine(64, 8, requests=requests, enable_chunked_prefill=False)
    assert batches(scheduler, 1) == [{"a": 40, "b": 24}]


def test_the_latest_of_equal_priorities_is_preempted_and_priorities_order_the_queue():
    """Three prompts fill the pool; the first decode needs a block, and z came last."""
    requests = [("x", 16, 9, 2), ("y", 16, 9, 2), ("z", 16, 9, 2)]
    scheduler = engine(64, 8, requests=requests, num_blocks=4, policy="priority")
    scheduler.step()
    scheduler.add(FieldRequest("late", 16, 9, 1, arrival=9))
    scheduler.add(FieldRequest("lowest", 16, 9, 3, arrival=10))
    assert scheduler.step().preempted == ("z", "y")
    assert scheduler.waiting == ("late", "y", "z", "lowest")


def test_the_first_chunk_or_the_whole_prompt_must_fit():
    requests = [("a", 150, 30), ("b", 200, 3)]
    found = {}
    for version in ("0.11.2", "0.33.0"):
        scheduler = engine(64, 8, requests=requests, num_blocks=21, version=version)
        found[version] = batches(scheduler, 4)
        preempted = [scheduler.step().preempted for _ in range(20)]
        assert (("b",) in preempted) is (version == "0.11.2")
    assert found["0.11.2"][2] == {"a": 22, "b": 42}
    assert found["0.33.0"][2] == {"a": 22}


def test_the_watermark_counts_only_while_others_run():
    scheduler = engine(
        64, 8, requests=[("a", 48, 9), ("b", 16, 9)], num_blocks=5, watermark=0.2
    )
    assert batches(scheduler, 2) == [{"a": 48}, {"a": 1}], "one block is free, one must stay"
    alone = engine(64, 8, requests=[("a", 48, 9)], num_blocks=5, watermark=0.9)
    assert batches(alone, 1) == [{"a": 48}], "nobody else runs"
    without = engine(64, 8, requests=[("a", 48, 9), ("b", 16, 9)], num_blocks=5)
    assert batches(without, 1) == [{"a": 48, "b": 16}]


def test_prefills_wait_for_their_turn_while_decodes_run():
    scheduler = engine(64, 8, requests=[("a", 20, 10)], prefill_schedule_interval=3)
    scheduler.step()
    scheduler.add(FieldRequest("b", 100, 3))
    assert batches(scheduler, 6) == [
        {"a": 1},
        {"a": 1},
        {"a": 1, "b": 63},
        {"a": 1},
        {"a": 1},
        {"a": 1, "b": 37},
    ]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"version": "0.33"}, "0.33.0"),
        ({"policy": "sjf"}, "policy"),
        ({"max_num_seqs": 0}, "max_num_seqs"),
        ({"num_blocks": 1}, "num_blocks"),
        ({"watermark": 1.5}, "watermark"),
        ({"version": "0.11.2", "watermark": 0.1}, "watermark"),
        ({"version": "0.11.2", "scheduler_reserve_full_isl": True}, "full_isl"),
        ({"version": "0.32.0", "prefill_schedule_interval": 2}, "interval"),
    ],
)
def test_refuses(settings, word):
    with pytest.raises(InvalidArgument, match=word):
        VllmV1Config(
            **{"max_num_batched_tokens": 64, "max_num_seqs": 8, "num_blocks": 9, **settings}
        )


def test_refuses_requests():
    scheduler = engine(64, 8, requests=[("a", 1, 1)])
    with pytest.raises(InvalidArgument, match="'a'"):
        scheduler.add(FieldRequest("a", 1, 1))
    with pytest.raises(InvalidArgument, match="output_tokens"):
        scheduler.add(FieldRequest("b", 1, 0))
