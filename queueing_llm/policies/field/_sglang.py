"""The scheduler of SGLang 0.5.6: prompts first, admitted by an estimate of what is to come.

A prompt is admitted if it fits beside what the running requests are expected to write yet:
a ratio of what they promise. The ratio decays with every decode step; when the estimate was
too low and KV tokens run out, requests are retracted and the ratio is set anew.
"""

from collections.abc import Mapping
from typing import final

from queueing_llm.errors import QueueingLLMError
from queueing_llm.policies.field._field_jobs import Door, Job, step_of
from queueing_llm.policies.field._field_sglang_config import SglangConfig
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep

MOST_PROMISED = 4096
"""What is believed of a promised output at most [tokens]."""

STEPS_AFTER_RETRACTION = 20
"""Decode steps for which the ratio that follows a retraction leaves room."""


@final
class SglangScheduler(AbstractScheduler):
    """The batches of SGLang 0.5.6: first come, first served, no prefix cache, pages of 1.

    Parameters
    ----------
    config : SglangConfig
        Its settings.

    Raises
    ------
    QueueingLLMError
        By :meth:`step`, where the server would end for want of KV tokens.

    Notes
    -----
    The mode of a step is ``"EXTEND"``, ``"MIXED"``, ``"DECODE"`` or ``"IDLE"``. A request is
    refused unless its prompt and its most output are below ``kv_tokens``: it would wait for
    ever. Requests end by a stop token, so the output may stay below what was promised;
    requests that ignore it are admitted by another test, which is not here.

    Source: the scheduler of SGLang 0.5.6, by its recorded decisions.

    Examples
    --------
    >>> engine = SglangScheduler(SglangConfig(1000, 8, chunked_prefill_size=64))
    >>> engine.add(FieldRequest("a", prompt_tokens=50, output_tokens=3))
    >>> engine.add(FieldRequest("b", prompt_tokens=20, output_tokens=3))
    >>> [(step.mode, dict(step.tokens)) for step in (engine.step() for _ in range(3))]
    [('EXTEND', {'a': 50, 'b': 14}), ('EXTEND', {'b': 6}), ('DECODE', {'a': 1, 'b': 1})]
    """

    def __init__(self, config: SglangConfig) -> None:
        self._config = config
        self._door = Door()
        self._free: int = config.kv_tokens
        self._running: list[Job] = []
        self._prefilled: list[Job] = []
        self._waiting: list[Job] = []
        self._begun: Job | None = None
        self._is_full = False
        self._ratio = config.first_ratio

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        present = (*self._waiting, *self._running, *self._prefilled)
        return self._begun is None and all(job.is_done for job in present)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Requests that wait, next one first."""
        return tuple(job.name for job in self._waiting)

    @property
    def free_tokens(self) -> int:
        """KV tokens that nobody holds."""
        return self._free

    @property
    def new_token_ratio(self) -> float:
        """The part of the promised output that is expected now."""
        return self._ratio

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        limit = self._config.kv_tokens - 1
        self._waiting.append(
            self._door.admit(request, most_tokens=limit, limit="below kv_tokens")
        )

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        self._merge()
        batch = self._prompts()
        if batch:
            return self._extend(batch)
        retracted = self._retire_and_retract()
        if not self._config.with_defects and not self._running:
            batch = self._prompts()
            if batch:
                return self._extend(batch)
        if not self._running:
            self._ratio = self._config.first_ratio
            return FieldStep(mode="IDLE")
        decodes = dict.fromkeys(self._running, 1)
        return step_of(decodes, preempted=retracted, finished=self._run(decodes), mode="DECODE")

    def _merge(self) -> None:
        """Let those run whose prompt ended in the last step.

        If some ended or are to go on, or nobody ran beside them, a full engine looks again.
        """
        joining = [job for job in self._prefilled if job is not self._begun and not job.is_done]
        if len(joining) < len(self._prefilled) or (joining and not self._running):
            self._is_full = False
        self._running += joining
        self._prefilled = []

    def _prompts(self) -> dict[Job, int]:
        """Return the prompt tokens of this step, if any."""
        places = self._config.max_running - len(self._running)
        if self._begun is None:
            if self._is_full or not self._waiting:
                return {}
            if places <= 0:
                self._is_full = True
                return {}
        draft = _Prompts(self._config, self._running, free=self._free, ratio=self._ratio)
        if self._begun is not None:
            self._begun = draft.go_on(self._begun)
        for job in self._waiting:
            self._is_full = self._is_full or len(draft.batch) >= places
            if self._is_full:
                break
            # One is tried even after a split prompt took all, and can find the cache full.
            self._is_full = not draft.add(job)
            if not draft.is_open:
                break
        self._begun = self._begun or draft.begun
        self._waiting = [job for job in self._waiting if job not in draft.batch]
        return draft.batch

    def _extend(self, batch: dict[Job, int]) -> FieldStep:
        mode = "EXTEND"
        if self._config.mixed:
            decodes = [job for job in self._running if not job.is_done]
            batch |= dict.fromkeys(decodes, 1)
            self._running = []
            mode = "MIXED" if decodes else mode
        self._prefilled = list(batch)
        return step_of(batch, finished=self._run(batch), mode=mode)

    def _retire_and_retract(self) -> list[Job]:
        """Let go of those that ended, and of more until a KV token is there for everyone."""
        before = len(self._running)
        self._running = [job for job in self._running if not job.is_done]
        retracted: list[Job] = []
        if not self._running:
            self._is_full = False
            return retracted
        if self._free < len(self._running):
            retracted = self._retract()
        else:
            decayed = self._ratio - self._config.ratio_decay
            self._ratio = max(decayed, self._config.least_ratio)
        if len(self._running) < before:
            self._is_full = False
        return retracted

    def _retract(self) -> list[Job]:
        def progress(job: Job) -> tuple[int, int]:
            return job.generated, -job.prompt

        self._running.sort(key=progress, reverse=True)
        retracted: list[Job] = []
        while self._free < len(self._running) and len(self._running) > 1:
            retracted.append(self._running.pop())
            self._forget(retracted[-1])
        if self._free < len(self._running) and self._begun and not self._config.with_defects:
            retracted.append(self._begun)
            self._forget(self._begun)
            self._begun = None
        self._waiting += retracted
        written = sum(job.generated for job in self._running)
        promised = sum(job.most_output for job in self._running)
        expected = written + STEPS_AFTER_RETRACTION * len(self._running)
        self._ratio = min(1.0, expected / (promised + 1))
        return retracted

    def _forget(self, job: Job) -> None:
        self._free += job.computed
        job.computed = 0

    def _run(self, batch: Mapping[Job, int]) -> list[Job]:
        self._free -= sum(batch.values())
        if self._free < 0:
            msg = (
                "SGLang 0.5.6 ends here for want of KV tokens: raise kv_tokens or "
                f"conservativeness, got {self._config!r}."
            )
            raise QueueingLLMError(msg)
        for job, tokens in batch.items():
            job.advance(tokens)
        done = [job for job in batch if job.is_done]
        self._free += sum(job.computed for job in done)
        return done


class _Prompts:
    """A batch of prompts that is being filled, by what the running requests may yet write."""

    def __init__(
        self, config: SglangConfig, running: list[Job], *, free: int, ratio: float
    ) -> None:
        self._config = config
        self.batch: dict[Job, int] = {}
        self.begun: Job | None = None
        decodes = len(running) if config.mixed else 0
        self._free = free
        self._reserved = decodes + sum(_promised(job) * ratio for job in running)
        self._input_left = config.max_prefill_tokens - decodes
        self._chunk_left = config.chunked_prefill_size - decodes

    @property
    def _left(self) -> float:
        return self._free - self._reserved

    @property
    def is_open(self) -> bool:
        """Whether more prompt tokens may be taken."""
        return self._input_left > 0 and self._chunk_left > 0

    def go_on(self, job: Job) -> Job | None:
        """Take more of a prompt that was begun; return it unless that was its rest."""
        rest = job.length - job.computed
        tokens = min(rest, self._chunk_left, int(self._left))
        if tokens <= 0 and not self._config.with_defects:
            return job
        if tokens <= 0:
            msg = (
                f"SGLang 0.5.6 ends here: it gives {tokens} tokens to the split prompt of "
                f"request {job.name!r}. with_defects=False lets it wait."
            )
            raise QueueingLLMError(msg)
        self._take(job, tokens, promised=_most_promised(job) if tokens == rest else 0)
        return job if tokens < rest else None

    def add(self, job: Job) -> bool:
        """Take a prompt; return whether KV tokens are left for others."""
        if job.length + _promised(job) >= self._left:
            return False
        if self.batch and job.length >= self._input_left:
            self._input_left = 0
            return True
        if job.length <= self._chunk_left:
            self._take(job, job.length, promised=_most_promised(job))
        elif self._chunk_left > 0:
            self._take(job, self._chunk_left, promised=0)
            self.begun = job
        return self._left > 0

    def _take(self, job: Job, tokens: int, *, promised: int) -> None:
        self.batch[job] = tokens
        self._reserved += tokens + promised
        self._input_left -= tokens
        self._chunk_left -= tokens


def _promised(job: Job) -> int:
    """Return what a request may yet write, as far as it is believed."""
    return min(job.most_output - job.generated, MOST_PROMISED)


def _most_promised(job: Job) -> int:
    return min(job.most_output, MOST_PROMISED)
