"""GuideLLM sweeps: what was measured, what was asked for, and the law that low rates tell.

One row is one run of the benchmark: requests one at a time (``synchronous``), evenly spaced
(``constant``), or 512 at any time (``throughput``). It counts the requests that were finished
within its window. Their rate is that of the finished ones between the first arrival and the
last answer, and their concurrency is that rate times their mean latency.
"""

import csv
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting import StepSamples, fit_step_time
from queueing_llm.model import Requests
from queueing_llm.steptime import AffineStepTime

USERS = 512
"""Requests at any time in a ``throughput`` run, and most in any other."""
FEWEST_REQUESTS = 50
"""Of a synchronous run whose time to first token is used, if enough runs have them."""
KINDS = ("synchronous", "constant", "throughput")
_COLUMNS = frozenset(
    [
        "i",
        "o",
        "name",
        "target",
        "dur",
        "n",
        "incomplete",
        "errored",
        "rps",
        "lat_s",
        "ttft_ms",
        "itl_ms",
        "pin",
        "pout",
    ]
)
SEEDS = (42, 43)
"""With which the benchmark draws prompts and outputs."""


@final
@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of the benchmark; times in seconds.

    Parameters
    ----------
    prompt_tokens, output_tokens : int
        Mean lengths asked for [tokens].
    kind : str
        ``synchronous``, ``constant`` or ``throughput``.
    target : float
        Requests offered per second; nan unless ``constant``.
    duration : float
        Length of the window [s].
    completed, incomplete, errored : int
        Requests.
    rate : float
        Requests completed per second.
    latency, ttft, tpot : float
        Means of the completed requests [s].
    mean_prompt, mean_output : float
        Mean lengths of the completed requests [tokens].
    """

    prompt_tokens: int
    output_tokens: int
    kind: str
    target: float
    duration: float
    completed: int
    incomplete: int
    errored: int
    rate: float
    latency: float
    ttft: float
    tpot: float
    mean_prompt: float
    mean_output: float

    @classmethod
    def of(cls, row: Mapping[str, str]) -> "SweepRun":
        """Return the run of one line of the file."""
        _, _, target = row["target"].partition("@")
        return cls(
            prompt_tokens=int(row["i"]),
            output_tokens=int(row["o"]),
            kind=row["name"],
            target=float(target or "nan"),
            duration=float(row["dur"]),
            completed=int(row["n"]),
            incomplete=int(row["incomplete"]),
            errored=int(row["errored"]),
            rate=float(row["rps"] or 0),
            latency=float(row["lat_s"] or "nan"),
            ttft=float(row["ttft_ms"] or "nan") / 1000,
            tpot=float(row["itl_ms"] or "nan") / 1000,
            mean_prompt=float(row["pin"] or "nan"),
            mean_output=float(row["pout"] or "nan"),
        )

    @property
    def workload(self) -> str:
        """The lengths, for tables."""
        return f"{self.prompt_tokens}/{self.output_tokens}"

    @property
    def concurrency(self) -> float:
        """Mean number of the completed requests in the system, as the benchmark counts."""
        return self.rate * self.latency

    @property
    def is_dirty(self) -> bool:
        """Whether requests failed or a mean is impossible."""
        means = (self.ttft, self.tpot, self.latency)
        return self.errored > 0 or not all(mean > 0 for mean in means)

    @property
    def has_sound_rate(self) -> bool:
        """Whether the rate and the time per token can be compared."""
        return self.errored == 0 and self.rate > 0

    @property
    def streamed_tokens(self) -> float:
        """Output tokens of completed requests per second."""
        return self.rate * self.mean_output


def read_sweeps(path: Path) -> tuple[SweepRun, ...]:
    """Read the runs in the order of the file; those of other :data:`KINDS` are left out.

    Raises
    ------
    InvalidArgument
        If a column is missing, or a cell is not a number.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = sorted(_COLUMNS - set(reader.fieldnames or ()))
        if missing:
            msg = (
                f"{path.name} must have the columns of a sweep; it lacks {', '.join(missing)}."
            )
            raise InvalidArgument(msg)
        try:
            return tuple(SweepRun.of(row) for row in reader if row["name"] in KINDS)
        except ValueError as error:
            msg = f"{path.name}, line {reader.line_num}: {error}."
            raise InvalidArgument(msg) from error


def by_workload(runs: Iterable[SweepRun]) -> dict[str, list[SweepRun]]:
    """Return the runs of each workload, those with a rate last and in its order."""
    found: dict[str, list[SweepRun]] = {}
    for run in sorted(runs, key=_place):
        found.setdefault(run.workload, []).append(run)
    return found


def _place(run: SweepRun) -> tuple[float, ...]:
    rate = run.target if run.kind == "constant" else 0.0
    return run.prompt_tokens, run.output_tokens, rate


