"""With a prefix cache vLLM v1 computes what no block holds yet, stated here in words."""

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest, blocks_for
from queueing_llm.policies.field._vllm_jobs import AbstractBlockPool, Block
from queueing_llm.policies.field._vllm_v1 import VllmV1Scheduler
from queueing_llm.policies.field._vllm_v1_config import VLLM_V1_RELEASES, VllmV1Config

LONGEST = 40


def engine(budget=1000, seqs=8, *, num_blocks=1001, block_size=16, caching=True, **other):
    return VllmV1Scheduler(
        VllmV1Config(
            budget,
            seqs,
            num_blocks=num_blocks,
            block_size=block_size,
            enable_prefix_caching=caching,
            **other,
        )
    )


def ask(scheduler, name, prompt, output=1, *, shared=0, group="chat", priority=0):
    prefix = (group, shared) if shared else None
    scheduler.add(FieldRequest(name, prompt, output, priority=priority, prefix=prefix))


def served(scheduler):
    """Return what was computed and what was found in the next step."""
    step = scheduler.step()
    return dict(step.tokens), dict(step.cached)


def finish(scheduler):
    while not scheduler.is_idle:
        scheduler.step()


def cached_by(scheduler, name, prompt, *, shared=0, group="chat"):
    """Return what a request that comes alone finds; it is served until it is done."""
    ask(scheduler, name, prompt, shared=shared, group=group)
    found = scheduler.step().cached.get(name, 0)
    finish(scheduler)
    return found


def test_full_blocks_of_a_common_prefix_are_found():
    scheduler = engine()
    ask(scheduler, "a", 50, 9, shared=40)
    assert served(scheduler) == ({"a": 50}, {})
    ask(scheduler, "b", 60, shared=40)
    assert served(scheduler) == ({"a": 1, "b": 28}, {"b": 32})
    assert scheduler.running == ("a",)
    assert scheduler.free_blocks == 1000 - 4, "b held 2 blocks of a and 2 of its own"


def test_only_what_both_share_is_found():
    scheduler = engine()
    cached_by(scheduler, "a", 100, shared=80)
    assert cached_by(scheduler, "b", 100, shared=50) == 48
    assert cached_by(scheduler, "c", 100, shared=90) == 80
    assert cached_by(scheduler, "d", 100, shared=90) == 80, "c made no full block beyond 80"
    assert cached_by(scheduler, "e", 100) == 0
    assert cached_by(scheduler, "f", 100, shared=80, group="another") == 0


def test_blocks_are_known_within_the_step_that_computes_them():
    scheduler = engine()
    for name in "abc":
        ask(scheduler, name, 50, shared=40)
    assert served(scheduler) == ({"a": 50, "b": 18, "c": 18}, {"b": 32, "c": 32})


def test_a_block_that_is_not_full_yet_is_computed_twice():
    """Each reads 20 tokens a step, so a has filled one of the four blocks when b begins."""
    scheduler = engine(long_prefill_token_threshold=20)
    ask(scheduler, "a", 70, 9, shared=64)
    ask(scheduler, "b", 70, 9, shared=64)
    assert served(scheduler) == ({"a": 20, "b": 20}, {"b": 16})
    assert served(scheduler) == ({"a": 20, "b": 20}, {})
    assert scheduler.free_blocks == 1000 - 3 - 3, "only the first block is shared"
    finish(scheduler)
    assert cached_by(scheduler, "c", 70, shared=64) == 64


@pytest.mark.parametrize(("prompt", "cached"), [(32, 16), (33, 32), (31, 16), (16, 0)])
def test_the_last_token_is_computed_even_if_all_is_known(prompt, cached):
    scheduler = engine()
    cached_by(scheduler, "a", 64, shared=64)
    assert cached_by(scheduler, "b", prompt, shared=prompt) == cached


