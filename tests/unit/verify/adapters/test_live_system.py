"""A live system lets in what its model lets in, whatever stands behind the door."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import SYSTEMS, FieldRequest, Limits
from queueing_llm.verify.adapters import INSTALLATIONS, live_system

VIEW = {"waiting": [], "running": [], "free_blocks": None, "is_idle": True}


class Gullible:
    """Stands for a worker whose scheduler takes everything."""

    schedulers = 1

    def __init__(self, system):
        self.system = system

    def start(self, config):
        return VIEW

    def ask(self, question):
        return VIEW


def lets_in(system, limits, request):
    try:
        system.build(limits).add(request)
    except InvalidArgument:
        return False
    return True


DRIVEN = [
    name
    for name, system in SYSTEMS.items()
    if system.settings is not None and name.partition(":")[0] in INSTALLATIONS
]


@pytest.mark.parametrize("name", DRIVEN)
@given(
    budget=st.integers(1, 12),
    blocks=st.integers(1, 4),
    block_size=st.integers(1, 3),
    prompt=st.integers(1, 12),
    output=st.integers(1, 4),
)
def test_the_door_is_that_of_the_model(name, budget, blocks, block_size, prompt, output):
    capacity = blocks * block_size
    limits = Limits(budget, None, capacity, block_size, requests=1, tokens=prompt + output)
    request = FieldRequest("a", prompt, output)
    live = live_system(Gullible(name.partition(":")[0]), model=name)
    assert lets_in(live, limits, request) == lets_in(SYSTEMS[name], limits, request)


def test_a_request_that_fills_the_cache_of_sglang_is_refused():
    live = live_system(Gullible("sglang==0.5.6"))
    limits = Limits(4, None, 6, 1, requests=1, tokens=6)
    assert lets_in(live, limits, FieldRequest("a", 3, 2))
    assert not lets_in(live, limits, FieldRequest("a", 3, 3))
