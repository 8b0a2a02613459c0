"""The batches of vLLM v0 follow from its rules, stated here in words."""

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.policies.field._vllm_v0 import VllmV0Config, VllmV0Scheduler


def engine(budget, seqs, *, requests=(), num_blocks=1000, chunked=False, **settings):
    scheduler = VllmV0Scheduler(
        VllmV0Config(
            budget,
            seqs,
            num_blocks=num_blocks,
            enable_chunked_prefill=chunked,
            **settings,
        )
    )
    for name, prompt, output in requests:
        scheduler.add(FieldRequest(name, prompt, output))
    return scheduler


def batches(scheduler, steps):
    return [dict(scheduler.step().tokens) for _ in range(steps)]


def test_prompts_go_first_and_alone():
    scheduler = engine(128, 8, requests=[("a", 60, 3), ("b", 60, 3), ("c", 60, 2)])
    steps = [scheduler.step() for _ in range(5)]
    assert [dict(step.tokens) for step in steps] == [
        {"a": 60, "b": 60},
        {"c": 60},
        {"a": 1, "b": 1, "c": 1},
        {"a": 1, "b": 1},
        {},
    ]
    assert [step.mode for step in steps] == ["prefill", "prefill", "decode", "decode", ""]
    assert steps[2].finished == ("c",)


def test_chunked_decodes_go_first():
    requests = [("0", 800, 4), ("1", 800, 4), ("2", 800, 4)]
    assert batches(engine(1024, 8, requests=requests, chunked=True), 4) == [
        {"0": 800, "1": 224},
        {"0": 1, "1": 576, "2": 447},
        {"0": 1, "1": 1, "2": 353},
        {"0": 1, "1": 1, "2": 1},
    ]


def test_chunked_decodes_stand_before_the_prompt_that_is_being_read():
    requests = [("a", 3, 6), ("b", 3, 6), ("c", 3, 6), ("d", 3, 6)]
    scheduler = engine(4, 4, requests=requests, chunked=True)
    assert batches(scheduler, 4) == [
        {"a": 3, "b": 1},
        {"b": 2, "a": 1, "c": 1},
        {"c": 2, "a": 1, "b": 1},
        {"a": 1, "b": 1, "c": 1, "d": 1},
    ]


def test_a_decode_asks_for_a_free_block_that_it_does_not_need():
    """Both prompts end inside their last block, but no block is free: b goes."""
    scheduler = engine(128, 8, requests=[("a", 30, 9), ("b", 30, 9)], num_blocks=4)
    scheduler.step()
    step = scheduler.step()
    assert step.preempted == ("b",)
    assert step.tokens == {"a": 1}
    assert scheduler.waiting == ("b",)


def test_a_lone_decode_without_a_free_block_preempts_itself():
    scheduler = engine(128, 8, requests=[("a", 30, 3)], num_blocks=2, watermark=0)
    steps = [scheduler.step() for _ in range(5)]
    assert [dict(step.tokens) for step in steps] == [{"a": 30}, {}, {"a": 31}, {}, {"a": 32}]
    assert steps[1].preempted == ("a",)
    assert steps[4].finished == ("a",), "every recomputation yields a token"


def test_victims_wait_in_the_order_in_which_they_ran():
    """a needs the block of c, then b asks for one and nobody is left behind it."""
    requests = [("a", 16, 9), ("b", 16, 9), ("c", 16, 9)]
    scheduler = engine(128, 8, requests=requests, num_blocks=3)
    scheduler.step()
    scheduler.add(FieldRequest("d", 16, 9))
    step = scheduler.step()
    assert step.preempted == ("c", "b")
    assert scheduler.waiting == ("b", "c", "d")


def test_chunked_a_request_that_fills_the_pool_is_read_and_preempted_for_ever():
    """Recomputing 16 + 2 tokens it holds both blocks, and its next chunk asks for a third."""
    scheduler = engine(10, 8, requests=[("a", 16, 9)], num_blocks=2, chunked=True, watermark=0)
    start = [{"a": 10}, {"a": 6}, {"a": 1}, {}]
    assert batches(scheduler, 10) == [*start, *[{"a": 10}, {}] * 3]


@pytest.mark.parametrize(("chunked", "batch"), [(False, {"a": 1}), (True, {"a": 1, "c": 30})])
def test_chunked_a_younger_request_takes_the_blocks_of_a_victim(chunked, batch):
    """b is preempted; c waits behind it, but b returns to the queue after the step."""
    scheduler = engine(
        128, 2, requests=[("a", 30, 9), ("b", 30, 9)], num_blocks=4, chunked=chunked
    )
    scheduler.step()
    scheduler.add(FieldRequest("c", 30, 9))
    step = scheduler.step()
    assert step.preempted == ("b",)
    assert step.tokens == batch