def test_only_what_is_computed_counts_against_the_budget():
    scheduler = engine(64, num_blocks=1001, enable_chunked_prefill=False)
    cached_by(scheduler, "a", 64, shared=64)
    ask(scheduler, "b", 100, shared=64)
    ask(scheduler, "c", 29)
    assert served(scheduler) == ({"b": 36}, {"b": 64}), "28 tokens are left"
    assert served(scheduler) == ({"c": 29}, {})


def test_the_least_recently_used_block_is_forgotten_first_and_the_last_of_a_request_before():
    """Two blocks of a, one of b and a blank one fill the pool; the newcomer takes one more."""
    scheduler = engine(num_blocks=5)
    cached_by(scheduler, "a", 33, shared=33, group="a")
    cached_by(scheduler, "b", 17, shared=17, group="b")
    cached_by(scheduler, "new", 17)
    assert cached_by(scheduler, "a2", 17, shared=17, group="a") == 16
    assert cached_by(scheduler, "b2", 17, shared=17, group="b") == 16
    assert cached_by(scheduler, "a3", 33, shared=33, group="a") == 16, (
        "its second block is gone"
    )


def test_what_is_found_is_used_and_so_forgotten_later():
    scheduler = engine(num_blocks=4)
    cached_by(scheduler, "a", 17, shared=17, group="a")
    cached_by(scheduler, "b", 17, shared=17, group="b")
    assert cached_by(scheduler, "a2", 17, shared=17, group="a") == 16
    cached_by(scheduler, "new", 32)
    assert cached_by(scheduler, "a3", 17, shared=17, group="a") == 16
    assert cached_by(scheduler, "b3", 17, shared=17, group="b") == 0


@pytest.mark.parametrize(("version", "cached"), [("0.11.2", 0), ("0.32.0", 16), ("0.33.0", 16)])
def test_versions_differ_in_where_a_block_goes_that_is_not_full(version, cached):
    """One of three blocks is known, and then a short request comes and goes.

    In 0.11.2 its block has gone behind the known one, and the newcomer takes that as well.
    """
    scheduler = engine(num_blocks=4, version=version)
    cached_by(scheduler, "a", 17, shared=17)
    cached_by(scheduler, "short", 1)
    cached_by(scheduler, "new", 32)
    assert cached_by(scheduler, "b", 17, shared=17) == cached


def test_a_preempted_request_finds_its_own_blocks_with_what_it_generated():
    """b has computed 46 tokens, 30 of them its prompt, when a takes the last of its blocks."""
    scheduler = engine(num_blocks=8)
    ask(scheduler, "a", 48, 18)
    ask(scheduler, "b", 30, 40)
    steps = [scheduler.step() for _ in range(18)]
    assert (steps[17].preempted, steps[17].finished) == (("b",), ("a",))
    assert served(scheduler) == ({"b": 47 - 32}, {"b": 32})


def test_a_block_that_was_free_and_is_found_is_not_free_any_more():
    """Five blocks, all free, two of them known: four new ones beside them do not fit."""
    scheduler = engine(num_blocks=6)
    cached_by(scheduler, "a", 33, shared=32)
    ask(scheduler, "b", 96, shared=32)
    assert served(scheduler) == ({}, {})
    scheduler = engine(num_blocks=7)
    cached_by(scheduler, "a", 33, shared=32)
    ask(scheduler, "b", 96, shared=32)
    assert served(scheduler) == ({"b": 64}, {"b": 32})


def test_a_block_that_somebody_holds_is_found_for_nothing():
    scheduler = engine(num_blocks=5)
    ask(scheduler, "a", 40, 5, shared=32)
    scheduler.step()
    ask(scheduler, "b", 40, 2, shared=32)
    assert served(scheduler) == ({"a": 1, "b": 8}, {"b": 32}), "one free block is enough"
    assert scheduler.free_blocks == 0


