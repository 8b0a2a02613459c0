import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest, VllmV1Config, VllmV1Scheduler
from queueing_llm.policies.field._engine_door import EngineDoor


def test_what_is_longer_than_the_model_never_reaches_the_scheduler():
    scheduler = VllmV1Scheduler(VllmV1Config(64, 8, num_blocks=5))
    engine = EngineDoor(scheduler, max_model_len=64)
    engine.add(FieldRequest("a", 60, 4))
    with pytest.raises(InvalidArgument, match=r"60 \+ 5 for request 'b'"):
        engine.add(FieldRequest("b", 60, 5))
    with pytest.raises(InvalidArgument, match=r"60 \+ 9 for request 'c'"):
        engine.add(FieldRequest("c", 60, 1, most_output_tokens=9))
    assert scheduler.waiting == ("a",)


def test_steps_are_those_of_the_scheduler():
    engine, scheduler = (VllmV1Scheduler(VllmV1Config(64, 8, num_blocks=99)) for _ in "ab")
    door = EngineDoor(engine, max_model_len=1000)
    assert door.scheduler is engine
    for name, prompt in (("a", 100), ("b", 30)):
        door.add(FieldRequest(name, prompt, 3))
        scheduler.add(FieldRequest(name, prompt, 3))
    while not scheduler.is_idle:
        assert not door.is_idle
        assert door.step() == scheduler.step()
    assert door.is_idle


def test_a_length_that_cannot_be_is_refused():
    with pytest.raises(InvalidArgument, match="max_model_len"):
        EngineDoor(VllmV1Scheduler(VllmV1Config(64, 8, num_blocks=5)), max_model_len=0)
