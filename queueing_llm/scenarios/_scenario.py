"""What a scenario file describes."""

from dataclasses import dataclass
from typing import final

from queueing_llm.model import Engine, Workload


@final
@dataclass(frozen=True, slots=True)
class Scenario:
    """An engine and the workload it is to serve, with a name and a source.

    Parameters
    ----------
    name : str
        What tables and plots call it.
    description : str
        What it is, in a sentence.
    source : str
        Where its numbers come from.
    engine : Engine
        The engine.
    workload : Workload
        What arrives.
    trace : str
        What recording the workload is, empty if it is none.

    Examples
    --------
    >>> from queueing_llm.scenarios import load_scenario
    >>> load_scenario("codellama34b-a100").workload.arrival_rate
    Fraction(52, 5)
    """

    name: str
    description: str
    source: str
    engine: Engine
    workload: Workload
    trace: str = ""
