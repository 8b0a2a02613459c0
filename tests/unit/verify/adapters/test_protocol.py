"""Two interpreters speak: what passes, what is refused, and how each failure reads."""

import ast
import json
import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm.verify.adapters
from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.verify.adapters import LiveFailure, LiveScheduler, Worker
from queueing_llm.verify.adapters._protocol import accepted, answer_of, step_of, steps_of
from queueing_llm.verify.adapters._worker import command_for
from queueing_llm.verify.adapters._workers._loop import Texts

WORKERS = Path(queueing_llm.verify.adapters.__file__).with_name("_workers")

# One request at a time, "most" tokens a step. What it is told in a config makes it misbehave.
TOY = """
import os, subprocess, sys, time

SYSTEM, IMPORTED_FIRST, STUBBED = "toy", ("colorsys",), ("toy_kernels",)


def load():
    import toy_kernels.deep
    from toy_kernels import Base

    class Derived(Base, metaclass=type(Base)):
        pass

    assert "colorsys" in sys.modules and toy_kernels.deep.anything(Derived()) is not None
    return "1.0"


class Scheduler:
    def __init__(self, config, new_token):
        if config["most"] < 1:
            raise ValueError("most is too small")
        self.most, self.does = config["most"], config.get("does")
        self.queue, self.left, self.texts = [], {}, {}

    def add(self, request, token_ids):
        if request["priority"] < 0:
            raise ValueError("priority below 0")
        self.queue.append(request["name"])
        self.left[request["name"]] = request["prompt_tokens"] + request["output_tokens"] - 1
        self.texts[request["name"]] = token_ids

    def step(self):
        does = self.does
        if does == "print":
            print("hello"), sys.stdout.flush(), os.write(1, b"hello\\n")
            subprocess.run(["echo", "hello"]), input_is_empty()
        if does == "die":
            sys.stderr.write("out of luck\\n"), sys.stderr.flush(), os._exit(3)
        if does == "sleep":
            subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])
        if does == "raise" and self.queue:
            raise KeyError("lost")
        if not self.queue:
            return {"tokens": {}, "preempted": [], "finished": []}
        name = self.queue[0]
        tokens = min(self.left[name], self.most)
        self.left[name] -= tokens
        done = [] if self.left[name] else [self.queue.pop(0)]
        return {"tokens": {name: tokens}, "preempted": [], "finished": done}

    def view(self):
        return {
            "waiting": self.queue[1:],
            "running": self.queue[:1],
            "free_blocks": None,
            "is_idle": not self.queue,
        }


def input_is_empty():
    assert sys.stdin.read() == ""
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    path = tmp_path_factory.mktemp("driver") / "toy.py"
    path.write_text(TOY)
    return path


def toy(driver, **patience):
    command = command_for(driver, python=sys.executable, path=[str(driver.parent)])
    return Worker(command, "toy==1.0", **patience)


@pytest.fixture(scope="module")
def shared_worker(driver):
    with toy(driver) as worker:
        yield worker


@contextmanager
def speaking(script, system="toy==1.0", **patience):
    """Start a worker that is a script of its own."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with Worker(command, system, seconds_to_load=20, **patience) as worker:
        yield worker


def hello(**changed):
    said = {"protocol": 1, "system": "toy", "version": "1.0", "python": "3", **changed}
    return f"print({json.dumps(said)!r}, flush=True)\n"


def requests(*rows):
    return [
        (step, FieldRequest(f"r{i}", prompt, output))
        for i, (step, prompt, output) in enumerate(rows)
    ]


