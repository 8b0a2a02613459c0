"""Read GuideLLM sweeps, one run at a steady load per row, as mean operating points.

The columns are those of llm-inferno/model-trainer @ 047f0ae0, one row per run of GuideLLM.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from queueing_llm._validate import Domain, Tokens, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.fitting._read_table import MeasuredTable, csv_table, short_name
from queueing_llm.fitting._samples import StepSamples

RUNS = ("synchronous", "constant", "throughput")
"""One request at a time; evenly spaced arrivals; all at once."""

_ANY = Domain("v", "1")
_ABOVE = Domain("v", "1", above=0)
_COUNT = Domain("n", "1", at_least=0, integer=True)
_LOAD = Domain("rho", "1", above=0, at_most=1)


def read_guidellm(
    file: Path,
    *,
    runs: str | Sequence[str] = ("synchronous", "constant"),
    most_load: float = 1.0,
    prompt_tokens: int | None = None,
    output_tokens: int | None = None,
) -> StepSamples:
    r"""Return the mean step of each run, seen by its decodes.

    With :math:`N` the mean concurrency, a step takes the inter-token latency, decodes
    :math:`N` tokens, reads :math:`N (p + d / 2)` KV tokens and prefills the :math:`p` tokens
    of each request that completes in it. Runs with errors or impossible times are left out,
    and counted in the source.

    Parameters
    ----------
    file : Path
        The sweeps.
    runs : str or sequence of str
        Names of the runs to read, among ``synchronous``, ``constant`` and ``throughput``.
    most_load : float
        Largest request rate, as a share of that of the ``throughput`` run of the same
        requested lengths.
    prompt_tokens, output_tokens : int, optional
        Requested lengths of the runs to read; by default any.
    """
    table = csv_table(file)
    names = (runs,) if isinstance(runs, str) else tuple(runs)
    for name in names:
        if name not in RUNS:
            msg = f"runs must be names of runs, got {name!r}; {nearest(str(name), RUNS)}."
            raise InvalidArgument(msg)
    _LOAD.check("most_load", most_load)
    wanted = np.isin(table.text("name"), names) & _lengths(table, prompt_tokens, output_tokens)
    sound = _sound(table)
    chosen = wanted & sound & _below(table, float(most_load))
    if not chosen.any():
        msg = (
            f"{file} has no sound run with runs={names!r}, most_load={most_load!r}, "
            f"prompt_tokens={prompt_tokens!r}, output_tokens={output_tokens!r}; its lengths "
            f"are {_known(table)}."
        )
        raise InvalidArgument(msg)
    left_out = int((wanted & ~sound).sum())
    about = f"{short_name(file)}, guidellm, {int(chosen.sum())} of {len(table)} runs"
    about += f", {left_out} with errors left out" if left_out else ""
    return _samples(table.where(chosen), about)


def _samples(table: MeasuredTable, about: str) -> StepSamples:
    users, rate, prompt, output = (
        table.numbers(column, _ABOVE) for column in ("conc", "rps", "pin", "pout")
    )
    step = 1e-3 * table.numbers("itl_ms", Domain("t", "ms", above=0))
    kv = users * (prompt + output / 2)
    return StepSamples(rate * prompt * step, users, kv, step, about)


def _sound(table: MeasuredTable) -> np.ndarray:
    """Return which runs had no failed request and no impossible time."""
    times = [table.numbers(c, _ANY) > 0 for c in ("ttft_ms", "itl_ms", "otps", "conc", "rps")]
    errors = table.numbers("errored", _COUNT) == 0
    return np.asarray(np.all([*times, errors], axis=0))


def _below(table: MeasuredTable, most_load: float) -> np.ndarray:
    """Return which runs offer at most a share of the rate of their saturated run."""
    if most_load == 1.0:
        return np.ones(len(table), dtype=bool)
    rates = table.numbers("rps", _ABOVE)
    kinds = list(zip(table.text("i"), table.text("o"), strict=True))
    saturated = np.array(table.text("name")) == "throughput"
    largest: dict[tuple[str, str], float] = {}
    for kind, rate, full in zip(kinds, rates, saturated, strict=True):
        if full:
            largest[kind] = max(rate, largest.get(kind, 0.0))
    missing = sorted({kind for kind in kinds if kind not in largest})
    if missing:
        msg = (
            f"{table.file} has no throughput run for lengths {'/'.join(missing[0])}, which "
            f"most_load={most_load!r} is measured against; accepted without: most_load=1."
        )
        raise InvalidArgument(msg)
    return rates <= most_load * np.array([largest[kind] for kind in kinds])


def _lengths(table: MeasuredTable, prompt: int | None, output: int | None) -> np.ndarray:
    chosen = np.ones(len(table), dtype=bool)
    for column, wanted in (("i", prompt), ("o", output)):
        if wanted is not None:
            check(wanted, f"{'prompt' if column == 'i' else 'output'}_tokens", Tokens)
            chosen &= table.numbers(column, _COUNT) == wanted
    return chosen


def _known(table: MeasuredTable) -> str:
    lengths = (table.numbers(column, _COUNT).tolist() for column in ("i", "o"))
    pairs = sorted(set(zip(*lengths, strict=True)))
    return ", ".join(f"{i:g}/{o:g}" for i, o in pairs)
