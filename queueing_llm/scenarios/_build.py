"""From the tables of a file to the engine and the workload of the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from queueing_llm._validate import Rate, Real, Tokens, TokensOrZero, check
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    AbstractArrivals,
    AbstractLength,
    BatchArrivals,
    ClosedArrivals,
    DeterministicArrivals,
    DeterministicLength,
    Engine,
    IndependentLengths,
    RequestClass,
    Workload,
)
from queueing_llm.scenarios._change import change_workload
from queueing_llm.scenarios._laws import (
    LENGTHS,
    PROCESSES,
    STEP_TIMES,
    constructed,
    named_law,
)
from queueing_llm.scenarios._measured import MeasuredSystem
from queueing_llm.scenarios._schema import ClassTable, EngineTable, WorkloadTable
from queueing_llm.scenarios._sources import Recording, read_recording

CLOSED = ("users", "think_time", "think_scv", "ramp")


def engine_of(table: EngineTable) -> Engine | MeasuredSystem:
    """Return the engine that ``[engine]`` describes, or the system on a GPU that it names."""
    where = "engine.step_time"
    laws = {**STEP_TIMES, "measured": MeasuredSystem}
    law, values = named_law(table.step_time, laws, word="law", where=where)
    limits = table.model_dump(exclude={"step_time"}, exclude_unset=True)
    if law is MeasuredSystem:
        return _measured(values, limits, where=where)
    if table.token_budget is None:
        msg = "[engine] needs the key 'token_budget'."
        raise InvalidArgument(msg)
    step_time = constructed(law, values, where=where)
    return constructed(Engine, {**limits, "step_time": step_time}, where="engine")


def _measured(
    values: Mapping[str, Any], limits: Mapping[str, Any], *, where: str
) -> MeasuredSystem:
    if limits.get("first_token_from_prefill", True) is not True:
        msg = (
            "engine.first_token_from_prefill is False, but engines on GPUs yield the first "
            "token from the prefill: leave the key out."
        )
        raise InvalidArgument(msg)
    named = {key: limits[key] for key in limits if key != "first_token_from_prefill"}
    for key in named:
        if key in values:
            msg = f"{where} has no key {key!r}: it belongs to [engine]."
            raise InvalidArgument(msg)
    return constructed(MeasuredSystem, {**values, **named}, where=where)


def workload_of(table: WorkloadTable, *, folder: Path | None) -> Recording:
    """Return the workload that ``[workload]`` describes; paths are relative to ``folder``.

    The description is empty for a workload that is not recorded.
    """
    if table.trace is not None:
        _refuse(table, "trace", ("arrivals", "prompt_tokens", "output_tokens", "classes"))
        if _closed(table) is not None:
            msg = (
                "workload has both 'trace' and 'users': keep one of them; the option --users "
                "replaces the arrivals of a trace."
            )
            raise InvalidArgument(msg)
        return read_recording(
            table.trace,
            folder=folder,
            trace_format=table.trace_format,
            skip_bad_rows=table.skip_bad_rows,
            arrival_rate=table.arrival_rate,
            scale=table.scale,
        )
    for key, default in (("trace_format", None), ("skip_bad_rows", False)):
        if getattr(table, key) != default:
            msg = f"workload.{key} is {getattr(table, key)!r}, but workload.trace is missing."
            raise InvalidArgument(msg)
    arrivals = _closed(table) or _arrivals(
        table.arrivals or {"process": "poisson"}, table.arrival_rate
    )
    workload = change_workload(Workload(arrivals, _classes(table)), scale=table.scale)
    return Recording(workload, description="")


def _closed(table: WorkloadTable) -> ClosedArrivals | None:
    """Return the users of a closed workload; None if it has no such key."""
    closed = {key: getattr(table, key) for key in CLOSED if getattr(table, key) is not None}
    if not closed:
        return None
    if "users" not in closed:
        msg = f"workload.{next(iter(closed))} is about users: add the key 'users'."
        raise InvalidArgument(msg)
    _refuse(table, "users", ("arrivals", "arrival_rate"))
    return constructed(ClosedArrivals, closed, where="workload")


def length_of(value: Any, name: str) -> AbstractLength:
    """Return the length law that an integer or a table with a ``law`` stands for."""
    if isinstance(value, Mapping):
        law, values = named_law(value, LENGTHS, word="law", where=name)
        return constructed(law, values, where=name)
    check(value, name, TokensOrZero if name.endswith("output_tokens") else Tokens)
    return DeterministicLength(value)


def _classes(table: WorkloadTable) -> tuple[RequestClass, ...]:
    if table.classes is None:
        return (_class(table, name="request", share=1, where="workload"),)
    _refuse(table, "classes", ("prompt_tokens", "output_tokens"))
    return tuple(
        _class(row, name=row.name, share=row.share, where=f"workload.classes[{i}]")
        for i, row in enumerate(table.classes)
    )


def _class(
    table: WorkloadTable | ClassTable, *, name: str, share: Real, where: str
) -> RequestClass:
    for key in ("prompt_tokens", "output_tokens"):
        if getattr(table, key) is None:
            msg = (
                f"{where} needs the key {key!r}: an integer [tokens] or a table such as "
                "{law = 'geometric', mean = 112}."
            )
            raise InvalidArgument(msg)
    lengths = IndependentLengths(
        length_of(table.prompt_tokens, f"{where}.prompt_tokens"),
        length_of(table.output_tokens, f"{where}.output_tokens"),
    )
    return constructed(
        RequestClass, {"name": name, "lengths": lengths, "share": share}, where=where
    )


def _arrivals(
    table: Mapping[str, Any], rate: Real | None, *, where: str = "workload.arrivals"
) -> AbstractArrivals:
    """Return the process of a table at ``rate`` or, if that is None, at its own rate."""
    if rate is not None:
        check(rate, "workload.arrival_rate", Rate)
    process, values = named_law(table, PROCESSES, word="process", where=where)
    if process is DeterministicArrivals and "interval" in values:
        return _rated(constructed(DeterministicArrivals.every, values, where=where), rate)
    if process is BatchArrivals:
        return _batches(values, rate, where=where)
    if process in (PROCESSES["on_off"], PROCESSES["renewal"]):
        own = constructed(process, values, where=where)
        return _rated(own, rate)
    if rate is None:
        msg = "workload needs the key 'arrival_rate': a number above 0 [requests/s]."
        raise InvalidArgument(msg)
    if "rate" in values:
        msg = f"{where} has no key 'rate': the rate is workload.arrival_rate [requests/s]."
        raise InvalidArgument(msg)
    return constructed(process, {**values, "rate": rate}, where=where, supplied=["rate"])


def _rated(arrivals: AbstractArrivals, rate: Real | None) -> AbstractArrivals:
    return arrivals if rate is None else arrivals.scaled_to(rate)


def _batches(values: dict[str, Any], rate: Real | None, *, where: str) -> BatchArrivals:
    """Return batches whose requests, not batches, arrive at ``rate``."""
    inner = {"batches": {"process": "poisson"}, **values}
    if "size" in inner:
        inner["size"] = length_of(inner["size"], f"{where}.size")
        if rate is not None:
            rate = rate / inner["size"].mean
    if isinstance(inner["batches"], Mapping):
        inner["batches"] = _arrivals(inner["batches"], rate, where=f"{where}.batches")
    return constructed(BatchArrivals, inner, where=where)


def _refuse(table: WorkloadTable, given: str, others: tuple[str, ...]) -> None:
    """Refuse keys that say again, and perhaps differently, what ``given`` says."""
    for key in others:
        if getattr(table, key) is not None:
            msg = f"workload has both {given!r} and {key!r}: keep one of them."
            raise InvalidArgument(msg)
