"""Greedy admission with restarts, against a loop over single requests."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_repro.ao2025.restarts import Greedy, greedy

SHAPES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 8)), min_size=1, max_size=3)


@settings(max_examples=60)
@given(SHAPES, st.integers(0, 2**20), st.integers(14, 40), st.booleans())
def test_it_is_what_single_requests_do(shapes, seed, capacity, restart):
    rng = np.random.default_rng(seed)
    arrivals = [rng.integers(0, len(shapes), rng.poisson(2)) for _ in range(30)]
    found = greedy(shapes, arrivals, kv_capacity=capacity, restart=restart)
    assert found == by_request(shapes, arrivals, capacity=capacity, restart=restart)


def by_request(shapes, arrivals, *, capacity, restart):
    """The rule request by request: stored tokens, what to prefill, outputs left."""
    residents, queue, log = [], [], []
    for kinds in arrivals:
        for k in kinds:
            prompt, output = shapes[k]
            queue.append({"shape": (prompt, output), "prefill": prompt, "left": output})
        evicted = 0
        while sum(r["stored"] + 1 for r in residents) > capacity:
            newest, evicted = residents.pop(), evicted + 1
            prompt, output = newest["shape"]
            newest["prefill"] = prompt if restart else newest["stored"]
            newest["left"] = output if restart else newest["left"]
            queue.insert(0, newest)
        for r in residents:
            r["stored"], r["left"] = r["stored"] + 1, r["left"] - 1
        entering = []
        held = sum(r["stored"] for r in residents)
        while queue and held + queue[0]["prefill"] <= capacity:
            entering.append(queue.pop(0))
            entering[-1]["stored"] = entering[-1]["prefill"]
            held += entering[-1]["prefill"]
        stay = [r for r in residents if r["left"] > 0]
        log.append((len(residents) - len(stay), evicted, held))
        residents = stay + entering
    late = log[len(log) // 2 :]
    return Greedy(len(late), *(sum(row[i] for row in late) for i in range(3)))


def test_restarts_cost_completions_and_nothing_if_nobody_is_evicted():
    arrivals = [np.zeros(2, dtype=int)] * 400
    kept, anew = (greedy([(3, 8)], arrivals, kv_capacity=60, restart=r) for r in (False, True))
    assert anew.completed < 0.8 * kept.completed
    assert kept.evicted > 0
    ample = [greedy([(3, 8)], arrivals, kv_capacity=10**6, restart=r) for r in (False, True)]
    assert ample[0] == ample[1]
    assert ample[0].evicted == 0
