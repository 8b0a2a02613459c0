"""The program of a worker: ``python -P _loop.py DRIVER.py [ENTRY OF SYS.PATH ...]``.

It loads the driver, says who it is, and answers questions until it is told to stop; the
docstring of ``queueing_llm/verify/adapters/_protocol.py`` is the contract. A driver is a file
that imports nothing but the standard library until it is loaded, with

* ``SYSTEM``: the name of the system, as on PyPI;
* ``IMPORTED_FIRST``: modules to import before the stubs are in place;
* ``STUBBED``: modules that the system imports and its scheduler never uses;
* ``load() -> str``: imports the system and returns its version;
* ``Scheduler(config, new_token)``: makes a fresh scheduler from the settings in a question;
  ``new_token()`` returns a token that nobody has had. It has ``add(request, token_ids)``,
  ``step()``, which returns the fields of a step, and ``view()``, which returns those of a view.
  A ValueError while it is made, or in ``add`` before anything is changed, is a refusal; so is
  a setting that it did not look at.
"""

import importlib
import importlib.util
import itertools
import json
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

PROTOCOL = 1
ABOUT_MODELS = {"version", "with_defects"}
"""Settings of a rule model that the real one cannot have otherwise."""
Answer = dict[str, Any]
WITHOUT: Answer = {"mode": "", "cached": {}}
"""What a step says if the driver does not: it has one kind of batch and no prefix cache."""


def module_at(path: Path) -> Any:
    """Return the module in a file, which need not lie on ``sys.path``."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        msg = f"no module at {path}"
        raise ImportError(msg)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def claim_streams() -> tuple[TextIO, TextIO]:
    """Return where questions come from and answers go to, for nobody else to use.

    Whatever the system prints, from C code too, goes to standard error from now on.
    """
    questions, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(questions, encoding="utf-8"), os.fdopen(answers, "w", encoding="utf-8")


class Texts:
    """Token ids for prompts: a group of requests shares a text, all else occurs once."""

    def __init__(self, new_token: Callable[[], int]) -> None:
        self._new_token = new_token
        self._shared: dict[str, list[int]] = {}

    def prompt_of(self, request: Answer) -> list[int]:
        """Return the prompt of a request."""
        length = int(request["prompt_tokens"])
        group, shared = request.get("prefix") or ("", 0)
        if length < 1:
            msg = f"a prompt has at least 1 token, not {length}"
            raise ValueError(msg)
        if not 0 <= shared <= length:
            msg = f"prefix shares {shared} tokens of a prompt of {length}"
            raise ValueError(msg)
        text = self._shared.setdefault(str(group), [])
        text += self._new(shared - len(text))
        return [*text[:shared], *self._new(length - shared)]

    def _new(self, count: int) -> Iterable[int]:
        return [self._new_token() for _ in range(count)]


class Settings(dict[str, Any]):
    """What a question asks for, and which of it was looked at."""

    def __init__(self, config: Answer) -> None:
        super().__init__(config)
        self.unseen = set(config) - ABOUT_MODELS

    def __getitem__(self, name: str) -> Any:
        self.unseen.discard(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting, or what is to be taken if it is not there."""
        self.unseen.discard(name)
        return super().get(name, default)


class Refused(Exception):
    """The system does not accept a setting or a request, and says why."""


class Session:
    """The schedulers of one process, one after the other."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._scheduler: Any = None
        self._texts: Any = None
        self._names: set[str] = set()

    def answer(self, question: Answer) -> Answer:
        """Return the answer to a question."""
        where: list[str] = []
        try:
            return self._answer(question, where)
        except Refused as why:
            if where:
                self._scheduler = None
            return {"refused": f"{why}{''.join(where)}"}
        except Exception as error:
            traceback.print_exc()
            self._scheduler = None
            return {"error": f"{type(error).__name__}: {error}{''.join(where)}"}

    def _answer(self, question: Answer, where: list[str]) -> Answer:
        op = question["op"]
        if op == "start":
            return self._start(question["config"])
        if op == "run":
            return {"steps": list(self._run(question, where))}
        if self._scheduler is None:
            msg = "there is no scheduler: start one"
            raise RuntimeError(msg)
        if op == "add":
            self._add(question["request"])
            return dict(self._scheduler.view())
        if op == "step":
            return self._step()
        msg = f"op={op!r} is unknown"
        raise ValueError(msg)

    def _start(self, config: Answer) -> Answer:
        self._scheduler, self._names = None, set()
        new_token = itertools.count(1).__next__
        self._texts = Texts(new_token)
        settings = Settings(config)
        try:
            scheduler = self._driver.Scheduler(settings, new_token)
        except ValueError as why:
            raise Refused(why) from why
        if settings.unseen:
            msg = f"it has no setting {', '.join(sorted(settings.unseen))}"
            raise Refused(msg)
        self._scheduler = scheduler
        return dict(self._scheduler.view())

    def _add(self, request: Answer) -> None:
        name = request["name"]
        if name in self._names:
            msg = f"there was a request {name!r} before"
            raise Refused(msg)
        try:
            self._scheduler.add(request, self._texts.prompt_of(request))
        except ValueError as why:
            raise Refused(why) from why
        self._names.add(name)

    def _step(self) -> Answer:
        return {**WITHOUT, **self._scheduler.step(), **self._scheduler.view()}

    def _run(self, question: Answer, where: list[str]) -> Iterable[Answer]:
        self._start(question["config"])
        # Sorting keeps the order of requests that arrive at one step.
        waiting = sorted(question["requests"], key=lambda request: request["step"])
        for number in range(question["most_steps"]):
            where[:] = [f" (step {number})"]
            while waiting and waiting[0]["step"] <= number:
                self._add(waiting.pop(0))
            step = self._step()
            yield step
            if step["is_idle"] and not waiting:
                return


def main(driver_path: str, entries: list[str]) -> None:
    """Serve until told to stop, or until nobody is there to ask."""
    questions, answers = claim_streams()

    def say(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    sys.path[:0] = entries
    driver = module_at(Path(driver_path))
    for name in driver.IMPORTED_FIRST:
        importlib.import_module(name)
    module_at(Path(__file__).with_name("_stubs.py")).install(driver.STUBBED)
    version = driver.load()
    say(
        {
            "protocol": PROTOCOL,
            "system": driver.SYSTEM,
            "version": version,
            "python": platform.python_version(),
        }
    )
    session = Session(driver)
    for line in questions:
        question = json.loads(line)
        if question["op"] == "stop":
            say({})
            return
        say(session.answer(question))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
