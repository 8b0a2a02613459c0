"""An engine on a GPU whose operators were measured, with the limits of its backend."""

import functools
from dataclasses import dataclass, replace
from typing import Annotated, Any, final

from queueing_llm._validate import Domain, Real, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.scenarios._engine_defaults import EngineDefaults, engine_defaults
from queueing_llm.steptime import HostCosts, MeasuredStepTime

FITTED, NONE = "fitted", "none"
Count = Annotated[int | None, Domain("n", "1", at_least=1, integer=True, optional=True)]


@final
@dataclass(frozen=True, slots=True)
class MeasuredSystem:
    r"""A model served on a GPU: step times as measured, limits as its backend sets them.

    Prompts are processed in time that depends on how long they are, so the engine is that of
    a workload: its step times are those of prompts of :math:`E[p^2] / E[p]` tokens.

    Parameters
    ----------
    model, system, backend, tp, version
        As for :class:`~queueing_llm.steptime.MeasuredStepTime`.
    memory_fraction : number or None
        Share of the GPU's memory that the engine takes [1]; None is the backend's default.
    token_budget, max_batch_size, kv_capacity, kv_block_size : int or None
        Limits of :class:`~queueing_llm.model.Engine`; None is the backend's default, and of
        the KV cache what fits beside the weights.
    host : {"fitted", "none"} or HostCosts
        What a step takes beside its operators: as fitted to benchmarks of the backend, whose
        throughput and latencies are then nearer to those measured; nothing; or costs of one's
        own.

    Examples
    --------
    >>> from queueing_llm.scenarios import MeasuredSystem
    >>> served = MeasuredSystem("meta-llama/Meta-Llama-3.1-8B", "h100_sxm")
    >>> served.title
    'Meta-Llama-3.1-8B on h100_sxm, vllm'
    """

    model: str
    system: str
    backend: str = "vllm"
    tp: Annotated[int, Domain("TP", "GPUs", at_least=1, integer=True)] = 1
    version: str | None = None
    memory_fraction: Annotated[
        Real | None, Domain("u", "1", above=0, at_most=1, optional=True)
    ] = None
    token_budget: Count = None
    max_batch_size: Count = None
    kv_capacity: Count = None
    kv_block_size: Count = None
    host: HostCosts | str = FITTED

    def __post_init__(self) -> None:
        validate(self)
        for name in ("model", "system", "backend", "version"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name, value) != ("version", None):
                msg = f"{name} must be a text, got {name}={value!r}."
                raise InvalidArgument(msg)
        if not isinstance(self.host, HostCosts) and self.host not in (FITTED, NONE):
            msg = (
                "host must be 'fitted', 'none' or, in Python, HostCosts, "
                f"got host={self.host!r}."
            )
            raise InvalidArgument(msg)

    @property
    def title(self) -> str:
        """What tables and plots call it."""
        gpus = f"{self.tp} x {self.system}" if self.tp > 1 else self.system
        return f"{self.model.rpartition('/')[2]} on {gpus}, {self.backend}"

    def changed(self, **values: Any) -> "MeasuredSystem":
        """Return the system with the values replaced that are not None."""
        return replace(self, **{name: v for name, v in values.items() if v is not None})

    def step_time(self, workload: Workload) -> MeasuredStepTime:
        """Return the measured law for the prompts of a workload.

        Raises
        ------
        InvalidArgument
            If nothing was measured under these names; the message lists near ones.
        MissingDependency
            If the package of measurements is not installed.
        """
        moments = workload.moments
        return _step_time(
            self.model,
            self.system,
            self.backend,
            self.tp,
            self.version,
            round(moments.prompt_squared / moments.prompt),
            self.host,
        )

    def defaults(self, workload: Workload) -> EngineDefaults:
        """Return the limits that hold where none is given."""
        memory = self.step_time(workload).memory_bytes
        return engine_defaults(self.backend, system=self.system, memory_bytes=memory)

    def engine(self, workload: Workload) -> Engine:
        """Return the engine that serves a workload, its step times as a table."""
        limits = self._limits(workload)
        table = self.step_time(workload).table(
            limits["token_budget"],
            most_decode_tokens=_most_decodes(limits),
            kv_capacity=limits["kv_capacity"],
        )
        return Engine(step_time=table, first_token_from_prefill=True, **limits)

    def table_errors(self, workload: Workload) -> tuple[float, float]:
        """Return the median and the worst relative error of the table of the engine [1]."""
        limits = self._limits(workload)
        return self.step_time(workload).table_errors(
            limits["token_budget"],
            most_decode_tokens=_most_decodes(limits),
            kv_capacity=limits["kv_capacity"],
        )

    def _limits(self, workload: Workload) -> dict[str, int]:
        """Return the limits that were given, and the usual ones instead of the others."""
        usual = self.defaults(workload)
        limits = {
            name: getattr(self, name) or getattr(usual, name)
            for name in ("token_budget", "max_batch_size", "kv_block_size")
        }
        slots, block = self.kv_capacity, limits["kv_block_size"]
        if slots is None:
            slots = self.step_time(workload).kv_capacity(self.memory_fraction) // block * block
        return {**limits, "kv_capacity": slots}


def _most_decodes(limits: dict[str, int]) -> int:
    return min(limits["token_budget"], limits["max_batch_size"], limits["kv_capacity"])


@functools.lru_cache(maxsize=32)
def _step_time(
    model: str,
    system: str,
    backend: str,
    tp: int,
    version: str | None,
    prompt_tokens: int,
    host: HostCosts | str,
) -> MeasuredStepTime:
    step = MeasuredStepTime(
        model,
        system,
        backend=backend,
        tp=tp,
        version=version,
        prompt_tokens=prompt_tokens,
        host=host if isinstance(host, HostCosts) else None,
    )
    return step.with_fitted_host() if host == FITTED else step
