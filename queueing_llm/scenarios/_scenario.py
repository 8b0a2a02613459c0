"""What a scenario file describes."""

from dataclasses import dataclass
from typing import final

from queueing_llm.model import Engine, Workload
from queueing_llm.scenarios._measured import MeasuredSystem


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
    served_by : Engine or MeasuredSystem
        The engine, or the system on a GPU whose measurements it is made of when it is asked
        for.
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
    served_by: Engine | MeasuredSystem
    workload: Workload
    trace: str = ""

    @property
    def engine(self) -> Engine:
        """The engine; that of a measured system needs the extra ``gpu-data``."""
        if isinstance(self.served_by, MeasuredSystem):
            return self.served_by.engine(self.workload)
        return self.served_by

    @property
    def measured(self) -> MeasuredSystem | None:
        """The system on a GPU that the engine is made of; None if its law is given."""
        return self.served_by if isinstance(self.served_by, MeasuredSystem) else None
