"""Playing a policy step by step, with everything that it was asked and answered on record.

Unlike the drivers of the simulator, which refuse an illegal answer, this one keeps it: what
is wrong with an answer is for the contracts to say. It also notes whether the policy wrote
to its state. Legal answers are played exactly as the transparent driver plays them.

In the shape descriptions, ``R`` is the number of requests present.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, final

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.policies import Batch, EngineState, Policy, check_batch
from queueing_llm.verify._trial import Trial

COLUMNS = ("request", "class_index", "prompt_left", "decode_left", "stored")
LIMITS = ("token_budget", "max_batch_size", "kv_capacity")
SPARE_STEPS = 16


class Ending(Enum):
    """Why a play is over."""

    FINISHED = "every request is finished"
    ILLEGAL = "an answer was illegal"
    STALLED = "an empty batch, and nothing more to arrive"
    CUT_SHORT = "more steps than the tokens should take"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One question to a policy and its answer.

    Parameters
    ----------
    step : int
        Number of the step.
    state : EngineState
        What the policy was asked about; nobody can write to it.
    batch : Batch or None
        A copy of the answer, with ``preempted`` filled in; None if there is none that could
        be read.
    failure : str
        Why not; empty if there is an answer.
    wrote : bool
        Whether the policy changed its copy of the state.
    """

    step: int
    state: EngineState
    batch: Batch | None
    failure: str = ""
    wrote: bool = False


@final
@dataclass(frozen=True, slots=True, eq=False)
class Play:
    """All decisions of a policy in one trial.

    Parameters
    ----------
    trial : Trial
        What was played.
    decisions : tuple of Decision
        In order of steps; nobody is asked while no request is present.
    ending : Ending
        Why it is over.
    """

    trial: Trial
    decisions: tuple[Decision, ...]
    ending: Ending


def play(policy: Policy, trial: Trial) -> Play:
    """Play a policy through a trial until all is done or nothing more can come of it.

    Parameters
    ----------
    policy, trial
        Who plays what.

    Returns
    -------
    Play
        At most ``2 work + 16`` steps besides those before the last arrival.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import Arrival, Trial, play
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=2)
    >>> played = play(ql.SARATHI, Trial(engine, (Arrival(0, 3, 1), Arrival(1, 1, 1))))
    >>> [decision.batch.tokens.tolist() for decision in played.decisions]
    [[2], [1, 1], [1, 1]]
    """
    decisions: list[Decision] = []
    ending = Ending.FINISHED
    for outcome in _steps(policy, trial):
        if isinstance(outcome, Decision):
            decisions.append(outcome)
        else:
            ending = outcome
    return Play(trial, tuple(decisions), ending)


def _steps(policy: Policy, trial: Trial) -> Iterator[Decision | Ending]:
    present, upcoming = _Present(trial.engine), list(trial.arrivals)
    last = upcoming[-1].step if upcoming else 0
    step, most = 0, last + 2 * trial.work_tokens + SPARE_STEPS
    while step < most:
        while upcoming and upcoming[0].step <= step:
            arrival = upcoming.pop(0)
            decode = int(trial.engine.decode_steps(arrival.output_tokens))
            present.join(arrival.prompt_tokens, decode)
        if present.is_empty:
            if not upcoming:
                return
            step = upcoming[0].step
            continue
        decision = ask(policy, present.state(), step=step)
        yield decision
        if decision.batch is None or broken_rule(decision.state, decision.batch):
            yield Ending.ILLEGAL
            return
        if not decision.batch.tokens.any():
            if not upcoming:
                yield Ending.STALLED
                return
            step = upcoming[0].step
            continue
        present.serve(decision.batch)
        step += 1
    yield Ending.CUT_SHORT


def ask(policy: Policy, state: EngineState, *, step: int = 0) -> Decision:
    """Ask a policy about a copy of a state, and keep what it does whatever it is."""
    copy = replaced(state)
    for name in COLUMNS:
        getattr(copy, name).setflags(write=True)
    try:
        answer: object = policy(copy)
        batch, failure = _read(answer, len(state.request))
    except (Exception, SystemExit) as error:  # whatever a policy raises is a finding about it
        batch, failure = None, f"it raised {type(error).__name__}: {error}"
    return Decision(step, state, batch, failure, wrote=not same_state(copy, state))


