"""Workloads that stand for public traces, packaged as small tables."""

import importlib.resources
import json
from dataclasses import dataclass
from typing import Any, final

from queueing_llm._validate import Rate, Real, check
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import (
    AbstractArrivals,
    BatchArrivals,
    DeterministicArrivals,
    EmpiricalLength,
    EmpiricalLengths,
    PoissonArrivals,
    RenewalArrivals,
    Workload,
)
from queueing_llm.traces._facts import LengthFacts, TraceFacts


@final
@dataclass(frozen=True, slots=True)
class Preset:
    """A public trace, reduced to facts and to a law of lengths and of arrivals.

    Parameters
    ----------
    name : str
        What the preset is called.
    source, licence, citation : str
        Where the trace comes from, its terms, and whom to credit.
    changes : str
        What was done to the trace, and what the preset therefore does not reproduce.
    rows : int
        Requests in the trace.
    facts : TraceFacts
        Computed from the trace itself, not from the tables.
    lengths : EmpiricalLengths
        Joint table of prompt and output tokens, weighted by requests. Its means are within
        0.1 % of those of the trace and its second moments within 1 %.
    arrivals : AbstractArrivals or None
        Arrivals with the rate of the trace; None if it recorded lengths only.

    Examples
    --------
    >>> from queueing_llm.traces import preset
    >>> preset("azure-conv-2023").rows
    19366
    """

    name: str
    source: str
    licence: str
    citation: str
    changes: str
    rows: int
    facts: TraceFacts
    lengths: EmpiricalLengths
    arrivals: AbstractArrivals | None

    def workload(self, arrival_rate: Real | None = None) -> Workload:
        r"""Return the workload that the preset stands for.

        Parameters
        ----------
        arrival_rate : Real or None
            :math:`\lambda` [requests/s] to stretch time to; None keeps that of the trace. A
            preset without recorded arrivals needs a rate and is Poisson.

        Returns
        -------
        Workload
            One class of requests.

        Raises
        ------
        InvalidArgument
            If the rate is not positive, or needed and not given.

        Examples
        --------
        >>> from queueing_llm.traces import preset
        >>> preset("mooncake-conversation").workload(2).arrival_rate
        Fraction(2, 1)
        """
        if arrival_rate is not None:
            check(arrival_rate, "arrival_rate", Rate)
        if self.arrivals is not None:
            recorded = Workload.of(self.arrivals, self.lengths)
            return recorded if arrival_rate is None else recorded.scale_to(arrival_rate)
        if arrival_rate is None:
            msg = (
                f"preset {self.name!r} has no arrival times: arrival_rate must be a number "
                "above 0 [requests/s], got arrival_rate=None."
            )
            raise InvalidArgument(msg)
        return Workload.of(PoissonArrivals(arrival_rate), self.lengths)


def preset_names() -> tuple[str, ...]:
    """Return the names of the packaged presets, sorted.

    Examples
    --------
    >>> len(preset_names())
    4
    """
    files = importlib.resources.files("queueing_llm.traces").joinpath("presets").iterdir()
    return tuple(
        sorted(f.name.removesuffix(".json") for f in files if f.name.endswith(".json"))
    )


def preset(name: str) -> Preset:
    """Return the packaged preset of that name.

    Parameters
    ----------
    name : str
        One of :func:`preset_names`.

    Returns
    -------
    Preset
        Provenance, facts and laws.

    Raises
    ------
    InvalidArgument
        If there is no such preset.

    Examples
    --------
    >>> round(preset("azure-conv-2023").facts.prompt.mean)
    1155
    """
    if name not in preset_names():
        msg = f"name must be that of a preset, got name={name!r}; "
        msg += nearest(str(name), preset_names()) + "."
        raise InvalidArgument(msg)
    folder = importlib.resources.files("queueing_llm.traces").joinpath("presets")
    fields = json.loads(folder.joinpath(f"{name}.json").read_text(encoding="utf-8"))
    facts = fields["facts"]
    lengths = {key: LengthFacts(**facts[key]) for key in ("prompt", "output")}
    return Preset(
        **{
            **fields,
            "facts": TraceFacts(**{**facts, **lengths}),
            "lengths": EmpiricalLengths(**fields["lengths"]),
            "arrivals": _arrivals(fields["arrivals"]),
        }
    )


def _arrivals(table: dict[str, Any] | None) -> AbstractArrivals | None:
    """Return the arrival process that a table of gaps or of batch sizes describes."""
    if table is None:
        return None
    if "gaps" in table:
        return RenewalArrivals(table["gaps"], table["weights"])
    ticks = DeterministicArrivals.every(table["interval"], first=0)
    return BatchArrivals(ticks, EmpiricalLength(table["sizes"], table["weights"]))