def test_the_watermark_is_compared_with_what_is_left_in_the_queue():
    """Six blocks, two known and free; b needs four, and one must stay while c runs."""
    for watermark, tokens in ((0, {"c": 1, "b": 32}), (0.2, {"c": 1})):
        scheduler = engine(num_blocks=6, watermark=watermark)
        cached_by(scheduler, "a", 33, shared=32)
        ask(scheduler, "c", 1, 9)
        scheduler.step()
        ask(scheduler, "b", 64, shared=32)
        assert scheduler.step().tokens == tokens


def test_held_back_prefills_do_not_hold_back_a_last_token():
    """While decodes have the steps for themselves, whoever lacks one token only is admitted."""
    scheduler = engine(prefill_schedule_interval=4)
    ask(scheduler, "a", 33, 9, shared=32)
    scheduler.step()
    ask(scheduler, "b", 33, 3, shared=32)
    ask(scheduler, "c", 34, 3, shared=32)
    assert served(scheduler) == ({"a": 1, "b": 1}, {"b": 32})
    assert served(scheduler) == ({"a": 1, "b": 1}, {})
    assert served(scheduler) == ({"a": 1, "b": 1}, {})
    assert served(scheduler) == ({"a": 1, "c": 2}, {"c": 32})


@pytest.mark.parametrize("version", VLLM_V1_RELEASES)
@pytest.mark.parametrize(("with_defects", "cached"), [(True, 14), (False, 12)])
def test_blocks_that_were_planned_and_not_computed_are_found_only_as_a_defect(
    version, with_defects, cached
):
    """x is served until token 16, and then y takes its blocks: 12 tokens were computed.

    y needs one block, the last of x; the one before it is found, and it was not computed.
    """
    scheduler = engine(
        6,
        4,
        num_blocks=11,
        block_size=2,
        version=version,
        policy="priority",
        long_prefill_token_threshold=4,
        with_defects=with_defects,
    )
    ask(scheduler, "x", 16, priority=2)
    ask(scheduler, "z", 1, priority=3)
    assert served(scheduler) == ({"x": 4, "z": 1}, {})
    ask(scheduler, "y", 6, priority=0)
    assert [served(scheduler)[0] for _ in range(2)] == [{"x": 4, "y": 2}] * 2
    step = scheduler.step()
    assert (dict(step.tokens), step.preempted) == ({"y": 2}, ("x",))
    assert served(scheduler) == ({"x": 16 - cached}, {"x": cached})
    assert scheduler.is_idle


def test_a_prefix_means_nothing_without_the_cache():
    scheduler = engine(caching=False)
    for name in "ab":
        ask(scheduler, name, 40, shared=40)
    assert served(scheduler) == ({"a": 40, "b": 40}, {})


@pytest.mark.parametrize("tokens", [41, -1, 1.5])
def test_refuses_a_prefix_that_is_no_part_of_the_prompt(tokens):
    with pytest.raises(InvalidArgument, match="prefix"):
        engine().add(FieldRequest("a", 40, 1, prefix=("chat", tokens)))


@st.composite
def configs(draw):
    """Configurations in which the longest request fits, alone, in pool and budget."""
    chunked, size = draw(st.booleans()), draw(st.sampled_from([1, 2, 4]))
    version = draw(st.sampled_from(list(VLLM_V1_RELEASES)))
    return VllmV1Config(
        draw(st.integers(4, 40)) if chunked else draw(st.integers(LONGEST, 60)),
        draw(st.integers(1, 4)),
        num_blocks=1 + blocks_for(LONGEST, block_size=size) + draw(st.integers(0, 8)),
        block_size=size,
        version=version,
        enable_chunked_prefill=chunked,
        policy=draw(st.sampled_from(["fcfs", "priority"])),
        long_prefill_token_threshold=draw(st.sampled_from([0, 0, 5])),
        scheduler_reserve_full_isl=version != "0.11.2" and draw(st.booleans()),
        enable_prefix_caching=True,
        with_defects=draw(st.booleans()),
    )