def test_a_scheduler_in_another_process(shared_worker):
    assert shared_worker.python.startswith("3.")
    scheduler = LiveScheduler(shared_worker, {"most": 3})
    assert (scheduler.is_idle, scheduler.free_blocks) == (True, None)
    scheduler.add(FieldRequest("a", 4, 1))
    scheduler.add(FieldRequest("b", 1, 1))
    assert (scheduler.running, scheduler.waiting) == (("a",), ("b",))
    steps = [scheduler.step() for _ in range(3)]
    assert [dict(step.tokens) for step in steps] == [{"a": 3}, {"a": 1}, {"b": 1}]
    assert [step.finished for step in steps] == [(), ("a",), ("b",)]
    assert [dict(step.cached) for step in steps] == [{}, {}, {}]
    assert scheduler.is_idle


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 5), st.integers(1, 5)), max_size=6
    ),
    most=st.integers(1, 4),
)
def test_a_run_is_what_single_steps_are(shared_worker, rows, most):
    arriving = requests(*rows)
    run = shared_worker.run({"most": most}, arriving, most_steps=50)
    scheduler, last = LiveScheduler(shared_worker, {"most": most}), -1
    for number, step in enumerate(run):
        for arrival, request in arriving:
            if arrival == number:
                scheduler.add(request)
                last = max(last, number)
        assert step.done == scheduler.step()
        assert step.view.waiting == scheduler.waiting
        assert step.view.running == scheduler.running
        assert step.view.is_idle == scheduler.is_idle
    assert scheduler.is_idle
    assert last == max((arrival for arrival, _ in arriving), default=-1)
    assert not any(step.view.is_idle for step in run[last:-1])


def test_a_run_ends_after_the_most_steps(shared_worker):
    run = shared_worker.run({"most": 1}, requests((0, 9, 9)), most_steps=5)
    assert len(run) == 5
    assert not run[-1].view.is_idle


def test_a_message_longer_than_a_pipe(shared_worker):
    arriving = requests(*[(0, 1, 1)] * 1000)
    run = shared_worker.run({"most": 1}, arriving, most_steps=4000)
    assert len(run) == 1000


def test_what_the_system_prints_stays_out(shared_worker):
    scheduler = LiveScheduler(shared_worker, {"most": 1, "does": "print"})
    scheduler.add(FieldRequest("a", 2, 1))
    assert dict(scheduler.step().tokens) == {"a": 1}
    assert dict(scheduler.step().tokens) == {"a": 1}


