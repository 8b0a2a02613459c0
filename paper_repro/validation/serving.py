"""Requests served by an engine, on two executions of vLLM's scheduler.

:func:`serve` runs the rule ``VLLM_V1`` on the compiled kernel. It computes all tokens of a
preempted request again. vLLM keeps what was computed in its prefix cache until the blocks are
needed, so :func:`serve_by_scheduler` puts the scheduler of vLLM itself on a clock, block by
block, prefix cache included; it is some hundred times slower. Where nothing is preempted, both
form the same batches.

Any case can be run: a law and limits make an ``Engine``, times and lengths make ``Requests``.
"""

from collections import deque
from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.model import ClosedArrivals, EmpiricalLengths, Engine, Requests, Workload
from queueing_llm.policies import VLLM_V1
from queueing_llm.policies.field import FieldRequest, FieldStep, VllmV1Config, VllmV1Scheduler
from queueing_llm.simulate import simulate
from queueing_llm.simulate._clock import Clock

VERSION = "0.32.0"
"""The scheduler of vLLM that is nearest to 0.19 among those checked step for step."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """When requests were served; N of them, in order of arrival.

    Parameters
    ----------
    arrival, start, first, finish : float64 array, shape (N,)
        Arrival, start of the first batch, first and last output token [s]; nan for what did
        not happen.
    output_tokens : int64 array, shape (N,)
        What was asked for [tokens].
    preemptions : int
        How often a request lost its KV cache.
    steps : float64 array, shape (S, 4)
        End of each step [s]; requests that run, that wait, and KV blocks held after it was
        formed. No rows from the kernel, which does not keep them.
    """

    arrival: np.ndarray
    start: np.ndarray
    first: np.ndarray
    finish: np.ndarray
    output_tokens: np.ndarray
    preemptions: int
    steps: np.ndarray

    @property
    def done(self) -> np.ndarray:
        """Which requests were finished, bool array, shape (N,)."""
        return np.isfinite(self.finish)

    @property
    def ttft(self) -> np.ndarray:
        """Time to first token of the finished requests [s]."""
        return (self.first - self.arrival)[self.done]

    @property
    def tpot(self) -> np.ndarray:
        """Time per output token after the first, of finished requests of two or more [s]."""
        kept = self.done & (self.output_tokens > 1)
        return (self.finish - self.first)[kept] / (self.output_tokens[kept] - 1)

    @property
    def latency(self) -> np.ndarray:
        """Time from arrival to last token of the finished requests [s]."""
        return (self.finish - self.arrival)[self.done]


def serve(
    engine: Engine,
    requests: Requests,
    *,
    until: float,
    users: int | None = None,
    think_time: float = 0.0,
) -> Served:
    """Serve requests by the rule ``VLLM_V1`` on the compiled kernel.

    Parameters
    ----------
    engine : Engine
        Law and limits.
    requests : Requests
        Who arrives; with ``users`` only the lengths count, taken in order.
    until : float
        When to stop [s].
    users : int or None
        A closed system of so many users; None for the arrival times of the requests.
    think_time : float
        Time that a user takes from an answer to the next request [s].
    """
    lengths = EmpiricalLengths(requests.prompt_tokens, requests.output_tokens, in_order=True)
    if users is None:
        workload = Workload.of_requests(
            requests.arrival_times,
            prompt_tokens=requests.prompt_tokens,
            output_tokens=requests.output_tokens,
        )
    else:
        workload = Workload.of(ClosedArrivals(users, think_time=think_time), lengths)
    run = simulate(engine, workload, policy=VLLM_V1, horizon=until, keep_requests=True)
    log = run.requests()
    arrival, start, first, finish = (
        np.where(ticks >= 0, ticks * run.tick, np.nan)
        for ticks in (log.arrival, log.start, log.first, log.finish)
    )
    # The log counts what a preempted request had generated as its prompt.
    outputs = np.resize(requests.output_tokens, len(arrival))
    nothing = np.empty((0, 4))
    return Served(arrival, start, first, finish, outputs, run.preemptions, nothing)


def serve_by_scheduler(
    engine: Engine,
    requests: Requests,
    *,
    until: float,
    users: int | None = None,
    think_time: float = 0.0,
    prefix_caching: bool = True,
) -> Served:
    """Serve requests by the scheduler of vLLM, block by block.

    Parameters
    ----------
    engine, requests, until, users, think_time
        As for :func:`serve`; the engine must have a KV capacity and a batch limit.
    prefix_caching : bool
        Whether blocks of preempted requests can be found again. Prompts share nothing.
    """
    assert engine.kv_blocks is not None
    assert engine.max_batch_size is not None
    config = VllmV1Config(
        engine.token_budget,
        engine.max_batch_size,
        num_blocks=engine.kv_blocks + 1,
        block_size=engine.kv_block_size,
        version=VERSION,
        enable_prefix_caching=prefix_caching,
    )
    clock, now = Clock.of(engine), 0
    books, scheduler = _Books(requests, tick=clock.tick), VllmV1Scheduler(config)
    times = requests.arrival_times if users is None else np.full(users, think_time)
    upcoming, rows = deque(clock.arrival_ticks(times).tolist()), []
    pause, horizon = int(clock.ticks(think_time)), int(clock.ticks(until))
    while now < horizon and (upcoming or not scheduler.is_idle):
        while upcoming and upcoming[0] <= now:
            scheduler.add(books.joined(upcoming.popleft()))
        if scheduler.is_idle:
            now = upcoming[0]
            continue
        step = scheduler.step()
        batch = books.batch(step, start=now)
        now += clock.step_ticks(*batch)
        books.enter(step, end=now)
        if users is not None:
            upcoming.extend([now + pause] * len(step.finished))
        held = engine.kv_blocks - scheduler.free_blocks
        row = (len(scheduler.running), len(scheduler.waiting), held)
        rows.append((now * clock.tick, *row))
    return books.served(until, np.array(rows).reshape(-1, 4))


class _Books:
    """How far every request has come, kept beside the scheduler's own books; times in ticks."""

    def __init__(self, requests: Requests, *, tick: float) -> None:
        self.tick = tick
        self.prompt = requests.prompt_tokens.tolist()
        self.output = requests.output_tokens.tolist()
        self.arrival: list[int] = []
        self.times: dict[str, list[float]] = {"start": [], "first": [], "finish": []}
        self.stored: list[int] = []
        self.goal: list[int] = []
        self.generated: list[int] = []
        self.preemptions = 0

    def joined(self, time: int) -> FieldRequest:
        """Return the next request, which arrives now."""
        number = len(self.arrival)
        row = number % len(self.prompt)
        self.arrival.append(time)
        for column in self.times.values():
            column.append(float("nan"))
        self.stored.append(0)
        self.goal.append(self.prompt[row])
        self.generated.append(0)
        return FieldRequest(str(number), self.prompt[row], self.output[row], arrival=number)

    def batch(self, step: FieldStep, *, start: int) -> tuple[int, int, int]:
        """Return prefill, decode and KV tokens of a step that begins now."""
        for name in step.preempted:
            number = int(name)
            self.goal[number] = self.prompt[number % len(self.prompt)] + self.generated[number]
            self.stored[number] = 0
        self.preemptions += len(step.preempted)
        for name, tokens in step.cached.items():
            self.stored[int(name)] = tokens
        prefill = decode = kv = 0
        for name, tokens in step.tokens.items():
            number = int(name)
            if np.isnan(self.times["start"][number]):
                self.times["start"][number] = start
            if self.stored[number] < self.goal[number]:
                prefill += tokens
            else:
                decode += 1
                kv += self.stored[number]
        return prefill, decode, kv

    def enter(self, step: FieldStep, *, end: int) -> None:
        """Enter what a step has computed when it ends."""
        for name, tokens in step.tokens.items():
            number = int(name)
            self.stored[number] += tokens
            if self.stored[number] >= self.goal[number]:
                self.generated[number] += 1
                if self.generated[number] == 1:
                    self.times["first"][number] = end
        for name in step.finished:
            self.times["finish"][int(name)] = end

    def served(self, until: float, steps: np.ndarray) -> Served:
        """Return everything up to the given time [s]."""
        arrival = np.array(self.arrival) * self.tick
        columns = (np.array(column) * self.tick for column in self.times.values())
        start, first, finish = (np.where(c <= until, c, np.nan) for c in columns)
        output = np.resize(self.output, len(arrival))
        return Served(arrival, start, first, finish, output, self.preemptions, steps)