@st.composite
def arrivals(draw):
    """Return (step of arrival, request), in order."""
    due, found = 0, []
    for number in range(draw(st.integers(1, 7))):
        due += draw(st.sampled_from([0, 0, 1, 6]))
        prompt = draw(st.integers(1, LONGEST - 12))
        shared = draw(st.sampled_from([prompt, prompt // 2, min(8, prompt), 0]))
        group = draw(st.sampled_from("AB"))
        request = FieldRequest(
            f"r{number}",
            prompt,
            draw(st.integers(1, 12)),
            priority=draw(st.integers(0, 2)),
            arrival=number,
            prefix=(group, shared),
        )
        found.append((due, request))
    return found


def run(scheduler, rows):
    """Yield each step until all is served."""
    for now in range(5000):
        for due, request in rows:
            if due == now:
                scheduler.add(request)
        yield scheduler.step()
        if now >= rows[-1][0] and scheduler.is_idle:
            return
    pytest.fail("the requests are never served")


def text_of(request):
    """Return the tokens of a request, those of its output too, as they differ from others."""
    group, shared = request.prefix
    length = request.prompt_tokens + request.output_tokens
    return [(group if at < shared else request.name, at) for at in range(length)]


class PlainPool(AbstractBlockPool):
    """The slow, obvious twin: blocks know the very tokens, and all is looked for in lists."""

    def __init__(self, config):
        super().__init__(block_size=config.block_size)
        self.config = config
        self.blocks = [Block() for _ in range(config.usable_blocks)]
        self.queue = list(self.blocks)
        self.filled = []
        self.tables = {}

    @property
    def free(self):
        return len(self.queue)

    def beginning(self, job, blocks):
        return tuple(text_of(job.request)[: blocks * self.config.block_size])

    def hits(self, job):
        found = []
        while (len(found) + 1) * self.config.block_size < job.length:
            wanted = self.beginning(job, len(found) + 1)
            same = [block for block in self.filled if block.content == wanted]
            if not same:
                break
            found.append(same[0])
        for block in self.blocks:
            block.holders = sum(block in table for table in self.tables.values())
        return tuple(found)

    def adopt(self, job, hits):
        self.queue = [block for block in self.queue if block not in hits]
        self.tables[job] = list(hits)
        job.blocks, job.computed = len(hits), len(hits) * self.config.block_size

    def grow(self, job, tokens):
        table = self.tables.setdefault(job, [])
        while len(table) * self.config.block_size < tokens:
            block = self.queue.pop(0)
            self.forget(block)
            table.append(block)
        job.blocks = len(table)
        for number in range(tokens // self.config.block_size):
            if table[number].content is None:
                table[number].content = self.beginning(job, number + 1)
                self.filled.append(table[number])

    def release(self, job):
        table, job.blocks = self.tables.pop(job), 0
        while table:
            block = table.pop()
            if not self.config.with_defects and len(table) >= job.computed // self._block_size:
                self.forget(block)
            is_held = any(block in other for other in self.tables.values())
            if not is_held and block.content is None and self.config.version != "0.11.2":
                self.queue.insert(0, block)
            elif not is_held:
                self.queue.append(block)

    def forget(self, block):
        self.filled = [other for other in self.filled if other is not block]
        block.content = None


@given(configs(), arrivals())
def test_the_pool_agrees_with_its_plain_twin(config, rows):
    fast, plain = VllmV1Scheduler(config), VllmV1Scheduler(config)
    plain._pool = PlainPool(config)
    for one, other in zip(run(fast, rows), run(plain, rows), strict=True):
        assert one == other
        assert fast.free_blocks == plain.free_blocks


def test_the_plain_twin_of_another_version_disagrees():
    """Control: one rule of the queue is another one, and a run shows it."""
    rows = [
        (2 * number, FieldRequest(f"r{number}", prompt, 1, prefix=(group, prompt)))
        for number, (prompt, group) in enumerate([(5, "A"), (1, "B"), (8, "C"), (5, "A")])
    ]
    fast = engine(num_blocks=4, block_size=4, version="0.33.0")
    plain = engine(num_blocks=4, block_size=4, version="0.33.0")
    plain._pool = PlainPool(VllmV1Config(9, 9, num_blocks=4, block_size=4, version="0.11.2"))
    found = [dict(step.cached) for step in run(fast, rows) if step.cached]
    assert found == [{"r3": 4}]
    assert not any(step.cached for step in run(plain, rows))


@given(configs(), arrivals())
def test_blocks_are_held_or_free_and_none_is_lost(config, rows):
    scheduler = VllmV1Scheduler(config)
    pool = scheduler._pool
    for _ in run(scheduler, rows):
        holders = Counter(block for table in pool._tables.values() for block in table)
        assert len(holders) + scheduler.free_blocks == config.usable_blocks
        assert all(block.holders == count for block, count in holders.items())
        assert all(block.holders == 0 for block in pool._queue)
        known = {block for same in pool._known.values() for block in same}
        assert known == {block for block in [*holders, *pool._queue] if block.content}
    assert scheduler.free_blocks == config.usable_blocks


@given(configs(), arrivals())
def test_every_token_is_computed_or_found(config, rows):
    """And once only, if the request is never preempted."""
    scheduler = VllmV1Scheduler(config)
    computed, cached, preempted = Counter(), Counter(), set()
    for step in run(scheduler, rows):
        computed.update(step.tokens)
        cached.update(step.cached)
        preempted.update(step.preempted)
    for _, request in rows:
        if request.name not in preempted:
            needed = request.prompt_tokens + request.output_tokens - 1
            assert computed[request.name] + cached[request.name] == needed
            assert cached[request.name] < request.prompt_tokens


class Computed:
    """Which texts were ever computed, by nothing but the answers of the scheduler."""

    def __init__(self, rows):
        self.text = {request.name: text_of(request) for _, request in rows}
        self.reach, self.texts = Counter(), set()

    def has_all_that_was_found(self, step):
        """Book a step, and return whether all that it found had been computed."""
        is_there = True
        for name in step.preempted:
            self.reach[name] = 0
        for name, tokens in step.tokens.items():
            begin = self.reach[name] + step.cached.get(name, 0)
            is_there &= begin == 0 or tuple(self.text[name][:begin]) in self.texts
            self.reach[name] = begin + tokens
            self.texts.update(
                tuple(self.text[name][:end]) for end in range(begin, self.reach[name] + 1)
            )
        return is_there


@given(configs(), arrivals())
def test_what_is_found_was_computed(config, rows):
    assume(not (config.with_defects and config.policy == "priority"))
    computed = Computed(rows)
    assert all(computed.has_all_that_was_found(s) for s in run(VllmV1Scheduler(config), rows))


def test_what_was_not_computed_and_is_found_is_noticed():
    """Control: the defect, in a run that breaks what the test before says."""
    rows = [
        (0, FieldRequest("x", 16, 1, 2, 0, prefix=("A", 0))),
        (0, FieldRequest("z", 1, 1, 3, 1, prefix=("A", 0))),
        (1, FieldRequest("y", 6, 1, 0, 2, prefix=("A", 0))),
    ]
    scheduler = engine(
        6, 4, num_blocks=11, block_size=2, policy="priority", long_prefill_token_threshold=4
    )
    computed = Computed(rows)
    assert not all(computed.has_all_that_was_found(step) for step in run(scheduler, rows))


@given(configs(), arrivals())
def test_with_nothing_to_share_the_cache_changes_nothing_until_a_preemption(config, rows):
    alone = [
        (due, FieldRequest(r.name, r.prompt_tokens, r.output_tokens, r.priority, r.arrival))
        for due, r in rows
    ]
    settings_off = {
        name: getattr(config, name)
        for name in config.__dataclass_fields__
        if name != "enable_prefix_caching"
    }
    on, off = VllmV1Scheduler(config), VllmV1Scheduler(VllmV1Config(**settings_off))
    for one, other in zip(run(on, alone), run(off, alone), strict=False):
        assert one == other
        assert on.free_blocks == off.free_blocks
        if one.preempted:
            return
