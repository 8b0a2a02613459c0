"""The transparent engine: any policy, every state visible, nothing clever.

The compiled kernel is tested against this driver batch by batch and tick by tick. It counts
all tokens anew at every step, so it is slow; use it for policies written in Python, to
watch a policy work, and to verify one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.model import Engine
from queueing_llm.policies import Batch, EngineState, Policy, check_batch
from queueing_llm.simulate._arrivals import Upcoming
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._outcome import Arrival
from queueing_llm.simulate._recorder import Recorder


@final
@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One batch of the engine, from the decision to its end.

    Parameters
    ----------
    start, end : int
        Beginning and end of the batch [ticks].
    state : EngineState
        What the policy saw.
    batch : Batch
        What it answered.
    kv_tokens : int
        KV tokens read by the decodes of the batch [tokens].
    """

    start: int
    end: int
    state: EngineState
    batch: Batch
    kv_tokens: int

    @property
    def preempted(self) -> np.ndarray:
        """Which requests lost their KV cache, bool array, shape (R,)."""
        if self.batch.preempted is None:
            return np.zeros(len(self.batch.tokens), dtype=np.bool_)
        return np.asarray(self.batch.preempted)


def steps(
    engine: Engine,
    policy: Policy,
    *,
    arrivals: Iterator[Arrival],
    clock: Clock,
    recorder: Recorder,
    starts: np.ndarray | None = None,
) -> Iterator[Step]:
    """Run an engine under any policy until the horizon, and yield every batch formed.

    Parameters
    ----------
    engine, policy
        What to run. The policy sees a read-only copy of the state.
    arrivals : iterator of Arrival
        Requests in order of arrival.
    clock, recorder
        The step-time law in ticks, and where the totals go.
    starts : int64 array, shape (N,), or None
        When the users of a closed workload send their first requests [ticks].

    Raises
    ------
    InvalidArgument
        If the policy answers an illegal batch.
    ConservationViolated
        If tokens are lost or invented.
    """
    present, upcoming = _Present(engine), Upcoming(arrivals, starts)
    flight: Step | None = None
    target = in_flight = 0
    while True:
        for arrival in upcoming.due(target):
            present.join(recorder.arrive(arrival), arrival)
        recorder.advance(target)
        if flight is not None and flight.end <= recorder.horizon:
            finished = present.leave()
            recorder.complete(target, tokens=in_flight, finished=finished)
            in_flight = 0
            upcoming.finish(target, finished)
            for arrival in upcoming.due(target):
                present.join(recorder.arrive(arrival), arrival)
        recorder.settle(target, tokens_left=present.tokens_left + in_flight)
        if target >= recorder.horizon:
            return
        flight = _decide(present.state(), policy, clock=clock, start=target)
        if flight is None:
            target = recorder.horizon if upcoming.ticks is None else upcoming.ticks
            target = min(target, recorder.horizon)
            continue
        yield flight
        in_flight = present.serve(flight, recorder)
        target = min(flight.end, recorder.horizon)


def _decide(state: EngineState, policy: Policy, *, clock: Clock, start: int) -> Step | None:
    if len(state.request) == 0:
        return None
    batch = policy(state)
    check_batch(state, batch)
    tokens = np.asarray(batch.tokens)
    if not tokens.any():
        return None
    decodes = (state.prompt_left == 0) & (tokens > 0)
    kv_tokens = int(state.stored[decodes].sum())
    prefill, decode = batch.prefill_tokens(state), batch.decode_tokens(state)
    end = start + clock.step_ticks(prefill, decode, kv_tokens)
    return Step(start, end, state, batch, kv_tokens)


class _Present:
    """The requests in the system, in order of arrival; one array per field, shape (R,)."""

    fields = ("request", "class_index", "prompt_left", "decode_left", "stored")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.columns = {name: np.zeros(0, dtype=np.int64) for name in self.fields}

    def join(self, number: int, arrival: Arrival) -> None:
        values = (number, arrival.class_index, arrival.prompt_tokens, arrival.decode_steps, 0)
        for name, value in zip(self.fields, values, strict=True):
            self.columns[name] = np.append(self.columns[name], value)

    def leave(self) -> int:
        """Drop the requests that have nothing left; return how many."""
        columns = self.columns
        stay = (columns["prompt_left"] > 0) | (columns["decode_left"] > 0)
        for name in self.fields:
            columns[name] = columns[name][stay]
        return int((~stay).sum())

    def state(self) -> EngineState:
        copies = {name: column.copy() for name, column in self.columns.items()}
        # The answer is checked against this state: a policy must not be able to change it.
        for column in copies.values():
            column.setflags(write=False)
        return EngineState(
            **copies,
            token_budget=self.engine.token_budget,
            max_batch_size=self.engine.max_batch_size,
            kv_capacity=self.engine.kv_capacity,
            kv_block_size=self.engine.kv_block_size,
        )

    @property
    def tokens_left(self) -> int:
        return int(self.columns["prompt_left"].sum() + self.columns["decode_left"].sum())

    def serve(self, step: Step, recorder: Recorder) -> int:
        """Take the batch off the work left; return its tokens."""
        emits = self.engine.first_token_from_prefill
        recomputed = self._preempt(step.preempted, emits=emits)
        tokens, columns = np.asarray(step.batch.tokens), self.columns
        in_prefill = step.state.prompt_left > 0
        prefill, decode = np.where(in_prefill, tokens, 0), np.where(in_prefill, 0, tokens)
        recorder.form(
            (
                step.start,
                step.end,
                int(prefill.sum()),
                int(decode.sum()),
                step.kv_tokens,
                int(step.preempted.sum()),
            ),
            recomputed=recomputed,
        )
        columns["prompt_left"] = columns["prompt_left"] - prefill
        columns["decode_left"] = columns["decode_left"] - decode
        columns["stored"] = columns["stored"] + tokens
        prompt_done, decode_left = columns["prompt_left"] == 0, columns["decode_left"]
        for i in np.flatnonzero(tokens):
            yields = (prompt_done[i] and emits) if in_prefill[i] else True
            recorder.stamp(
                int(columns["request"][i]),
                start=step.start,
                first=step.end if yields else None,
                finish=step.end if prompt_done[i] and decode_left[i] == 0 else None,
            )
        return int(tokens.sum())

    def _preempt(self, victims: np.ndarray, *, emits: bool) -> int:
        """Take the KV cache of ``victims``; return how many tokens are to compute again.

        When prefills emit, a decode has emitted one token more than it has stored: that
        token is recomputed too, and the recomputation emits the next one.
        """
        columns = self.columns
        stored = np.where(victims, columns["stored"], 0)
        restarted = victims & (columns["prompt_left"] == 0) & emits
        columns["prompt_left"] = columns["prompt_left"] + stored + restarted
        columns["decode_left"] = columns["decode_left"] - restarted
        columns["stored"] = columns["stored"] - stored
        return int(stored.sum())
