"""How this interpreter speaks with one that has a serving engine installed.

A worker is a process of another interpreter that has one version of one system. It makes
schedulers of that system, one after the other. What passes between the two is JSON, one object
a line: a question on its standard input, one answer on its standard output.

As soon as it has loaded the system, the worker says who it is, unasked:

* ``{"protocol": 1, "system": "vllm", "version": "0.33.0", "python": "3.11.7"}``

Then each question has one answer:

* ``{"op": "start", "config": {...}}``: a fresh scheduler replaces the one before. Its settings
  are those of a configuration of :mod:`queueing_llm.policies.field`, as a dictionary. The
  answer is a *view*: ``{"waiting": [name, ...], "running": [name, ...], "free_blocks": 999,
  "is_idle": true}``, the next to be served first; ``free_blocks`` counts what nobody holds
  (null if the system has no such number).
* ``{"op": "add", "request": {...}}``: a request arrives. Its fields are those of
  :class:`~queueing_llm.policies.field.FieldRequest`. The worker makes the tokens up, all
  different, but with ``"prefix": [group, n]`` the first ``n`` tokens of the prompt are the
  first of a text that all requests of the group share. The answer is a view.
* ``{"op": "step"}``: the next batch is formed and run, with tokens made up, each a new one. The
  answer is a view of what is there afterwards, and ``"tokens": {name: tokens}``,
  ``"preempted": [name, ...]`` (in the order in which they lost their cache),
  ``"finished": [name, ...]`` (in any order; with those that the system gave up), ``"mode"``
  (the kind of batch in the words of the rule model, or ``""``) and ``"cached": {name: tokens}``
  (tokens found in a prefix cache by those that began or began anew; only those above 0).
* ``{"op": "run", "config": {...}, "requests": [{..., "step": 3}, ...], "most_steps": 500}``: a
  whole workload on a fresh scheduler. A request arrives before the step of its number, counted
  from 0; those of one step in the order of the list. It ends when all have arrived and nobody
  is there any more, or after so many steps. The answer is ``{"steps": [...]}``, one as above
  for each step.
* ``{"op": "stop"}``: the answer is ``{}``, and the worker ends.

A setting that the system does not have or does not accept, and a request that it does not
accept, is answered with ``{"refused": "why"}``; a refused request changes nothing. All else
that goes wrong is answered with ``{"error": "KeyError: what it says"}``, and the scheduler is
gone: what a failed step leaves behind is nobody's state. In a run both end with ``(step 17)``,
and the scheduler is gone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, final

from queueing_llm.errors import InvalidArgument, QueueingLLMError
from queueing_llm.policies.field import FieldRequest, FieldStep

PROTOCOL = 1


class LiveFailure(QueueingLLMError, RuntimeError):
    """The process with the real scheduler failed, died, hung or spoke nonsense."""


@final
@dataclass(frozen=True, slots=True)
class LiveView:
    """Who waits and runs in a scheduler, and what is free.

    Parameters
    ----------
    waiting, running : tuple of str
        Names of requests, the next to be served first.
    free_blocks : int or None
        KV blocks that nobody holds; None if the system has no such number.
    is_idle : bool
        Whether no request is waiting or running.

    Examples
    --------
    >>> LiveView(("b",), ("a",), 99, is_idle=False).waiting
    ('b',)
    """

    waiting: tuple[str, ...]
    running: tuple[str, ...]
    free_blocks: int | None
    is_idle: bool


@final
@dataclass(frozen=True, slots=True)
class LiveStep:
    """What the scheduler did in a step, and what it showed afterwards.

    Parameters
    ----------
    done : FieldStep
        Tokens, preemptions and completions.
    view : LiveView
        Who is there after the step.

    Examples
    --------
    >>> view = LiveView((), ("a",), 99, is_idle=False)
    >>> LiveStep(FieldStep({"a": 5}), view).done.tokens
    {'a': 5}
    """

    done: FieldStep
    view: LiveView


def line_of(question: Mapping[str, object]) -> bytes:
    r"""Return a question as a line.

    >>> line_of({"op": "step"})
    b'{"op": "step"}\n'
    """
    return json.dumps(question).encode() + b"\n"


def fields_of(request: FieldRequest, *, step: int | None = None) -> dict[str, object]:
    """Return a request as it goes over the line, in a run with the step that it arrives at.

    >>> fields_of(FieldRequest("a", 5, 2), step=3)["step"]
    3
    """
    fields = asdict(request)
    return fields if step is None else {**fields, "step": step}


def answer_of(line: bytes) -> dict[str, Any]:
    """Return the object that a line holds.

    Raises
    ------
    LiveFailure
        If it is no JSON object.

    Examples
    --------
    >>> answer_of(b'{"steps": []}')
    {'steps': []}
    """
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        msg = f"the worker has to answer with a JSON object on a line, got {_short(line)}."
        raise LiveFailure(msg)
    return answer


def accepted(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that says that all went well.

    Raises
    ------
    InvalidArgument
        If the system refuses a setting or a request.
    LiveFailure
        If it failed.

    Examples
    --------
    >>> accepted({"refused": "max_num_seqs is too large"})
    Traceback (most recent call last):
    ...
    queueing_llm.errors.InvalidArgument: the system refuses: max_num_seqs is too large
    """
    if "refused" in answer:
        msg = f"the system refuses: {answer['refused']}"
        raise InvalidArgument(msg)
    if "error" in answer:
        msg = f"the system failed: {answer['error']}"
        raise LiveFailure(msg)
    return answer


