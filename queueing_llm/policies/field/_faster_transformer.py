"""FasterTransformer behind a server of its day: a batch is formed once and runs to its end.

Read in the literature, not driven: no recorded decisions stand behind this module.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal, TypeAlias, final

from queueing_llm._validate import Domain, validate
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies.field._field_jobs import Door, Job, Requests, computed, step_of
from queueing_llm.policies.field._scheduler import AbstractScheduler, FieldRequest, FieldStep

FINISHED_ROWS = ("stay", "drop")
TokensOrNone: TypeAlias = Annotated[
    int | None, Domain("M", "tokens", at_least=1, integer=True, optional=True)
]


@final
@dataclass(frozen=True, slots=True)
class FasterTransformerConfig:
    """What decides the batches of FasterTransformer.

    Parameters
    ----------
    max_batch_size : int
        Most rows of a batch [requests].
    kv_tokens : int or None
        Tokens that the KV cache holds; None: enough. A row of a batch takes the longest
        prompt and the longest promised output of the batch, whatever its own are.
    finished_rows : {"stay", "drop"}
        Whether the row of a finished request is computed on until the batch ends, as by the
        original, or left out, as in the systems that took over its name.

    Raises
    ------
    InvalidArgument
        If a setting lies outside its domain.

    Examples
    --------
    >>> FasterTransformerConfig(8).finished_rows
    'stay'
    """

    max_batch_size: Requests
    _: KW_ONLY
    kv_tokens: TokensOrNone = None
    finished_rows: Literal["stay", "drop"] = "stay"

    def __post_init__(self) -> None:
        validate(self)
        if self.finished_rows not in FINISHED_ROWS:
            hint = nearest(str(self.finished_rows), FINISHED_ROWS)
            msg = f"finished_rows={self.finished_rows!r} is unknown: {hint}."
            raise InvalidArgument(msg)


@final
class FasterTransformerScheduler(AbstractScheduler):
    """The batches of FasterTransformer: nobody joins until the last row is done.

    Parameters
    ----------
    config : FasterTransformerConfig
        Its settings.

    Notes
    -----
    A step costs more than the tokens that it reports. Every row takes as many as the longest
    of them: prompts are padded, and with ``finished_rows="stay"`` finished requests go on.
    :attr:`padding` counts what is computed for nobody, :attr:`rows` the rows. A request is
    reported as finished with its last token, although a server answers when the batch ends.

    That a batch takes the oldest requests whose padded rows fit into the KV cache is our
    reading: operators chose ``max_batch_size`` so that the longest ones fit.

    Source: FasterTransformer as the Orca paper (OSDI 2022) and arXiv:2504.07347 describe it.

    Examples
    --------
    >>> engine = FasterTransformerScheduler(FasterTransformerConfig(8))
    >>> engine.add(FieldRequest("a", prompt_tokens=60, output_tokens=3))
    >>> engine.add(FieldRequest("b", prompt_tokens=20, output_tokens=2))
    >>> [(dict(engine.step().tokens), engine.padding) for _ in range(3)]
    [({'a': 60, 'b': 20}, 40), ({'a': 1, 'b': 1}, 0), ({'a': 1}, 1)]
    """

    def __init__(self, config: FasterTransformerConfig) -> None:
        self._config = config
        self._door = Door()
        self._waiting: list[Job] = []
        self._rows: list[Job] = []
        self._rows_of_step = 0
        self._padding = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running."""
        return not (self._rows or self._waiting)

    @property
    def running(self) -> tuple[str, ...]:
        """Requests whose rows the batch still has, finished ones among them if they stay."""
        return tuple(job.name for job in self._rows)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Requests that wait, next one first."""
        return tuple(job.name for job in self._waiting)

    @property
    def rows(self) -> int:
        """Rows that the last step computed [requests]."""
        return self._rows_of_step

    @property
    def padding(self) -> int:
        """Tokens that the last step computed besides those of requests [tokens]."""
        return self._padding

    def add(self, request: FieldRequest) -> None:
        """Let a request arrive."""
        most_tokens = self._config.kv_tokens or 2**62
        self._waiting.append(
            self._door.admit(request, most_tokens=most_tokens, limit="kv_tokens")
        )

    def step(self) -> FieldStep:
        """Run the batch one step further, or form one, and return what happened."""
        if not self._rows:
            self._rows = self._formed()
            self._waiting = self._waiting[len(self._rows) :]
        batch = {job: job.prompt_left or 1 for job in self._rows if not job.is_done}
        self._rows_of_step = len(self._rows)
        widest = max(batch.values(), default=0)
        self._padding = self._rows_of_step * widest - sum(batch.values())
        done = computed(batch)
        left = [job for job in self._rows if not job.is_done]
        if not left or self._config.finished_rows == "drop":
            self._rows = left
        return step_of(batch, finished=done)

    def _formed(self) -> list[Job]:
        """Return the oldest that fit in one batch."""
        rows: list[Job] = []
        prompt = output = 0
        for job in self._waiting[: self._config.max_batch_size]:
            prompt, output = max(prompt, job.prompt), max(output, job.most_output)
            padded = (len(rows) + 1) * (prompt + output)
            if self._config.kv_tokens is not None and padded > self._config.kv_tokens:
                break
            rows.append(job)
        return rows
