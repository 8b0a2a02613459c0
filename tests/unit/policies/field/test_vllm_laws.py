"""What holds for the batches of vLLM whatever arrives."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.policies.field import FieldRequest, blocks_for
from queueing_llm.policies.field._vllm_v0 import VllmV0Config, VllmV0Scheduler
from queueing_llm.policies.field._vllm_v1 import VllmV1Scheduler
from queueing_llm.policies.field._vllm_v1_config import VLLM_V1_RELEASES, VllmV1Config

LONGEST = 60

arrivals = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.integers(1, 20),
        st.integers(0, 2),
        st.sampled_from([0, 0, 1, 4]),
        st.sampled_from([0, 9, 16, 40]),
    ),
    min_size=1,
    max_size=8,
)


@st.composite
def v1_configs(draw, *, is_plain=False):
    """Configurations in which the longest request fits, alone, in pool and budget."""
    chunked = is_plain or draw(st.booleans())
    size = draw(st.sampled_from([1, 4, 16]))
    version = draw(st.sampled_from(list(VLLM_V1_RELEASES)))
    later = version != "0.11.2"
    return VllmV1Config(
        draw(st.integers(1, 80)) if chunked else draw(st.integers(LONGEST, 80)),
        draw(st.integers(1, 6)),
        num_blocks=1 + blocks_for(LONGEST, block_size=size) + draw(st.integers(0, 40)),
        block_size=size,
        version=version,
        enable_chunked_prefill=chunked,
        policy="fcfs" if is_plain else draw(st.sampled_from(["fcfs", "priority"])),
        long_prefill_token_threshold=0 if is_plain else draw(st.sampled_from([0, 0, 7])),
        scheduler_reserve_full_isl=later and draw(st.booleans()),
        watermark=draw(st.sampled_from([0, 0.2])) if later else 0,
        prefill_schedule_interval=draw(st.integers(1, 3)) if version == "0.33.0" else 1,
        enable_prefix_caching=draw(st.booleans()),
    )


@st.composite
def v0_configs(draw, *, is_plain=False):
    """Configurations in which the longest request leaves a block and the watermark free."""
    chunked, caching = draw(st.booleans()), not is_plain and draw(st.booleans())
    size = draw(st.sampled_from([1, 4, 16]))
    budget = draw(st.integers(1, 80)) if chunked else draw(st.integers(LONGEST, 80))
    return VllmV0Config(
        size * blocks_for(budget, block_size=size) if chunked and caching else budget,
        draw(st.integers(1, 6)),
        num_blocks=blocks_for(LONGEST, block_size=size) + draw(st.integers(2, 40)),
        block_size=size,
        enable_chunked_prefill=chunked,
        enable_prefix_caching=caching,
    )


class Ledger:
    """The progress of every request, kept from nothing but the answers of the scheduler."""

    def __init__(self):
        self.request, self.computed, self.generated, self.goal = {}, Counter(), Counter(), {}
        self.preempted, self.finished = set(), set()

    def add(self, request):
        self.request[request.name] = request
        self.goal[request.name] = request.prompt_tokens

    def book(self, step):
        for name in step.preempted:
            self.computed[name] = 0
            self.goal[name] = self.request[name].prompt_tokens + self.generated[name]
            self.preempted.add(name)
        for name, tokens in step.cached.items():
            assert self.computed[name] == 0
            self.computed[name] = tokens
        for name, tokens in step.tokens.items():
            assert tokens > 0
            self.computed[name] += tokens
            known = self.request[name].prompt_tokens + self.generated[name]
            assert self.computed[name] <= known
            self.generated[name] += self.computed[name] == known
        for name in step.finished:
            assert name not in self.finished
            assert self.generated[name] == self.request[name].output_tokens
        self.finished.update(step.finished)

    def partial(self):
        """Requests whose prompt is not complete."""
        return [name for name in self.request if 0 < self.computed[name] < self.goal[name]]


def walk(scheduler, rows):
    """Yield each step with the ledger after it, until everything is served."""
    ledger, due = Ledger(), 0
    requests = []
    for number, (prompt, output, priority, pause, shared) in enumerate(rows):
        due += pause
        prefix = ("text", min(shared, prompt))
        request = FieldRequest(f"r{number}", prompt, output, priority, number, prefix=prefix)
        requests.append((due, request))
    for now in itertools.count():
        assert now < 5000, "the requests are never served"
        for due, request in requests:
            if due == now:
                ledger.add(request)
                scheduler.add(request)
        if now > due and scheduler.is_idle:
            break
        step = scheduler.step()
        ledger.book(step)
        yield step, ledger
    assert ledger.finished == set(ledger.request)
    for name, request in ledger.request.items():
        assert ledger.computed[name] == request.prompt_tokens + request.output_tokens - 1


@given(v1_configs(), arrivals)
def test_v1_conserves_tokens_and_blocks(config, rows):
    scheduler = VllmV1Scheduler(config)
    for step, ledger in walk(scheduler, rows):
        assert sum(step.tokens.values()) <= config.max_num_batched_tokens
        assert len(scheduler.running) <= config.max_num_seqs
        held = sum(
            blocks_for(ledger.computed[name], block_size=config.block_size)
            for name in scheduler.running
        )
        assert scheduler.free_blocks >= 0
        if config.enable_prefix_caching:
            assert held + scheduler.free_blocks >= config.usable_blocks, "blocks are shared"
        else:
            assert held + scheduler.free_blocks == config.usable_blocks
        if step.preempted:
            assert not step.cached
            assert set(step.tokens) <= set(scheduler.running) | set(step.finished)


@given(v1_configs(is_plain=True), arrivals)
def test_v1_reads_one_prompt_at_a_time_and_it_stands_last(config, rows):
    scheduler = VllmV1Scheduler(config)
    for _, ledger in walk(scheduler, rows):
        assert ledger.partial() in ([], list(scheduler.running[-1:]))


@given(v1_configs(is_plain=True), arrivals)
def test_v1_serves_first_come_first_served(config, rows):
    """Nobody who came later runs while one who came earlier waits."""
    scheduler = VllmV1Scheduler(config)
    for _ in walk(scheduler, rows):
        order = [int(name[1:]) for name in scheduler.running + scheduler.waiting]
        assert order == sorted(order)


@given(v0_configs(), arrivals)
def test_v0_conserves_tokens_and_blocks(config, rows):
    scheduler = VllmV0Scheduler(config)
    for step, ledger in walk(scheduler, rows):
        assert 0 <= scheduler.free_blocks <= config.num_blocks
        assert len(step.tokens) <= config.max_num_seqs
        held = sum(
            blocks_for(max(ledger.computed[r], ledger.goal[r]), block_size=config.block_size)
            for r in scheduler.running
        )
        if config.enable_prefix_caching:
            assert held + scheduler.free_blocks >= config.num_blocks, "blocks are shared"
        else:
            assert held + scheduler.free_blocks == config.num_blocks
        if config.enable_chunked_prefill or step.mode == "prefill":
            assert sum(step.tokens.values()) <= config.max_num_batched_tokens
        if step.mode == "decode":
            assert set(step.tokens.values()) == {1}
    assert scheduler.dropped == ()


@given(v0_configs(is_plain=True), arrivals)
def test_v0_chunked_serves_all_that_run(config, rows):
    """So no more than the budget ever run, and decodes stand before the one prompt."""
    scheduler, before = VllmV0Scheduler(config), ()
    for step, ledger in walk(scheduler, rows):
        if config.enable_chunked_prefill:
            assert set(before) <= set(step.tokens) | set(step.preempted)
            assert len(scheduler.running) <= config.max_num_batched_tokens
            assert ledger.partial() in ([], list(scheduler.running[-1:]))
        before = scheduler.running


@pytest.mark.parametrize("caching", [True, False])
def test_blocks_are_given_back_when_all_is_served(caching):
    for scheduler in (
        VllmV1Scheduler(VllmV1Config(64, 4, num_blocks=9, enable_prefix_caching=caching)),
        VllmV0Scheduler(VllmV0Config(64, 4, num_blocks=8, enable_prefix_caching=caching)),
    ):
        for _ in walk(scheduler, [(40, 20, 0, 0, 32)] * 4):
            pass
        assert scheduler.free_blocks == 8


def test_the_ledger_rejects_a_lost_token():
    """Control: a scheduler that forgets a token of a prompt is caught."""
    scheduler = VllmV1Scheduler(VllmV1Config(8, 2, num_blocks=10))
    ledger = Ledger()
    ledger.add(FieldRequest("a", 8, 1))
    scheduler.add(FieldRequest("a", 7, 1))
    with pytest.raises(AssertionError):
        ledger.book(scheduler.step())
