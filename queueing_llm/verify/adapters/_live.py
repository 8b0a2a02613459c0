"""The scheduler of a serving engine itself, as one of our schedulers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import (
    AbstractScheduler,
    EngineDoor,
    FieldRequest,
    FieldStep,
    FieldSystem,
    Limits,
    SglangConfig,
    VllmV0Config,
    system_named,
)
from queueing_llm.verify.adapters._environment import installation_of, place_of
from queueing_llm.verify.adapters._protocol import LiveFailure, fields_of, step_of, view_of
from queueing_llm.verify.adapters._worker import Config, Worker, command_for


def open_worker(system: str, *, environment: str | Path, **patience: float) -> Worker:
    """Start a process that makes schedulers of a system.

    Parameters
    ----------
    system : str
        Such as ``"vllm==0.33.0"``, a key of :data:`INSTALLATIONS`.
    environment : path
        A folder that :func:`build_environment` made, or a Python interpreter that has the
        system.
    **patience : float
        ``seconds_to_load`` and ``seconds_to_answer`` of the worker [s].

    Returns
    -------
    Worker
        To be used in a ``with`` statement.

    Raises
    ------
    InvalidArgument
        If the system is unknown or not in the folder, or the interpreter does not have it.
    LiveFailure
        If what the folder has does not start, or is not what it should be.

    Examples
    --------
    >>> open_worker("vllm==0.33.1", environment="live")
    Traceback (most recent call last):
    ...
    queueing_llm.errors.InvalidArgument: there is no driver for 'vllm==0.33.1': did you mean ...
    """
    place = place_of(system, environment=environment)
    driver = Path(__file__).with_name("_workers") / installation_of(system).driver
    command = command_for(driver, python=place.python, path=place.path)
    try:
        return Worker(command, system, **patience)
    except LiveFailure as failure:
        if not Path(environment).is_file():
            raise
        msg = (
            f"environment must be a folder, or a Python interpreter that has {system}, got "
            f"{str(environment)!r}: {failure}"
        )
        raise InvalidArgument(msg) from failure


@final
class LiveScheduler(AbstractScheduler):
    """A scheduler in another process, which is that of a serving engine.

    Parameters
    ----------
    worker : Worker
        The process. It has one scheduler at a time, so a new one ends this one.
    config : VllmV1Config, VllmV0Config, SglangConfig or mapping
        What the rule model of the same version is made of.

    Raises
    ------
    InvalidArgument
        If the configuration is for another version, or the system refuses it or a request.
    LiveFailure
        If the system or the process fails.

    Examples
    --------
    >>> from queueing_llm.policies.field import FieldRequest, VllmV1Config
    >>> from queueing_llm.verify.adapters import LiveScheduler, open_worker
    >>> def first_batch(environment):
    ...     with open_worker("vllm==0.33.0", environment=environment) as worker:
    ...         real = LiveScheduler(worker, VllmV1Config(64, 8, num_blocks=100))
    ...         real.add(FieldRequest("a", prompt_tokens=100, output_tokens=2))
    ...         return dict(real.step().tokens)
    """

    def __init__(self, worker: Worker, config: Config) -> None:
        self._worker = worker
        self._view = view_of(worker.start(config))
        self._number = worker.schedulers

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return self._view.is_idle

    @property
    def running(self) -> tuple[str, ...]:
        """Requests that run, in the order of the system."""
        return self._view.running

    @property
    def waiting(self) -> tuple[str, ...]:
        """Requests that wait, next one first."""
        return self._view.waiting

    @property
    def free_blocks(self) -> int | None:
        """KV blocks that nobody holds; None if the system has no such number."""
        return self._view.free_blocks

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        question = {"op": "add", "request": fields_of(request)}
        self._view = view_of(self._asked(question))

    def step(self) -> FieldStep:
        """Form the next batch, run it, and return what happened."""
        step = step_of(self._asked({"op": "step"}))
        self._view = step.view
        return step.done

    def _asked(self, question: Mapping[str, object]) -> dict[str, Any]:
        if self._worker.schedulers != self._number:
            msg = "the worker has made another scheduler since, so this one is gone."
            raise LiveFailure(msg)
        return self._worker.ask(question)


def live_system(worker: Worker, *, model: str = "") -> FieldSystem:
    """Return the system that a worker has, to be verified like a model of it.

    Parameters
    ----------
    worker : Worker
        The process that makes the schedulers; it has to live as long as they are used.
    model : str
        Name of the model whose settings it is started with, such as
        ``"vllm==0.33.0:whole-prompts"``; empty: the system as it starts by default.

    Returns
    -------
    FieldSystem
        Each of its schedulers replaces the one before in the worker. Requests that its engine
        would not let in, since they are too long for it, are refused.

    Raises
    ------
    InvalidArgument
        If there is no such model, or it is not one of this system.

    Examples
    --------
    >>> from queueing_llm.verify import check_policy
    >>> from queueing_llm.verify.adapters import live_system, open_worker
    >>> def verify(environment):
    ...     with open_worker("vllm==0.33.0", environment=environment) as worker:
    ...         return check_policy(live_system(worker))
    """
    named = system_named(model or worker.system)
    settings = named.settings
    if settings is None or named.name.partition(":")[0] != worker.system:
        msg = f"model must be one of {worker.system}, got model={model!r}."
        raise InvalidArgument(msg)

    def build(limits: Limits) -> AbstractScheduler:
        config = settings(limits)
        length = _model_length(config)
        return EngineDoor(LiveScheduler(worker, config), max_model_len=length)

    known_by = f"the code of {worker.system} itself, driven without a model"
    name, by_priority = f"{named.name}, live", named.reads_priority
    return FieldSystem(name, build, known_by, reads_priority=by_priority)


def _model_length(config: Config) -> int:
    """Return the longest request that the engine would let in."""
    if isinstance(config, SglangConfig):
        return config.kv_tokens - 1
    blocks = config.num_blocks if isinstance(config, VllmV0Config) else config.usable_blocks
    length: int = blocks * config.block_size
    return (
        length if config.enable_chunked_prefill else min(length, config.max_num_batched_tokens)
    )