def view_of(answer: Mapping[str, Any]) -> LiveView:
    """Return the view in an answer.

    >>> view_of({"waiting": ["b"], "running": [], "free_blocks": 9, "is_idle": False}).waiting
    ('b',)
    """
    free, is_idle = _field(answer, "free_blocks"), _field(answer, "is_idle")
    _expect(free is None or _is_count(free), "free_blocks", "an integer or null", free)
    _expect(isinstance(is_idle, bool), "is_idle", "true or false", is_idle)
    return LiveView(_names(answer, "waiting"), _names(answer, "running"), free, is_idle)


def step_of(answer: Mapping[str, Any]) -> LiveStep:
    """Return the step in an answer.

    >>> view = {"waiting": [], "running": ["a"], "free_blocks": 9, "is_idle": False}
    >>> done = {"tokens": {"a": 5}, "cached": {}, "preempted": [], "finished": [], "mode": ""}
    >>> step_of({**view, **done}).done.tokens["a"]
    5
    """
    mode = _field(answer, "mode")
    _expect(isinstance(mode, str), "mode", "a string", mode)
    done = FieldStep(
        tokens=_counts(answer, "tokens"),
        preempted=_names(answer, "preempted"),
        finished=_names(answer, "finished"),
        mode=mode,
        cached=_counts(answer, "cached"),
    )
    return LiveStep(done, view_of(answer))


def steps_of(answer: Mapping[str, Any]) -> tuple[LiveStep, ...]:
    """Return the steps in the answer to a whole run.

    >>> steps_of({"steps": []})
    ()
    """
    steps = _field(answer, "steps")
    is_list = isinstance(steps, list) and all(isinstance(step, dict) for step in steps)
    _expect(is_list, "steps", "a list of objects", steps)
    return tuple(step_of(step) for step in steps)


def _field(answer: Mapping[str, Any], name: str) -> Any:
    _expect(name in answer, name, "in the answer", sorted(answer))
    return answer[name]


def _names(answer: Mapping[str, Any], name: str) -> tuple[str, ...]:
    names = _field(answer, name)
    is_list = isinstance(names, list) and all(isinstance(entry, str) for entry in names)
    _expect(is_list, name, "a list of strings", names)
    return tuple(names)


def _counts(answer: Mapping[str, Any], name: str) -> Mapping[str, int]:
    counts = _field(answer, name)
    is_table = isinstance(counts, dict) and all(map(_is_count, counts.values()))
    _expect(is_table, name, "an object of integers", counts)
    return MappingProxyType(counts)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _expect(holds: object, name: str, what: str, value: object) -> None:
    if not holds:
        msg = f"{name} has to be {what} in what the worker says, got {_short(value)}."
        raise LiveFailure(msg)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
