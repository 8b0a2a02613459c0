"""The tables of a scenario file: which keys there are, and which are needed.

Keys are checked here; the domains of their values are those that the model declares.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr


class Table(BaseModel):
    """A table that has the declared keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class EngineTable(Table):
    """``[engine]``: the fields of :class:`~queueing_llm.model.Engine`.

    Without ``token_budget`` only a measured engine is complete, whose backend has one.
    """

    step_time: dict[str, Any]
    token_budget: Any = None
    max_batch_size: Any = None
    kv_capacity: Any = None
    kv_block_size: Any = 1
    first_token_from_prefill: StrictBool = False


class ClassTable(Table):
    """``[[workload.classes]]``: one class of requests."""

    name: StrictStr
    prompt_tokens: Any
    output_tokens: Any
    share: Any = 1


class WorkloadTable(Table):
    """``[workload]``: a trace, or arrivals or users, and lengths."""

    arrival_rate: Any = None
    users: Any = None
    think_time: Any = None
    think_scv: Any = None
    ramp: Any = None
    arrivals: dict[str, Any] | None = None
    prompt_tokens: Any = None
    output_tokens: Any = None
    classes: list[ClassTable] | None = None
    trace: StrictStr | None = None
    trace_format: StrictStr | None = None
    skip_bad_rows: StrictBool = False
    scale: Any = 1


class ScenarioTable(Table):
    """A whole file."""

    name: StrictStr | None = None
    description: StrictStr = ""
    source: StrictStr = ""
    engine: EngineTable
    workload: WorkloadTable


TABLES: dict[str, type[Table]] = {
    "": ScenarioTable,
    "engine": EngineTable,
    "workload": WorkloadTable,
    "workload.classes": ClassTable,
}
"""The declaration of each table, by its path."""