def replaced(state: EngineState, **changes: Any) -> EngineState:
    """Return a copy of a state with other columns or limits, which nobody can write to."""
    values = {field.name: getattr(state, field.name) for field in fields(EngineState)}
    values |= changes
    for name in COLUMNS:
        values[name] = np.array(values[name], dtype=np.int64)
        values[name].setflags(write=False)
    return EngineState(**values)


def same_state(one: EngineState, other: EngineState) -> bool:
    """Whether two states agree in every column and limit."""
    return state_key(one) == state_key(other)


def state_key(state: EngineState) -> tuple[Any, ...]:
    """Return what tells a state from every other one."""
    columns = (np.asarray(getattr(state, name)).tobytes() for name in COLUMNS)
    return (*columns, *(getattr(state, name) for name in LIMITS))


def broken_rule(state: EngineState, batch: Batch) -> str | None:
    """Return which rule makes a batch illegal, or None."""
    try:
        check_batch(state, batch)
    except InvalidArgument as error:
        return str(error)
    return None


def _read(answer: object, requests: int) -> tuple[Batch | None, str]:
    """Return a copy of a batch, or why there is none."""
    if not isinstance(answer, Batch):
        return None, f"it returned {answer!r}, which is no Batch"
    tokens = np.array(answer.tokens)
    if tokens.shape != (requests,) or tokens.dtype.kind != "i":
        found = f"{tokens.dtype} of shape {tokens.shape}"
        return None, f"tokens are {found}, not integers of shape ({requests},)"
    preempted = np.zeros(requests, dtype=np.bool_)
    if answer.preempted is not None:
        preempted = np.array(answer.preempted)
    if preempted.shape != (requests,) or preempted.dtype != np.bool_:
        found = f"{preempted.dtype} of shape {preempted.shape}"
        return None, f"preempted is {found}, not booleans of shape ({requests},)"
    if (tokens < 0).any():
        return None, f"a request gets {int(tokens.min())} tokens"
    return Batch(tokens.astype(np.int64), preempted), ""


class _Present:
    """The requests in the system, in order of arrival; one array per field, shape (R,)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.columns = {name: np.zeros(0, dtype=np.int64) for name in COLUMNS}
        self.arrived = 0

    @property
    def is_empty(self) -> bool:
        return len(self.columns["request"]) == 0

    def join(self, prompt: int, decode: int) -> None:
        values = (self.arrived, 0, prompt, decode, 0)
        self.arrived += 1
        for name, value in zip(COLUMNS, values, strict=True):
            self.columns[name] = np.append(self.columns[name], value)

    def state(self) -> EngineState:
        limits = {name: getattr(self.engine, name) for name in LIMITS}
        values: dict[str, Any] = {**self.columns, **limits}
        return replaced(EngineState(**values))

    def serve(self, batch: Batch) -> None:
        """Take the batch off the work left, and drop who has nothing left."""
        columns, victims = self.columns, np.asarray(batch.preempted)
        lost = np.where(victims, columns["stored"], 0)
        # A decode has emitted one token more than it stored, if its prefill emitted one.
        emitted = victims & (columns["prompt_left"] == 0) & self.engine.first_token_from_prefill
        prompt_left = columns["prompt_left"] + lost + emitted
        decode_left = columns["decode_left"] - emitted
        in_prefill = prompt_left > 0
        columns["prompt_left"] = prompt_left - np.where(in_prefill, batch.tokens, 0)
        columns["decode_left"] = decode_left - np.where(in_prefill, 0, batch.tokens)
        columns["stored"] = columns["stored"] - lost + batch.tokens
        stay = (columns["prompt_left"] > 0) | (columns["decode_left"] > 0)
        for name in COLUMNS:
            columns[name] = columns[name][stay]
