"""One compiled set of measured operator times, asked one group of operators at a time.

Each group depends on one or two counts only, so that few look-ups serve many batches.
"""

import contextlib
import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, final

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime.measured._names import measurements

_LOADING = threading.RLock()
_PROBE = (64, 4, 128, 2)
_LONGEST_REASON = 300


@final
@dataclass(frozen=True, slots=True)
class MeasuredKey:
    """What identifies one compiled set of operator times."""

    model: str
    system: str
    backend: str
    version: str
    tp: int
    gemm: str | None
    kv: str | None
    attention: str | None

    @property
    def release(self) -> tuple[int, ...]:
        """The first two numbers of the version."""
        return tuple(int(part) for part in self.version.split(".")[:2])


@final
@dataclass(frozen=True, slots=True, eq=False)
class MeasuredEngine:
    """The operators of one model on one system, in groups, and their times.

    A step that decodes only has operators of its own; for dense models they take the same time.
    """

    handle: Any
    shared: tuple[int, ...]
    shared_of_decodes: tuple[int, ...]
    logits: tuple[int, ...]
    prefill_attention: tuple[int, ...]
    decode_attention: tuple[int, ...]
    known: dict[tuple[tuple[int, ...], ...], float] = field(default_factory=dict)

    def shared_seconds(self, tokens: int, *, only_decodes: bool = False) -> float:
        """Return the time of everything but attention and the output projection."""
        if only_decodes:
            return self._once(self.shared_of_decodes, (tokens, 1), is_prefill=False)
        return self._once(self.shared, (1, tokens), is_prefill=True)

    def logits_seconds(self, rows: int) -> float:
        """Return the time of the output projection of ``rows`` tokens."""
        return self._once(self.logits, (rows, 1), is_prefill=False)

    def prefill_attention_seconds(self, prompts: int, tokens: int, prefix: int) -> float:
        """Return the attention time of chunks of ``tokens``, each after ``prefix`` tokens."""
        shape = (prompts, tokens, prefix)
        return self._once(self.prefill_attention, shape, is_prefill=True)

    def decode_attention_seconds(self, requests: int, stored: int) -> float:
        """Return the time in which each of ``requests`` reads its ``stored`` KV tokens."""
        # The package counts the token that is being decoded among those read.
        shape = (requests, stored + 1)
        return self._seconds(self.decode_attention, shape, is_prefill=False)

    def _once(
        self, group: tuple[int, ...], shape: tuple[int, ...], *, is_prefill: bool
    ) -> float:
        key = (group, shape, (is_prefill,))
        if key not in self.known:
            self.known[key] = self._seconds(group, shape, is_prefill=is_prefill)
        return self.known[key]

    def _seconds(
        self, group: tuple[int, ...], shape: tuple[int, ...], *, is_prefill: bool
    ) -> float:
        requests, tokens, prefix = (*shape, 0)[:3]
        handle = self.handle
        ask = handle.evaluate_context_ops if is_prefill else handle.evaluate_generation_ops
        entries = ask(list(group), batch_size=requests, s=tokens, prefix=prefix)
        return float(sum(milliseconds for _, milliseconds, *_ in entries)) / 1000


@functools.lru_cache(maxsize=64)
def measured_engine(key: MeasuredKey) -> MeasuredEngine:
    """Return the operator times of ``key``, compiled once per process."""
    measurements()
    from aiconfigurator_core.sdk.engine import EngineHandle

    with quietly():
        try:
            handle = EngineHandle.compile(
                key.model,
                key.system,
                key.backend,
                backend_version=key.version,
                tp_size=key.tp,
                moe_tp_size=key.tp,
                gemm_quant_mode=key.gemm,
                kvcache_quant_mode=key.kv,
                fmha_quant_mode=key.attention,
            )
            return _grouped(handle)
        # The package raises errors of many kinds for shapes that it has no rows for.
        except Exception as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            msg = f"there are no measurements of {_described(key)}: {reason}"
            raise InvalidArgument(msg) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the package of measurements from logging and warning; one thread at a time."""
    log = logging.getLogger("aiconfigurator_core")
    with _LOADING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = log.level
        log.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            log.setLevel(level)


def _described(key: MeasuredKey) -> str:
    precisions = (("gemm", key.gemm), ("kv", key.kv), ("attention", key.attention))
    given = "".join(f", {name}_precision={value!r}" for name, value in precisions if value)
    return (
        f"model={key.model!r} on system={key.system!r} with backend={key.backend!r}, "
        f"version={key.version!r}, tp={key.tp}{given}"
    )


def _grouped(handle: Any) -> MeasuredEngine:
    """Sort the operators by what the package adds up apart in a mixed step."""
    _, prefill, decode = (
        {name for name, *_ in part} for part in handle.mixed_step_breakdown_per_op(*_PROBE)
    )
    context = _names(handle.evaluate_context_ops)
    generation = _names(handle.evaluate_generation_ops)

    def those(names: list[str], *, attention: set[str], is_logits: bool) -> tuple[int, ...]:
        chosen = (n not in attention and n.endswith("logits_gemm") == is_logits for n in names)
        return tuple(i for i, is_chosen in enumerate(chosen) if is_chosen)

    return MeasuredEngine(
        handle,
        shared=those(context, attention=prefill, is_logits=False),
        shared_of_decodes=those(generation, attention=decode, is_logits=False),
        # Some models of the package have none for prefills.
        logits=those(generation, attention=decode, is_logits=True),
        prefill_attention=tuple(i for i, name in enumerate(context) if name in prefill),
        decode_attention=tuple(i for i, name in enumerate(generation) if name in decode),
    )


def _names(ask: Callable[..., Any]) -> list[str]:
    """Return the name of each operator of a phase, asking until there are no more."""
    names: list[str] = []
    while True:
        try:
            names.append(ask([len(names)], batch_size=1, s=8)[0][0])
        except ValueError as error:
            if "out of range" in str(error):
                return names
            raise
