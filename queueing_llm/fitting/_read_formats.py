"""Which sources of measured steps are read, and how each is recognised.

A new format is one more entry of :data:`STEP_FORMATS`.
"""

import inspect
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.fitting._read_guidellm import read_guidellm
from queueing_llm.fitting._read_logs import read_sglang, read_tensorrt_llm, read_vllm_log
from queueing_llm.fitting._read_plain import COUNTS, TIMES, read_plain
from queueing_llm.fitting._read_profile import FILES, read_profile
from queueing_llm.fitting._read_run import read_run
from queueing_llm.fitting._read_splitwise import read_splitwise
from queueing_llm.fitting._read_table import files_of, text_of
from queueing_llm.fitting._read_vidur import read_vidur
from queueing_llm.fitting._samples import StepSamples

Reader = Callable[..., StepSamples]


@final
@dataclass(frozen=True, slots=True)
class StepFormat:
    """How a source of measured steps is recognised and read.

    Parameters
    ----------
    what : str
        What the source is, for people.
    reader : callable
        From the path and what is selected to the samples.
    files : tuple of str
        Files that a folder of this format has; empty if the format is a file.
    columns : tuple of tuple of str
        Alternatives; a table that has all columns of one is of this format.
    phrases : tuple of str
        What a log of this format contains.

    Examples
    --------
    >>> from queueing_llm.fitting import STEP_FORMATS
    >>> STEP_FORMATS["vidur"].selections
    ('tensor_parallel', 'layers', 'all_reduce')
    """

    what: str
    reader: Reader
    files: tuple[str, ...] = ()
    columns: tuple[tuple[str, ...], ...] = ()
    phrases: tuple[str, ...] = ()

    @property
    def selections(self) -> tuple[str, ...]:
        """What can be selected: the keyword arguments of the reader."""
        return tuple(inspect.signature(self.reader).parameters)[1:]

    @property
    def needed(self) -> tuple[str, ...]:
        """What must be selected: the keyword arguments without a default."""
        parameters = inspect.signature(self.reader).parameters
        return tuple(
            k for k in self.selections if parameters[k].default is inspect.Parameter.empty
        )


def _profile_samples(
    folder: Path, *, layers: int, prompt_tokens: int = 1024, kv_capacity: int | None = None
) -> StepSamples:
    profile = read_profile(folder, layers=layers, prompt_tokens=prompt_tokens)
    return profile.samples(kv_capacity=kv_capacity)


STEP_FORMATS: Mapping[str, StepFormat] = {
    "guidellm": StepFormat(
        "GuideLLM sweeps of a server, one run a row",
        read_guidellm,
        columns=(("name", "rps", "conc", "itl_ms", "pin", "pout"),),
    ),
    "profile": StepFormat("a folder of vLLM operator times", _profile_samples, files=FILES),
    "run": StepFormat(
        "a folder of a recorded vLLM run", read_run, files=("requests.jsonl", "timeseries.csv")
    ),
    "sglang": StepFormat("the log of an SGLang server", read_sglang, phrases=("Decode batch",)),
    "splitwise": StepFormat(
        "Splitwise's perf_model.csv",
        read_splitwise,
        columns=(("model", "hardware", "tensor_parallel", "prompt_time", "token_time"),),
    ),
    "table": StepFormat(
        "columns of tokens and seconds, CSV or JSON lines",
        read_plain,
        columns=tuple(itertools.product(COUNTS, TIMES)),
    ),
    "tensorrt-llm": StepFormat(
        "the iteration log of TensorRT-LLM",
        read_tensorrt_llm,
        phrases=("prev_device_step_time", "num_generation_tokens"),
    ),
    "vidur": StepFormat(
        "vidur's mlp.csv of a model on a GPU",
        read_vidur,
        columns=(("num_tokens", "num_tensor_parallel_workers", "time_stats.add.median"),),
    ),
    "vllm-log": StepFormat(
        "the log of a vLLM server", read_vllm_log, phrases=("Avg generation throughput",)
    ),
}
"""The formats that are read, by name."""


def known_name(format: object) -> str:
    """Return the name of a format, or raise if there is none of that name."""
    if not isinstance(format, str) or format not in STEP_FORMATS:
        msg = f"format must be a known one, got {format!r}; "
        msg += nearest(str(format), STEP_FORMATS) + "."
        raise InvalidArgument(msg)
    return format


def require_marks(place: Path, name: str) -> None:
    """Raise unless a place is what a format is read from."""
    known = STEP_FORMATS[name]
    kinds = ("a file", "a folder")
    if place.is_dir() != bool(known.files):
        msg = f"format {name!r} is {kinds[bool(known.files)]}, "
        msg += f"and {place} is {kinds[place.is_dir()]}."
        raise InvalidArgument(msg)
    if not _is_of(known, *_contents(place)):
        alternatives = (known.files, known.phrases, *known.columns)
        marks = " or ".join(", ".join(marks) for marks in alternatives if marks)
        msg = f"{place} is not {known.what} (format {name!r}), which has {marks}."
        raise InvalidArgument(msg)


def detected_name(place: Path) -> str:
    """Return the name of the one format that a folder, a table or a log is of."""
    names, text = _contents(place)
    found = [name for name, known in STEP_FORMATS.items() if _is_of(known, names, text)]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(json.dumps(name[:30]) for name in sorted(names)[:8])
    formats = "; ".join(f"{name} ({known.what})" for name, known in STEP_FORMATS.items())
    which = f"could be of the formats {found}" if found else "is of no known format"
    msg = f"{place} {which}, with {shown or 'nothing in it'}. Accepted: {formats}."
    raise InvalidArgument(msg)


def _contents(place: Path) -> tuple[set[str], str]:
    """Return the files of a folder, or the columns of a table, and the text if it is a file."""
    if place.is_dir():
        return files_of(place), ""
    text = text_of(place)
    return _columns(text.lstrip().partition("\n")[0]), text


def _is_of(known: StepFormat, names: set[str], text: str) -> bool:
    """Whether a source with these files or columns, or this text, is of a format."""
    return (
        (bool(known.files) and not text and names.issuperset(known.files))
        or (bool(text) and any(names.issuperset(columns) for columns in known.columns))
        or (bool(known.phrases) and all(phrase in text for phrase in known.phrases))
    )


def _columns(line: str) -> set[str]:
    """Return the columns that the first line of a table names."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        return set(record)
    return {name.strip().strip('"') for name in line.split(",")}
