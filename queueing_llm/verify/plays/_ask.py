"""Asking a policy about a state, and keeping what it does whatever it is."""

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import Batch, EngineState, Policy, check_batch
from queueing_llm.verify.plays._books import COLUMNS, replaced, same_state
from queueing_llm.verify.plays._decision import Decision


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