def low_rate_runs(runs: Iterable[SweepRun]) -> list[SweepRun]:
    """Return what a law may be fitted to: synchronous runs and the lower half of the rates.

    The rule looks at the offered rates only, and was fixed before any prediction was made.
    """
    chosen = []
    for group in by_workload(runs).values():
        constant = [run for run in group if run.kind == "constant"]
        chosen += [run for run in group if run.kind == "synchronous"]
        chosen += constant[: len(constant) // 2]
    return [run for run in chosen if not run.is_dirty]


def drawn_requests(
    prompt_tokens: int, output_tokens: int, *, count: int, rate: float | None = None
) -> Requests:
    """Return the requests that the benchmark sends.

    GuideLLM draws lengths uniformly from half to three halves of their mean when no standard
    deviation is given, prompts and outputs each with its own seed;
    :func:`draws_repeated` checks this against what was measured.

    Parameters
    ----------
    prompt_tokens, output_tokens : int
        Means [tokens].
    count : int
        How many.
    rate : float or None
        Evenly spaced arrivals [requests/s]; None: all at time 0.
    """
    prompt, output = (
        _uniform(mean, count=count, seed=seed)
        for mean, seed in zip((prompt_tokens, output_tokens), SEEDS, strict=True)
    )
    times = np.zeros(count) if rate is None else np.arange(count) / rate
    return Requests(times, prompt, output, np.zeros(count, dtype=np.int64))


@final
@dataclass(frozen=True, slots=True)
class FittedServer:
    """What low rates tell of a server.

    Parameters
    ----------
    step_time : AffineStepTime
        The law of a step.
    request_time : float
        What a request spends outside the engine: client, network, tokeniser [s].
    samples : int
        Batches that the law was fitted to.
    mean_error, worst_error : float
        Relative errors of the law there [1].
    """

    step_time: AffineStepTime
    request_time: float
    samples: int
    mean_error: float
    worst_error: float


def fitted_server(
    runs: Sequence[SweepRun], *, request_time: float | None = None
) -> FittedServer:
    r"""Fit :math:`t = c + \beta (x + y) + \gamma K` to runs at low rates.

    Parameters
    ----------
    runs : sequence of SweepRun
        Such as :func:`low_rate_runs` returns.
    request_time : float or None
        Seconds of a request outside the engine, if known already.

    Notes
    -----
    A mean time per output token is the mean step seen by decodes. A step prefills what
    arrives in it, except in synchronous runs, where nobody decodes while a prompt is
    prefilled: their time to first token is the step of a lone prompt, and what is outside the
    engine. That is the intercept of this time over prompt lengths, less that of the steps
    seen by decodes; with prompts of one length it is not told and taken as 0.
    """
    alone = [r for r in runs if r.kind == "synchronous" and r.completed >= FEWEST_REQUESTS]
    decodes = [_mean_step(run) for run in runs]
    if request_time is None:
        if len({run.prompt_tokens for run in alone}) < 2:
            alone = [run for run in runs if run.kind == "synchronous"]
        told = len({run.prompt_tokens for run in alone}) > 1
        outside = _intercept(alone) - float(_fitted(decodes)[0].base) if told else 0.0
        request_time = max(0.0, outside)
    prompts = [(run.mean_prompt, 0.0, 0.0, run.ttft - request_time) for run in alone]
    law, errors = _fitted([*decodes, *prompts])
    return FittedServer(
        law, request_time, len(errors), float(errors.mean()), float(errors.max())
    )


def draws_repeated(runs: Iterable[SweepRun]) -> tuple[int, int]:
    """Return of how many synchronous runs the drawn outputs have the measured mean, and all."""
    alone = [run for run in runs if run.kind == "synchronous" and run.completed > 0]
    drawn = (
        drawn_requests(run.prompt_tokens, run.output_tokens, count=run.completed)
        for run in alone
    )
    same = [
        bool(np.isclose(each.output_tokens.mean(), run.mean_output, rtol=1e-9))
        for run, each in zip(alone, drawn, strict=True)
    ]
    return sum(same), len(same)


def _fitted(steps: Sequence[tuple[float, ...]]) -> tuple[AffineStepTime, np.ndarray]:
    """Return the affine law of mean steps, and its absolute relative errors there."""
    prefill, decode, kv, seconds = np.array(steps).T
    samples = StepSamples(prefill, decode, kv, seconds, source="GuideLLM at low rates")
    law = fit_step_time(samples, law="affine", objective="relative", resamples=100).step_time
    assert isinstance(law, AffineStepTime)
    return law, np.abs(np.asarray(law(prefill, decode, kv)) / seconds - 1)


def _mean_step(run: SweepRun) -> tuple[float, float, float, float]:
    context = run.mean_prompt + run.mean_output / 2
    if run.kind == "synchronous":
        return 0.0, 1.0, context, run.tpot
    decodes = run.rate * (run.mean_output - 1) * run.tpot
    return run.rate * run.mean_prompt * run.tpot, decodes, decodes * context, run.tpot


def _intercept(runs: Sequence[SweepRun]) -> float:
    """Return the time to first token of no prompt, by least relative squares."""
    columns = np.array([(1 / run.ttft, run.mean_prompt / run.ttft) for run in runs])
    return float(np.linalg.lstsq(columns, np.ones(len(runs)), rcond=None)[0][0])


def _uniform(mean: int, *, count: int, seed: int) -> np.ndarray:
    rng = random.Random(seed)
    least, most = shortest_and_longest(mean)
    return np.array([rng.randint(least, most) for _ in range(count)])


def shortest_and_longest(mean: int) -> tuple[int, int]:
    """Return the limits of lengths that are drawn around a mean [tokens]."""
    return max(1, mean // 2), mean + mean // 2