def test_nothing_of_this_interpreter_comes_along(driver, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    loop = (WORKERS / "_loop.py").read_text()
    assert "queueing_llm.verify" not in loop.replace("queueing_llm/verify", "")
    command = command_for(driver, python=sys.executable, path=["/of/the/system"])
    with Worker([*command[:3], "-c", SEES_PATH], "toy==1.0") as worker:
        seen = worker.ask({"op": "path"})["path"]
    assert "/somewhere/else" not in seen
    assert str(WORKERS) not in seen


SEES_PATH = hello() + "import json, sys; input(); print(json.dumps({'path': sys.path}))"


def test_a_refusal_of_settings_is_an_invalid_argument(shared_worker):
    with pytest.raises(InvalidArgument, match="the system refuses: most is too small"):
        LiveScheduler(shared_worker, {"most": 0})
    with pytest.raises(
        InvalidArgument, match=r"the system refuses: it has no setting last, moist$"
    ):
        LiveScheduler(shared_worker, {"most": 1, "moist": 0, "last": None})
    with pytest.raises(LiveFailure, match="there is no scheduler: start one"):
        shared_worker.ask({"op": "step"})
    with pytest.raises(LiveFailure, match="KeyError: 'most'"):
        LiveScheduler(shared_worker, {})


def test_a_refused_request_changes_nothing(shared_worker):
    scheduler = LiveScheduler(shared_worker, {"most": 1})
    scheduler.add(FieldRequest("a", 1, 1))
    with pytest.raises(InvalidArgument, match="there was a request 'a' before"):
        scheduler.add(FieldRequest("a", 1, 1))
    with pytest.raises(InvalidArgument, match="priority below 0"):
        scheduler.add(FieldRequest("b", 1, 1, priority=-1))
    with pytest.raises(InvalidArgument, match="a prompt has at least 1 token, not 0"):
        scheduler.add(FieldRequest("b", 0, 1))
    with pytest.raises(InvalidArgument, match="prefix shares 3 tokens of a prompt of 2"):
        scheduler.add(FieldRequest("c", 2, 1, prefix=("x", 3)))
    assert scheduler.running == ("a",)
    assert scheduler.step().finished == ("a",)
    scheduler.add(FieldRequest("b", 1, 1))
    assert scheduler.running == ("b",)


def test_after_an_error_there_is_no_scheduler(shared_worker):
    scheduler = LiveScheduler(shared_worker, {"most": 1, "does": "raise"})
    scheduler.add(FieldRequest("a", 1, 1))
    with pytest.raises(LiveFailure, match=r"the system failed: KeyError: 'lost'$"):
        scheduler.step()
    with pytest.raises(LiveFailure, match="there is no scheduler"):
        scheduler.step()
    assert LiveScheduler(shared_worker, {"most": 1}).is_idle


def test_a_run_says_which_step_failed(shared_worker):
    config = {"most": 1, "does": "raise"}
    with pytest.raises(LiveFailure, match=r"KeyError: 'lost' \(step 2\)"):
        shared_worker.run(config, requests((2, 1, 1)), most_steps=9)
    twice = [(3, FieldRequest("a", 9, 9)), (4, FieldRequest("a", 9, 9))]
    with pytest.raises(InvalidArgument, match=r"a request 'a' before \(step 4\)"):
        shared_worker.run({"most": 1}, twice, most_steps=9)


def test_an_older_scheduler_is_gone(shared_worker):
    older = LiveScheduler(shared_worker, {"most": 1})
    newer = LiveScheduler(shared_worker, {"most": 1})
    with pytest.raises(LiveFailure, match="has made another scheduler since"):
        older.step()
    assert dict(newer.step().tokens) == {}


def test_settings_for_another_version(shared_worker):
    assert LiveScheduler(shared_worker, {"most": 1, "version": "1.0"}).is_idle
    with pytest.raises(InvalidArgument, match=r"for '2.0', but the worker has toy==1.0"):
        LiveScheduler(shared_worker, {"most": 1, "version": "2.0"})
    with pytest.raises(InvalidArgument, match="config must be a configuration or a mapping"):
        LiveScheduler(shared_worker, 7)


def test_an_unknown_question(shared_worker):
    LiveScheduler(shared_worker, {"most": 1})
    with pytest.raises(LiveFailure, match="op='dance' is unknown"):
        shared_worker.ask({"op": "dance"})


def test_a_worker_that_dies(driver):
    with toy(driver) as worker:
        scheduler = LiveScheduler(worker, {"most": 1, "does": "die"})
        with pytest.raises(LiveFailure, match=r"toy==1.0 died. .*out of luck"):
            scheduler.step()
        with pytest.raises(LiveFailure, match=r"toy==1.0 died. .*out of luck"):
            scheduler.step()


def test_a_worker_that_hangs_is_ended_with_its_children(driver):
    with toy(driver, seconds_to_answer=1) as worker:
        scheduler = LiveScheduler(worker, {"most": 1, "does": "sleep"})
        with pytest.raises(LiveFailure, match="did not answer within 1 s"):
            scheduler.step()


def test_a_closed_worker(driver):
    with toy(driver) as worker:
        pass
    worker.close()
    with pytest.raises(LiveFailure, match="was closed"):
        worker.ask({"op": "step"})


def test_a_worker_that_is_told_to_stop(driver):
    with toy(driver) as worker:
        assert worker.ask({"op": "stop"}) == {}
        with pytest.raises(LiveFailure, match="died"):
            worker.ask({"op": "step"})


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (hello(version="1.1"), "has to be toy==1.0, it says that it is toy==1.1"),
        (hello(system="joy"), "it says that it is joy==1.0"),
        (hello(protocol=2), "has to speak protocol 1"),
        ("print('hello world')", "a JSON object on a line, got b'hello world"),
        ("print('[1]')", "a JSON object on a line"),
        ("print('[' * 100_000)", "a JSON object on a line"),
        ("print('{', end='')", "died"),
        ("raise SystemExit('no module named toy')", "died. .*no module named toy"),
        ("", "died. Its last words: none"),
    ],
)
def test_a_worker_that_is_not_what_was_asked_for(script, reason):
    with pytest.raises(LiveFailure, match=reason), speaking(script):
        pass


def test_a_worker_that_does_not_load_in_time():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(LiveFailure, match=r"did not answer within 0.5 s"):
        Worker(command, "toy==1.0", seconds_to_load=0.5)


def test_an_interpreter_that_is_not_there():
    with pytest.raises(LiveFailure, match="does not start"):
        Worker(["/no/such/python"], "toy==1.0")


