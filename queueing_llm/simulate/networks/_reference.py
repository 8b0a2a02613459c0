"""The transparent network: any policy, KV limits, every state visible, nothing clever.

The compiled kernel is tested against this driver batch by batch and tick by tick. It counts
all tokens anew at every step, so it is slow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from queueing_llm.errors import ConservationViolated, InvalidArgument
from queueing_llm.model.agents import NetworkEngine
from queueing_llm.policies import EngineState, check_batch
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._reference import Step
from queueing_llm.simulate.networks._branches import Branch, Branches, Draws
from queueing_llm.simulate.networks._layout import Layout
from queueing_llm.simulate.networks._outcome import (
    BLOCK_COLUMNS,
    ENGINE_COLUMNS,
    LOG_COLUMNS,
    SESSION_COLUMNS,
    NetworkOutcome,
    in_order,
)
from queueing_llm.simulate.networks._streams import Streams


class NetworkStep(NamedTuple):
    """One batch of one engine of a network."""

    engine: int
    step: Step


@dataclass(slots=True, eq=False)
class _Request:
    """A request at an engine; ``cached`` tokens come with it and are stored when it starts."""

    branch: Branch
    rank: tuple[int, int, int]
    prompt_left: int
    decode_left: int
    cached: int
    stored: int = 0

    @property
    def tokens_left(self) -> int:
        return self.prompt_left + self.decode_left


@dataclass(slots=True)
class _Server:
    """An engine with its requests: started ones in order of start, then those that wait."""

    part: NetworkEngine
    clock: Clock
    started: list[_Request] = field(default_factory=list)
    waiting: list[_Request] = field(default_factory=list)
    flight: Step | None = None
    totals: np.ndarray = field(default_factory=lambda: np.zeros(len(ENGINE_COLUMNS)))
    changed: int = 0

    @property
    def in_flight(self) -> int:
        return 0 if self.flight is None else int(np.asarray(self.flight.batch.tokens).sum())

    def work(self, now: int, change: int) -> None:
        """Let the backlog change."""
        self.totals[4] += self.totals[0] * float(now - self.changed)
        self.changed = now
        self.totals[0] += change

    def join(self, request: _Request, now: int) -> None:
        self.work(now, request.tokens_left)
        self.waiting.append(request)

    def state(self) -> EngineState:
        self.waiting.sort(key=lambda request: request.rank)
        rows = [
            (n, r.branch.visit, r.prompt_left, r.decode_left, r.stored)
            for n, r in enumerate(self.started + self.waiting)
        ]
        columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T.copy()
        # The answer is checked against this state: a policy must not be able to change it.
        columns.setflags(write=False)
        request, class_index, prompt_left, decode_left, stored = columns
        engine = self.part.engine
        return EngineState(
            request=request,
            class_index=class_index,
            prompt_left=prompt_left,
            decode_left=decode_left,
            stored=stored,
            token_budget=engine.token_budget,
            max_batch_size=engine.max_batch_size,
            kv_capacity=engine.kv_capacity,
            kv_block_size=engine.kv_block_size,
        )

    def decide(self, now: int) -> Step | None:
        """Form the next batch; return it if there is one."""
        state = self.state()
        if len(state.request) == 0:
            return None
        batch = self.part.policy(state)
        check_batch(state, batch)
        tokens = np.asarray(batch.tokens)
        if not tokens.any():
            return None
        decodes = (state.prompt_left == 0) & (tokens > 0)
        kv_tokens = int(state.stored[decodes].sum())
        prefill, decode = batch.prefill_tokens(state), batch.decode_tokens(state)
        end = now + self.clock.step_ticks(prefill, decode, kv_tokens)
        self.flight = Step(now, end, state, batch, kv_tokens)
        self._preempt(now)
        self._serve(tokens)
        self._check_tokens(now)
        return self.flight

    def _check_tokens(self, now: int) -> None:
        left = sum(request.tokens_left for request in self.started + self.waiting)
        left += self.in_flight
        if left != self.totals[0]:
            name, counted = self.part.name, int(self.totals[0])
            msg = f"at tick {now} engine {name!r} holds {left} tokens, not {counted}."
            raise ConservationViolated(msg)

    def _preempt(self, now: int) -> None:
        """Take the KV cache of the victims; they wait again, first in their priority."""
        assert self.flight is not None
        victims = np.flatnonzero(self.flight.preempted)
        for i in victims.tolist():
            request = self.started[i]
            restarts = int(
                request.prompt_left == 0 and self.part.engine.first_token_from_prefill
            )
            request.prompt_left += request.stored + restarts
            request.decode_left -= restarts
            self.totals[2] += request.stored
            self.work(now, request.stored)
            request.stored = request.cached = 0
            request.rank = (request.rank[0], 0, 0)

    def _serve(self, tokens: np.ndarray) -> None:
        """Take the batch off the work left."""
        everyone = self.started + self.waiting
        for request, count in zip(everyone, tokens.tolist(), strict=True):
            if count == 0:
                continue
            if request.stored == 0:
                request.stored = request.cached
            request.stored += count
            if request.prompt_left > 0:
                request.prompt_left -= count
            else:
                request.decode_left -= count
        is_new = [i >= len(self.started) for i in range(len(everyone))]
        self.started = [r for r in everyone if r.stored > 0]
        again = [r for r, new in zip(everyone, is_new, strict=True) if not new and not r.stored]
        self.waiting = again + [r for r in self.waiting if not r.stored]
        # Those preempted earlier stay behind those preempted now, which are older.
        for order, request in enumerate(r for r in self.waiting if r.rank[1] == 0):
            request.rank = (request.rank[0], 0, order)

    def finish(self, now: int) -> list[Branch]:
        """End the batch in flight; return the branches whose requests are finished."""
        assert self.flight is not None
        self.work(now, -self.in_flight)
        self.totals[1] += self.in_flight
        self.totals[3] += now - self.flight.start
        self.totals[5] += 1
        self.flight = None
        done = [r.branch for r in self.started if r.tokens_left == 0]
        self.started = [r for r in self.started if r.tokens_left > 0]
        return done

    def sample(self, at: int) -> np.ndarray:
        """Return the totals at a time after the last change."""
        row = self.totals.copy()
        row[3] += 0 if self.flight is None else at - self.flight.start
        row[4] += row[0] * float(at - self.changed)
        return row


class Reference:
    """One replication on the transparent driver; parameters as for ``run_kernel``."""

    def __init__(
        self, layout: Layout, streams: Streams, *, sample_at: np.ndarray, chunk: int = 64
    ) -> None:
        self.layout = layout
        self.draws = Draws(streams, chunk)
        self.branches = Branches(layout, self.draws, self._send, self._backlog)
        parts = zip(layout.network.engines, layout.clocks, strict=True)
        self.servers = [_Server(part, clock) for part, clock in parts]
        self.horizon = int(sample_at[-1])
        self._pending = [int(t) for t in sample_at]
        self._samples: list[tuple[list[float], np.ndarray, np.ndarray]] = []
        self._log: list[tuple[int, ...]] = []
        self._order = 0

    def steps(self) -> Iterator[NetworkStep]:
        """Run until the horizon and yield every batch as it is formed."""
        arrivals = self.draws.arrivals()
        upcoming = next(arrivals, None)
        while True:
            now = self.branches.clock
            while upcoming is not None and upcoming[0] == now:
                self.branches.arrive(upcoming[1])
                upcoming = next(arrivals, None)
            while self.branches.paused and self.branches.paused[0][0] == now:
                self.branches.wake()
            for server in self.servers:
                if server.flight is not None and server.flight.end == now:
                    for branch in server.finish(now):
                        self.branches.finish(branch)
            # Before a preemption adds to the work, as the driver of a single engine does.
            self._sample(before=now + 1)
            if now >= self.horizon:
                return
            for number, server in enumerate(self.servers):
                formed = server.decide(now) if server.flight is None else None
                if formed is not None:
                    self._note(number, formed)
                    yield NetworkStep(number, formed)
            events = [s.flight.end for s in self.servers if s.flight is not None]
            events += [self.horizon] + [time for time, _, _ in self.branches.paused[:1]]
            events += [] if upcoming is None else [upcoming[0]]
            self._sample(before=min(events))
            self.branches.clock = min(events)

    def outcome(self) -> NetworkOutcome:
        """Return everything recorded."""
        logs = (self._log, self.branches.sessions, self.branches.blocks)
        widths = (len(LOG_COLUMNS), len(SESSION_COLUMNS), len(BLOCK_COLUMNS))
        log, sessions, blocks = (
            np.array(rows, dtype=np.int64).reshape(-1, width)
            for rows, width in zip(logs, widths, strict=True)
        )
        samples = zip(*self._samples, strict=True)
        totals, engines, visits = (np.array(rows, dtype=np.float64) for rows in samples)
        return NetworkOutcome(totals, engines, visits, in_order(log), sessions, blocks)

    def _send(self, branch: Branch, way: int) -> None:
        ways = self.layout.ways
        server = self.servers[int(ways.engine[way])]
        prompt = branch.prompt + branch.fresh
        decode = int(server.part.engine.decode_steps(branch.output))
        self._order += 1
        cached = branch.context - branch.fresh
        _check_memory(server.part, tokens=cached + prompt + decode, cached=cached)
        rank = (int(ways.queue[way]), 1, self._order)
        server.join(_Request(branch, rank, prompt, decode, cached), self.branches.clock)

    def _backlog(self, engine: int) -> int:
        return int(self.servers[engine].totals[0])

    def _note(self, number: int, step: Step) -> None:
        prefill = step.batch.prefill_tokens(step.state)
        decode = step.batch.decode_tokens(step.state)
        self._log.append((number, step.start, step.end, prefill, decode, step.kv_tokens))

    def _sample(self, *, before: int) -> None:
        while self._pending and self._pending[0] < before:
            at = self._pending.pop(0)
            branches = self.branches
            engines = np.array([server.sample(at) for server in self.servers])
            engines = engines.reshape(-1, len(ENGINE_COLUMNS))
            visits = branches.visits.copy()
            visits[:, 3] += visits[:, 0] * (at - branches.changed).astype(np.float64)
            totals = [at, branches.arrived, branches.completed, engines[:, 5].sum()]
            self._samples.append((totals, engines, visits))


def _check_memory(part: NetworkEngine, *, tokens: int, cached: int) -> None:
    capacity = part.engine.kv_capacity
    if capacity is None:
        return
    if tokens > capacity:
        msg = (
            f"a request holds {tokens} tokens with its context, more than "
            f"kv_capacity={capacity} of engine {part.name!r}: raise it or shorten the request."
        )
        raise InvalidArgument(msg)
    if cached:
        # It would take memory as the request starts, but no policy is told of it before.
        msg = (
            f"prefix_cache_hit must be 0 at engine {part.name!r}, whose kv_capacity={capacity} "
            f"cannot be kept by policies that do not know of cached context, got a request "
            f"with {cached} tokens of it."
        )
        raise InvalidArgument(msg)