@pytest.mark.parametrize(("prompt", "is_served"), [(32, True), (30, False)])
def test_a_chunk_asks_for_a_block_if_the_last_one_is_part_full(prompt, is_served):
    """All blocks of a prompt are taken at admission, and here it takes the whole pool."""
    scheduler = engine(20, 8, requests=[("a", prompt, 2)], num_blocks=2, chunked=True)
    assert batches(scheduler, 2) == [{"a": 20}, {"a": prompt - 20} if is_served else {}]


def test_the_watermark_stays_free_at_admission():
    requests = [("a", 16, 2), ("b", 16, 2)]
    assert batches(engine(64, 8, requests=requests, num_blocks=3, watermark=0.7), 1) == [
        {"a": 16}
    ]
    assert batches(engine(64, 8, requests=requests, num_blocks=3, watermark=0.6), 1) == [
        {"a": 16, "b": 16}
    ]


@pytest.mark.parametrize(
    ("chunked", "prompt", "is_dropped"),
    [(False, 100, True), (True, 100, False), (False, 161, True), (True, 161, True)],
)
def test_drops_what_could_never_be_admitted(chunked, prompt, is_dropped):
    scheduler = engine(
        64, 8, requests=[("a", prompt, 1), ("b", 10, 1)], num_blocks=10, chunked=chunked
    )
    step = scheduler.step()
    assert ("a" in step.finished) is is_dropped
    assert scheduler.dropped == (("a",) if is_dropped else ())
    assert step.tokens == ({"b": 10} if is_dropped else {"a": 64})


def share(scheduler, *requests):
    for name, prompt, output in requests:
        scheduler.add(FieldRequest(name, prompt, output, prefix=("chat", prompt)))


def test_a_prefix_cache_saves_blocks_and_not_what_is_planned():
    """Two full blocks are common; each has a third of its own."""
    scheduler = engine(128, 8, num_blocks=10, enable_prefix_caching=True)
    share(scheduler, ("a", 40, 3), ("b", 40, 3))
    assert batches(scheduler, 2) == [{"a": 40, "b": 40}, {"a": 1, "b": 1}]
    assert scheduler.free_blocks == 10 - 4
    assert batches(engine(128, 8, requests=[("a", 40, 3)], num_blocks=10), 1) == [{"a": 40}]


def test_admission_asks_for_blocks_as_if_nothing_were_shared():
    """b needs one block more, which is free, and is not admitted."""
    scheduler = engine(128, 8, num_blocks=5, watermark=0, enable_prefix_caching=True)
    share(scheduler, ("a", 40, 3), ("b", 40, 3))
    assert batches(scheduler, 1) == [{"a": 40}]
    assert scheduler.free_blocks == 2


def test_a_common_block_is_given_back_by_the_last_who_holds_it():
    scheduler = engine(128, 8, num_blocks=6, watermark=0, enable_prefix_caching=True)
    share(scheduler, ("a", 48, 4), ("b", 32, 6))
    assert batches(scheduler, 1) == [{"a": 48, "b": 32}]
    assert scheduler.free_blocks == 6 - 3, "all of b is the beginning of a"
    assert batches(scheduler, 3) == [{"a": 1, "b": 1}] * 3
    assert scheduler.free_blocks == 6 - 3, "a has left; b holds two of its blocks and its own"
    assert batches(scheduler, 2) == [{"b": 1}] * 2
    assert scheduler.free_blocks == 6


def test_chunks_of_whole_blocks_leave_budget_for_a_short_prompt_that_then_waits_once():
    """After the chunk of a (16 of 19 left) there is room for c; next step a takes it all."""
    scheduler = engine(32, 8, chunked=True, enable_prefix_caching=True)
    for name, prompt, output in (("d", 13, 9), ("a", 45, 9), ("c", 2, 9)):
        scheduler.add(FieldRequest(name, prompt, output))
    assert batches(scheduler, 3) == [
        {"d": 13, "a": 16, "c": 2},
        {"d": 1, "a": 29, "c": 1},
        {"d": 1, "a": 1, "c": 1},
    ]
    scheduler = engine(32, 8, chunked=True, enable_prefix_caching=True)
    for name, prompt, output in (("d", 13, 9), ("a", 47, 9), ("c", 2, 9)):
        scheduler.add(FieldRequest(name, prompt, output))
    assert batches(scheduler, 1) == [{"d": 13, "a": 16, "c": 2}]
    assert batches(scheduler, 1) == [{"d": 1, "a": 31}], "a takes the rest, and c goes first"
    assert scheduler.running == ("c", "d", "a")


def test_refuses_chunks_that_are_no_whole_blocks():
    with pytest.raises(InvalidArgument, match="multiple of block_size=16"):
        engine(40, 8, chunked=True, enable_prefix_caching=True)


def test_refuses():
    with pytest.raises(InvalidArgument, match="num_blocks"):
        VllmV0Config(64, 8, num_blocks=0)
    with pytest.raises(InvalidArgument, match="watermark"):
        VllmV0Config(64, 8, num_blocks=10, watermark=-0.1)
    with pytest.raises(InvalidArgument, match="prompt_tokens"):
        engine(64, 8, requests=[("a", 0, 1)])
