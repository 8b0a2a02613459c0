"""Exclusive and hybrid batching, batch by batch."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.policies import check_batch
from queueing_llm.policies._exclusive import ExclusiveBatching, HybridBatching
from tests.contracts.states import engine_states, state_of

sizes = st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
ENGINE = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=7)


@given(state=engine_states(), size=sizes)
def test_every_batch_is_legal_exclusive_and_not_empty(state, size):
    batch = ExclusiveBatching(*size)(state)
    check_batch(state, batch)
    assert batch.tokens.any()
    assert batch.prefill_tokens(state) == 0 or batch.decode_tokens(state) == 0


@given(state=engine_states(), size=sizes)
def test_nobody_starts_beyond_the_slots(state, size):
    batch = ExclusiveBatching(*size)(state)
    starting = int(((batch.tokens > 0) & (state.stored == 0)).sum())
    residents = int((state.stored > 0).sum())
    assert starting <= max(0, size[0] - residents)
    assert starting <= size[1]


class WithMemory:
    """Exclusive batching as an engine would run it, which knows whether it is refilling."""

    def __init__(self, slots, refill):
        self.slots, self.refill, self.group = slots, refill, []

    def __call__(self, state):
        tokens = np.zeros(len(state.request), dtype=np.int64)
        todo = [i for i in state.prefilling if state.request[i] in self.group]
        decoding = list(state.decoding)
        if not todo:
            waiting = [i for i in state.prefilling if state.stored[i] == 0]
            free = self.slots - len(decoding)
            start = free >= self.refill and len(waiting) >= self.refill
            if start or not decoding:
                todo = waiting[: self.refill]
                self.group = [state.request[i] for i in todo]
        room = state.token_budget
        for i in todo or decoding:
            tokens[i] = min(room, state.prompt_left[i] or 1)
            room -= tokens[i]
        return ql.Batch(tokens)


@given(
    size=sizes,
    times=st.lists(st.integers(0, 40), min_size=1, max_size=20),
    seed=st.integers(0, 2**16),
)
def test_the_state_is_enough_memory(size, times, seed):
    """Time and tokens of every batch are those of an engine that remembers its phase."""
    rng = np.random.default_rng(seed)
    load = ql.Workload.of_requests(
        np.sort(times),
        prompt_tokens=rng.integers(1, 9, len(times)),
        output_tokens=rng.integers(1, 5, len(times)),
    )
    engine = replace(ENGINE, first_token_from_prefill=bool(seed % 2))

    def batches(policy):
        steps = ql.watch(engine, load, policy=policy, horizon=5_000)
        return [
            (s.start, s.batch.prefill_tokens(s.state), s.batch.decode_tokens(s.state))
            for s in steps
        ]

    assert batches(ExclusiveBatching(*size)) == batches(WithMemory(*size))


def test_a_refill_of_several_batches_is_not_interrupted():
    load = ql.Workload.of_requests([0] * 3, prompt_tokens=[7, 7, 4], output_tokens=[2] * 3)
    steps = ql.watch(ENGINE, load, policy=ExclusiveBatching(3, refill=3), horizon=999)
    assert [s.batch.tokens.tolist() for s in itertools.islice(steps, 4)] == [
        [5, 1, 1],
        [2, 4, 1],
        [0, 2, 2],
        [1, 1, 1],
    ]


@pytest.mark.parametrize(
    ("waiting", "expected"), [(1, [1, 0]), (2, [0, 4, 3]), (3, [0, 4, 3, 0])]
)
def test_fewer_requests_than_a_refill_wait_while_others_decode(waiting, expected):
    state = state_of(
        prompt_left=[0] + [4] * waiting,
        decode_left=[2] * (1 + waiting),
        stored=[5] + [0] * waiting,
        token_budget=7,
    )
    assert ExclusiveBatching(4, refill=2)(state).tokens.tolist() == expected


def test_prompts_start_only_if_they_fit_and_decodes_push_out_the_newest():
    room = {"token_budget": 99, "kv_capacity": 13}
    state = state_of(prompt_left=[0, 4, 4], decode_left=[2] * 3, stored=[5, 0, 0], **room)
    policy = ExclusiveBatching(3, refill=2)
    assert policy(state).tokens.tolist() == [0, 4, 4]
    assert policy(replace(state, kv_capacity=12)).tokens.tolist() == [1, 0, 0]
    full = state_of(prompt_left=[0, 0], decode_left=[2] * 2, stored=[7, 6], **room)
    assert policy(full).tokens.tolist() == [1, 0]
    assert policy(full).preempted.tolist() == [False, True]


@given(size=sizes, room=st.integers(0, 15), seed=st.integers(0, 2**16))
def test_everything_finishes_however_small_the_cache(size, room, seed):
    rng = np.random.default_rng(seed)
    prompts, outputs = rng.integers(1, 9, 15), rng.integers(1, 9, 15)
    load = ql.Workload.of_requests(
        np.sort(rng.integers(0, 60, 15)), prompt_tokens=prompts, output_tokens=outputs
    )
    engine = replace(ENGINE, kv_capacity=int((prompts + outputs).max()) + room)
    run = ql.simulate(engine, load, policy=ExclusiveBatching(*size), horizon=5_000)
    assert run.requests_in_system[0, -1] == 0


@pytest.mark.parametrize(("slots", "refill"), [(0, 1), (4, 0), (4, 5), (4.0, 1), (4, True)])
def test_sizes_out_of_range_are_refused(slots, refill):
    with pytest.raises(ql.InvalidArgument, match=r"(slots|refill) must be"):
        ExclusiveBatching(slots, refill)


@given(state=engine_states(), size=sizes)
def test_the_hybrid_forms_the_batch_of_the_policy_that_is_preferred(state, size):
    exclusive = ExclusiveBatching(*size)
    hybrid = HybridBatching(exclusive, ql.ORCA, lambda seen: len(seen.request) > 3)
    chosen = ql.ORCA if len(state.request) > 3 else exclusive
    np.testing.assert_array_equal(hybrid(state).tokens, chosen(state).tokens)
    check_batch(state, hybrid(state))


@pytest.mark.parametrize("name", ["exclusive", "mixed", "prefers_mixed"])
def test_a_hybrid_needs_three_functions(name):
    parts = {"exclusive": ql.SARATHI, "mixed": ql.ORCA, "prefers_mixed": bool, name: "orca"}
    with pytest.raises(ql.InvalidArgument, match="must be"):
        HybridBatching(**parts)
