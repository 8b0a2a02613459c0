"""A process of another interpreter, which has a serving engine installed."""

import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeAlias, final

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies.field import FieldRequest
from queueing_llm.verify.adapters._protocol import (
    PROTOCOL,
    LiveFailure,
    LiveStep,
    accepted,
    answer_of,
    fields_of,
    line_of,
    steps_of,
)

Config: TypeAlias = Any
"""A configuration of :mod:`queueing_llm.policies.field`, or its fields as a mapping."""

SECONDS_TO_LOAD = 300.0
SECONDS_TO_ANSWER = 120.0
# Nothing is looked up, nothing is reported, and what is hashed is hashed alike every time.
SURROUNDINGS = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


@final
class Worker:
    """A process that makes real schedulers, one after the other.

    Parameters
    ----------
    command : sequence of str
        What starts it; ``_protocol.py`` says what it has to speak.
    system : str
        What it has to be, such as ``"vllm==0.33.0"``.
    seconds_to_load, seconds_to_answer : float
        How long to wait before it is given up [s].

    Raises
    ------
    LiveFailure
        If it does not start, is another system or version, dies, hangs or speaks nonsense.

    Notes
    -----
    Use it in a ``with`` statement: the process ends with it.

    Examples
    --------
    >>> import sys
    >>> hello = '{"protocol": 1, "system": "toy", "version": "2"}'
    >>> with Worker([sys.executable, "-c", f"print('{hello}')"], "toy==2") as worker:
    ...     worker.system
    'toy==2'
    """

    def __init__(
        self,
        command: Sequence[str],
        system: str,
        *,
        seconds_to_load: float = SECONDS_TO_LOAD,
        seconds_to_answer: float = SECONDS_TO_ANSWER,
    ) -> None:
        self.system = system
        self._seconds = seconds_to_answer
        self.schedulers = 0
        self.python = ""
        self._open = ExitStack()
        self._errors = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._process = self._open.enter_context(self._started(command))
        try:
            self._greet(seconds_to_load)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        """Return the answer to a question of the protocol.

        Raises
        ------
        InvalidArgument
            If the system refuses a setting or a request.
        LiveFailure
            If the system or the process failed.
        """
        return accepted(self._exchange(line_of(question), seconds=self._seconds))

    def start(self, config: Config) -> dict[str, Any]:
        """Make a fresh scheduler; the one before is gone."""
        settings = self._settings_of(config)
        self.schedulers += 1
        return self.ask({"op": "start", "config": settings})

    def run(
        self,
        config: Config,
        requests: Sequence[tuple[int, FieldRequest]],
        *,
        most_steps: int,
    ) -> tuple[LiveStep, ...]:
        """Let a fresh scheduler serve requests, each added before the step of its number.

        Parameters
        ----------
        config : VllmV1Config, VllmV0Config, SglangConfig or mapping
            What the rule model of the same version is made of.
        requests : sequence of (int, FieldRequest)
            The step that each request arrives at, and the request.
        most_steps : int
            When to stop if requests are still there.

        Returns
        -------
        tuple of LiveStep
            What happened in each step, until all is done or the steps are over.
        """
        fields = [fields_of(request, step=step) for step, request in requests]
        settings = self._settings_of(config)
        self.schedulers += 1
        question = {"config": settings, "requests": fields, "most_steps": most_steps}
        return steps_of(self.ask({"op": "run", **question}))

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process.poll() is None:
            self._kill()
        # What it was still to be told cannot be told any more.
        with suppress(OSError):
            self._open.close()

    def _settings_of(self, config: Config) -> dict[str, object]:
        """Return a configuration as a dictionary, if it is for this version."""
        if dataclasses.is_dataclass(config) and not isinstance(config, type):
            settings = dataclasses.asdict(config)
        elif isinstance(config, Mapping):
            settings = dict(config)
        else:
            msg = f"config must be a configuration or a mapping, got config={config!r}."
            raise InvalidArgument(msg)
        version = self.system.partition("==")[2]
        if settings.get("version", version) != version:
            msg = f"config is for {settings['version']!r}, but the worker has {self.system}."
            raise InvalidArgument(msg)
        return settings

    def _started(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        kept = {
            name: text for name, text in os.environ.items() if not name.startswith("PYTHON")
        }
        try:
            return subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**kept, **SURROUNDINGS},
                start_new_session=True,
            )
        except OSError as error:
            self._open.close()
            msg = f"the worker for {self.system} does not start: {error}"
            raise LiveFailure(msg) from error

    def _greet(self, seconds: float) -> None:
        """Hear who the worker is, and refuse another one than was asked for."""
        said = self._exchange(b"", seconds=seconds)
        found = f"{said.get('system')}=={said.get('version')}"
        if said.get("protocol") != PROTOCOL:
            msg = f"the worker has to speak protocol {PROTOCOL}, it says {said!r}."
            raise LiveFailure(msg)
        if found != self.system:
            msg = f"the worker has to be {self.system}, it says that it is {found}."
            raise LiveFailure(msg)
        self.python = str(said.get("python"))

    def _exchange(self, line: bytes, *, seconds: float) -> dict[str, Any]:
        """Send a line and return the answer; without a good one, nothing is left to ask."""
        if self._process.poll() is not None:
            raise LiveFailure(self._obituary("died"))
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            self._kill()

        alarm = threading.Timer(seconds, end)
        alarm.daemon = True
        alarm.start()
        try:
            found = self._line_after(line)
            if found.endswith(b"\n"):
                return answer_of(found)
        except BaseException:
            self._kill()
            self._process.wait()
            raise
        finally:
            alarm.cancel()
        self._kill()
        self._process.wait()
        fate = f"did not answer within {seconds:g} s" if is_late.is_set() else "died"
        raise LiveFailure(self._obituary(fate))

    def _line_after(self, line: bytes) -> bytes:
        """Send a line and return the next one that comes; empty if none can come."""
        try:
            self._stream(self._process.stdin).write(line)
            self._stream(self._process.stdin).flush()
            return bytes(self._stream(self._process.stdout).readline())
        except OSError:
            return b""

    def _kill(self) -> None:
        # Its children hold the pipe open, too.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _obituary(self, fate: str) -> str:
        """Return what happened to the process, with the last line that it complained."""
        if self._errors.closed:
            return f"the worker for {self.system} was closed."
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"the worker for {self.system} {fate}. Its last words: {said[-1:] or 'none'}"

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream


def command_for(driver: Path, *, python: str, path: Sequence[str]) -> list[str]:
    """Return what starts a worker with a driver: nothing of this interpreter comes along."""
    loop = Path(__file__).with_name("_workers") / "_loop.py"
    return [python, "-s", "-P", str(loop), str(driver), *path]