def test_after_nonsense_nothing_more_is_believed():
    script = hello() + "input(); print('Traceback'); print('{}', flush=True); input()"
    with speaking(script) as worker:
        with pytest.raises(LiveFailure, match="a JSON object on a line, got b'Traceback"):
            worker.ask({"op": "step"})
        with pytest.raises(LiveFailure, match="died"):
            worker.ask({"op": "step"})


VIEW = {"waiting": [], "running": ["a"], "free_blocks": 3, "is_idle": False}
STEP = {**VIEW, "tokens": {"a": 1}, "cached": {}, "preempted": [], "finished": [], "mode": ""}


def test_a_step_is_read():
    step = step_of(STEP)
    assert (dict(step.done.tokens), step.view.running) == ({"a": 1}, ("a",))
    assert steps_of({"steps": [STEP, STEP]}) == (step, step)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("waiting", "a"),
        ("running", [1]),
        ("free_blocks", 1.5),
        ("free_blocks", True),
        ("is_idle", 0),
        ("tokens", [1]),
        ("tokens", {"a": "1"}),
        ("tokens", {"a": True}),
        ("cached", None),
        ("preempted", None),
        ("finished", {}),
        ("mode", None),
    ],
)
def test_a_step_that_makes_no_sense(field, value):
    with pytest.raises(LiveFailure, match=f"^{field} has to be"):
        step_of({**STEP, field: value})
    with pytest.raises(LiveFailure, match=f"^{field} has to be in the answer"):
        step_of({name: entry for name, entry in STEP.items() if name != field})


@given(st.binary(max_size=40))
def test_any_line_is_an_object_or_a_failure(line):
    try:
        found = answer_of(line)
    except LiveFailure:
        return
    assert isinstance(found, dict)


def test_an_answer_that_is_no_list_of_steps():
    with pytest.raises(LiveFailure, match="steps has to be a list of objects"):
        steps_of({"steps": [1]})
    assert accepted({"steps": []}) == {"steps": []}


@given(
    prompts=st.lists(
        st.tuples(st.sampled_from(["x", "y", None]), st.integers(1, 9), st.integers(0, 9)),
        max_size=6,
    )
)
def test_tokens_are_shared_within_a_group_and_nowhere_else(prompts):
    counter = iter(range(10**6))
    texts = Texts(lambda: next(counter))
    made = []
    for group, length, wished in prompts:
        shared = min(wished, length) if group else 0
        prefix = [group, shared] if group else None
        prompt = texts.prompt_of({"prompt_tokens": length, "prefix": prefix})
        assert len(prompt) == len(set(prompt)) == length
        made.append((group, shared, prompt))
    for i, (group, shared, prompt) in enumerate(made):
        for other, other_shared, other_prompt in made[:i]:
            common = min(shared, other_shared) if group == other else 0
            assert prompt[:common] == other_prompt[:common]
            assert not set(prompt[common:]) & set(other_prompt[common:])


FILES = sorted(WORKERS.glob("*.py"))


def foreign_imports(text):
    """Return what a file of Python 3.11 imports that is not in the standard library."""
    found = set()
    for node in ast.walk(ast.parse(text, feature_version=(3, 11))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else node.module.partition(".")[0])
    return found - sys.stdlib_module_names


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_a_file_of_a_worker_imports_nothing_foreign_itself(path):
    assert foreign_imports(path.read_text(encoding="utf-8")) == set()


def test_a_foreign_import_is_seen():
    text = "def f():\n    import numpy.linalg\n    from queueing_llm.errors import nearest\n"
    assert foreign_imports(text) == {"numpy", "queueing_llm"}
    assert foreign_imports("from . import _stubs") == {"."}


def test_the_loop_says_why_it_cannot_load(tmp_path):
    driver = tmp_path / "broken.py"
    driver.write_text(TOY.replace('("colorsys",)', '("no_such_module",)'))
    with pytest.raises(LiveFailure, match=r"died. .*no_such_module"):
        toy(driver)


def test_the_loop_ends_with_who_asks(driver):
    command = command_for(driver, python=sys.executable, path=[])
    done = subprocess.run(
        command,
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=os.environ,
    )
    assert json.loads(done.stdout)["system"] == "toy"
